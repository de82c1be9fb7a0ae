//! Frames: the length as a big-endian u32, and then the bytes.

use bytes::{Buf, Bytes, BytesMut};

use crate::{TopicId, WireError};

/// Adds a frame with the bytes that `fill` writes.
pub fn put_frame(out: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    fill(out);
    let length = u32::try_from(out.len() - start - 4).unwrap_or(u32::MAX);
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

/// Adds the header of a stream.
pub fn put_header(out: &mut Vec<u8>, topic: &TopicId) {
    put_frame(out, |out| out.extend_from_slice(topic.as_bytes()));
}

/// Cuts the bytes of one stream into frames.
#[derive(Debug)]
pub struct Frames {
    limit: usize,
    buffer: BytesMut,
    topic: Option<TopicId>,
}

impl Frames {
    /// Refuses frames that are longer than `limit`.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            buffer: BytesMut::new(),
            topic: None,
        }
    }

    /// The buffer for the next bytes of the stream. The buffer grows only when bytes arrive.
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// How many bytes of an incomplete frame are held.
    pub fn held(&self) -> usize {
        self.buffer.len()
    }

    /// The length of the incomplete frame, or 0 if it has not arrived.
    pub fn length(&self) -> usize {
        let length = self.buffer.first_chunk::<4>();
        let length = length.map_or(0, |length| u32::from_be_bytes(*length));
        usize::try_from(length).unwrap_or(usize::MAX)
    }

    /// Gives back the memory of an empty buffer.
    pub fn release(&mut self) {
        if self.buffer.is_empty() {
            self.buffer = BytesMut::new();
        }
    }

    /// The topic of the stream, as soon as [`Self::next_frame`] has read the header.
    pub fn topic(&self) -> Option<TopicId> {
        self.topic
    }

    /// The next frame after the header, if it has arrived.
    ///
    /// # Errors
    ///
    /// The header is not a topic, or a frame claims a length over the limit. Do not read the stream any further.
    pub fn next_frame(&mut self) -> Result<Option<Bytes>, WireError> {
        if self.topic.is_none() {
            let Some(header) = self.take(32)? else {
                return Ok(None);
            };
            let length = header.len();
            let topic = <[u8; 32]>::try_from(&header[..]);
            self.topic = Some(TopicId::from_bytes(
                topic.map_err(|_| WireError::Header { length })?,
            ));
        }
        self.take(self.limit)
    }

    fn take(&mut self, limit: usize) -> Result<Option<Bytes>, WireError> {
        let Some(length) = self.buffer.first_chunk::<4>() else {
            return Ok(None);
        };
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        if length > limit {
            return Err(WireError::TooLong { length, limit });
        }
        if self.buffer.len() - 4 < length {
            return Ok(None);
        }
        self.buffer.advance(4);
        Ok(Some(self.buffer.split_to(length).freeze()))
    }
}
