//! The events and lists that the core returns to its host.

use std::time::{Duration, Instant};

use super::state::State;
use crate::Origin;

/// The number of a dial. Numbers are never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttemptId(pub(super) u64);

/// The purpose for which a part of the host needs peers, such as `"relay"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Purpose(pub &'static str);

/// An event for the host, which must act on it or may want to know it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RejoinEvent<Id, A> {
    /// Dial all the addresses at once, and end the dial at `until`. Report the end with [`crate::Rejoin::handle_answered`] or
    /// [`crate::Rejoin::handle_failed`].
    Dial {
        /// The dial.
        attempt: AttemptId,
        /// The peer that must answer, if there is one.
        peer: Option<Id>,
        /// Where, the best address first.
        addresses: Vec<A>,
        /// The most trusted origin of the addresses.
        origin: Origin,
        /// When the dial must have ended. The core counts it as failed then.
        until: Instant,
    },
    /// Stop a dial: its peer is connected, its candidate was withdrawn, or newer dials have taken its place. The dial may have
    /// reached its peer in the meantime: do not end a connection that was reported with [`crate::Rejoin::handle_connected`].
    Abandon {
        /// The dial.
        attempt: AttemptId,
    },
    /// The state has changed. [`crate::Rejoin::status`] has the reason for the present state, which may already be another one.
    State {
        /// The state before.
        from: State,
        /// The state now.
        to: State,
    },
    /// A connection has lasted for [`crate::RejoinConfig::lasted`]. The event is repeated each time that the age of the
    /// connection has quadrupled. Save the peer.
    Lasted {
        /// The peer.
        peer: Id,
        /// How long the peer has been connected.
        stayed: Duration,
        /// Where this node reached the peer. `None`: the peer dialed.
        address: Option<A>,
        /// The further addresses that are known of the peer, without those of [`Origin::Claimed`].
        addresses: Vec<A>,
    },
    /// A peer whose connection had lasted is gone.
    Lost {
        /// The peer.
        peer: Id,
        /// How long the peer was connected.
        stayed: Duration,
    },
    /// A candidate for a purpose that was given to [`crate::Rejoin::handle_wanted`].
    Offered {
        /// The purpose.
        purpose: Purpose,
        /// The peer.
        peer: Id,
        /// The addresses that are known of it.
        addresses: Vec<A>,
    },
}

/// A candidate with its history, for lists.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CandidateView<Id, A> {
    /// The peer that a source has named, or that answered last.
    pub peer: Option<Id>,
    /// The addresses, in the order in which they are dialed.
    pub addresses: Vec<A>,
    /// The origins of the addresses, the most trusted origin first.
    pub origins: Vec<Origin>,
    /// Whether the peer is connected.
    pub connected: bool,
    /// Whether the peer was lost a short time ago and is dialed at a quick pace.
    pub lost: bool,
    /// How many dials are in flight.
    pub in_flight: usize,
    /// How many dials were started.
    pub dials: u64,
    /// How many dials were started since a connection lasted.
    pub failures: u32,
    /// When the next dial is due. The dial starts at that time if the node needs the peer.
    pub next: Option<Instant>,
    /// When the peer's latest connected period began.
    pub last_connected: Option<Instant>,
    /// The longest time for which the peer was connected.
    pub longest: Option<Duration>,
}
