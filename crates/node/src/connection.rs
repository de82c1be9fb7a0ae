//! One connection, whichever transport carries it.

mod closing;
mod counted;

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use conn_state::{Closing, ConnectionId, Direction, Phase, Route, SharedTracker};
use libp2p_identity::PeerId;
use multiaddr::Multiaddr;

use crate::{
    OpenError, Stream, negotiate,
    path::Path,
    protocols::{
        identify,
        ping::{self, PingError},
    },
    stream::{Kind, RawStream},
};

pub(crate) use counted::{Admitted, StreamOpen};

/// A handle to an authenticated, multiplexed connection. The node keeps the connection until it closes; a clone more
/// or less changes nothing.
///
/// Where the node keeps another connection to the same peer in its place, streams are opened on that one.
#[derive(Clone)]
pub struct Connection(Arc<Shared>);

struct Shared {
    id: ConnectionId,
    muxed: Muxed,
    address: Multiaddr,
    path: Path,
    direction: Direction,
    opened: Instant,
    negotiation_timeout: Duration,
    ping_timeout: Duration,
    /// Microseconds; `u64::MAX` until measured.
    rtt: AtomicU64,
    identified: Mutex<Option<Arc<identify::Info>>>,
    identifying: tokio::sync::Mutex<()>,
    pinging: tokio::sync::Mutex<()>,
    inbound_streams: AtomicUsize,
    inbound_pings: AtomicUsize,
    open_streams: AtomicU32,
    tracker: SharedTracker<PeerId>,
    draining: AtomicBool,
    /// While it is being drained: the connection that is kept.
    successor: Mutex<Option<Connection>>,
    /// Why the node closes it, once it does.
    closing: OnceLock<Closing>,
}

#[derive(Clone)]
pub(crate) enum Muxed {
    #[cfg(feature = "tcp")]
    Tcp(transport_tcp::Connection),
    #[cfg(feature = "quic")]
    Quic(transport_quic::Connection),
}

/// Runs `$body` on whichever transport's connection `$muxed` is.
macro_rules! on_muxed {
    ($muxed:expr, $connection:ident => $body:expr) => {
        match $muxed {
            #[cfg(feature = "tcp")]
            Muxed::Tcp(ref $connection) => $body,
            #[cfg(feature = "quic")]
            Muxed::Quic(ref $connection) => $body,
        }
    };
}
use on_muxed;

/// What a connection keeps from its node's settings.
pub(crate) struct Timeouts {
    pub(crate) negotiation: Duration,
    pub(crate) ping: Duration,
}

impl Connection {
    pub(crate) fn new(
        id: ConnectionId,
        muxed: Muxed,
        address: Multiaddr,
        (path, direction): (Path, Direction),
        timeouts: &Timeouts,
        tracker: SharedTracker<PeerId>,
    ) -> Self {
        Self(Arc::new(Shared {
            id,
            muxed,
            address,
            path,
            direction,
            opened: Instant::now(),
            negotiation_timeout: timeouts.negotiation,
            ping_timeout: timeouts.ping,
            rtt: AtomicU64::new(u64::MAX),
            identified: Mutex::new(None),
            identifying: tokio::sync::Mutex::default(),
            pinging: tokio::sync::Mutex::default(),
            inbound_streams: AtomicUsize::new(0),
            inbound_pings: AtomicUsize::new(0),
            open_streams: AtomicU32::new(0),
            tracker,
            draining: AtomicBool::new(false),
            successor: Mutex::new(None),
            closing: OnceLock::new(),
        }))
    }

    /// Its name within the node.
    pub fn id(&self) -> ConnectionId {
        self.0.id
    }

    /// Who is at the other end, as the handshake proved.
    pub fn peer(&self) -> PeerId {
        on_muxed!(self.0.muxed, connection => connection.peer())
    }

    /// The other end's address as we see it, without its id.
    pub fn address(&self) -> &Multiaddr {
        &self.0.address
    }

    /// Whether it goes from one end to the other or through a relay, and what is left of what that allows it.
    pub fn route(&self) -> Route {
        self.0.path.route()
    }

    /// Whether it goes through a relay and counts as limited by it.
    pub fn is_limited(&self) -> bool {
        if self.0.path.is_direct() {
            return false;
        }
        let info = self.0.tracker.connection(Instant::now(), self.id());
        // Not every connection has got to the tracker when it is first asked.
        let phase = info.map_or(Phase::Handshaking, |info| info.phase);
        phase != Phase::Established
    }

