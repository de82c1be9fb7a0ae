//! The answers that a client receives, and the events that it returns.

use std::{fmt, io, time::Duration};

use libp2p_identity::PeerId;
use multiaddr::Multiaddr;

use crate::{
    error::Status,
    wire::{Limit, Reservation, WireError},
};

/// The outcome of asking a relay for a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Answer {
    /// The relay granted a slot.
    Granted {
        /// The reservation.
        reservation: Reservation,
        /// The limit of circuits.
        limit: Option<Limit>,
    },
    /// The relay refused.
    Refused(Status),
    /// The relay could not be asked, or did not give a proper answer.
    Failed(AskError),
}

/// Why asking a relay for a slot failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// There is no connection to the relay, or no stream over it.
    #[error("the relay could not be reached: {reason}")]
    Unreachable {
        /// The host's error.
        reason: String,
    },
    /// The relay did not answer in time.
    #[error("no answer within {within:?}")]
    NoAnswer {
        /// The time limit for the answer.
        within: Duration,
    },
    /// The stream broke.
    #[error("the stream broke: {kind}")]
    Broken {
        /// The kind of error.
        kind: io::ErrorKind,
    },
    /// The answer cannot be read.
    #[error("the answer is not a valid message")]
    Malformed(#[from] WireError),
    /// The message is not an answer to a RESERVE.
    #[error("the answer is an unexpected message")]
    Unexpected,
    /// The slot would expire too soon: see [`crate::ClientConfig::min_ttl`].
    #[error("the relay grants {ttl:?} only, and this node accepts no less than {least:?}")]
    ShortTtl {
        /// How long the reservation would last.
        ttl: Duration,
        /// The least time that is accepted.
        least: Duration,
    },
    /// The relay answered OK without a reservation.
    #[error("the relay granted a slot but sent no reservation")]
    Empty,
}

/// An action for the host, or a notice.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientEvent {
    /// Connect to this relay if there is no connection yet, send it a RESERVE, and pass the outcome to
    /// [`crate::Client::handle_answer`].
    Ask {
        /// The relay.
        relay: PeerId,
        /// Its addresses, from [`crate::Client::handle_candidate`].
        addresses: Vec<Multiaddr>,
    },
    /// The client looks for relays: offer it so many peers with [`crate::Client::handle_offered`], now and as they become known. A new
    /// request replaces the last one, and may be answered with the same peers. Zero: no more.
    Wanted {
        /// How many peers.
        count: usize,
    },
    /// Find out whether an offered peer serves the hop protocol: connect to it if there is no connection yet, read its identify
    /// message, and pass the outcome to [`crate::Client::handle_examined`].
    Examine {
        /// The peer.
        relay: PeerId,
        /// Its addresses, as offered.
        addresses: Vec<Multiaddr>,
    },
    /// An offered peer was examined or asked, and does not hold a slot for this peer. The host may close the connection if it was
    /// opened for this.
    Released {
        /// The peer.
        relay: PeerId,
    },
    /// A relay granted a slot.
    Granted {
        /// The relay.
        relay: PeerId,
        /// The addresses to announce: at most 8 proven addresses of the relay, each followed by `/p2p-circuit`. Append the
        /// client's own `/p2p/ID` to each before you announce it.
        addresses: Vec<Multiaddr>,
        /// The limit of circuits. If its duration was cut, the relay has confused the units of time.
        limit: Option<Limit>,
    },
    /// A relay renewed a slot.
    Renewed {
        /// The relay.
        relay: PeerId,
        /// The addresses to announce, which may have changed.
        addresses: Vec<Multiaddr>,
        /// The limit of circuits.
        limit: Option<Limit>,
    },
    /// The relay claims to be reachable at this address, too. Dial the address under a new identity, close the connection, and
    /// pass the outcome to [`crate::Client::handle_probed`] within [`crate::ClientConfig::answer`]. Only one probe runs at a
    /// time.
    Probe {
        /// The relay. The dial has failed if another peer is there.
        relay: PeerId,
        /// The address, which ends in the relay's id.
        address: Multiaddr,
    },
    /// A probe has confirmed an address of a relay, so more of the relay's addresses can be announced.
    Proved {
        /// The relay.
        relay: PeerId,
        /// All addresses to announce for this relay.
        addresses: Vec<Multiaddr>,
    },
    /// A relay refused a slot. [`Status::meaning`] returns the meaning of its status as text.
    Refused {
        /// The relay.
        relay: PeerId,
        /// Its answer.
        status: Status,
        /// How long until it is asked again, at the earliest.
        retry_in: Duration,
    },
    /// Asking a relay failed.
    Failed {
        /// The relay.
        relay: PeerId,
        /// The cause.
        error: AskError,
        /// How long until it is asked again, at the earliest.
        retry_in: Duration,
    },
    /// A slot is lost. Its addresses must no longer be announced.
    Lost {
        /// The relay.
        relay: PeerId,
        /// The cause.
        cause: LostCause,
    },
    /// A relay replaces another relay, whose slot was lost.
    Replaced {
        /// The relay whose slot was lost.
        old: PeerId,
        /// The relay that granted the new slot. It may be the old relay, if that relay is back.
        new: PeerId,
    },
}

/// Why a slot was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LostCause {
    /// The last connection to the relay was closed.
    Disconnected,
    /// The relay refused to renew it.
    Refused(Status),
    /// It was not renewed before it expired.
    Expired,
    /// The host removed the relay: [`crate::Client::handle_removed`].
    Removed,
    /// The client shut down: [`crate::Client::close`].
    Closing,
}

impl fmt::Display for LostCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disconnected => f.write_str("the connection to the relay is closed"),
            Self::Refused(status) => write!(f, "the relay refused to renew it: {status}"),
            Self::Expired => f.write_str("it could not be renewed in time"),
            Self::Removed => f.write_str("the relay was removed"),
            Self::Closing => f.write_str("this node shuts down"),
        }
    }
}
