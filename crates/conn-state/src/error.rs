//! Why a connection was not admitted.

use crate::{ConnectionId, Phase, prefix::Prefix};

/// Why a tracker did not take in what it was told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TrackError {
    /// There is no such connection, or it is gone.
    #[error("there is no connection {id}")]
    Unknown {
        /// The one that was named.
        id: ConnectionId,
    },
    /// It is in a phase in which this cannot happen.
    #[error("connection {id} is {phase}")]
    WrongPhase {
        /// The connection.
        id: ConnectionId,
        /// Its phase.
        phase: Phase,
    },
    /// The host was told to close it by [`crate::Action::Close`].
    #[error("connection {id} is about to be closed")]
    Closing {
        /// The connection.
        id: ConnectionId,
    },
    /// [`crate::Policy::max_transient`] is reached.
    #[error("{limit} connections are transient, which is the limit")]
    TooManyTransient {
        /// The limit that is reached.
        limit: usize,
    },
    /// [`crate::Policy::max_transient_per_peer`] is reached.
    #[error("{limit} connections to this peer are transient, which is the limit")]
    TooManyTransientOfPeer {
        /// The limit that is reached.
        limit: usize,
    },
}

/// Why one more connection was not admitted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// [`crate::LimitsConfig::max_inbound`] is reached.
    #[error("{limit} inbound connections are open, which is the limit")]
    TooManyInbound {
        /// The limit that is reached.
        limit: usize,
    },
    /// [`crate::LimitsConfig::max_handshaking`] is reached.
    #[error("{limit} inbound connections are in their handshake, which is the limit")]
    TooManyHandshakes {
        /// The limit that is reached.
        limit: usize,
    },
    /// [`crate::LimitsConfig::max_per_address`] is reached.
    #[error("{limit} inbound connections from {prefix} are open, which is the limit")]
    TooManyFromAddress {
        /// The address, or IPv6 /56.
        prefix: Prefix,
        /// The limit that is reached.
        limit: usize,
    },
    /// [`crate::LimitsConfig::max_per_subnet`] is reached.
    #[error("{limit} inbound connections from {prefix} are open, which is the limit of a subnet")]
    TooManyFromSubnet {
        /// The IPv4 /24, or IPv6 /48.
        prefix: Prefix,
        /// The limit that is reached.
        limit: usize,
    },
    /// [`crate::LimitsConfig::max_handshaking_per_subnet`] is reached.
    #[error(
        "{limit} inbound connections from {prefix} are in their handshake, which is the limit of a subnet"
    )]
    TooManyHandshakesFromSubnet {
        /// The IPv4 /24, or IPv6 /48.
        prefix: Prefix,
        /// The limit that is reached.
        limit: usize,
    },
    /// [`crate::LimitsConfig::rate_per_address`] is exceeded.
    #[error("new connections from {prefix} arrive faster than the limit")]
    TooFastFromAddress {
        /// The address, or IPv6 /56.
        prefix: Prefix,
    },
    /// [`crate::LimitsConfig::max_tracked_addresses`] is reached.
    #[error("{limit} addresses were seen lately, which is as many as are remembered")]
    TooManyAddresses {
        /// The limit that is reached.
        limit: usize,
    },
    /// [`crate::LimitsConfig::max_per_peer`] is reached.
    #[error("{limit} connections to this peer are open, which is the limit")]
    TooManyToPeer {
        /// The limit that is reached.
        limit: usize,
    },
}
