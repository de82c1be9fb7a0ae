//! The stream of a neighbour, for reading.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use gossip_net::AsyncRead;
use tokio::io::{AsyncWrite, ReadBuf};
use tokio_util::sync::WaitForCancellationFutureOwned;

use crate::connection::Stream;

/// Reads a stream until its link is closed.
pub(super) struct Reader<S> {
    stream: S,
    closed: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl<S> Reader<S> {
    pub(super) fn new(stream: S, closed: WaitForCancellationFutureOwned) -> Self {
        let closed = Box::pin(closed);
        Self { stream, closed }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Reader<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.closed.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        Pin::new(&mut this.stream).poll_read(cx, buf)
    }
}

/// A bidirectional stream whose other half ends at once, because messages go one way.
pub(super) struct OneWay {
    stream: Stream,
    has_ended_half: bool,
}

impl OneWay {
    pub(super) fn new(stream: Stream) -> Self {
        Self {
            stream,
            has_ended_half: false,
        }
    }
}

impl AsyncRead for OneWay {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.has_ended_half {
            // Reading does not wait for the end of the other half.
            this.has_ended_half = Pin::new(&mut this.stream).poll_shutdown(cx).is_ready();
        }
        Pin::new(&mut this.stream).poll_read(cx, buf)
    }
}
