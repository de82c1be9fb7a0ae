//! Messages out of bytes.

use super::MAX_MESSAGE;

/// Why bytes are no message, or a message no bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// The length alone says that the message is too long.
    #[error("a message of {length} bytes, and {limit} is the limit")]
    TooLong {
        /// The length, in bytes.
        length: usize,
        /// [`MAX_MESSAGE`].
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
    #[error("the message is not valid protobuf")]
    Protobuf(#[from] ProtobufError),
    /// The field `type`, which the spec requires, is absent.
    #[error("a message without a type")]
    MissingType,
    /// A type that the spec does not know.
    #[error("a message of the unknown type {code}")]
    UnknownType {
        /// The number in the field `type`.
        code: u64,
    },
    /// A CONNECT that does not say with whom.
    #[error("a connect without a peer")]
    MissingPeer,
    /// A CONNECT with something that is no peer's id.
    #[error("{length} bytes that are no peer's id")]
    InvalidPeer {
        /// How many.
        length: usize,
    },
}

/// Bytes are not valid protobuf.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ProtobufError(pub(super) prost::DecodeError);

/// Bytes in, the messages' bodies out, however the bytes were split on their way.
///
/// It keeps at most one unfinished message: the bytes that have come, never those that were only announced. What follows a
/// message is left in the input: after the last one it is the circuit's. After an error it gives the same error for ever.
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

/// A length up to [`MAX_MESSAGE`] has 13 bits, seven to a byte.
const PREFIX: usize = 2;

impl Frames {
    /// Takes bytes from the front of `input` until a message is complete. `None`: all of them are taken, and more are
    /// needed.
    ///
    /// # Errors
    ///
    /// [`WireError::TooLong`], [`WireError::LongPrefix`] or [`WireError::NotMinimal`]; the stream is then beyond repair.
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

    /// The bytes kept of a message that is not complete.
    pub fn retained(&self) -> usize {
        self.body.len()
    }

    /// How many bytes may be read without reading past the message: for streams from which nothing can be put back.
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
        if length > MAX_MESSAGE {
            return Err(WireError::TooLong {
                length,
                limit: MAX_MESSAGE,
            });
        }
        Ok(Self::Body(length))
    }
}
