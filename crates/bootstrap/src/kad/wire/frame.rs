//! Cuts a stream of bytes into messages.

use super::{MAX_MESSAGE, WireError, proto};
use prost::Message as _;

/// The most bytes of a length prefix: a length up to [`super::MAX_ANSWER`] has 17 bits.
const PREFIX: usize = 3;

/// Cuts bytes into the bodies of messages, however the bytes were split in transit. It keeps at most one unfinished message, and
/// allocates memory only for bytes that have arrived.
///
/// ```
/// use bootstrap::kad::{Request, wire::{Frames, MAX_MESSAGE}};
///
/// let bytes = Request::Ping.encode().unwrap();
/// let mut input = &bytes[..];
/// let body = Frames::new(MAX_MESSAGE).next(&mut input).unwrap().unwrap();
/// assert_eq!(Request::decode(&body).unwrap(), Request::Ping);
/// ```
#[derive(Debug)]
pub struct Frames {
    limit: usize,
    /// The bytes of the prefix that have arrived.
    prefix: usize,
    /// The length as far as it is known.
    length: usize,
    /// Whether the length is complete.
    in_body: bool,
    body: Vec<u8>,
    failed: Option<WireError>,
}

impl Frames {
    /// Accepts messages of at most `limit` bytes: [`MAX_MESSAGE`] for requests, [`super::MAX_ANSWER`] for answers.
    pub fn new(limit: usize) -> Self {
        let limit = limit.min(super::MAX_ANSWER);
        Self {
            limit,
            prefix: 0,
            length: 0,
            in_body: false,
            body: Vec::new(),
            failed: None,
        }
    }

    /// Takes bytes from the front of `input` until a message is complete. `None`: all bytes were taken, and more are needed.
    ///
    /// # Errors
    ///
    /// [`WireError::TooLong`] or [`WireError::Prefix`], and the same error from then on.
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

    /// Whether the stream ended between two messages.
    pub fn is_between(&self) -> bool {
        self.prefix == 0 && !self.in_body
    }

    fn advance(&mut self, input: &mut &[u8]) -> Result<Option<Vec<u8>>, WireError> {
        while !self.in_body {
            let Some((byte, rest)) = input.split_first() else {
                return Ok(None);
            };
            *input = rest;
            self.take_prefix(*byte)?;
        }
        let missing = self.length.saturating_sub(self.body.len());
        let (taken, rest) = input.split_at(missing.min(input.len()));
        self.body.extend_from_slice(taken);
        *input = rest;
        if self.body.len() < self.length {
            return Ok(None);
        }
        (self.prefix, self.length, self.in_body) = (0, 0, false);
        Ok(Some(std::mem::take(&mut self.body)))
    }

    fn take_prefix(&mut self, byte: u8) -> Result<(), WireError> {
        let is_last = byte & 0x80 == 0;
        if self.prefix >= PREFIX || is_last && byte == 0 && self.prefix > 0 {
            return Err(WireError::Prefix);
        }
        self.length |= usize::from(byte & 0x7f) << (7 * self.prefix);
        self.prefix += 1;
        if is_last && self.length > self.limit {
            return Err(WireError::TooLong {
                length: self.length,
                limit: self.limit,
            });
        }
        self.in_body = is_last;
        Ok(())
    }
}

/// The message with its length in front.
pub(super) fn encode(message: &proto::Message) -> Result<Vec<u8>, WireError> {
    match message.encoded_len() {
        length if length > MAX_MESSAGE => Err(WireError::TooLong {
            length,
            limit: MAX_MESSAGE,
        }),
        _ => Ok(message.encode_length_delimited_to_vec()),
    }
}
