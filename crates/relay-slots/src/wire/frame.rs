//! Cuts a stream of bytes into messages.

use super::MAX_RELAY_MESSAGE;

/// Why bytes are not a message, or why a message cannot be sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// The message is too long, by its length prefix.
    #[error("the message has {length} bytes, and the limit is {limit}")]
    TooLong {
        /// The length, in bytes.
        length: usize,
        /// [`MAX_RELAY_MESSAGE`].
        limit: usize,
    },
    /// The length prefix has more bytes than a valid one. Its value is not read, because the prefix may be endless.
    #[error("the length prefix has more than {limit} bytes")]
    LongPrefix {
        /// The most bytes that a valid prefix has.
        limit: usize,
    },
    /// The length prefix uses more bytes than necessary, which the unsigned-varint spec of multiformats forbids.
    #[error("the length prefix of {length} is not minimal")]
    NotMinimal {
        /// The length, in bytes.
        length: usize,
    },
    /// The bytes are not valid protobuf.
    #[error("the message is not valid protobuf")]
    Protobuf(#[from] ProtobufError),
    /// The field `type`, which the spec requires, is absent.
    #[error("the message has no type")]
    MissingType,
    /// The spec does not define this type.
    #[error("the message has the unknown type {code}")]
    UnknownType {
        /// The number in the field `type`.
        code: u64,
    },
    /// A CONNECT names no peer.
    #[error("the CONNECT names no peer")]
    MissingPeer,
    /// The peer id in a CONNECT is not valid.
    #[error("the CONNECT names a peer by {length} bytes that are no peer id")]
    InvalidPeer {
        /// The length of the id, in bytes.
        length: usize,
    },
}

/// Bytes are not valid protobuf.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ProtobufError(pub(super) prost::DecodeError);

/// Cuts bytes into the bodies of messages, however the bytes were split in transit.
///
/// It keeps at most one unfinished message, and allocates memory only for bytes that have arrived. Bytes that follow a message
/// stay in the input, because after the last message they belong to the circuit. After an error, every call returns the same
/// error.
///
/// ```
/// use relay_slots::wire::{Frames, HopMessage};
///
/// let mut bytes = HopMessage::Reserve.encode().unwrap();
/// bytes.extend(b"what follows");
/// let mut input = bytes.as_slice();
/// let body = Frames::default().next(&mut input).unwrap().unwrap();
/// assert_eq!(HopMessage::decode(&body).unwrap(), HopMessage::Reserve);
/// assert_eq!(input, b"what follows");
/// ```
#[derive(Debug, Default)]
pub struct Frames {
    part: Part,
    body: Vec<u8>,
    failed: Option<WireError>,
}

/// The part of a message to which the next byte belongs.
#[derive(Debug, Default, Clone, Copy)]
enum Part {
    /// The first byte of the length.
    #[default]
    Length,
    /// The last byte of the length. Its low seven bits have arrived.
    LengthAfter(u8),
    /// A body of this many bytes.
    Body(usize),
}

/// A length up to [`MAX_RELAY_MESSAGE`] has 13 bits, and each byte of the prefix has seven.
const PREFIX: usize = 2;

impl Frames {
    /// Takes bytes from the front of `input` until a message is complete. `None`: all bytes were taken, and more are
    /// needed.
    ///
    /// # Errors
    ///
    /// [`WireError::TooLong`], [`WireError::LongPrefix`] or [`WireError::NotMinimal`]. The stream cannot be
    /// used any more.
    pub fn next(&mut self, input: &mut &[u8]) -> Result<Option<Vec<u8>>, WireError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let result = self.advance(input);
        if let Err(error) = &result {
            self.failed = Some(error.clone());
        }
        result
    }

    /// How many bytes of an unfinished message are kept.
    pub fn retained(&self) -> usize {
        self.body.len()
    }

    /// How many bytes may be read from a stream without reading past the message.
    pub fn wanted(&self) -> usize {
        match self.part {
            Part::Length | Part::LengthAfter(_) => 1,
            Part::Body(length) => length.saturating_sub(self.body.len()).max(1),
        }
    }

    fn advance(&mut self, input: &mut &[u8]) -> Result<Option<Vec<u8>>, WireError> {
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
                return Ok(Some(std::mem::take(&mut self.body)));
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
        if length > MAX_RELAY_MESSAGE {
            return Err(WireError::TooLong {
                length,
                limit: MAX_RELAY_MESSAGE,
            });
        }
        Ok(Self::Body(length))
    }
}
