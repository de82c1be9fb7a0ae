//! The transport phase: u16-prefixed Noise messages as a byte stream.
//!
//! One system call may read several messages. One write of the layer above becomes one system call
//! with all messages of the write.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{MAX_NOISE_MESSAGE, PREFIX, TAG, cipher::Cipher};
use crate::buffer::Buffer;

/// Plaintext of one message.
const MAX_PLAIN: usize = MAX_NOISE_MESSAGE - TAG;
/// A message is not begun where less than this fits: the tag and the work for it are the same
/// for a short one.
const WORTHWHILE: usize = 1024;

pub(crate) struct NoiseStream<S> {
    io: S,
    incoming: Incoming,
    outgoing: Buffer,
    sealer: Cipher,
}

struct Incoming {
    opener: Cipher,
    /// Messages as they came; at the front perhaps one that has been opened in place.
    buffer: Buffer,
    /// How much of the opened message's text is still to be read. Its tag follows.
    text: usize,
    /// Set by the first message that does not open: nothing after it is looked at.
    broken: bool,
}

impl<S> NoiseStream<S> {
    /// `read` is what has been read from `io` past the handshake.
    pub(crate) fn new(io: S, opener: Cipher, sealer: Cipher, read: Buffer) -> Self {
        Self {
            io,
            incoming: Incoming {
                opener,
                buffer: read,
                text: 0,
                broken: false,
            },
            outgoing: Buffer::default(),
            sealer,
        }
    }
}

impl Incoming {
    /// Moves text to the reader, if there is any.
    fn give(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        if self.text == 0 {
            return false;
        }
        self.text -= self.buffer.give(buf, self.text);
        if self.text == 0 {
            self.buffer.consume(TAG);
        }
        true
    }

    /// The length of the message that comes next, once its prefix is here.
    fn length(&self) -> Option<usize> {
        let prefix = self.buffer.bytes().first_chunk()?;
        Some(usize::from(u16::from_be_bytes(*prefix)))
    }

    /// How much must be here before the next message can be opened.
    fn wanted(&self) -> usize {
        PREFIX + self.length().unwrap_or(0)
    }

    /// Opens the next message, which is here: into `buf` if it fits there, else in place.
    fn open(&mut self, buf: &mut ReadBuf<'_>) -> io::Result<()> {
        let length = self.length().unwrap_or(0);
        let Some(text) = length.checked_sub(TAG) else {
            return self.fail();
        };
        let message = &mut self.buffer.bytes_mut()[PREFIX..PREFIX + length];
        let opened = match text <= buf.remaining() {
            true => self
                .opener
                .open_to(message, buf.initialize_unfilled_to(text)),
            false => self.opener.open(message),
        };
        if opened.is_err() {
            return self.fail();
        }
        if text <= buf.remaining() {
            buf.advance(text);
            self.buffer.consume(PREFIX + length);
        } else {
            self.buffer.consume(PREFIX);
            self.text = text;
        }
        Ok(())
    }

    fn fail(&mut self) -> io::Result<()> {
        self.broken = true;
        self.buffer.release();
        Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "noise message does not decrypt",
        ))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for NoiseStream<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { io, incoming, .. } = self.get_mut();
        let before = buf.filled().len();
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        // A message without text is legal and gives the reader nothing: on to the next.
        while buf.filled().len() == before && !incoming.give(buf) {
            if incoming.broken {
                return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
            }
            let missing = incoming
                .wanted()
                .saturating_sub(incoming.buffer.bytes().len());
            if missing == 0 {
                incoming.open(buf)?;
                continue;
            }
            if ready!(incoming.buffer.poll_fill(cx, io, missing))? == 0 {
                return match incoming.buffer.is_empty() {
                    true => Poll::Ready(Ok(())),
                    false => Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                };
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S> NoiseStream<S> {
    /// Seals as much of `text` as there is room for; gives how much that was.
    fn seal(&mut self, text: &[u8]) -> io::Result<usize> {
        let mut done = 0;
        while done < text.len() {
            let spare = self.outgoing.spare(0);
            let room = spare.len().saturating_sub(PREFIX + TAG);
            let n = (text.len() - done).min(MAX_PLAIN).min(room);
            if n < WORTHWHILE.min(text.len() - done) {
                break;
            }
            let length = n + TAG;
            let prefix = u16::try_from(length).map_err(io::Error::other)?;
            let (head, message) = spare[..PREFIX + length].split_at_mut(PREFIX);
            head.copy_from_slice(&prefix.to_be_bytes());
            message[..n].copy_from_slice(&text[done..done + n]);
            self.sealer.seal(message).map_err(io::Error::other)?;
            self.outgoing.add(PREFIX + length);
            done += n;
        }
        Ok(done)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for NoiseStream<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.outgoing.poll_drain(cx, &mut this.io))?;
        let mut done = 0;
        for buf in bufs {
            let n = this.seal(buf)?;
            done += n;
            if n < buf.len() {
                break;
            }
        }
        // What the socket does not take now is owed from here on: `poll_flush` waits for it.
        match this.outgoing.poll_drain(cx, &mut this.io) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(done)),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.outgoing.poll_drain(cx, &mut this.io))?;
        Pin::new(&mut this.io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.outgoing.poll_drain(cx, &mut this.io))?;
        Pin::new(&mut this.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
