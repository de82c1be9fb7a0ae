//! multistream-select 1.0 on a byte stream, with a bound on the bytes that a peer may send.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use multistream_select::{
    NegotiationError, ProtocolError, Version, dialer_select_proto, listener_select_proto,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::NegotiateError;

/// The muxer.
pub(crate) const YAMUX: &str = "/yamux/1.0.0";
/// What a peer may send before the two have settled. The longest honest exchange, all protocols
/// that libp2p has ever had for this purpose offered one by one, is below a quarter of it.
pub(crate) const MAX_TALK: usize = 1024;

/// Offers `protocols`, the preferred one first, and waits for the answer: an optimistic start would
/// have to be taken back where the peer refuses.
pub(crate) async fn offer<S>(
    io: &mut S,
    protocols: &[&'static str],
) -> Result<&'static str, NegotiateError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut metered = Metered::new(io);
    let outcome = dialer_select_proto(&mut metered, protocols.to_vec(), Version::V1).await;
    let outcome = outcome.map(|(protocol, _)| protocol);
    metered.settle(outcome)
}

/// Answers a peer's offers.
pub(crate) async fn answer<S>(
    io: &mut S,
    protocols: &[&'static str],
) -> Result<&'static str, NegotiateError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut metered = Metered::new(io);
    let outcome = listener_select_proto(&mut metered, protocols.to_vec()).await;
    let outcome = outcome.map(|(protocol, _)| protocol);
    metered.settle(outcome)
}

/// Lends a stream to the negotiation. Neither side of it reads past its own messages, so
/// afterwards the stream goes on as if nothing had been in between.
struct Metered<'a, S> {
    io: &'a mut S,
    left: usize,
    exceeded: bool,
}

impl<'a, S> Metered<'a, S> {
    fn new(io: &'a mut S) -> Self {
        Self {
            io,
            left: MAX_TALK,
            exceeded: false,
        }
    }

    fn settle<T>(&self, outcome: Result<T, NegotiationError>) -> Result<T, NegotiateError> {
        outcome.map_err(|error| match error {
            _ if self.exceeded => NegotiateError::TooLong { limit: MAX_TALK },
            NegotiationError::Failed => NegotiateError::NoneInCommon,
            NegotiationError::ProtocolError(error) => NegotiateError::Protocol(match error {
                ProtocolError::IoError(error) => error,
                malformed => io::Error::new(io::ErrorKind::InvalidData, malformed),
            }),
        })
    }
}

impl<S: AsyncRead + Unpin> futures::io::AsyncRead for Metered<'_, S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.left == 0 {
            this.exceeded = true;
            return Poll::Ready(Err(io::Error::other("negotiation is too long")));
        }
        let most = buf.len().min(this.left);
        let mut buf = ReadBuf::new(&mut buf[..most]);
        ready!(Pin::new(&mut *this.io).poll_read(cx, &mut buf))?;
        this.left -= buf.filled().len();
        Poll::Ready(Ok(buf.filled().len()))
    }
}

impl<S: AsyncWrite + Unpin> futures::io::AsyncWrite for Metered<'_, S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.get_mut().io).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.get_mut().io).poll_flush(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.get_mut().io).poll_shutdown(cx)
    }
}
