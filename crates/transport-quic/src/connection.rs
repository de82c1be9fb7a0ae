//! An established connection.

use std::{
    fmt,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use libp2p_identity::PeerId;
use quinn::VarInt;
use tokio::time::Instant;

use crate::{
    budget::{Budget, Slot},
    config::Config,
    error::{CloseReason, ProbeError, StreamError},
    probe,
    stream::Stream,
    window::Windows,
};

/// Why a connection or a stream is closed, as the peer is told (libp2p's connection error codes).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CloseCode(u32);

impl CloseCode {
    /// No reason.
    pub const NONE: Self = Self(0);
    /// A resource limit was hit.
    pub const RESOURCE_LIMIT: Self = Self(0x1001);
    /// Too many requests or connections in a time.
    pub const RATE: Self = Self(0x1002);
    /// The peer violated a protocol.
    pub const PROTOCOL_VIOLATION: Self = Self(0x1003);
    /// Another connection to the same peer takes its place.
    pub const SUPPLANTED: Self = Self(0x1004);
    /// The connection was of no use.
    pub const COLLECTED: Self = Self(0x1005);
    /// This node shuts down.
    pub const SHUTDOWN: Self = Self(0x1006);
    /// Policy forbids the peer.
    pub const GATED: Self = Self(0x1007);

    /// Any other code.
    #[must_use]
    pub const fn new(code: u32) -> Self {
        Self(code)
    }

    /// The number on the wire.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl From<CloseCode> for VarInt {
    fn from(code: CloseCode) -> Self {
        Self::from_u32(code.0)
    }
}

/// An authenticated connection. Clones are handles to the same one; it closes with code 0
/// when the last handle and the last stream are gone.
#[derive(Clone)]
pub struct Connection {
    inner: Arc<Inner>,
}

struct Inner {
    quinn: quinn::Connection,
    peer: PeerId,
    limits: Mutex<Limits>,
}

/// What grows with use.
struct Limits {
    budget: Budget,
    windows: Windows,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("peer", &self.peer())
            .field("remote_addr", &self.remote_addr())
            .finish_non_exhaustive()
    }
}

impl Connection {
    pub(crate) fn new(quinn: quinn::Connection, peer: PeerId, config: &Config) -> Self {
        let limits = Mutex::new(Limits {
            budget: Budget::new(config.max_inbound_streams),
            windows: Windows::new(config.connection_window, config.send_window),
        });
        let connection = Self {
            inner: Arc::new(Inner {
                quinn,
                peer,
                limits,
            }),
        };
        connection.fit_windows(&mut connection.limits());
        connection
    }

    fn limits(&self) -> MutexGuard<'_, Limits> {
        self.inner
            .limits
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn fit_windows(&self, limits: &mut Limits) {
        let quinn = &self.inner.quinn;
        let stats = quinn.stats();
        // Before the first acknowledgement quinn assumes a third of a second.
        if stats.frame_rx.acks == 0 {
            return;
        }
        if let Some((receive, send)) = limits.windows.handle_round_trip(stats.path.rtt) {
            quinn.set_receive_window(VarInt::from_u64(receive).unwrap_or(VarInt::MAX));
            quinn.set_send_window(send);
        }
    }

    /// Who is at the other end, proved by the handshake.
    #[must_use]
    pub fn peer(&self) -> PeerId {
        self.inner.peer
    }

    /// Where the other end is now; a peer may move (RFC 9000 section 9).
    #[must_use]
    pub fn remote_addr(&self) -> SocketAddr {
        let address = self.inner.quinn.remote_address();
        SocketAddr::new(address.ip().to_canonical(), address.port())
    }

    /// What the connection is made of: `"quic"`.
    #[must_use]
    pub fn via(&self) -> &'static str {
        "quic"
    }

    /// The current estimate of the round trip.
    #[must_use]
    pub fn rtt(&self) -> Duration {
        self.inner.quinn.rtt()
    }

    /// The protocol that ALPN settled on.
    #[must_use]
    pub fn alpn(&self) -> Option<Vec<u8>> {
        self.inner
            .quinn
            .handshake_data()?
            .downcast::<quinn::crypto::rustls::HandshakeData>()
            .ok()?
            .protocol
    }

    /// Opens a stream; waits while the peer's limit is reached. Cancel-safe.
    ///
    /// # Errors
    ///
    /// [`StreamError::Closed`] if the connection is gone.
    pub async fn open(&self) -> Result<Stream, StreamError> {
        match self.inner.quinn.open_bi().await {
            Ok((send, recv)) => {
                self.fit_windows(&mut self.limits());
                Ok(Stream::new(send, recv, None))
            }
            Err(error) => Err(StreamError::Closed(error.into())),
        }
    }

    /// The next stream that the peer opens; `None` when the connection is gone. Cancel-safe.
    pub async fn accept(&self) -> Option<Stream> {
        let (send, recv) = self.inner.quinn.accept_bi().await.ok()?;
        let slot = self.count_in();
        Some(Stream::new(send, recv, Some(slot)))
    }

    fn count_in(&self) -> Slot {
        let now = Instant::now().into_std();
        let mut limits = self.limits();
        self.fit_windows(&mut limits);
        let (slot, grown) = limits.budget.handle_accept(now);
        if let Some(limit) = grown {
            self.inner
                .quinn
                .set_max_concurrent_bi_streams(VarInt::from_u32(limit));
        }
        slot
    }

    /// Closes at once; the peer is told `code` and `reason`, and streams fail on both sides.
    pub fn close(&self, code: CloseCode, reason: &str) {
        self.inner.quinn.close(code.into(), reason.as_bytes());
    }

    /// Waits until the connection is gone and says why. Cancel-safe.
    pub async fn closed(&self) -> CloseReason {
        self.inner.quinn.closed().await.into()
    }

    /// Whether the connection is gone.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.inner.quinn.close_reason().is_some()
    }

    /// Finds out whether the other side still answers on this connection, at most within
    /// `deadline`. A restarted peer answers with a reset, which ends the connection.
    ///
    /// # Errors
    ///
    /// [`ProbeError`] if nothing came back in time, or the connection ended.
    pub async fn probe(&self, deadline: Duration) -> Result<(), ProbeError> {
        let quinn = &self.inner.quinn;
        let probe = probe::run(quinn, || self.elicit());
        tokio::select! {
            biased;
            reason = quinn.closed() => Err(ProbeError::Closed(reason.into())),
            answer = tokio::time::timeout(deadline, probe) => {
                answer.map_err(|_| ProbeError::Silent { waited: deadline })
            }
        }
    }

    /// Sends a MAX_DATA frame; see [`probe`] for why.
    fn elicit(&self) {
        let limits = self.limits();
        let window = limits.windows.receive();
        for window in [window + 1, window] {
            let window = VarInt::from_u64(window).unwrap_or(VarInt::MAX);
            self.inner.quinn.set_receive_window(window);
        }
    }

    /// The quinn connection underneath, for datagrams, unidirectional streams and statistics.
    ///
    /// Its stream limit and receive window are adjusted here; leave those two alone.
    #[must_use]
    pub fn quinn(&self) -> &quinn::Connection {
        &self.inner.quinn
    }
}
