//! Tracks the state of every peer and connection. The tracker reports the changes of each peer as one sequence of events without
//! gaps.
//!
//! ```text
//!  handle_inbound ─► handshaking ─┬─► limited ◄─► established ─► draining ─► closed
//!  handle_dialing ─►              │      (by a relay)              │
//!                                 └─► closed                       └─► established again, if its replacement broke
//!
//!  any established ─► Connected    else any handshaking or limited ─► Transient    else NotConnected
//!
//!  Tracker ──► Event   (peer, number, from, to, cause, connection, time) ─► SharedTracker ─► Subscription, queries
//!          └─► Action  (probe, drain, resume, close) ─► the host
//!
//!  Liveness    (bytes received, pongs)          ─► when to ping, and whether the connection is dead
//!  AddressBook (addresses, sources, outcomes)   ─► the addresses of a peer, in the order in which to dial them
//!  ObservedAddresses (reports, networks)        ─► the addresses of this host on which enough networks agree
//!  Limits      (remote addresses, peers, rates) ─► the admission of a connection, and the connections to close for it
//!  Budget      (keys, rates)                    ─► whether to serve one more costly request of a peer
//!  Summaries   (keys, reports)                  ─► a bounded number of summaries per second, for logs
//! ```
//!
//! # Invariants
//!
//! - No event of a peer is missing, duplicated or out of order: the `from` of an event equals the `to` of the previous
//!   event.
//! - A subscription continues where its snapshot ends: the snapshot includes an event, or the subscription delivers the
//!   event.
//! - A subscriber that does not read delays nobody. It misses events, learns how many, and gets a new snapshot.
//! - The cores read no clock and open no socket: `now` is an argument. The cores decide, and the host acts.
//! - A method makes all of its checks before it changes anything, so an error changes nothing. The exception is
//!   [`Limits::handle_inbound`]: if it refuses a connection, it may still displace handshakes that took too long.
//! - [`Liveness`] declares a connection dead only if nothing is received.
//! - Hearsay, an address from a third party, never displaces an address that worked from an [`AddressBook`].
//! - A [`Detail`] is at most 128 bytes long and prints as one line, whatever text a peer sent.
//! - Memory is bounded: [`TrackerConfig::history`] events, the peers in them, the peers with a connection,
//!   [`LimitsConfig::max_tracked_addresses`] addresses, [`AddressBookConfig::max_peers`] peers in the book, and 1,024 reports
//!   in [`ObservedAddresses`].
//!
//! # Limitations
//!
//! - An inbound connection has no peer, and therefore no state, before its handshake ends.
//! - Two ends keep the same connection only if both follow [`Recommended`]. If the other end runs another stack, this
//!   host keeps the connections that the other end keeps, until they are drained.
//! - A host that cannot probe must wrap its policy in [`WithoutProbes`].
//! - An answer that takes longer than [`Policy::probe`] counts as no answer. On such a slow path, each of two hosts may
//!   close the connection that the other host keeps. Both hosts then know that they have no connection.
//! - An attacker with addresses in four networks can make [`ObservedAddresses`] choose a false address.
//! - There are at most 2³² − 1 peers. The events of a peer are kept only while the history has room for them.
//!
//! ```
//! use std::time::Instant;
//! use conn_state::{Closing, Recommended, Route, State, Tracker, TrackerConfig};
//!
//! let now = Instant::now();
//! let mut tracker = Tracker::new(now, "alice", Recommended::default(), TrackerConfig::default());
//! let connection = tracker.handle_dialing(now, Some(&"bob")).unwrap();
//! assert!(tracker.state(&"bob").is_transient());
//! tracker.handle_authenticated(now, connection, &"bob", Route::Direct).unwrap();
//! assert_eq!(tracker.state(&"bob"), State::Connected);
//! tracker.handle_closed(now, connection, Closing::Local, None).unwrap();
//!
//! let story: Vec<_> = tracker.history(&"bob").iter().map(|event| event.to.to_string()).collect();
//! assert_eq!(story, ["transient (handshaking)", "connected", "not connected"]);
//! ```

