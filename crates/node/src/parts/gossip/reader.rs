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

/// Reads a stream until its link is closed. The other half of the stream ends at once, because messages go one way.
pub(super) struct Reader {
    stream: Stream,
    has_ended_half: bool,
    closed: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Reader {
    pub(super) fn new(stream: Stream, closed: WaitForCancellationFutureOwned) -> Self {
        Self {
            stream,
            has_ended_half: false,
            closed: Box::pin(closed),
        }
    }
}

impl AsyncRead for Reader {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.closed.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        if !this.has_ended_half {
            // Reading does not wait for the end of the other half.
            this.has_ended_half = Pin::new(&mut this.stream).poll_shutdown(cx).is_ready();
        }
        Pin::new(&mut this.stream).poll_read(cx, buf)
    }
}
