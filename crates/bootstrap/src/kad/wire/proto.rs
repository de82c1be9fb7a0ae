//! The messages of the spec. Enumerations are plain numbers of full width, so that 4 + 2³² does not read as 4.

use libp2p_identity::PeerId;
use multiaddr::Multiaddr;
use prost::{
    DecodeError, Message as _,
    encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field},
};

use super::{MAX_ADDRESS_BYTES, MAX_ADDRESSES, MAX_MESSAGE, MAX_PEERS, WireError};
use crate::kad::message;

/// How many addresses of a peer are read. Some of them may be unreadable, or may not count.
const MAX_READ: usize = 2 * MAX_ADDRESSES;

/// The addresses of a peer are not shortened below this number of bytes.
const LEAST: usize = 64;

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Message {
    #[prost(uint64, tag = "1")]
    pub(super) code: u64,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) key: Vec<u8>,
    #[prost(message, optional, tag = "3")]
    pub(super) record: Option<Record>,
    #[prost(message, repeated, tag = "8")]
    pub(super) closer: Vec<Peer>,
    #[prost(message, repeated, tag = "9")]
    pub(super) providers: Vec<Peer>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Record {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) value: Vec<u8>,
    /// The remaining lifetime in seconds, an addition of rust-libp2p. 0: the receiver decides.
    #[prost(uint32, tag = "777")]
    pub(super) ttl: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Peer {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) id: Vec<u8>,
    #[prost(bytes = "vec", repeated, tag = "2")]
    pub(super) addresses: Vec<Vec<u8>>,
    /// 1: connected. Readers treat it as a hint at most.
    #[prost(uint64, tag = "3")]
    pub(super) connection: u64,
}

impl Record {
    pub(super) fn of(record: &message::Record) -> Self {
        let ttl = record.ttl.map_or(0, |ttl| {
            u32::try_from(ttl.as_secs()).unwrap_or(u32::MAX).max(1)
        });
        Self {
            key: record.key.clone(),
            value: record.value.clone(),
            ttl,
        }
    }
}

impl Peer {
    pub(super) fn of(peer: &message::PeerInfo<PeerId, Multiaddr>) -> Self {
        let addresses = peer.addresses.iter().take(MAX_ADDRESSES);
        Self {
            id: peer.id.to_bytes(),
            addresses: addresses.map(Multiaddr::to_vec).collect(),
            connection: 1,
        }
    }

    /// Reads a peer. Unlike prost's own decoder, it keeps at most [`MAX_READ`] addresses: an address of two bytes would
    /// otherwise cost 24.
    fn read(mut body: &[u8]) -> Result<Self, WireError> {
        let mut peer = Self::default();
        while !body.is_empty() {
            let (tag, kind) = decode_key(&mut body).map_err(protobuf)?;
            match (tag, kind) {
                (1, WireType::LengthDelimited) => peer.id = field(&mut body)?.to_vec(),
                (2, WireType::LengthDelimited) => {
                    let address = field(&mut body)?;
                    if address.len() <= MAX_ADDRESS_BYTES && peer.addresses.len() < MAX_READ {
                        peer.addresses.push(address.to_vec());
                    }
                }
                (3, WireType::Varint) => {
                    peer.connection = decode_varint(&mut body).map_err(protobuf)?;
                }
                _ => skip(tag, kind, &mut body)?,
            }
        }
        Ok(peer)
    }

    /// Keeps the first addresses, of at most `most` bytes together, but at least one address.
    fn shorten(&mut self, most: usize) {
        let mut bytes = 0;
        let kept = self.addresses.iter().take_while(|address| {
            bytes += address.len();
            bytes <= most
        });
        let kept = kept.count().max(1);
        self.addresses.truncate(kept);
    }
}

impl Message {
    /// Shortens the message until it is short enough. The peers with the longest addresses lose addresses first, so that no peer
    /// takes the room of others. Then the last peers are left out, those of the longer list first, so that many providers leave
    /// room for some of the nearer peers.
    pub(super) fn fit(&mut self) {
        let mut most = MAX_ADDRESSES * MAX_ADDRESS_BYTES;
        while self.encoded_len() > MAX_MESSAGE && most > LEAST {
            most /= 2;
            let peers = self.closer.iter_mut().chain(&mut self.providers);
            peers.for_each(|peer| peer.shorten(most));
        }
        let size = |peers: &[Peer]| peers.iter().map(Peer::encoded_len).sum::<usize>();
        while self.encoded_len() > MAX_MESSAGE {
            let dropped = match size(&self.providers) > size(&self.closer) {
                true => self.providers.pop(),
                false => self.closer.pop(),
            };
            if dropped.is_none() {
                break;
            }
        }
    }
}

/// Reads a message. Unlike prost's own decoder, it reads at most [`MAX_PEERS`] peers of each list: a peer of two bytes would
/// otherwise cost 56.
pub(super) fn read(mut body: &[u8]) -> Result<Message, WireError> {
    let mut message = Message::default();
    while !body.is_empty() {
        let (tag, kind) = decode_key(&mut body).map_err(protobuf)?;
        match (tag, kind) {
            (1, WireType::Varint) => message.code = decode_varint(&mut body).map_err(protobuf)?,
            (2, WireType::LengthDelimited) => message.key = field(&mut body)?.to_vec(),
            (3, WireType::LengthDelimited) => {
                message.record = Some(Record::decode(field(&mut body)?).map_err(protobuf)?)
            }
            (8, WireType::LengthDelimited) => push(&mut message.closer, field(&mut body)?)?,
            (9, WireType::LengthDelimited) => push(&mut message.providers, field(&mut body)?)?,
            _ => skip(tag, kind, &mut body)?,
        }
    }
    Ok(message)
}

fn protobuf(_: DecodeError) -> WireError {
    WireError::Protobuf
}

fn skip(tag: u32, kind: WireType, body: &mut &[u8]) -> Result<(), WireError> {
    skip_field(kind, tag, body, DecodeContext::default()).map_err(protobuf)
}

fn push(peers: &mut Vec<Peer>, bytes: &[u8]) -> Result<(), WireError> {
    if peers.len() < MAX_PEERS {
        peers.push(Peer::read(bytes)?);
    }
    Ok(())
}

/// The bytes of a field with a length.
fn field<'a>(body: &mut &'a [u8]) -> Result<&'a [u8], WireError> {
    let length = decode_varint(body).map_err(protobuf)?;
    let length = usize::try_from(length).map_err(|_| WireError::Protobuf)?;
    let (field, rest) = body.split_at_checked(length).ok_or(WireError::Protobuf)?;
    *body = rest;
    Ok(field)
}