mod addresses;
mod budget;
mod closing;
mod config;
mod count;
mod detail;
#[cfg(feature = "tokio")]
mod driver;
mod error;
mod event;
#[cfg(any(fuzzing, test))]
pub mod fuzzing;
mod history;
mod limits;
mod liveness;
mod locked;
mod observed;
mod path;
mod phase;
mod policy;
mod prefix;
mod shared;
mod snapshot;
mod stream_count;
mod subscription;
mod summaries;
mod sync;
mod table;
mod tracker;
pub mod upgrade;
mod usage;
mod when_connected;
mod without_probes;

use std::time::Duration;

pub use addresses::{AddressBook, AddressBookConfig, KnownAddress, Outcome, Source};
pub use budget::{Budget, Rate};
pub use closing::Closing;
pub use config::{LimitsConfig, TrackerConfig};
pub use detail::{Detail, Escaped, is_plain};
#[cfg(feature = "tokio")]
pub use driver::WaitError;
pub use error::{Refused, TrackError};
pub use event::{Action, Cause, Event};
pub use limits::Limits;
pub use liveness::{Liveness, LivenessConfig, LivenessEvent, PingFailure};
pub use observed::{Observation, ObservedAddresses};
pub use path::{Limit, Path, Remote, Route};
pub use phase::{ConnectionId, ConnectionInfo, Direction, Phase, Reason, State};
pub use policy::{Contender, Contest, Recommended, Verdict};
pub use prefix::Prefix;
pub use shared::SharedTracker;
pub use snapshot::{PeerSnapshot, Snapshot};
pub use stream_count::StreamCount;
pub use subscription::{Subscription, Update};
pub use summaries::{Summaries, SummariesConfig, Summary};
pub use tracker::Tracker;
pub use usage::Usage;
pub use when_connected::WhenConnected;
pub use without_probes::WithoutProbes;

/// The decisions that a host may make itself. [`Recommended`] makes the recommended decisions.
///
/// `Id` names a peer. A policy keeps no state: the same question always gets the same answer. Only the two methods without a
/// default make decisions. Your own policy can delegate either of them to a [`Recommended`] that it owns. The other methods
/// default to the values of [`Recommended`].
pub trait Policy<Id>: Send + Sync {
    /// Whether a connection over `route` is [`Phase::Established`] or [`Phase::Limited`] once its handshake has
    /// succeeded. Any other phase counts as established.
    fn phase(&self, route: Route) -> Phase;

    /// Which of two connections to one peer stays.
    fn arbitrate(&self, contest: &Contest<'_, Id>) -> Verdict;

    /// How long a connection may be transient for this reason. After this time, the tracker tells the host to close the
    /// connection.
    fn max_age(&self, reason: Reason) -> Option<Duration> {
        let recommended = Recommended::default();
        match reason {
            Reason::Handshaking => Some(recommended.handshake),
            Reason::Limited => recommended.limited,
        }
    }

    /// How many connections may be transient at once.
    fn max_transient(&self) -> usize {
        Recommended::default().max_transient
    }

    /// How many connections may be limited at once: half of those that may be transient. The other half is reserved for
    /// handshakes, so that relays that open many circuits cannot prevent this host from dialing and accepting.
    fn max_limited(&self) -> usize {
        let transient = self.max_transient();
        transient - transient / 2
    }

    /// How many connections to one peer may be transient at once.
    fn max_transient_per_peer(&self) -> usize {
        Recommended::default().max_transient_per_peer
    }

    /// How long a probe may stay unanswered before the new connection replaces the old one.
    fn probe(&self) -> Duration {
        Recommended::default().probe
    }

    /// How long a connection that was replaced in this way may stay silent before it is closed. If it answers during this time,
    /// the contest is repeated.
    ///
    /// If the new connection comes from the same socket of the peer ([`Path::remote`]), the old connection is closed sooner. The
    /// probe then must be unanswered for [`Self::probe`], and for 8 times the duration of the new connection's handshake if that
    /// is longer. The handshake shows how quickly the path and the peer answer.
    fn patience(&self) -> Duration {
        Recommended::default().patience
    }

    /// How long a draining connection must be without an open stream before it is closed. If the peer opens
    /// streams on it again and again, it is closed in a moment without a stream, 3 times as long after the drain began.
    fn quiet(&self) -> Duration {
        Recommended::default().quiet
    }

    /// How long a connection may drain. After this time it is closed, even if streams are open.
    fn drain(&self) -> Duration {
        Recommended::default().drain
    }
}

/// The README's code compiles and runs.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(test)]
mod tests;
