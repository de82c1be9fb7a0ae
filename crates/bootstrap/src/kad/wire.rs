//! The bytes of the protocol: protobuf messages, each preceded by its length as an unsigned varint (libp2p kad-dht spec,
//! section "RPC messages").
//!
//! An answer that this node sends has at most [`MAX_MESSAGE`] bytes, because rust-libp2p reads no more. An answer that this node
//! reads may have [`MAX_ANSWER`] bytes, because go-libp2p sends longer ones.

mod frame;
mod proto;

#[cfg(test)]
mod tests;

use std::time::Duration;

use libp2p_identity::PeerId;
use multiaddr::Multiaddr;

pub use frame::Frames;

use super::message::{
    MAX_ADDRESS_BYTES, MAX_ADDRESSES, MAX_KEY, MAX_PROVIDER_KEY, MAX_VALUE, PeerInfo, Record,
    Request, Response,
};

/// The id of the public network's protocol.
pub const KAD_PROTOCOL: &str = "/ipfs/kad/1.0.0";

/// The longest request, and the longest answer that is sent, in bytes without the length prefix.
pub const MAX_MESSAGE: usize = 16 * 1024;

/// The longest answer that is read, in bytes without the length prefix.
pub const MAX_ANSWER: usize = 64 * 1024;

/// How many peers of each list in a message are read: twice the k of the public network.
pub const MAX_PEERS: usize = 40;

/// Why bytes are not a message, or why a message cannot be sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// The message is too long. It was not sent, or its length prefix announces more bytes than are accepted.
    #[error("the message has {length} bytes, and the limit is {limit}")]
    TooLong {
        /// The length, in bytes.
        length: usize,
        /// The limit, in bytes.
        limit: usize,
    },
    /// The length prefix has more bytes than a valid one, or more than necessary.
    #[error("the length prefix is not valid")]
    Prefix,
    /// The bytes are not valid protobuf.
    #[error("the message is not valid protobuf")]
    Protobuf,
    /// The spec does not define this type of message, or does not allow it here.
    #[error("the message type {code} is unknown, or is not allowed here")]
    UnfitType {
        /// The number in the field `type`.
        code: u64,
    },
    /// The key is missing or too long.
    #[error("the key of the message has {length} bytes")]
    KeyLength {
        /// The length of the key, in bytes.
        length: usize,
    },
    /// A PUT_VALUE has no record, or its record has another key than the message.
    #[error("the message has no record for its key")]
    NoRecord,
    /// The value of a record is longer than [`MAX_VALUE`].
    #[error("the value has {length} bytes, and the limit is {limit}", limit = MAX_VALUE)]
    ValueLength {
        /// The length of the value, in bytes.
        length: usize,
    },
}

/// The types of messages.
mod code {
    pub(super) const PUT_VALUE: u64 = 0;
    pub(super) const GET_VALUE: u64 = 1;
    pub(super) const ADD_PROVIDER: u64 = 2;
    pub(super) const GET_PROVIDERS: u64 = 3;
    pub(super) const FIND_NODE: u64 = 4;
    pub(super) const PING: u64 = 5;
}

impl Request<PeerId, Multiaddr> {
    /// The message, preceded by its length.
    ///
    /// # Errors
    ///
    /// [`WireError::TooLong`].
    pub fn encode(&self) -> Result<Vec<u8>, WireError> {
        let mut message = proto::Message::default();
        let (code, key) = match self {
            Self::Ping => (code::PING, &[][..]),
            Self::FindNode { key } => (code::FIND_NODE, &key[..]),
            Self::GetValue { key } => (code::GET_VALUE, &key[..]),
            Self::PutValue { record } => {
                message.record = Some(proto::Record::of(record));
                (code::PUT_VALUE, &record.key[..])
            }
            Self::GetProviders { key } => (code::GET_PROVIDERS, &key[..]),
            Self::AddProvider { key, providers } => {
                message.providers = providers.iter().map(proto::Peer::of).collect();
                (code::ADD_PROVIDER, &key[..])
            }
        };
        (message.code, message.key) = (code, key.to_vec());
        frame::encode(&message)
    }

    /// Decodes a message that [`Frames`] returned.
    ///
    /// # Errors
    ///
    /// The bytes are not a request of this protocol.
    pub fn decode(body: &[u8]) -> Result<Self, WireError> {
        let message = proto::read(body)?;
        let key = |limit| match message.key.len() {
            0 => Err(WireError::KeyLength { length: 0 }),
            length if length > limit => Err(WireError::KeyLength { length }),
            _ => Ok(message.key.clone()),
        };
        match message.code {
            code::PING => Ok(Self::Ping),
            code::FIND_NODE => Ok(Self::FindNode { key: key(MAX_KEY)? }),
            code::GET_VALUE => Ok(Self::GetValue { key: key(MAX_KEY)? }),
            code::PUT_VALUE => {
                let record = record(message.record)?.ok_or(WireError::NoRecord)?;
                // rust-libp2p reads the key from the record, go-libp2p requires both to be equal.
                match record.key == message.key || message.key.is_empty() {
                    true => Ok(Self::PutValue { record }),
                    false => Err(WireError::NoRecord),
                }
            }
            code::GET_PROVIDERS => Ok(Self::GetProviders {
                key: key(MAX_PROVIDER_KEY)?,
            }),
            code::ADD_PROVIDER => Ok(Self::AddProvider {
                key: key(MAX_PROVIDER_KEY)?,
                providers: peers(message.providers),
            }),
            code => Err(WireError::UnfitType { code }),
        }
    }
}

