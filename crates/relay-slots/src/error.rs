//! Refusals, and their status numbers on the wire.

use std::fmt;

use crate::{id::ConnectionId, scope::Scope};

/// The relay's answer, a number on the wire: `Status` in the section "Protobuf" of the circuit relay v2 spec.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Status {
    /// 100: granted.
    Ok,
    /// 200: the reservation was refused for another reason.
    ReservationRefused,
    /// 201: a limit of the relay is reached.
    ResourceLimitExceeded,
    /// 202: the relay does not serve this peer.
    PermissionDenied,
    /// 203: the destination could not be reached.
    ConnectionFailed,
    /// 204: the destination holds no slot at this relay.
    NoReservation,
    /// 400: the message cannot be read.
    MalformedMessage,
    /// 401: the message was not expected at this point.
    UnexpectedMessage,
    /// A number that the spec does not define. Such an answer grants nothing.
    Unknown(u32),
}

/// The statuses that the spec knows.
const KNOWN: [Status; 8] = [
    Status::Ok,
    Status::ReservationRefused,
    Status::ResourceLimitExceeded,
    Status::PermissionDenied,
    Status::ConnectionFailed,
    Status::NoReservation,
    Status::MalformedMessage,
    Status::UnexpectedMessage,
];

impl Status {
    /// The number on the wire.
    pub fn code(self) -> u32 {
        match self {
            Self::Ok => 100,
            Self::ReservationRefused => 200,
            Self::ResourceLimitExceeded => 201,
            Self::PermissionDenied => 202,
            Self::ConnectionFailed => 203,
            Self::NoReservation => 204,
            Self::MalformedMessage => 400,
            Self::UnexpectedMessage => 401,
            Self::Unknown(code) => code,
        }
    }

    /// The status with this number on the wire.
    pub fn from_code(code: u32) -> Self {
        let known = KNOWN.into_iter().find(|status| status.code() == code);
        known.unwrap_or(Self::Unknown(code))
    }

    /// The meaning of the status as an answer to a RESERVE, as text for a log or a user.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::ReservationRefused => {
                "the relay was asked too often, or for too many reservations"
            }
            Self::ResourceLimitExceeded => "the relay has no room",
            Self::PermissionDenied => "the relay does not serve this peer",
            Self::MalformedMessage => "the relay could not read the request",
            Self::UnexpectedMessage => "the relay did not expect the request",
            Self::Unknown(_) => "the relay answered with a status that is not in the spec",
            Self::Ok | Self::ConnectionFailed | Self::NoReservation => {
                "the relay answered with a status that does not answer a RESERVE"
            }
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = match self {
            Self::Ok => "ok",
            Self::ReservationRefused => "reservation refused",
            Self::ResourceLimitExceeded => "resource limit exceeded",
            Self::PermissionDenied => "permission denied",
            Self::ConnectionFailed => "connection failed",
            Self::NoReservation => "no reservation",
            Self::MalformedMessage => "malformed message",
            Self::UnexpectedMessage => "unexpected message",
            Self::Unknown(_) => "unknown status",
        };
        write!(f, "{words} ({})", self.code())
    }
}

/// The kind of rate that was exceeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RateOf {
    /// The rate of the peer.
    Peer,
    /// The rate of the subnet around its address.
    Subnet(Scope),
}

impl fmt::Display for RateOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Peer => f.write_str("this peer"),
            Self::Subnet(scope) => scope.fmt(f),
        }
    }
}

