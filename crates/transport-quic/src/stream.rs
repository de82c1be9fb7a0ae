//! One bidirectional stream as both async I/O families know it.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use quinn::{RecvStream, SendStream, VarInt};
use tokio::io::ReadBuf;

use crate::{budget::Slot, connection::CloseCode};

/// A bidirectional stream.
///
/// Implements the I/O traits of both `tokio` and `futures`. Shutting it down (closing it)
/// finishes the sending side and leaves reading alone; it does not wait for the peer's
/// acknowledgement. Dropping it before that resets the sending side, so a peer never takes
/// an abandoned stream for a complete one. Either way, what was not read is refused.
///
/// quinn tells the peer of a stream with its first bytes, so whoever opens writes first.
#[derive(Debug)]
pub struct Stream {
    send: SendStream,
    recv: RecvStream,
    finished: bool,
    /// Held for an inbound stream while it lives.
    _slot: Option<Slot>,
}

impl Stream {
    pub(crate) fn new(send: SendStream, recv: RecvStream, slot: Option<Slot>) -> Self {
        Self {
            send,
            recv,
            finished: false,
            _slot: slot,
        }
    }

    /// Abandons both directions with `code` (RFC 9000 section 3.5).
    pub fn reset(mut self, code: CloseCode) {
        let code = VarInt::from(code);
        self.finished = true;
        // Either direction may have ended by itself already; nothing is left to do there.
        let _ = self.send.reset(code);
        let _ = self.recv.stop(code);
    }

    /// The stream's number in its connection (RFC 9000 section 2.1).
    #[must_use]
    pub fn id(&self) -> u64 {
        VarInt::from(self.send.id()).into_inner()
    }

    fn finish(&mut self) -> io::Result<()> {
        if self.finished {
            return Ok(());
        }
        self.finished = true;
        self.send.finish().map_err(|error| {
            io::Error::new(
                io::ErrorKind::NotConnected,
                format!("cannot finish the stream: {error}"),
            )
        })
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if !self.finished {
            // An error means that the sending side has ended already.
            let _ = self.send.reset(VarInt::from_u32(0));
        }
    }
}

impl tokio::io::AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        tokio::io::AsyncRead::poll_read(Pin::new(&mut self.get_mut().recv), cx, buf)
    }
}

impl tokio::io::AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        tokio::io::AsyncWrite::poll_write(Pin::new(&mut self.get_mut().send), cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.get_mut().finish())
    }
}

impl futures::io::AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut()
            .recv
            .poll_read(cx, buf)
            .map_err(io::Error::from)
    }
}

impl futures::io::AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        tokio::io::AsyncWrite::poll_write(self, cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.get_mut().finish())
    }
}
