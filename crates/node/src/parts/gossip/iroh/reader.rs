//! Reads a stream of an iroh connection.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use gossip_net::AsyncRead;
use tokio::io::ReadBuf;
use tokio_util::sync::WaitForCancellationFutureOwned;
use transport_quic::RecvStream;

/// Reads a stream until its link is closed.
pub(super) struct StreamReader {
    stream: RecvStream,
    closed: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl StreamReader {
    pub(super) fn new(stream: RecvStream, closed: WaitForCancellationFutureOwned) -> Self {
        let closed = Box::pin(closed);
        Self { stream, closed }
    }
}

impl AsyncRead for StreamReader {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.closed.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        AsyncRead::poll_read(Pin::new(&mut this.stream), cx, buf)
    }
}