    /// Which end dialed.
    pub fn direction(&self) -> Direction {
        self.0.direction
    }

    /// The layers it is made of: `tcp/tls/yamux`, `tcp/noise/yamux` or `quic`; `relay/tls/yamux` or `relay/noise/yamux` over
    /// a relay's circuit, whatever carries that.
    pub fn via(&self) -> &'static str {
        let layers = on_muxed!(self.0.muxed, connection => connection.via());
        self.0.path.via(layers)
    }

    /// How long it has been up.
    pub fn age(&self) -> Duration {
        self.0.opened.elapsed()
    }

    /// The round trip of the latest answered ping.
    pub fn rtt(&self) -> Option<Duration> {
        let micros = self.0.rtt.load(Ordering::Relaxed);
        (micros != u64::MAX).then(|| Duration::from_micros(micros))
    }

    /// The TCP connection underneath, whose round trip the kernel knows. Behind a proxy it ends at the proxy.
    #[cfg(feature = "tcp")]
    pub fn link(&self) -> Option<transport_tcp::Link> {
        match self.0.muxed {
            Muxed::Tcp(ref connection) => connection.link(),
            #[cfg(feature = "quic")]
            Muxed::Quic(_) => None,
        }
    }

    /// What the peer last said of itself over this connection.
    pub fn identified(&self) -> Option<Arc<identify::Info>> {
        let identified = self.0.identified.lock();
        identified.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many streams the peer has open to us.
    pub fn inbound_streams(&self) -> usize {
        self.0.inbound_streams.load(Ordering::Relaxed)
    }

    /// How many streams are open on it, whoever opened them.
    pub fn streams(&self) -> u32 {
        self.0.open_streams.load(Ordering::Relaxed)
    }

    /// Whether another connection to the same peer is kept in its place, and this one is closed once nothing goes on
    /// over it any more.
    pub fn is_draining(&self) -> bool {
        self.0.draining.load(Ordering::Acquire)
    }

    fn successor(&self) -> MutexGuard<'_, Option<Connection>> {
        let successor = self.0.successor.lock();
        successor.unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens no more streams on this one as long as `successor` is there.
    pub(crate) fn drain(&self, successor: Option<Connection>) {
        *self.successor() = successor;
        self.0.draining.store(true, Ordering::Release);
        self.report_streams();
    }

    /// It is kept after all.
    pub(crate) fn resume(&self) {
        self.0.draining.store(false, Ordering::Release);
        *self.successor() = None;
    }

    /// The connection that streams are opened on: this one, or what took its place.
    fn current(&self) -> Connection {
        let mut current = self.clone();
        // Whoever took a place may have lost it again; there are no more of them than connections to one peer.
        for _ in 0..8 {
            let next = current.successor().clone();
            match next {
                Some(next) if !next.is_closed() => current = next,
                _ => break,
            }
        }
        current
    }

    fn report_streams(&self) {
        let tracker = &self.0.tracker;
        // A connection that is gone has no streams to speak of.
        let _ = tracker.handle_streams(Instant::now(), self.id(), self.streams());
    }

    /// Whether it is closed, by whichever end.
    pub fn is_closed(&self) -> bool {
        on_muxed!(self.0.muxed, connection => connection.is_closed())
    }

    /// Opens a stream that speaks the first of `protocols` that the peer knows, and says which.
    ///
    /// # Errors
    ///
    /// Typed, and within [`crate::Config::negotiation_timeout`].
    pub async fn open(&self, protocols: &[&str]) -> Result<(String, Stream), OpenError> {
        self.full()?.open_limited(protocols).await
    }

    /// The same, also where a relay limits the connection: for protocols that are content with little.
    ///
    /// # Errors
    ///
    /// Typed, and within [`crate::Config::negotiation_timeout`].
    pub async fn open_limited(&self, protocols: &[&str]) -> Result<(String, Stream), OpenError> {
        let deadline = self.0.negotiation_timeout;
        let trust = negotiate::Trust::Confirmed;
        negotiate::outbound(&self.current(), protocols, trust, deadline).await
    }

    /// The connection on which streams are opened, unless it is limited.
    fn full(&self) -> Result<Self, OpenError> {
        let current = self.current();
        match current.is_limited() {
            true => Err(OpenError::Limited { peer: self.peer() }),
            false => Ok(current),
        }
    }

    /// Opens a stream without waiting for the peer to agree to `protocol`: what is written travels with the proposal,
    /// which saves a round trip. If the peer does not know the protocol, reading says so.
    ///
    /// # Errors
    ///
    /// Only those of the transport.
    pub async fn open_optimistic(&self, protocol: &str) -> Result<Stream, OpenError> {
        self.full()?.open_here(protocol).await
    }

    /// The same on this very connection, even while it is being drained: for what is about the connection itself.
    pub(crate) async fn open_here(&self, protocol: &str) -> Result<Stream, OpenError> {
        let deadline = self.0.negotiation_timeout;
        let trust = negotiate::Trust::Optimistic;
        let (_, stream) = negotiate::outbound(self, &[protocol], trust, deadline).await?;
        Ok(stream)
    }

    /// Sends one ping on a stream of its own and waits for its answer. One goes out at a time, because some peers break off
    /// the one before it; the wait for another's counts towards the time a ping is given.
    ///
    /// # Errors
    ///
    /// See [`ping::PingError`]; one of them within [`crate::Config::ping_timeout`].
    pub async fn ping(&self) -> Result<Duration, ping::PingError> {
        let rtt = ping::once(self, self.0.ping_timeout).await?;
        let micros = u64::try_from(rtt.as_micros()).unwrap_or(u64::MAX - 1);
        self.0.rtt.store(micros, Ordering::Relaxed);
        Ok(rtt)
    }

    /// Asks the peer who it is. One question is asked at a time, because some peers answer no more; a caller who waited
    /// for another's answer gets that one.
    ///
    /// # Errors
    ///
    /// See [`identify::IdentifyError`]; one of them within [`crate::Config::negotiation_timeout`].
    pub async fn identify(&self) -> Result<Arc<identify::Info>, identify::IdentifyError> {
        let known = self.identified();
        let _turn = self.0.identifying.lock().await;
        if let Some(info) = self.identified()
            && !known.is_some_and(|known| Arc::ptr_eq(&known, &info))
        {
            return Ok(info);
        }
        let info = identify::request(self, self.0.negotiation_timeout).await?;
        let info = Arc::new(info);
        self.set_identified(Arc::clone(&info));
        Ok(info)
    }

    /// To be held while a ping is under way.
    pub(crate) async fn pinging(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.0.pinging.lock().await
    }

    /// Whether the other end still answers, within `deadline`.
    pub(crate) async fn answers(&self, deadline: Duration) -> bool {
        match self.0.muxed {
            #[cfg(feature = "quic")]
            Muxed::Quic(ref connection) => connection.probe(deadline).await.is_ok(),
            #[cfg(feature = "tcp")]
            Muxed::Tcp(_) => match ping::once(self, deadline).await {
                // Whoever refuses a ping or breaks it off is there.
                Err(PingError::TimedOut { .. } | PingError::Open(OpenError::TimedOut { .. })) => {
                    false
                }
                _ => !self.is_closed(),
            },
        }
    }

    pub(crate) fn set_identified(&self, info: Arc<identify::Info>) {
        let identified = self.0.identified.lock();
        *identified.unwrap_or_else(PoisonError::into_inner) = Some(info);
    }

    pub(crate) async fn open_raw(&self) -> Result<RawStream, OpenError> {
        let failed = |reason: String| OpenError::Connection {
            peer: self.peer(),
            reason,
        };
        let kind: Result<Kind, OpenError> = match self.0.muxed {
            #[cfg(feature = "tcp")]
            Muxed::Tcp(ref connection) => {
                let stream = connection.open().await;
                stream.map(Kind::Tcp).map_err(|e| failed(e.to_string()))
            }
            #[cfg(feature = "quic")]
            Muxed::Quic(ref connection) => {
                let stream = connection.open().await;
                stream.map(Kind::Quic).map_err(|e| failed(e.to_string()))
            }
        };
        Ok(RawStream::new(kind?, StreamOpen::new(self)))
    }

    /// The peer's next stream, or `None` once the connection is closed. Cancel-safe.
    pub(crate) async fn accept_raw(&self) -> Option<RawStream> {
        let kind: Option<Kind> = match self.0.muxed {
            #[cfg(feature = "tcp")]
            Muxed::Tcp(ref connection) => connection.accept().await.map(Kind::Tcp),
            #[cfg(feature = "quic")]
            Muxed::Quic(ref connection) => connection.accept().await.map(Kind::Quic),
        };
        Some(RawStream::new(kind?, StreamOpen::new(self)))
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("id", &self.id())
            .field("peer", &self.peer())
            .field("address", self.address())
            .field("direction", &self.direction())
            .field("via", &self.via())
            .finish_non_exhaustive()
    }
}
