//! Reads from the socket in large pieces for a reader that asks for small ones.
//!
//! rustls reads 4 KiB at a time and multistream-select one byte; each would be a system call. The
//! buffer exists only while it holds bytes or bytes keep coming, so an idle connection has none.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::io::poll_read_buf;

/// One read: four TLS records of the largest size.
pub(crate) const READ_AHEAD: usize = 64 * 1024;

#[derive(Debug)]
pub(crate) struct ReadAhead<S> {
    io: S,
    buffer: Vec<u8>,
    taken: usize,
}

impl<S> ReadAhead<S> {
    pub(crate) fn new(io: S) -> Self {
        Self {
            io,
            buffer: Vec::new(),
            taken: 0,
        }
    }

    /// The stream and what was read from it and not yet taken.
    pub(crate) fn into_parts(mut self) -> (S, Vec<u8>) {
        self.buffer.drain(..self.taken);
        (self.io, self.buffer)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ReadAhead<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.taken == this.buffer.len() {
            if buf.remaining() >= READ_AHEAD {
                return Pin::new(&mut this.io).poll_read(cx, buf);
            }
            this.taken = 0;
            this.buffer.clear();
            this.buffer.reserve_exact(READ_AHEAD);
            let read = poll_read_buf(Pin::new(&mut this.io), cx, &mut this.buffer);
            if !matches!(read, Poll::Ready(Ok(1..))) {
                this.buffer = Vec::new();
            }
            ready!(read)?;
        }
        let rest = &this.buffer[this.taken..];
        let n = rest.len().min(buf.remaining());
        buf.put_slice(&rest[..n]);
        this.taken += n;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ReadAhead<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}