impl Response<PeerId, Multiaddr> {
    /// The answer to a request, preceded by its length. Each peer keeps at most 8 addresses. If the message would exceed
    /// [`MAX_MESSAGE`], the peers with the longest addresses keep fewer, and then the last peers are left out.
    ///
    /// # Errors
    ///
    /// [`WireError::TooLong`]: the answer is too long even without peers.
    pub fn encode(&self, request: &Request<PeerId, Multiaddr>) -> Result<Vec<u8>, WireError> {
        let mut message = proto::Message::default();
        let no_peers = &Vec::new();
        let (code, record, providers, closer) = match self {
            Self::Empty => (code::PING, None, no_peers, no_peers),
            Self::FindNode { closer } => (code::FIND_NODE, None, no_peers, closer),
            Self::GetValue { record, closer } => {
                (code::GET_VALUE, record.as_ref(), no_peers, closer)
            }
            Self::PutValue { record } => (code::PUT_VALUE, Some(record), no_peers, no_peers),
            Self::GetProviders { providers, closer } => {
                (code::GET_PROVIDERS, None, providers, closer)
            }
        };
        message.code = code;
        message.key = match request {
            Request::Ping | Request::FindNode { .. } => Vec::new(),
            Request::PutValue { record } => record.key.clone(),
            Request::GetValue { key }
            | Request::GetProviders { key }
            | Request::AddProvider { key, .. } => key.clone(),
        };
        message.record = record.map(proto::Record::of);
        message.closer = closer.iter().map(proto::Peer::of).collect();
        message.providers = providers.iter().map(proto::Peer::of).collect();
        message.fit();
        frame::encode(&message)
    }

    /// Decodes a message that [`Frames`] returned.
    ///
    /// # Errors
    ///
    /// The bytes are not an answer of this protocol.
    pub fn decode(body: &[u8]) -> Result<Self, WireError> {
        let message = proto::read(body)?;
        match message.code {
            code::PING => Ok(Self::Empty),
            code::FIND_NODE => Ok(Self::FindNode {
                closer: peers(message.closer),
            }),
            code::GET_VALUE => Ok(Self::GetValue {
                record: record(message.record)?,
                closer: peers(message.closer),
            }),
            code::PUT_VALUE => {
                let record = record(message.record)?.ok_or(WireError::NoRecord)?;
                Ok(Self::PutValue { record })
            }
            code::GET_PROVIDERS => Ok(Self::GetProviders {
                providers: peers(message.providers),
                closer: peers(message.closer),
            }),
            code => Err(WireError::UnfitType { code }),
        }
    }
}

/// The record of a message. js-libp2p sends an empty record where it has none.
fn record(record: Option<proto::Record>) -> Result<Option<Record>, WireError> {
    let Some(record) = record.filter(|record| !record.key.is_empty()) else {
        return Ok(None);
    };
    if record.key.len() > MAX_KEY {
        return Err(WireError::KeyLength {
            length: record.key.len(),
        });
    }
    if record.value.len() > MAX_VALUE {
        return Err(WireError::ValueLength {
            length: record.value.len(),
        });
    }
    let ttl = (record.ttl != 0).then(|| Duration::from_secs(record.ttl.into()));
    let mut read = Record::new(record.key, record.value);
    read.ttl = ttl;
    Ok(Some(read))
}

/// The peers of a message. Peers and addresses that cannot be read are left out, and so are addresses that name another peer. An
/// address has at most [`MAX_ADDRESS_BYTES`].
fn peers(peers: Vec<proto::Peer>) -> Vec<PeerInfo<PeerId, Multiaddr>> {
    let read = peers.into_iter().filter_map(|peer| {
        let id = PeerId::from_bytes(&peer.id).ok()?;
        let addresses = peer
            .addresses
            .into_iter()
            .filter_map(|bytes| without_peer(Multiaddr::try_from(bytes).ok()?, id));
        Some(PeerInfo::new(id, addresses.take(MAX_ADDRESSES).collect()))
    });
    read.collect()
}

/// The address without `/p2p/…` at its end.
fn without_peer(mut address: Multiaddr, id: PeerId) -> Option<Multiaddr> {
    use multiaddr::Protocol;
    if let Some(Protocol::P2p(named)) = address.iter().last() {
        if named != id {
            return None;
        }
        address.pop();
    }
    (!address.is_empty()).then_some(address)
}
