//! Streams with the I/O traits of both tokio and futures.

use std::{
    fmt, io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use quinn::VarInt;
use tokio::io::ReadBuf;

use crate::{budget::Slot, close_code::CloseCode, link::Handle};

/// A bidirectional stream: a [`SendStream`] and a [`RecvStream`].
///
/// Implements the I/O traits of both `tokio` and `futures`. A shutdown (`close` in `futures`)
/// finishes the sending side and leaves the receiving side open. It does not wait for the peer's
/// acknowledgement, but [`wait_delivered`](Self::wait_delivered) does.
///
/// A finished sending side is delivered even if the stream, or every handle of the connection, is
/// dropped: see [`Connection::close`](crate::Connection::close). If you drop an unfinished sending
/// side, it is reset, so that the peer never takes an abandoned stream for a complete one. If you
/// drop the receiving side, the peer is asked to stop sending.
///
/// quinn announces a stream together with its first bytes, so the side that opens a stream must
/// write first.
pub struct Stream {
    send: SendStream,
    recv: RecvStream,
}

/// The sending side of a stream.
pub struct SendStream {
    id: u64,
    /// None once it is finished or reset.
    quinn: Option<quinn::SendStream>,
    end: End,
    handle: Arc<Handle>,
    /// Held for an inbound stream until both sides are dropped.
    _slot: Option<Arc<Slot>>,
}

/// What has become of a sending side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Open,
    Finished,
    Reset,
}

/// The receiving side of a stream.
pub struct RecvStream {
    quinn: quinn::RecvStream,
    _handle: Arc<Handle>,
    _slot: Option<Arc<Slot>>,
}

impl Stream {
    pub(crate) fn new(send: SendStream, recv: RecvStream) -> Self {
        Self { send, recv }
    }

    /// Splits the stream into its two sides.
    #[must_use]
    pub fn split(self) -> (SendStream, RecvStream) {
        (self.send, self.recv)
    }

    /// Resets the sending side and stops the receiving side with `code` (RFC 9000 section 3.5).
    pub fn reset(self, code: CloseCode) {
        self.recv.stop(code);
        self.send.reset(code);
    }

    /// The stream's number in its connection (RFC 9000 section 2.1).
    #[must_use]
    pub fn id(&self) -> u64 {
        self.send.id
    }

    /// See [`SendStream::wait_delivered`].
    ///
    /// # Errors
    ///
    /// As [`SendStream::wait_delivered`].
    pub async fn wait_delivered(&mut self) -> io::Result<()> {
        self.send.wait_delivered().await
    }
}

impl SendStream {
    pub(crate) fn new(
        quinn: quinn::SendStream,
        handle: Arc<Handle>,
        slot: Option<Arc<Slot>>,
    ) -> Self {
        Self {
            id: VarInt::from(quinn.id()).into_inner(),
            quinn: Some(quinn),
            end: End::Open,
            handle,
            _slot: slot,
        }
    }

    /// The stream's number in its connection (RFC 9000 section 2.1).
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Waits until the peer's QUIC stack has acknowledged all bytes and the end of the stream. Call
    /// this after a shutdown. The peer's application may not have read the bytes yet. Cancel-safe.
    ///
    /// # Errors
    ///
    /// - `InvalidInput` if the sending side was not shut down;
    /// - `ConnectionReset` if the peer stopped reading;
    /// - `NotConnected` if the connection ended first.
    pub async fn wait_delivered(&mut self) -> io::Result<()> {
        match self.end {
            End::Finished => self.handle.link.delivered(self.id).await,
            End::Open => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the stream is not shut down",
            )),
            End::Reset => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Resets the sending side with `code` (RFC 9000 section 3.5). Bytes that are not delivered yet
    /// may be lost.
    pub fn reset(mut self, code: CloseCode) {
        match self.quinn.take() {
            // An error means that the sending side has ended already.
            Some(mut quinn) => drop(quinn.reset(code.on_wire())),
            None => self.handle.link.reset(self.id, code),
        }
        self.end = End::Reset;
    }

    fn finish(&mut self) -> io::Result<()> {
        let Some(mut quinn) = self.quinn.take() else {
            return Ok(());
        };
        match quinn.finish() {
            Ok(()) => {
                self.end = End::Finished;
                self.handle.link.keep(quinn);
                Ok(())
            }
            Err(error) => {
                self.end = End::Reset;
                Err(io::Error::new(io::ErrorKind::NotConnected, error))
            }
        }
    }
}

impl Drop for SendStream {
    fn drop(&mut self) {
        match (self.end, self.quinn.as_mut()) {
            // An error means that the sending side has ended already.
            (End::Open, Some(quinn)) => drop(quinn.reset(VarInt::from_u32(0))),
            (End::Finished, _) => self.handle.link.release(self.id),
            _ => {}
        }
    }
}

impl RecvStream {
    pub(crate) fn new(
        quinn: quinn::RecvStream,
        handle: Arc<Handle>,
        slot: Option<Arc<Slot>>,
    ) -> Self {
        Self {
            quinn,
            _handle: handle,
            _slot: slot,
        }
    }

    /// The stream's number in its connection (RFC 9000 section 2.1).
    #[must_use]
    pub fn id(&self) -> u64 {
        VarInt::from(self.quinn.id()).into_inner()
    }

    /// Asks the peer to stop sending, with `code` (RFC 9000 section 3.5).
    pub fn stop(mut self, code: CloseCode) {
        // An error means that the stream was read to its end, or stopped before.
        let _ = self.quinn.stop(code.on_wire());
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream")
            .field("id", &self.id())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for SendStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendStream")
            .field("id", &self.id)
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for RecvStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecvStream")
            .field("id", &self.id())
            .finish_non_exhaustive()
    }
}

impl tokio::io::AsyncRead for RecvStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        tokio::io::AsyncRead::poll_read(Pin::new(&mut self.get_mut().quinn), cx, buf)
    }
}

impl futures::io::AsyncRead for RecvStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut()
            .quinn
            .poll_read(cx, buf)
            .map_err(io::Error::from)
    }
}

impl tokio::io::AsyncWrite for SendStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().quinn {
            Some(quinn) => tokio::io::AsyncWrite::poll_write(Pin::new(quinn), cx, buf),
            None => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.get_mut().finish())
    }
}

impl futures::io::AsyncWrite for SendStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        tokio::io::AsyncWrite::poll_write(self, cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        tokio::io::AsyncWrite::poll_flush(self, cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        tokio::io::AsyncWrite::poll_shutdown(self, cx)
    }
}

// A stream forwards to its halves, for the I/O traits of tokio and of futures.

impl Stream {
    fn receiving(self: Pin<&mut Self>) -> Pin<&mut RecvStream> {
        Pin::new(&mut self.get_mut().recv)
    }

    fn sending(self: Pin<&mut Self>) -> Pin<&mut SendStream> {
        Pin::new(&mut self.get_mut().send)
    }
}

impl tokio::io::AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        tokio::io::AsyncRead::poll_read(self.receiving(), cx, buf)
    }
}

impl futures::io::AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        futures::io::AsyncRead::poll_read(self.receiving(), cx, buf)
    }
}

impl tokio::io::AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        tokio::io::AsyncWrite::poll_write(self.sending(), cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        tokio::io::AsyncWrite::poll_flush(self.sending(), cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        tokio::io::AsyncWrite::poll_shutdown(self.sending(), cx)
    }
}

impl futures::io::AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        futures::io::AsyncWrite::poll_write(self.sending(), cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        futures::io::AsyncWrite::poll_flush(self.sending(), cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        futures::io::AsyncWrite::poll_close(self.sending(), cx)
    }
}
