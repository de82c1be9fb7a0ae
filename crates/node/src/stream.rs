//! One stream, whichever transport carries it.

use std::{
    borrow::Cow,
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
        Pin::new(&mut self.0).poll_write(cx, &joined(bufs))
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

/// The first pieces as one, up to [`JOINED`] bytes unless the first alone has more.
fn joined<'a>(bufs: &'a [IoSlice<'_>]) -> Cow<'a, [u8]> {
    let mut filled = bufs.iter().filter(|buf| !buf.is_empty()).map(|buf| &**buf);
    let first = filled.next().unwrap_or_default();
    let second = filled.next().filter(|_| first.len() < JOINED);
    let Some(second) = second else {
        return first.into();
    };
    let mut joined = Vec::with_capacity(JOINED);
    for buf in [first, second].into_iter().chain(filled) {
        let room = JOINED - joined.len();
        joined.extend_from_slice(&buf[..buf.len().min(room)]);
    }
    joined.into()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths(pieces: &[usize]) -> usize {
        let pieces: Vec<_> = pieces.iter().map(|length| vec![7; *length]).collect();
        let slices: Vec<_> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
        joined(&slices).len()
    }

    #[test]
    fn pieces_are_one_write_up_to_a_frame() {
        let both = [
            IoSlice::new(b"one"),
            IoSlice::new(b""),
            IoSlice::new(b"two"),
        ];
        assert_eq!(*joined(&both), *b"onetwo");
        assert_eq!(lengths(&[]), 0);
        assert_eq!(lengths(&[0, 5]), 5);
        assert_eq!(lengths(&[JOINED - 1, 1, 1]), JOINED);
        assert_eq!(lengths(&[1, JOINED]), JOINED);
        assert_eq!(lengths(&[JOINED + 1, 1]), JOINED + 1);
    }

    #[test]
    fn one_piece_is_not_copied() {
        assert!(matches!(
            joined(&[IoSlice::new(b""), IoSlice::new(b"one")]),
            Cow::Borrowed(b"one")
        ));
    }
}
