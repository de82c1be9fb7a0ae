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
    link::Acknowledged,
};

/// An ordered, reliable stream of bytes inside a [`Connection`](crate::Connection).
///
/// Implements the I/O traits of both tokio and futures. A shutdown (`close` in futures) finishes the writing half, and
/// the peer then reads end of file. A finished stream is delivered even if the stream, or the last handle of its
/// connection, is dropped at once ([`Connection::close`](crate::Connection::close)). [`Stream::wait_delivered`] waits
/// for the delivery. A stream that is dropped before it was finished is reset. If a stream was reset, or lost with its
/// connection, reading returns the bytes that arrived before, and then an error, and never a normal end.
pub struct Stream {
    lease: Lease,
    handle: Arc<Handle>,
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("id", &self.id()).finish()
    }
}

impl Stream {
    pub(crate) fn new(lease: Lease, handle: Arc<Handle>) -> Self {
        Self { lease, handle }
    }

    /// The muxer's number for the stream. It is unique within the connection, and odd if the dialer of the connection
    /// opened the stream.
    pub fn id(&self) -> u32 {
        self.lease.stream.id().val()
    }

    /// Waits until all written bytes and the end of the stream have been delivered. Call this after the stream was shut
    /// down. Cancel-safe. The method has no deadline.
    ///
    /// Over a TCP socket on Linux, *delivered* means that the kernel of the other host has acknowledged the bytes. With
    /// a proxy, it means that the kernel of the proxy has acknowledged them. On other systems, or if the kernel gives
    /// no information ([`Link::info`](crate::Link::info)), it means that the bytes were passed to this machine's
    /// kernel, or to the byte stream that was upgraded. It never means that the peer's application has read the bytes.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if the stream is not shut down. `ConnectionReset` or `ConnectionAborted` if the stream or its
    /// connection was lost before.
    pub async fn wait_delivered(&mut self) -> io::Result<()> {
        std::future::poll_fn(|cx| self.lease.poll_flushed(cx)).await?;
        let Some(link) = self.handle.link else {
            return Ok(());
        };
        let mut acknowledged = Acknowledged::new(link);
        loop {
            match acknowledged.check() {
                Ok(true) => return Ok(()),
                Ok(false) => acknowledged.pause().await,
                // Not Linux, or a kernel that does not tell.
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Ok(()),
                Err(_) => return self.after_the_socket().await,
            }
        }
    }

    /// The socket is gone: how the connection ended decides.
    async fn after_the_socket(&self) -> io::Result<()> {
        let shared = self.lease.shared();
        let reason = shared.wait_closed().await;
        match shared.closed_in_order() {
            true => Ok(()),
            false => Err(io::Error::new(io::ErrorKind::ConnectionAborted, reason)),
        }
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
            Poll::Ready(done) => Poll::Ready(done.map_err(|error| lease.explain(error))),
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
        if let Some(n) = this.lease.read_rest(buf) {
            return Poll::Ready(Ok(n));
        }
        let read =
            Pin::new(&mut *this).poll_muxed(Half::Read, cx, |stream, cx| stream.poll_read(cx, buf));
        match ready!(read)? {
            0 => Poll::Ready(this.lease.end_of_file()),
            read => {
                this.lease.handle_read(read);
                Poll::Ready(Ok(read))
            }
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
