//! The bytes of the hop and stop protocols: protobuf messages, each preceded by its length as an unsigned varint (circuit
//! relay v2 spec, section "Protobuf").

mod frame;
mod voucher;

#[cfg(test)]
mod tests;

use std::time::Duration;

use libp2p_identity::PeerId;
use multiaddr::{Multiaddr, Protocol};
use prost::Message as _;

pub use self::{
    frame::{Frames, ProtobufError, WireError},
    voucher::{Voucher, VoucherError},
};
use crate::error::Status;

/// The id of the hop protocol, between a peer and a relay.
pub const HOP_PROTOCOL: &str = "/libp2p/circuit/relay/0.2.0/hop";

/// The id of the stop protocol, between a relay and a circuit's destination.
pub const STOP_PROTOCOL: &str = "/libp2p/circuit/relay/0.2.0/stop";

/// The longest message, in bytes without its length prefix. go-libp2p has the same limit.
pub const MAX_RELAY_MESSAGE: usize = 4096;

/// The longest accepted duration of a circuit. A longer duration is cut to this value. js-libp2p's relay writes milliseconds
/// instead of seconds, so its two minutes would be 33 hours.
pub const MAX_DURATION: Duration = Duration::from_secs(24 * 3600);

/// How many addresses of a reservation are read.
const MAX_MESSAGE_ADDRESSES: usize = 32;

/// The limit of a circuit. A circuit counts as limited if the relay sends any such message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Limit {
    /// How long the circuit may last, in whole seconds on the wire. `None`: unlimited.
    pub duration: Option<Duration>,
    /// The number of bytes in each direction. `None`: unlimited.
    pub data: Option<u64>,
    /// If the duration was cut to [`MAX_DURATION`], the duration in seconds before. The sender has then probably confused the
    /// units of time.
    pub cut_from: Option<u32>,
}

impl Limit {
    /// A limit to send. On the wire, the duration is rounded up to seconds.
    pub fn new(duration: Option<Duration>, data: Option<u64>) -> Self {
        let cut_from = None;
        Self {
            duration,
            data,
            cut_from,
        }
    }

    fn from_proto(limit: proto::Limit) -> Self {
        let seconds = limit.duration.filter(|seconds| *seconds != 0);
        let told = seconds.map(|seconds| Duration::from_secs(seconds.into()));
        Self {
            duration: told.map(|told| told.min(MAX_DURATION)),
            data: limit.data.filter(|bytes| *bytes != 0),
            cut_from: seconds.filter(|_| told > Some(MAX_DURATION)),
        }
    }

    fn to_proto(self) -> proto::Limit {
        let seconds = |duration: Duration| {
            let more = u64::from(duration.subsec_nanos() > 0);
            let rounded = duration.as_secs().saturating_add(more);
            u32::try_from(rounded).unwrap_or(u32::MAX)
        };
        proto::Limit {
            duration: self.duration.map(seconds),
            data: self.data,
        }
    }
}

/// A reservation: the relay's description of a slot that it granted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Reservation {
    /// When it expires, in seconds since 1970.
    pub expire: u64,
    /// The relay's addresses, with its peer id and without `/p2p-circuit`. Addresses that cannot be read are left out.
    pub addresses: Vec<Multiaddr>,
    /// A sealed [`Voucher`].
    pub voucher: Option<Vec<u8>>,
}

impl Reservation {
    /// A reservation to send.
    pub fn new(expire: u64, addresses: Vec<Multiaddr>, voucher: Option<Vec<u8>>) -> Self {
        Self {
            expire,
            addresses,
            voucher,
        }
    }

    /// The addresses `…/p2p/RELAY/p2p-circuit`, at which the holder of this reservation can be reached. Addresses of another
    /// peer than the relay, and addresses that are themselves behind a relay, are left out.
    pub fn circuit_addresses(&self, relay: PeerId) -> Vec<Multiaddr> {
        let behind = |address: &Multiaddr| {
            let is_direct = !address.iter().any(|part| part == Protocol::P2pCircuit);
            let named = address.clone().with_p2p(relay).ok();
            let named = named.filter(|_| is_direct && !address.is_empty())?;
            Some(named.with(Protocol::P2pCircuit))
        };
        self.addresses.iter().filter_map(behind).collect()
    }
}

