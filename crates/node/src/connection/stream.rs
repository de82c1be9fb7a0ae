//! One stream over any transport.

use std::{
    borrow::Cow,
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use conn_state::Usage;
use multistream_select::Negotiated;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::compat::{Compat, FuturesAsyncReadCompatExt};

use super::{
    ServicePermit, StreamPermit,
    counted::{InUse, StreamOpen},
    muxed::MuxedStream,
    talk::Talk,
};

/// The most bytes of several buffers that are joined into one write. The muxer puts as many bytes into one frame.
const JOINED: usize = 32 * 1024;

/// A stream whose protocol both ends have agreed on, or will agree on if it was opened optimistically.
///
/// It implements the I/O traits of tokio. The feature `compat` of `tokio-util` adds those of `futures`.
///
/// Dropping a stream that was not shut down resets it: the other end sees an error instead of the stream's end. A
/// stream that a peer opened counts towards [`crate::Config::max_inbound_streams`] until it is dropped.
#[derive(Debug)]
pub struct Stream {
    inner: Compat<Negotiated<RawStream>>,
    /// Receives the transport's stream when `inner` is dropped, because `inner` has no method that returns it.
    home: Arc<Home>,
    permit: Option<StreamPermit>,
    /// The stream's count among the streams of its service.
    service: Option<ServicePermit>,
    in_use: Option<InUse>,
    /// The connection will be in use when the first byte is read or written.
    unused: Option<Usage>,
}

/// The state that a negotiation and its result share with the [`RawStream`] inside.
#[derive(Debug, Default)]
pub(super) struct Home {
    returned: Mutex<Option<Counted>>,
    /// Whether the protocol is settled. The bytes of the peer are then no longer bounded.
    settled: AtomicBool,
}

impl Home {
    fn take_returned(&self) -> Option<Counted> {
        let returned = self.returned.lock();
        returned.unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Stream {
    /// A stream whose protocol is settled, or will be settled by the pending answer of the peer.
    pub(super) fn new(negotiated: Negotiated<RawStream>, home: Arc<Home>) -> Self {
        home.settled.store(true, Ordering::Relaxed);
        Self {
            inner: negotiated.compat(),
            home,
            permit: None,
            service: None,
            in_use: None,
            unused: None,
        }
    }

    /// Counts the stream under `permit` until it is dropped.
    pub(crate) fn with_permit(mut self, permit: StreamPermit) -> Self {
        self.permit = Some(permit);
        self
    }

    /// The stream shows that its connection is in use until it is dropped.
    pub(crate) fn with_use(mut self, in_use: InUse) -> Self {
        self.in_use = Some(in_use);
        self
    }

    /// The stream shows that its connection is in use, from its first byte until it is dropped. A peer that only opens streams
    /// does not use its connection.
    pub(crate) fn with_use_from_first_byte(mut self, usage: Usage) -> Self {
        self.unused = Some(usage);
        self
    }

    fn handle_bytes(&mut self, bytes: usize) {
        if bytes > 0
            && let Some(usage) = self.unused.take()
        {
            self.in_use = Some(InUse::begin(&usage));
        }
    }

    /// Counts the stream among the streams of its service until it is dropped.
    pub(crate) fn with_service(mut self, permit: ServicePermit) -> Self {
        self.service = Some(permit);
        self
    }

    /// Takes the stream's place among the streams of its service, for a service that gives the place back before the stream ends.
    pub(crate) fn take_service(&mut self) -> Option<ServicePermit> {
        self.service.take()
    }

    /// Takes the stream's permit, because the stream becomes a circuit, which is counted as a connection.
    pub(crate) fn release_permit(&mut self) -> Option<StreamPermit> {
        self.permit.take()
    }

    /// Waits until the peer's network stack has acknowledged all written bytes and the end of the stream. Call this
    /// method after `shutdown`. Over TCP through a proxy, the network stack of the proxy sends the acknowledgement.
    ///
    /// # Errors
    ///
    /// The stream was not shut down, or the stream or its connection broke before.
    pub async fn wait_delivered(self) -> io::Result<()> {
        let Self {
            inner,
            home,
            permit: _permit,
            service: _service,
            in_use: _in_use,
            unused: _,
        } = self;
        drop(inner);
        let Some(mut counted) = home.take_returned() else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        match counted.stream {
            #[cfg(feature = "tcp")]
            MuxedStream::Tcp(ref mut stream) => stream.wait_delivered().await,
            #[cfg(feature = "quic")]
            MuxedStream::Quic(ref mut stream) => stream.wait_delivered().await,
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        self.handle_bytes(buf.filled().len() - before);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.inner).poll_write(cx, buf))?;
        self.handle_bytes(written);
        Poll::Ready(Ok(written))
    }

    /// Joins the buffers into one write. A muxer makes one frame per write, and a cipher writes many small buffers.
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_write(cx, &joined(bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// Joins the first buffers, up to [`JOINED`] bytes. A longer first buffer is returned alone.
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

/// A stream before its protocol is agreed on. It counts as open on its connection until it is dropped.
#[derive(Debug)]
pub(crate) struct RawStream {
    /// `None` only while the value is dropped.
    counted: Option<Counted>,
    home: Arc<Home>,
    /// Bounds the negotiation.
    talk: Option<Talk>,
}

/// A transport's stream, counted as open.
#[derive(Debug)]
pub(super) struct Counted {
    stream: MuxedStream,
    _open: StreamOpen,
}

impl RawStream {
    pub(super) fn new(stream: MuxedStream, open: StreamOpen) -> Self {
        Self {
            counted: Some(Counted {
                stream,
                _open: open,
            }),
            home: Arc::default(),
            talk: Some(Talk::new()),
        }
    }

    /// Expects the answer to a single proposal, and then any bytes.
    pub(super) fn expect_answer(&mut self) {
        self.talk = Some(Talk::answer());
    }

    pub(super) fn home(&self) -> Arc<Home> {
        Arc::clone(&self.home)
    }

    /// Records the bytes that were read. The negotiation reads no byte beyond its own messages.
    fn handle_read(&mut self, bytes: &[u8]) -> io::Result<()> {
        let settled = self.home.settled.load(Ordering::Relaxed);
        let talk = self.talk.as_mut();
        let Some(talk) = talk.filter(|talk| !talk.is_over(settled)) else {
            self.talk = None;
            return Ok(());
        };
        talk.handle_read(bytes)
    }

    fn stream(&mut self) -> io::Result<&mut MuxedStream> {
        let counted = self.counted.as_mut();
        counted
            .map(|counted| &mut counted.stream)
            .ok_or_else(|| io::ErrorKind::BrokenPipe.into())
    }
}

impl Drop for RawStream {
    fn drop(&mut self) {
        let returned = self.home.returned.lock();
        *returned.unwrap_or_else(PoisonError::into_inner) = self.counted.take();
    }
}

/// Runs `$body` on the stream in `$self`.
macro_rules! on_stream {
    ($self:ident, $stream:ident => $body:expr) => {
        match $self.get_mut().stream() {
            #[cfg(feature = "tcp")]
            Ok(MuxedStream::Tcp($stream)) => $body,
            #[cfg(feature = "quic")]
            Ok(MuxedStream::Quic($stream)) => $body,
            #[cfg(not(any(feature = "tcp", feature = "quic")))]
            Ok(none) => match *none {},
            Err(error) => Poll::Ready(Err(error)),
        }
    };
}

impl futures::AsyncRead for RawStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.as_mut();
        let read =
            on_stream!(this, stream => futures::AsyncRead::poll_read(Pin::new(stream), cx, buf));
        let n = ready!(read)?;
        self.handle_read(&buf[..n])?;
        Poll::Ready(Ok(n))
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
