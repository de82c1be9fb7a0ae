//! The encoding of the exchange: protobuf messages, each preceded by its length as an unsigned varint.

use prost::Message as _;

/// The protocol to negotiate on a stream of the relayed connection.
pub const PROTOCOL: &str = "/libp2p/dcutr";

/// The longest message, in bytes without its prefix. The spec requires that larger messages are refused (section "RPC
/// messages").
pub const MAX_DCUTR_MESSAGE: usize = 4096;

/// The type of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// CONNECT: names the addresses of the sender. Its number on the wire is 100.
    Connect,
    /// SYNC: both ends dial now. Its number on the wire is 300.
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
    /// The type of the message.
    pub kind: Kind,
    /// Multiaddrs in their binary form. They have not been checked.
    pub addresses: Vec<Vec<u8>>,
}

/// Why bytes are not a message, or why a message cannot be sent.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// The message is too long, by its length prefix.
    #[error("a message of {length} bytes, and {limit} is the limit")]
    TooLong {
        /// The length, in bytes.
        length: usize,
        /// [`MAX_DCUTR_MESSAGE`].
        limit: usize,
    },
    /// The length prefix has more bytes than a valid one. Its value is not read, because the prefix may be endless.
    #[error("a length of more than {limit} bytes")]
    LongPrefix {
        /// The most bytes that a valid prefix has.
        limit: usize,
    },
    /// The length prefix uses more bytes than necessary, which the unsigned-varint spec of multiformats forbids.
    #[error("the length {length} is not written in as few bytes as it needs")]
    NotMinimal {
        /// The length, in bytes.
        length: usize,
    },
    /// The bytes are not valid protobuf.
    #[error("no protobuf message")]
    Protobuf(#[from] prost::DecodeError),
    /// The field `type`, which the spec requires, is absent.
    #[error("a message without a type")]
    MissingType,
    /// The spec does not define this type.
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

    /// The message, preceded by its length.
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

/// Cuts bytes into messages, however the bytes were split in transit.
///
/// It keeps at most one unfinished message, and allocates memory only for bytes that have arrived. After an error,
/// every call returns the same error, because the start of the next message is unknown.
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
    /// Takes bytes from the front of `input` until a message is complete. `None`: all bytes were taken, and more are
    /// needed. Call this until it returns `None`.
    ///
    /// # Errors
    ///
    /// Any [`WireError`]. The stream cannot be used any more.
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

    /// The number of bytes of an unfinished message that are kept.
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
