//! One connection over any transport.

mod asking;
mod closing;
mod counted;
mod muxed;
mod negotiate;
mod path;
mod stream;
mod talk;

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use conn_state::{
    Closing, ConnectionId, Direction, Phase, Remote, Route, SharedTracker, StreamCount, Usage,
};
use libp2p_identity::PeerId;
use multiaddr::Multiaddr;

use crate::{address::audience::Reach, error::OpenError, protocols::identify};

pub(crate) use counted::{InUse, ServicePermit, StreamPermit};
pub(crate) use muxed::Muxed;
pub(crate) use negotiate::{Offered, Trust, inbound as negotiate_inbound};
pub(crate) use path::{Path, RelayLimit};
pub(crate) use stream::RawStream;
pub use stream::Stream;

/// The number of steps from a drained connection to its last successor. A successor may be drained too. The limit
/// equals the default number of connections to one peer.
const MAX_SUCCESSORS: usize = 8;

/// A handle to an authenticated, multiplexed connection. The node itself keeps the connection open, so dropping a
/// handle changes nothing.
///
/// If the node replaces this connection by another connection to the same peer, this handle opens new streams on the
/// other connection.
#[derive(Clone)]
pub struct Connection(Arc<Shared>);

struct Shared {
    id: ConnectionId,
    muxed: Muxed,
    address: Multiaddr,
    path: Path,
    direction: Direction,
    opened: Instant,
    timeouts: Arc<Timeouts>,
    /// Microseconds; `u64::MAX` until measured.
    rtt: AtomicU64,
    identified: Mutex<Option<Arc<identify::Info>>>,
    identifying: tokio::sync::Mutex<()>,
    /// Held from the question who the peer is until the answer has been reported.
    describing: tokio::sync::Mutex<()>,
    pinging: tokio::sync::Mutex<()>,
    /// When the ping under way began, in microseconds after `opened`; `u64::MAX` if there is none.
    asked: AtomicU64,
    inbound_streams: AtomicU32,
    services: counted::Services,
    streams: StreamCount<PeerId>,
    /// The streams that keep the connection from being closed for a newcomer.
    usage: Usage,
    tracker: SharedTracker<PeerId>,
    draining: AtomicBool,
    /// While the connection is drained: the connection that is kept.
    successor: Mutex<Option<Connection>>,
    /// The reason for which the node closes the connection. It is set when the node closes the connection.
    closing: OnceLock<Closing>,
}

/// The node's settings and budgets that a connection needs.
#[derive(Debug)]
pub(crate) struct Timeouts {
    pub(crate) negotiation: Duration,
    pub(crate) ping: Duration,
    pub(crate) signatures: identify::SignatureBudget,
}

/// The arguments of [`Connection::new`].
pub(crate) struct Parameters {
    pub(crate) id: ConnectionId,
    pub(crate) muxed: Muxed,
    pub(crate) address: Multiaddr,
    pub(crate) path: Path,
    pub(crate) direction: Direction,
    pub(crate) timeouts: Arc<Timeouts>,
    pub(crate) streams: StreamCount<PeerId>,
    pub(crate) tracker: SharedTracker<PeerId>,
}

impl Connection {
    pub(crate) fn new(parameters: Parameters) -> Self {
        let Parameters {
            id,
            muxed,
            address,
            path,
            direction,
            timeouts,
            streams,
            tracker,
        } = parameters;
        Self(Arc::new(Shared {
            id,
            muxed,
            address,
            path,
            direction,
            opened: Instant::now(),
            timeouts,
            rtt: AtomicU64::new(u64::MAX),
            identified: Mutex::new(None),
            identifying: tokio::sync::Mutex::default(),
            describing: tokio::sync::Mutex::default(),
            pinging: tokio::sync::Mutex::default(),
            asked: AtomicU64::new(u64::MAX),
            inbound_streams: AtomicU32::new(0),
            services: counted::Services::default(),
            streams,
            usage: Usage::new(Instant::now()),
            tracker,
            draining: AtomicBool::new(false),
            successor: Mutex::new(None),
            closing: OnceLock::new(),
        }))
    }

    /// The connection's id within the node.
    pub fn id(&self) -> ConnectionId {
        self.0.id
    }

    /// The peer at the other end. The handshake has proved its identity.
    pub fn peer(&self) -> PeerId {
        self.0.muxed.peer()
    }

