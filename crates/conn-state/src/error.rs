//! Why a report was not accepted, and why a connection was not admitted.

use crate::{ConnectionId, Phase, prefix::Prefix};

/// Why a tracker did not accept a report. A report that is not accepted changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TrackError {
    /// The connection never existed, or is gone.
    #[error("there is no connection {id}")]
    Unknown {
        /// The connection that was named.
        id: ConnectionId,
    },
    /// The report does not fit the phase of the connection.
    #[error("connection {id} is {phase}")]
    WrongPhase {
        /// The connection.
        id: ConnectionId,
        /// Its phase.
        phase: Phase,
    },
    /// [`crate::Action::Close`] told the host to close the connection.
    #[error("connection {id} is about to be closed")]
    Closing {
        /// The connection.
        id: ConnectionId,
    },
    /// [`crate::Policy::max_transient`] is reached.
    #[error("{limit} connections are transient, which is the limit")]
    TooManyTransient {
        /// The limit.
        limit: usize,
    },
    /// [`crate::Policy::max_limited`] is reached.
    #[error("{limit} limited connections are open, which is the limit")]
    TooManyLimited {
        /// The limit.
        limit: usize,
    },
    /// [`crate::Policy::max_transient_per_peer`] is reached.
    #[error("{limit} connections to this peer are transient, which is the limit")]
    TooManyTransientOfPeer {
        /// The limit.
        limit: usize,
    },
}

/// Why [`crate::Limits`] did not admit a connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// [`crate::LimitsConfig::max_inbound`] is reached.
    #[error("{limit} inbound connections are open, which is the limit")]
    TooManyInbound {
        /// The limit.
        limit: usize,
    },
    /// [`crate::LimitsConfig::max_handshaking`] is zero.
    #[error("{limit} inbound connections are in their handshake, which is the limit")]
    TooManyHandshakes {
        /// The limit.
        limit: usize,
    },
    /// The host has not yet closed [`crate::LimitsConfig::max_handshaking`] displaced connections.
    /// [`crate::Limits::poll_action`] returns the displaced connections, and [`crate::Limits::handle_closed`] reports their ends.
    #[error(
        "{limit} displaced connections are not closed yet, which is the limit: close those that poll_action returns and call handle_closed"
    )]
    TooManyUnclosed {
        /// The limit.
        limit: usize,
    },
    /// [`crate::LimitsConfig::max_per_address`] is reached.
    #[error("{limit} inbound connections from {prefix} are open, which is the limit")]
    TooManyFromAddress {
        /// The IPv4 address or the IPv6 /56.
        prefix: Prefix,
        /// The limit.
        limit: usize,
    },
    /// [`crate::LimitsConfig::max_per_subnet`] is reached.
    #[error("{limit} inbound connections from {prefix} are open, which is the limit of a subnet")]
    TooManyFromSubnet {
        /// The IPv4 /24 or the IPv6 /48.
        prefix: Prefix,
        /// The limit.
        limit: usize,
    },
    /// [`crate::LimitsConfig::max_handshaking_per_subnet`] is reached.
    #[error(
        "{limit} inbound connections from {prefix} are in their handshake, which is the limit of a subnet"
    )]
    TooManyHandshakesFromSubnet {
        /// The IPv4 /24 or the IPv6 /48.
        prefix: Prefix,
        /// The limit.
        limit: usize,
    },
    /// [`crate::LimitsConfig::rate_per_address`] is exceeded.
    #[error("new connections from {prefix} arrive faster than the limit")]
    TooFastFromAddress {
        /// The IPv4 address or the IPv6 /56.
        prefix: Prefix,
    },
    /// [`crate::LimitsConfig::max_tracked_addresses`] is reached.
    #[error("{limit} addresses were seen recently, which is as many as are remembered")]
    TooManyAddresses {
        /// The limit.
        limit: usize,
    },
    /// [`crate::LimitsConfig::max_per_relay`] is reached.
    #[error("{limit} inbound circuits through this relay are open, which is the limit")]
    TooManyFromRelay {
        /// The limit.
        limit: usize,
    },
    /// [`crate::LimitsConfig::max_handshaking_per_subnet`] is reached by one relay.
    #[error(
        "{limit} inbound circuits through this relay are in their handshake, which is the limit of a relay"
    )]
    TooManyHandshakesFromRelay {
        /// The limit.
        limit: usize,
    },
    /// A newer connection has displaced this one.
    #[error("a newer connection took its place")]
    Displaced,
    /// The peer has twice [`crate::LimitsConfig::max_per_peer`] connections and one more. Some of these connections may be
    /// drained or dead.
    #[error("{limit} connections to this peer are open, which is the limit")]
    TooManyToPeer {
        /// Twice [`crate::LimitsConfig::max_per_peer`] plus one, or 0 if `max_per_peer` is 0.
        limit: usize,
    },
    /// The host reported no connection of this id, or the connection has ended.
    #[error("the connection was not reported to the limits, or it has ended")]
    UnknownId,
    /// The host has reported another connection by this id, and that connection has not ended.
    #[error("another connection has the same id")]
    IdInUse,
}