/// A message of the hop protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HopMessage {
    /// RESERVE: the peer asks for a slot.
    Reserve,
    /// CONNECT: the peer asks for a circuit to this peer. Addresses in the message are ignored, because the spec deprecates
    /// dialing an address that a stranger names.
    Connect(PeerId),
    /// STATUS: the relay's answer.
    Status {
        /// The status.
        status: Status,
        /// The reservation, if the message grants a RESERVE.
        reservation: Option<Reservation>,
        /// The limit of circuits.
        limit: Option<Limit>,
    },
}

/// A message of the stop protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StopMessage {
    /// CONNECT: the relay announces a circuit.
    Connect {
        /// The source of the circuit.
        peer: PeerId,
        /// The limit of the circuit.
        limit: Option<Limit>,
    },
    /// STATUS: the destination's answer.
    Status(Status),
}

impl HopMessage {
    /// A status that grants nothing.
    pub fn refusal(status: Status) -> Self {
        Self::Status {
            status,
            reservation: None,
            limit: None,
        }
    }

    /// The message, preceded by its length.
    ///
    /// # Errors
    ///
    /// [`WireError::TooLong`]: the message is longer than [`MAX_RELAY_MESSAGE`].
    pub fn encode(&self) -> Result<Vec<u8>, WireError> {
        encode(&self.to_proto())
    }

    /// The length of the message in bytes, without its length prefix.
    pub(crate) fn length(&self) -> usize {
        self.to_proto().encoded_len()
    }

    fn to_proto(&self) -> proto::Hop {
        let mut message = proto::Hop::default();
        match self {
            Self::Reserve => message.kind = Some(0),
            Self::Connect(peer) => {
                message.kind = Some(1);
                message.peer = Some(proto::Peer::of(peer));
            }
            Self::Status {
                status,
                reservation,
                limit,
            } => {
                message.kind = Some(2);
                message.status = Some(status.code().into());
                message.limit = limit.map(Limit::to_proto);
                let to_proto = |reservation: &Reservation| proto::Reservation {
                    expire: Some(reservation.expire),
                    addresses: reservation
                        .addresses
                        .iter()
                        .map(Multiaddr::to_vec)
                        .collect(),
                    voucher: reservation.voucher.clone(),
                };
                message.reservation = reservation.as_ref().map(to_proto);
            }
        }
        message
    }

    /// Decodes a message that [`Frames`] returned.
    ///
    /// # Errors
    ///
    /// The bytes are not a message of this protocol.
    pub fn decode(body: &[u8]) -> Result<Self, WireError> {
        let message = proto::Hop::decode(body).map_err(ProtobufError)?;
        match message.kind.ok_or(WireError::MissingType)? {
            0 => Ok(Self::Reserve),
            1 => Ok(Self::Connect(proto::Peer::id_of(message.peer)?)),
            2 => Ok(Self::Status {
                status: status(message.status),
                reservation: message.reservation.map(proto::Reservation::read),
                limit: message.limit.map(Limit::from_proto),
            }),
            code => Err(WireError::UnknownType { code }),
        }
    }
}

impl StopMessage {
    /// The message, preceded by its length.
    ///
    /// # Errors
    ///
    /// [`WireError::TooLong`]: the message is longer than [`MAX_RELAY_MESSAGE`].
    pub fn encode(&self) -> Result<Vec<u8>, WireError> {
        let mut message = proto::Stop::default();
        match self {
            Self::Connect { peer, limit } => {
                message.kind = Some(0);
                message.peer = Some(proto::Peer::of(peer));
                message.limit = limit.map(Limit::to_proto);
            }
            Self::Status(status) => {
                message.kind = Some(1);
                message.status = Some(status.code().into());
            }
        }
        encode(&message)
    }