    /// The other end's address as this node sees it, without the peer's id.
    pub fn address(&self) -> &Multiaddr {
        &self.0.address
    }

    /// This end's address, if the transport knows it and the connection uses no relay. The IP address may be unspecified. If the
    /// node dialed through a proxy, this is the local address of the connection to the proxy.
    pub(crate) fn local(&self) -> Option<Multiaddr> {
        match self.0.path.is_relayed() {
            true => None,
            false => self.0.muxed.local(),
        }
    }

    /// The reach of the peer's address, which decides the addresses that the node tells the peer. Behind a relay or a proxy, the
    /// peer can be anywhere: the proxy may be in another network, where the same private address belongs to another host.
    pub(crate) fn audience(&self) -> Reach {
        match self.0.path.is_direct() {
            true => Reach::of(self.address()),
            false => Reach::Internet,
        }
    }

    /// The route of the connection: direct, or through a relay with the rest of the relay's limit.
    pub fn route(&self) -> Route {
        self.0.path.route()
    }

    /// The path of the connection, in the form that the tracker compares.
    pub(crate) fn tracked_path(&self) -> conn_state::Path {
        let path = conn_state::Path::new(self.route());
        match self.0.muxed.remote() {
            Some((transport, address)) if !self.0.path.is_relayed() => {
                path.with_remote(Remote::new(transport, address))
            }
            _ => path,
        }
    }

    /// Whether a relay limits the connection.
    pub fn is_limited(&self) -> bool {
        if !self.0.path.is_relayed() {
            return false;
        }
        let info = self.0.tracker.connection(Instant::now(), self.id());
        // The tracker may not know the connection yet when it is first asked.
        let phase = info.map_or(Phase::Handshaking, |info| info.phase);
        phase != Phase::Established
    }

    /// The end that dialed.
    pub fn direction(&self) -> Direction {
        self.0.direction
    }

