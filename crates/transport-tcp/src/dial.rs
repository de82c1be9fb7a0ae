//! The types of the [`Dialer`](crate::Dialer) interface, except for the target.

use std::{
    fmt, io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, Bytes};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::Instant,
};

use crate::{
    ConnectBudget, DialError, DialStage, Dialer, Link, PeerId, Target, follow::Follow, trail::Trail,
};

/// The deadline, the limits and the log trail of one dial.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DialContext {
    /// When the dial must end. The time for names, for proxies and for every address counts.
    pub deadline: Instant,
    /// The number of this dial in logs, unique within the process.
    pub attempt: u64,
    /// How long it may take to connect to the first proxy, or to the target if there is no proxy, including the resolution of its
    /// name. The dialer that connects must keep this limit. Default: as long as the dial. [`Deadline`](crate::Deadline) sets this
    /// limit.
    pub reach: Option<Duration>,
    /// How long the handshake with each proxy may take, including TLS. Default: as long as the dial.
    pub handshake: Option<Duration>,
    /// The connects that this dial may still make, with all of its routes and retries. Default: 100 connects at a limited pace.
    pub connects: ConnectBudget,
    /// Which records of a `/dnsaddr` name may be followed. Default: all.
    follow: Option<Follow>,
    trail: Option<Arc<Trail>>,
}

impl DialContext {
    /// A context with a fresh attempt id.
    pub fn new(deadline: Instant) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self {
            deadline,
            attempt: NEXT.fetch_add(1, Ordering::Relaxed),
            reach: None,
            handshake: None,
            connects: ConnectBudget::default(),
            follow: None,
            trail: None,
        }
    }

    /// The same dial, which follows a record of a `/dnsaddr` name only if `accepts` accepts the record's target, and if every
    /// earlier call for this dial does, too.
    ///
    /// A dialer that refuses some targets, or dials some through a proxy, calls this before it passes a `/dnsaddr` name to
    /// another dialer, as [`Rules`](crate::Rules) does. Otherwise the owner of the name could lead the dial past that dialer.
    pub fn following(mut self, accepts: impl Fn(&Target) -> bool + Send + Sync + 'static) -> Self {
        self.follow = Some(Follow::new(accepts, self.follow.take()));
        self
    }

    /// Whether this dial may follow a record of a `/dnsaddr` name to this target. A dialer that looks up such names asks this
    /// for each record.
    pub fn may_follow(&self, target: &Target) -> bool {
        let follow = self.follow.as_ref();
        follow.is_none_or(|follow| follow.accepts(target))
    }

    /// Records that the dial enters a stage, for [`Metered`](crate::Metered). A dialer calls this at the start of each stage.
    pub fn enter(&self, stage: DialStage) {
        if let Some(trail) = &self.trail {
            trail.enter(Instant::now(), stage);
        }
    }

    /// Records the route of the dial: `direct`, or the addresses of the proxies, without credentials.
    pub fn take(&self, way: &Arc<str>) {
        if let Some(trail) = &self.trail {
            trail.take(way);
        }
    }

    /// The same dial, its notes written to another trail as well, which begins now.
    pub(crate) fn noted(&self) -> (Self, Arc<Trail>) {
        let trail = Arc::new(Trail::new(Instant::now(), self.trail.clone()));
        let mut noted = self.clone();
        noted.trail = Some(Arc::clone(&trail));
        (noted, trail)
    }

    /// The context for the part of a dial that reaches a proxy. Its stages are not reported as stages of the dial. It has its own
    /// budget, so that a dial of many addresses can still reach the second proxy when the first is down.
    pub(crate) fn to_proxy(&self) -> Self {
        Self {
            connects: ConnectBudget::default(),
            follow: None,
            trail: None,
            ..self.clone()
        }
    }

    pub(crate) fn reach_deadline(&self) -> Instant {
        self.within(self.reach)
    }

    pub(crate) fn handshake_deadline(&self) -> Instant {
        self.within(self.handshake)
    }

    fn within(&self, limit: Option<Duration>) -> Instant {
        let limited = limit.and_then(|limit| Instant::now().checked_add(limit));
        limited.map_or(self.deadline, |at| at.min(self.deadline))
    }
}

#[async_trait::async_trait]
impl<F, R> Dialer for F
where
    F: Fn(Target, DialContext) -> R + Send + Sync,
    R: Future<Output = Result<ByteStream, DialError>> + Send,
{
    async fn dial(&self, target: &Target, cx: &DialContext) -> Result<ByteStream, DialError> {
        self(target.clone(), cx.clone()).await
    }
}

#[async_trait::async_trait]
impl<D: Dialer + ?Sized> Dialer for Arc<D> {
    async fn dial(&self, target: &Target, cx: &DialContext) -> Result<ByteStream, DialError> {
        (**self).dial(target, cx).await
    }

    fn is_direct(&self, target: &Target) -> bool {
        (**self).is_direct(target)
    }

    async fn check(&self, cx: &DialContext) -> Result<(), DialError> {
        (**self).check(cx).await
    }
}

pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// The byte stream that a dialer opens or a listener accepts: a TCP socket, or any other byte stream in a box.
pub struct ByteStream {
    kind: Kind,
    /// Read before the stream was handed over, and not yet read by its owner.
    lead: Bytes,
    meters: Vec<Arc<Meter>>,
    /// In a box: it is of use until the handshake only.
    peer: Option<Box<PeerId>>,
}

enum Kind {
    Tcp(TcpStream),
    Boxed(Box<dyn Io>),
}

/// Bytes that went over streams, counted as they go.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    pub(crate) sent: AtomicU64,
    pub(crate) received: AtomicU64,
}

impl ByteStream {
    /// Wraps a stream that is not a plain TCP socket, such as a stream over TLS or in memory.
    pub fn boxed<T>(io: T) -> Self
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        Kind::Boxed(Box::new(io)).into()
    }

    /// The socket, if the stream is one.
    pub fn as_tcp(&self) -> Option<&TcpStream> {
        match &self.kind {
            Kind::Tcp(socket) => Some(socket),
            Kind::Boxed(_) => None,
        }
    }

    /// The local address, if the stream is a socket.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.as_tcp()?.local_addr().ok()
    }

    /// The remote address, if the stream is a socket. If the dial used a proxy, this is the proxy's address.
    pub fn remote_addr(&self) -> Option<SocketAddr> {
        self.as_tcp()?.peer_addr().ok()
    }

    /// A name for the TCP connection, if the stream is a socket. The name is still valid after the upgrade of the stream, so that
    /// you can ask the kernel about the connection.
    pub fn link(&self) -> Option<Link> {
        Link::of(self.as_tcp()?)
    }

    /// The peer that must answer, if the dialer knows it. The target or the `/dnsaddr` record with this stream's address names
    /// the peer. [`Upgrader::outbound`](crate::Upgrader::outbound) refuses any other peer.
    pub fn peer(&self) -> Option<PeerId> {
        self.peer.as_deref().copied()
    }

    /// For the upgrade, which then keeps no memory for it.
    pub(crate) fn take_peer(&mut self) -> Option<PeerId> {
        self.peer.take().map(|peer| *peer)
    }

    /// The same stream, with another peer that must answer.
    pub fn with_peer(mut self, peer: Option<PeerId>) -> Self {
        self.peer = peer.map(Box::new);
        self
    }

    /// The same stream, with bytes that were read from it too early put back.
    pub(crate) fn with_lead(mut self, lead: Bytes) -> Self {
        self.lead = lead;
        self
    }

    /// The same stream, counted by `meter` as well from now on.
    pub(crate) fn metered(mut self, meter: Arc<Meter>) -> Self {
        self.meters.push(meter);
        self
    }

    fn sent(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(n)) = &written {
            for meter in &self.meters {
                meter.sent.fetch_add(*n as u64, Ordering::Relaxed);
            }
        }
        written
    }
}

impl From<Kind> for ByteStream {
    fn from(kind: Kind) -> Self {
        Self {
            kind,
            lead: Bytes::new(),
            meters: Vec::new(),
            peer: None,
        }
    }
}

impl From<TcpStream> for ByteStream {
    fn from(socket: TcpStream) -> Self {
        Kind::Tcp(socket).into()
    }
}

impl fmt::Debug for ByteStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Tcp(socket) => f.debug_tuple("ByteStream").field(socket).finish(),
            Kind::Boxed(_) => f.write_str("ByteStream(boxed)"),
        }
    }
}

impl AsyncRead for ByteStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        if this.lead.has_remaining() {
            let n = buf.remaining().min(this.lead.len());
            buf.put_slice(&this.lead.split_to(n));
        } else {
            ready!(match &mut this.kind {
                Kind::Tcp(io) => Pin::new(io).poll_read(cx, buf),
                Kind::Boxed(io) => Pin::new(io).poll_read(cx, buf),
            })?;
        }
        let n = buf.filled().len() - before;
        for meter in &this.meters {
            meter.received.fetch_add(n as u64, Ordering::Relaxed);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ByteStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = match &mut this.kind {
            Kind::Tcp(io) => Pin::new(io).poll_write(cx, buf),
            Kind::Boxed(io) => Pin::new(io).poll_write(cx, buf),
        };
        this.sent(written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = match &mut this.kind {
            Kind::Tcp(io) => Pin::new(io).poll_write_vectored(cx, bufs),
            Kind::Boxed(io) => Pin::new(io).poll_write_vectored(cx, bufs),
        };
        this.sent(written)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.kind {
            Kind::Tcp(io) => io.is_write_vectored(),
            Kind::Boxed(io) => io.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().kind {
            Kind::Tcp(io) => Pin::new(io).poll_flush(cx),
            Kind::Boxed(io) => Pin::new(io).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().kind {
            Kind::Tcp(io) => Pin::new(io).poll_shutdown(cx),
            Kind::Boxed(io) => Pin::new(io).poll_shutdown(cx),
        }
    }
}
