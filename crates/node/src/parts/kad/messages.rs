//! Reads the messages of a stream one after another.

use std::{io, ops::Range};

use bootstrap::kad::wire::Frames;
use tokio::io::{AsyncRead, AsyncReadExt};

/// The bytes that one read takes from the stream.
const READ: usize = 2048;

/// Cuts a stream into messages. It keeps at most one unfinished message and 2 KiB of the messages that follow.
#[derive(Debug)]
pub(super) struct Messages {
    frames: Frames,
    bytes: Vec<u8>,
    /// The bytes that were read and belong to the next messages.
    unread: Range<usize>,
}

impl Messages {
    /// Accepts messages of at most `limit` bytes.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            frames: Frames::new(limit),
            bytes: vec![0; READ],
            unread: 0..0,
        }
    }

    /// Waits for the next message. `None`: the stream has ended after the previous message. The caller sets a deadline.
    pub(super) async fn next(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
    ) -> io::Result<Option<Vec<u8>>> {
        loop {
            let mut input = &self.bytes[self.unread.clone()];
            let message = self.frames.next(&mut input).map_err(io::Error::other)?;
            self.unread.start = self.unread.end - input.len();
            if message.is_some() {
                return Ok(message);
            }
            let read = stream.read(&mut self.bytes).await?;
            if read == 0 {
                return match self.frames.is_between() {
                    true => Ok(None),
                    false => Err(io::ErrorKind::UnexpectedEof.into()),
                };
            }
            self.unread = 0..read;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is a test's verdict")]

    use bootstrap::kad::{Request, wire::MAX_MESSAGE};
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[tokio::test]
    async fn several_messages_in_one_read_are_several_messages_and_half_a_message_is_an_error() {
        let (mut near, mut far) = tokio::io::duplex(READ);
        let find = Request::FindNode { key: vec![7; 20] };
        let bytes = [Request::Ping.encode().unwrap(), find.encode().unwrap()].concat();
        near.write_all(&bytes).await.unwrap();
        near.write_all(&bytes[..bytes.len() - 1]).await.unwrap();
        drop(near);
        let mut messages = Messages::new(MAX_MESSAGE);
        for expected in [&Request::Ping, &find, &Request::Ping] {
            let body = messages.next(&mut far).await.unwrap().unwrap();
            assert_eq!(&Request::decode(&body).unwrap(), expected);
        }
        let cut = messages.next(&mut far).await.unwrap_err();
        assert_eq!(cut.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[tokio::test]
    async fn a_stream_that_ends_after_a_message_has_no_further_message() {
        let bytes = Request::Ping.encode().unwrap();
        let (mut messages, mut stream) = (Messages::new(MAX_MESSAGE), &bytes[..]);
        assert!(messages.next(&mut stream).await.unwrap().is_some());
        assert!(messages.next(&mut stream).await.unwrap().is_none());
    }
}