/// Why a slot or a circuit was refused. The refused request changed nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// [`crate::Caps::slots`] is reached.
    #[error("{limit} slots are held, which is the limit")]
    Slots {
        /// The limit that is reached.
        limit: usize,
    },
    /// [`crate::Caps::slots_per_peer`] is reached. A peer that holds a slot never gets this refusal, because its slot
    /// is renewed.
    #[error("{limit} slots are held by this peer, which is the limit")]
    SlotsOfPeer {
        /// The limit that is reached.
        limit: usize,
    },
    /// The cap for an address, a subnet or an autonomous system is reached.
    #[error("{limit} slots are held from {scope}, which is the limit")]
    SlotsFrom {
        /// The address, subnet or autonomous system.
        scope: Scope,
        /// The limit that is reached.
        limit: usize,
    },
    /// [`crate::Rates::reserve_of_peer`] or [`crate::Rates::reserve_of_subnet`] is exceeded.
    #[error("reservations of {of} follow each other faster than the limit")]
    ReserveRate {
        /// Whether the rate of the peer or of its subnet was exceeded.
        of: RateOf,
    },
    /// [`crate::Rates::renew_of_peer`] is exceeded. The peer keeps its slot.
    #[error("renewals of this peer follow each other faster than the limit")]
    RenewRate,
    /// [`crate::Caps::circuits`] is reached.
    #[error("{limit} circuits are open, which is the limit")]
    Circuits {
        /// The limit that is reached.
        limit: usize,
    },
    /// [`crate::Caps::circuits_to_peer`] is reached.
    #[error("{limit} circuits to this peer are open, which is the limit")]
    CircuitsTo {
        /// The limit that is reached.
        limit: usize,
    },
    /// [`crate::Caps::circuits_from_peer`] is reached.
    #[error("{limit} circuits from this peer are open, which is the limit")]
    CircuitsFrom {
        /// The limit that is reached.
        limit: usize,
    },
    /// [`crate::Caps::circuits_from_subnet_to_peer`] is reached.
    #[error("{limit} circuits from {scope} to this peer are open, which is the limit")]
    CircuitsFromSubnet {
        /// The subnet of the source.
        scope: Scope,
        /// The limit that is reached.
        limit: usize,
    },
    /// [`crate::Rates::connect_of_peer`] or [`crate::Rates::connect_of_subnet`] is exceeded.
    #[error("circuits of {of} follow each other faster than the limit")]
    ConnectRate {
        /// Whether the rate of the peer or of its subnet was exceeded.
        of: RateOf,
    },
    /// [`crate::TableConfig::max_buckets`] is reached.
    #[error("the rates of {limit} peers and subnets are remembered, which is the limit")]
    Buckets {
        /// The limit that is reached.
        limit: usize,
    },
    /// The request came over a connection that is itself relayed.
    #[error("the request came over a relayed connection")]
    Relayed,
    /// Source and destination are the same peer.
    #[error("a circuit from a peer to itself")]
    ToItself,
    /// The destination holds no slot at this relay.
    #[error("the destination holds no slot")]
    NoReservation,
    /// The destination holds a slot but is not connected at the moment.
    #[error("the destination holds a slot but is not connected")]
    Unreachable,
    /// [`crate::Admission::may_renew`] refused the renewal.
    #[error("this peer may not keep its slot")]
    MayNotRenew,
    /// A rule of the host refused the request.
    #[error("denied: {reason}")]
    Denied {
        /// The host's reason, for its log. It is not sent.
        reason: &'static str,
    },
    /// The relay is shutting down.
    #[error("the relay is shutting down")]
    Closing,
    /// The connection is unknown or closed.
    #[error("there is no connection {id}")]
    UnknownConnection {
        /// The connection.
        id: ConnectionId,
    },
}

impl Refusal {
    /// The status on the wire.
    pub fn status(&self) -> Status {
        match self {
            Self::ReserveRate { .. } | Self::RenewRate => Status::ReservationRefused,
            Self::Slots { .. }
            | Self::SlotsOfPeer { .. }
            | Self::SlotsFrom { .. }
            | Self::Circuits { .. }
            | Self::CircuitsTo { .. }
            | Self::CircuitsFrom { .. }
            | Self::CircuitsFromSubnet { .. }
            | Self::ConnectRate { .. }
            | Self::Buckets { .. }
            | Self::Closing => Status::ResourceLimitExceeded,
            Self::Relayed | Self::ToItself | Self::MayNotRenew | Self::Denied { .. } => {
                Status::PermissionDenied
            }
            Self::NoReservation => Status::NoReservation,
            Self::Unreachable | Self::UnknownConnection { .. } => Status::ConnectionFailed,
        }
    }
}

/// Why no slot was released.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReleaseError {
    /// The connection is unknown or closed.
    #[error("there is no connection {id}")]
    UnknownConnection {
        /// The connection.
        id: ConnectionId,
    },
    /// The peer at its other end holds no slot.
    #[error("the peer at the other end of connection {id} holds no slot")]
    NoSlot {
        /// The connection.
        id: ConnectionId,
    },
}