    /// Decodes a message that [`Frames`] returned.
    ///
    /// # Errors
    ///
    /// The bytes are not a message of this protocol.
    pub fn decode(body: &[u8]) -> Result<Self, WireError> {
        let message = proto::Stop::decode(body).map_err(ProtobufError)?;
        match message.kind.ok_or(WireError::MissingType)? {
            0 => Ok(Self::Connect {
                peer: proto::Peer::id_of(message.peer)?,
                limit: message.limit.map(Limit::from_proto),
            }),
            1 => Ok(Self::Status(status(message.status))),
            code => Err(WireError::UnknownType { code }),
        }
    }
}

/// An absent status reads as 0, which the spec does not define.
fn status(code: Option<u64>) -> Status {
    let code = code.unwrap_or(0);
    Status::from_code(u32::try_from(code).unwrap_or(u32::MAX))
}

fn encode(message: &impl prost::Message) -> Result<Vec<u8>, WireError> {
    match message.encoded_len() {
        length if length > MAX_RELAY_MESSAGE => Err(WireError::TooLong {
            length,
            limit: MAX_RELAY_MESSAGE,
        }),
        _ => Ok(message.encode_length_delimited_to_vec()),
    }
}

/// The messages of the spec. Enumerations are read as plain numbers of full width, so that 2 + 2³² does not read as 2.
mod proto {
    use libp2p_identity::PeerId;
    use multiaddr::Multiaddr;

    use super::{MAX_MESSAGE_ADDRESSES, WireError};

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Hop {
        #[prost(uint64, optional, tag = "1")]
        pub(super) kind: Option<u64>,
        #[prost(message, optional, tag = "2")]
        pub(super) peer: Option<Peer>,
        #[prost(message, optional, tag = "3")]
        pub(super) reservation: Option<Reservation>,
        #[prost(message, optional, tag = "4")]
        pub(super) limit: Option<Limit>,
        #[prost(uint64, optional, tag = "5")]
        pub(super) status: Option<u64>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Stop {
        #[prost(uint64, optional, tag = "1")]
        pub(super) kind: Option<u64>,
        #[prost(message, optional, tag = "2")]
        pub(super) peer: Option<Peer>,
        #[prost(message, optional, tag = "3")]
        pub(super) limit: Option<Limit>,
        #[prost(uint64, optional, tag = "4")]
        pub(super) status: Option<u64>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Peer {
        #[prost(bytes = "vec", optional, tag = "1")]
        id: Option<Vec<u8>>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Reservation {
        #[prost(uint64, optional, tag = "1")]
        pub(super) expire: Option<u64>,
        #[prost(bytes = "vec", repeated, tag = "2")]
        pub(super) addresses: Vec<Vec<u8>>,
        #[prost(bytes = "vec", optional, tag = "3")]
        pub(super) voucher: Option<Vec<u8>>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Limit {
        #[prost(uint32, optional, tag = "1")]
        pub(super) duration: Option<u32>,
        #[prost(uint64, optional, tag = "2")]
        pub(super) data: Option<u64>,
    }

    impl Peer {
        pub(super) fn of(peer: &PeerId) -> Self {
            let id = Some(peer.to_bytes());
            Self { id }
        }

        pub(super) fn id_of(peer: Option<Self>) -> Result<PeerId, WireError> {
            let id = peer.and_then(|peer| peer.id);
            let id = id.ok_or(WireError::MissingPeer)?;
            PeerId::from_bytes(&id).map_err(|_| WireError::InvalidPeer { length: id.len() })
        }
    }

    impl Reservation {
        pub(super) fn read(self) -> super::Reservation {
            let addresses = self.addresses.into_iter().take(MAX_MESSAGE_ADDRESSES);
            super::Reservation {
                expire: self.expire.unwrap_or(0),
                addresses: addresses
                    .filter_map(|bytes| Multiaddr::try_from(bytes).ok())
                    .collect(),
                voucher: self.voucher,
            }
        }
    }
}
