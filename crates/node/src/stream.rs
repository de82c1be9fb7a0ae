//! One stream, whichever transport carries it.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};

use multistream_select::Negotiated;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::compat::{Compat, FuturesAsyncReadCompatExt};

use crate::connection::StreamOpen;

/// How much of several pieces is written at once: what our muxer puts into a frame.
const JOINED: usize = 32 * 1024;

/// A stream whose protocol both ends have agreed on, or, if it was opened optimistically, are expected to.
///
/// Dropping it without shutting it down resets it: the other end sees an error, not an end.
#[derive(Debug)]
pub struct Stream(Compat<Negotiated<RawStream>>);

impl Stream {
    pub(crate) fn new(negotiated: Negotiated<RawStream>) -> Self {
        Self(negotiated.compat())
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    /// A muxer makes a frame of each write. What a cipher hands over in many pieces becomes one of them.
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut filled = bufs.iter().filter(|buf| !buf.is_empty());
        let Some(first) = filled.next() else {
            return Poll::Ready(Ok(0));
        };
        let mut joined = Vec::new();
        for buf in filled {
            if first.len().max(joined.len()) >= JOINED {
                break;
            }
            if joined.is_empty() {
                joined.reserve_exact(JOINED);
                joined.extend_from_slice(first);
            }
            let room = JOINED - joined.len();
            joined.extend_from_slice(&buf[..buf.len().min(room)]);
        }
        let whole = if joined.is_empty() {
            first
        } else {
            &joined[..]
        };
        Pin::new(&mut self.0).poll_write(cx, whole)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// A stream before its protocol is settled. It counts as open on its connection until it is dropped.
#[derive(Debug)]
pub(crate) struct RawStream {
    kind: Kind,
    _open: StreamOpen,
}

#[derive(Debug)]
pub(crate) enum Kind {
    #[cfg(feature = "tcp")]
    Tcp(transport_tcp::Stream),
    #[cfg(feature = "quic")]
    Quic(transport_quic::Stream),
}

impl RawStream {
    pub(crate) fn new(kind: Kind, open: StreamOpen) -> Self {
        Self { kind, _open: open }
    }
}

/// Runs `$body` on whichever transport's stream `$self` is.
macro_rules! on_stream {
    ($self:ident, $stream:ident => $body:expr) => {
        match $self.get_mut().kind {
            #[cfg(feature = "tcp")]
            Kind::Tcp(ref mut $stream) => $body,
            #[cfg(feature = "quic")]
            Kind::Quic(ref mut $stream) => $body,
        }
    };
}

impl futures::AsyncRead for RawStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        on_stream!(self, stream => futures::AsyncRead::poll_read(Pin::new(stream), cx, buf))
    }
}

impl futures::AsyncWrite for RawStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        on_stream!(self, stream => futures::AsyncWrite::poll_write(Pin::new(stream), cx, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_stream!(self, stream => futures::AsyncWrite::poll_flush(Pin::new(stream), cx))
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_stream!(self, stream => futures::AsyncWrite::poll_close(Pin::new(stream), cx))
    }
}
