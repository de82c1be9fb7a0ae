//! Joins yamux's small writes with what follows them.
//!
//! yamux writes a frame's 12-byte header and its body apart. Under a cipher each would be a record and a
//! system call of its own, so small writes wait here for the next large one, or for a flush.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Up to this length a write waits: headers and the frames of a ping.
const SMALL: usize = 1024;
/// What may wait in all.
const STASH: usize = 8 * 1024;

#[derive(Debug)]
pub(crate) struct Coalesce<S> {
    io: S,
    stash: Vec<u8>,
    sent: usize,
}

impl<S> Coalesce<S> {
    pub(crate) fn new(io: S) -> Self {
        Self {
            io,
            stash: Vec::new(),
            sent: 0,
        }
    }

    fn advance(&mut self, n: usize) {
        self.sent += n;
        if self.sent == self.stash.len() {
            self.stash = Vec::new();
            self.sent = 0;
        }
    }
}

impl<S: AsyncWrite + Unpin> Coalesce<S> {
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.stash.is_empty() {
            let rest = &self.stash[self.sent..];
            match ready!(Pin::new(&mut self.io).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                n => self.advance(n),
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> futures::io::AsyncRead for Coalesce<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut buf = ReadBuf::new(buf);
        ready!(Pin::new(&mut self.get_mut().io).poll_read(cx, &mut buf))?;
        Poll::Ready(Ok(buf.filled().len()))
    }
}

impl<S: AsyncWrite + Unpin> futures::io::AsyncWrite for Coalesce<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if buf.len() <= SMALL {
            if this.stash.len() + buf.len() > STASH {
                ready!(this.poll_drain(cx))?;
            }
            this.stash.extend_from_slice(buf);
            return Poll::Ready(Ok(buf.len()));
        }
        while !this.stash.is_empty() {
            let waiting = this.stash.len() - this.sent;
            let both = [IoSlice::new(&this.stash[this.sent..]), IoSlice::new(buf)];
            match ready!(Pin::new(&mut this.io).poll_write_vectored(cx, &both))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                n if n > waiting => {
                    this.advance(waiting);
                    return Poll::Ready(Ok(n - waiting));
                }
                n => this.advance(n),
            }
        }
        Pin::new(&mut this.io).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_drain(cx))?;
        Pin::new(&mut this.io).poll_flush(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_drain(cx))?;
        Pin::new(&mut this.io).poll_shutdown(cx)
    }
}
