//! The exchange's bytes: protobuf messages, each behind its length as an unsigned varint.

use prost::Message as _;

/// The protocol to negotiate on a stream of the relayed connection.
pub const PROTOCOL: &str = "/libp2p/dcutr";

/// The longest message, in bytes without its prefix. The spec's section "RPC messages": refuse what is larger than
/// 4 KiB.
pub const MAX_DCUTR_MESSAGE: usize = 4096;

/// What a message is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// "Here is where I can be reached." 100 on the wire.
    Connect,
    /// "Now." 300 on the wire.
    Sync,
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Connect => "connect",
            Self::Sync => "sync",
        })
    }
}

impl Kind {
    fn code(self) -> u64 {
        match self {
            Self::Connect => 100,
            Self::Sync => 300,
        }
    }

    fn from_code(code: u64) -> Option<Self> {
        [Self::Connect, Self::Sync]
            .into_iter()
            .find(|kind| kind.code() == code)
    }
}

/// One message of the exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// What it is for.
    pub kind: Kind,
    /// Multiaddrs in their binary form, as they came: nobody has looked at them yet.
    pub addresses: Vec<Vec<u8>>,
}

/// Why bytes are no message, or a message no bytes.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// The length alone says that the message is too long.
    #[error("a message of {length} bytes, and {limit} is the limit")]
    TooLong {
        /// The length, in bytes.
        length: usize,
        /// [`MAX_DCUTR_MESSAGE`].
        limit: usize,
    },
    /// The length goes on past the bytes that a legal length has. Its value is not read: it may be endless.
    #[error("a length of more than {limit} bytes")]
    LongPrefix {
        /// How many bytes a legal length has at the most.
        limit: usize,
    },
    /// The length could have been written in fewer bytes, which the multiformats' unsigned-varint spec forbids.
    #[error("the length {length} is not written in as few bytes as it needs")]
    NotMinimal {
        /// The length, in bytes.
        length: usize,
    },
    /// What the length announced is no protobuf message.
    #[error("no protobuf message")]
    Protobuf(#[from] prost::DecodeError),
    /// The field `type`, which the spec requires, is absent.
    #[error("a message without a type")]
    MissingType,
    /// A type that the spec does not know.
    #[error("a message of the unknown type {code}")]
    UnknownType {
        /// The number in the field `type`.
        code: u64,
    },
}

/// The spec's `HolePunch`. The type is read as a plain number of full width, so that 100 + 2^32 is not taken for 100.
#[derive(Clone, PartialEq, prost::Message)]
struct HolePunch {
    #[prost(uint64, optional, tag = "1")]
    kind: Option<u64>,
    #[prost(bytes = "vec", repeated, tag = "2")]
    addresses: Vec<Vec<u8>>,
}

impl Message {
    /// A CONNECT with these addresses.
    pub fn connect(addresses: Vec<Vec<u8>>) -> Self {
        Self {
            kind: Kind::Connect,
            addresses,
        }
    }

    /// A SYNC.
    pub fn sync() -> Self {
        Self {
            kind: Kind::Sync,
            addresses: Vec::new(),
        }
    }

    /// The message behind its length.
    ///
    /// # Errors
    ///
    /// [`WireError::TooLong`] if the addresses make it longer than [`MAX_DCUTR_MESSAGE`].
    pub fn encode(&self) -> Result<Vec<u8>, WireError> {
        let message = HolePunch {
            kind: Some(self.kind.code()),
            addresses: self.addresses.clone(),
        };
        match message.encoded_len() {
            length if length > MAX_DCUTR_MESSAGE => Err(WireError::TooLong {
                length,
                limit: MAX_DCUTR_MESSAGE,
            }),
            _ => Ok(message.encode_length_delimited_to_vec()),
        }
    }

    fn from_body(body: &[u8]) -> Result<Self, WireError> {
        let HolePunch { kind, addresses } = HolePunch::decode(body)?;
        let code = kind.ok_or(WireError::MissingType)?;
        let kind = Kind::from_code(code).ok_or(WireError::UnknownType { code })?;
        Ok(Self { kind, addresses })
    }
}

/// Bytes in, messages out, however the bytes were split on their way.
///
/// It keeps at most one unfinished message: the bytes that have come, never those that were only announced. After an
/// error it gives the same error for ever, because what follows cannot be told apart from the wreck.
///
/// ```
/// use conn_state::upgrade::{Decoder, Message};
///
/// let bytes = Message::sync().encode().unwrap();
/// let (mut one, mut two) = bytes.split_at(2);
/// let mut decoder = Decoder::default();
/// assert_eq!(decoder.decode(&mut one), Ok(None));
/// assert_eq!(decoder.decode(&mut two), Ok(Some(Message::sync())));
/// ```
#[derive(Debug, Default)]
pub struct Decoder {
    part: Part,
    body: Vec<u8>,
    failed: Option<WireError>,
}

/// What the next byte belongs to.
#[derive(Debug, Default, Clone, Copy)]
enum Part {
    /// A length's first byte.
    #[default]
    Length,
    /// A length's last byte; its low seven bits have come.
    LengthAfter(u8),
    /// A body of so many bytes.
    Body(usize),
}

/// A length up to [`MAX_DCUTR_MESSAGE`] has 13 bits, seven to a byte.
const PREFIX: usize = 2;

impl Decoder {
    /// Takes bytes from the front of `input` until a message is complete. `None`: all of them are taken, and more are
    /// needed. Call it until it says so.
    ///
    /// # Errors
    ///
    /// Any [`WireError`]; the stream is then beyond repair.
    pub fn decode(&mut self, input: &mut &[u8]) -> Result<Option<Message>, WireError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let result = self.advance(input);
        if let Err(error) = &result {
            self.failed = Some(error.clone());
        }
        result
    }

    /// The bytes kept of a message that is not complete.
    pub fn retained(&self) -> usize {
        self.body.len()
    }

    fn advance(&mut self, input: &mut &[u8]) -> Result<Option<Message>, WireError> {
        loop {
            if let Part::Body(length) = self.part {
                let missing = length.saturating_sub(self.body.len());
                let (taken, rest) = input.split_at(missing.min(input.len()));
                self.body.extend_from_slice(taken);
                *input = rest;
                if self.body.len() < length {
                    return Ok(None);
                }
                self.part = Part::Length;
                return Message::from_body(&std::mem::take(&mut self.body)).map(Some);
            }
            let Some((byte, rest)) = input.split_first() else {
                return Ok(None);
            };
            *input = rest;
            self.part = self.part.after_prefix(*byte)?;
        }
    }
}

impl Part {
    fn after_prefix(self, byte: u8) -> Result<Self, WireError> {
        let (low, more) = (byte & 0x7f, byte & 0x80 != 0);
        let length = match self {
            Self::LengthAfter(_) if more => return Err(WireError::LongPrefix { limit: PREFIX }),
            Self::LengthAfter(first) => usize::from(first) | usize::from(low) << 7,
            _ if more => return Ok(Self::LengthAfter(low)),
            _ => usize::from(low),
        };
        if matches!(self, Self::LengthAfter(_)) && low == 0 {
            return Err(WireError::NotMinimal { length });
        }
        if length > MAX_DCUTR_MESSAGE {
            return Err(WireError::TooLong {
                length,
                limit: MAX_DCUTR_MESSAGE,
            });
        }
        Ok(Self::Body(length))
    }
}