    /// The connection's layers: `tcp/tls/yamux`, `tcp/noise/yamux` or `quic`; over a circuit always `relay/tls/yamux`
    /// or `relay/noise/yamux`.
    pub fn via(&self) -> &'static str {
        self.0.path.via(self.0.muxed.via())
    }

    /// The time since the handshake ended.
    pub fn age(&self) -> Duration {
        self.0.opened.elapsed()
    }

    /// The round-trip time of the latest answered ping.
    pub fn rtt(&self) -> Option<Duration> {
        let micros = self.0.rtt.load(Ordering::Relaxed);
        (micros != u64::MAX).then(|| Duration::from_micros(micros))
    }

    /// The TCP connection under this connection, whose round-trip time the kernel measures. If the node dialed through a proxy,
    /// the TCP connection ends at the proxy.
    #[cfg(feature = "tcp")]
    pub fn link(&self) -> Option<transport_tcp::Link> {
        self.0.muxed.link()
    }

    /// The amount of received data: bytes over TCP, datagrams over QUIC. It only grows.
    pub(crate) fn received(&self) -> u64 {
        self.0.muxed.received()
    }

    /// Whether the connection survives a change of its path. Other connections must be replaced by new ones.
    pub(crate) fn can_migrate(&self) -> bool {
        self.0.muxed.can_migrate()
    }

    /// The latest identify message of the peer on this connection.
    pub fn identified(&self) -> Option<Arc<identify::Info>> {
        let identified = self.0.identified.lock();
        identified.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The number of open streams that the peer opened.
    pub fn inbound_streams(&self) -> usize {
        self.0.inbound_streams.load(Ordering::Relaxed) as usize
    }

    /// The number of open streams, from both ends.
    pub fn streams(&self) -> u32 {
        self.0.streams.open()
    }

    /// Whether the connection is drained: the node opens no new streams on it and closes it when its streams have
    /// ended, because another connection to the same peer replaces it.
    pub fn is_draining(&self) -> bool {
        self.0.draining.load(Ordering::Acquire)
    }

    fn successor(&self) -> MutexGuard<'_, Option<Connection>> {
        let successor = self.0.successor.lock();
        successor.unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens no more streams on this connection as long as `successor` is open.
    pub(crate) fn drain(&self, successor: Option<Connection>) {
        *self.successor() = successor;
        self.0.draining.store(true, Ordering::Release);
    }

    /// Ends the draining, because the connection stays after all.
    pub(crate) fn resume(&self) {
        self.0.draining.store(false, Ordering::Release);
        *self.successor() = None;
    }

    /// The connection on which new streams are opened: this connection, or its successor.
    fn current(&self) -> Connection {
        let mut current = self.clone();
        for _ in 0..MAX_SUCCESSORS {
            let next = current.successor().clone();
            match next {
                Some(next) if !next.is_closing() => current = next,
                _ => break,
            }
        }
        current
    }

    /// The connection on which new streams are opened. Fails if that connection is limited.
    fn unlimited(&self) -> Result<Self, OpenError> {
        let current = self.current();
        match current.is_limited() {
            true => Err(OpenError::Limited { peer: self.peer() }),
            false => Ok(current),
        }
    }

    /// Whether either end has closed the connection.
    pub fn is_closed(&self) -> bool {
        self.0.muxed.is_closed()
    }

    /// Opens a stream for the first of `protocols` that the peer supports. Returns that protocol and the stream.
    ///
    /// # Errors
    ///
    /// [`OpenError`], within [`crate::Config::negotiation_timeout`].
    pub async fn open(&self, protocols: &[&str]) -> Result<(String, Stream), OpenError> {
        self.unlimited()?.open_limited(protocols).await
    }

    /// Like [`Self::open`], but works on a limited connection too. Use it for protocols that need few bytes.
    ///
    /// # Errors
    ///
    /// [`OpenError`], within [`crate::Config::negotiation_timeout`].
    pub async fn open_limited(&self, protocols: &[&str]) -> Result<(String, Stream), OpenError> {
        let current = self.current();
        let opened = current.open_used(protocols, Trust::Confirmed).await;
        let successor = self.current();
        match opened {
            // The connection was replaced while the stream opened.
            Err(OpenError::Connection { .. } | OpenError::Negotiation { .. })
                if successor.id() != current.id() =>
            {
                successor.open_used(protocols, Trust::Confirmed).await
            }
            opened => opened,
        }
    }

    /// Opens a stream without waiting for the peer's agreement to `protocol`. The first written bytes travel with the
    /// proposal, which saves a round trip. Reading fails if the peer does not support the protocol.
    ///
    /// # Errors
    ///
    /// [`OpenError::Connection`] or [`OpenError::TimedOut`].
    pub async fn open_optimistic(&self, protocol: &str) -> Result<Stream, OpenError> {
        let current = self.unlimited()?;
        let opened = current.open_used(&[protocol], Trust::Optimistic).await;
        opened.map(|(_, stream)| stream)
    }

    /// Opens a stream. From now until the stream is dropped, the connection counts as in use.
    async fn open_used(
        &self,
        protocols: &[&str],
        trust: Trust,
    ) -> Result<(String, Stream), OpenError> {
        let in_use = self.in_use();
        let deadline = self.0.timeouts.negotiation;
        let opened = negotiate::outbound(self, protocols, trust, deadline).await;
        opened.map(|(protocol, stream)| (protocol, stream.with_use(in_use)))
    }

    /// Like [`Self::open_optimistic`], but always on this connection, even if it is drained or limited. The connection does not
    /// count as in use. Ping, identify and gossip need this.
    pub(crate) async fn open_here(&self, protocol: &str) -> Result<Stream, OpenError> {
        let deadline = self.0.timeouts.negotiation;
        let opened = negotiate::outbound(self, &[protocol], Trust::Optimistic, deadline).await;
        opened.map(|(_, stream)| stream)
    }

    pub(crate) async fn open_raw(&self) -> Result<RawStream, OpenError> {
        // Counted before it is there, so that a drained connection is not closed while a stream opens.
        let open = counted::StreamOpen::new(self);
        let opened = self.0.muxed.open().await;
        let stream = opened.map_err(|source| OpenError::Connection {
            peer: self.peer(),
            source: Arc::new(source),
        })?;
        Ok(RawStream::new(stream, open))
    }

    /// Waits for the next stream that the peer opens. Returns `None` when the connection is closed. Cancel-safe.
    pub(crate) async fn accept_raw(&self) -> Option<RawStream> {
        let stream = self.0.muxed.accept().await?;
        Some(RawStream::new(stream, counted::StreamOpen::new(self)))
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
