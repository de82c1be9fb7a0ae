//! A stream of a connection.

use std::{
    fmt, io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio::io::ReadBuf;

use crate::{
    driver::{Half, Lease},
    handle::Handle,
};

/// An ordered, reliable stream of bytes inside a [`Connection`](crate::Connection).
///
/// Implements the I/O traits of both tokio and futures. Closing (or, in tokio's words, shutting
/// down) ends the writing half; the peer then reads end of file. A stream dropped before that is
/// reset. One that is reset, or lost with its connection, reads as an error once what came before
/// is read, and never as an end.
pub struct Stream {
    lease: Lease,
    _handle: Arc<Handle>,
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("id", &self.id()).finish()
    }
}

impl Stream {
    pub(crate) fn new(lease: Lease, handle: Arc<Handle>) -> Self {
        Self {
            lease,
            _handle: handle,
        }
    }

    /// The muxer's number for the stream: unique within the connection, odd where its dialer
    /// opened the stream.
    pub fn id(&self) -> u32 {
        self.lease.stream.id().val()
    }

    /// Asks the muxer; where it makes the caller wait, so does the end of the connection.
    fn poll_muxed<T>(
        self: Pin<&mut Self>,
        half: Half,
        cx: &mut Context<'_>,
        poll: impl FnOnce(Pin<&mut yamux::Stream>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let lease = &mut self.get_mut().lease;
        match poll(Pin::new(&mut lease.stream), cx) {
            Poll::Pending => lease.poll_ended(half, cx),
            done => done,
        }
    }
}

impl tokio::io::AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let unfilled = buf.initialize_unfilled();
        let n = ready!(futures::io::AsyncRead::poll_read(self, cx, unfilled))?;
        buf.advance(n);
        Poll::Ready(Ok(()))
    }
}

impl tokio::io::AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        futures::io::AsyncWrite::poll_write(self, cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        futures::io::AsyncWrite::poll_flush(self, cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        futures::io::AsyncWrite::poll_close(self, cx)
    }
}

impl futures::io::AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let this = self.get_mut();
        let read =
            Pin::new(&mut *this).poll_muxed(Half::Read, cx, |stream, cx| stream.poll_read(cx, buf));
        match ready!(read)? {
            0 => Poll::Ready(this.lease.end_of_file()),
            read => Poll::Ready(Ok(read)),
        }
    }
}

impl futures::io::AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_muxed(Half::Write, cx, |stream, cx| stream.poll_write(cx, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_muxed(Half::Write, cx, |stream, cx| stream.poll_flush(cx))
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let lease = &mut self.get_mut().lease;
        match lease.poll_end(cx) {
            Poll::Pending => lease.poll_ended(Half::Write, cx),
            done => done,
        }
    }
}
