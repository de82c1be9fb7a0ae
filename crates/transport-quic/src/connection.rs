//! An established connection.

use std::{
    fmt,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use libp2p_identity::PeerId;
use quinn::{Side, VarInt};
use tokio::time::Instant;

use crate::{
    budget::{Budget, Slot},
    close_code::CloseCode,
    config::Config,
    error::{CloseReason, ProbeError, StreamError},
    link::Handle,
    probe,
    stream::{RecvStream, SendStream, Stream},
    window::Windows,
};

/// An authenticated connection. Clones are handles to the same connection.
///
/// If you drop the last handle and the last stream, the connection closes in the background, like with
/// [`close`](Self::close) and code 0: finished streams are still delivered.
#[derive(Clone)]
pub struct Connection {
    inner: Arc<Inner>,
}

struct Inner {
    handle: Arc<Handle>,
    peer: PeerId,
    handshake_addr: SocketAddr,
    local_addr: SocketAddr,
    limits: Mutex<Limits>,
}

/// What grows with use.
struct Limits {
    budget: Budget,
    windows: Windows,
}

/// Figures of a connection at one moment. Counters never decrease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectionStats {
    /// The current estimate of the round trip.
    pub rtt: Duration,
    /// The largest UDP payload in use, in bytes.
    pub mtu: u16,
    /// The congestion window in bytes.
    pub congestion_window: u64,
    /// QUIC packets sent.
    pub sent_packets: u64,
    /// QUIC packets that count as lost.
    pub lost_packets: u64,
    /// UDP datagrams received.
    pub received_datagrams: u64,
    /// Bytes of UDP payload received.
    pub received_bytes: u64,
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
    /// `bound` is the address of the endpoint's socket.
    pub(crate) fn new(
        handle: Arc<Handle>,
        peer: PeerId,
        bound: SocketAddr,
        config: &Config,
    ) -> Self {
        let limits = Mutex::new(Limits {
            budget: Budget::new(config.max_inbound_streams),
            windows: Windows::new(config.connection_window, config.send_window),
        });
        let handshake_addr = canonical(handle.link.quinn.remote_address());
        // quinn knows only the local addresses of accepted connections.
        let ip = handle.link.quinn.local_ip().unwrap_or(bound.ip());
        let local_addr = canonical(SocketAddr::new(ip, bound.port()));
        let connection = Self {
            inner: Arc::new(Inner {
                handle,
                peer,
                handshake_addr,
                local_addr,
                limits,
            }),
        };
        connection.fit_windows(&mut connection.limits());
        connection
    }

    fn quinn(&self) -> &quinn::Connection {
        &self.inner.handle.link.quinn
    }

    #[cfg(test)]
    pub(crate) fn link(&self) -> &crate::link::Link {
        &self.inner.handle.link
    }

    fn limits(&self) -> MutexGuard<'_, Limits> {
        self.inner
            .limits
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn fit_windows(&self, limits: &mut Limits) {
        let quinn = self.quinn();
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

    /// The peer at the other end, as the handshake proved.
    #[must_use]
    pub fn peer(&self) -> PeerId {
        self.inner.peer
    }

    /// The present socket address of the peer. A peer may move to another address (RFC 9000 section 9).
    #[must_use]
    pub fn remote_addr(&self) -> SocketAddr {
        canonical(self.quinn().remote_address())
    }

    /// The socket address of the peer at the end of the handshake.
    #[must_use]
    pub fn handshake_addr(&self) -> SocketAddr {
        self.inner.handshake_addr
    }

    /// The socket address of this side at the end of the handshake. The IP address is the one to which the peer sent
    /// its packets, if this side accepted the connection, and otherwise the address to which the endpoint is bound.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.inner.local_addr
    }

    /// The name of the transport: `"quic"`.
    #[must_use]
    pub fn via(&self) -> &'static str {
        "quic"
    }

    /// The current estimate of the round trip.
    #[must_use]
    pub fn rtt(&self) -> Duration {
        self.quinn().rtt()
    }

    /// The number of UDP datagrams received on this connection so far. Two equal values show that no datagram of the
    /// peer arrived in between. A call costs one lock and no allocation.
    #[must_use]
    pub fn received_datagrams(&self) -> u64 {
        self.quinn().stats().udp_rx.datagrams
    }

    /// Whether this side would recognise a stateless reset by the peer after a restart. The answer is yes for a
    /// connection that this side dialed. For an accepted connection, the answer is yes when the dialer's first
    /// NEW_CONNECTION_ID frame has arrived, because a dialer's first connection id has no reset token (RFC 9000 section
    /// 10.3).
    #[must_use]
    pub fn can_be_reset(&self) -> bool {
        let quinn = self.quinn();
        quinn.side() == Side::Client || quinn.stats().frame_rx.new_connection_id > 0
    }

    /// Whether the first NEW_CONNECTION_ID frames have left.
    pub(crate) fn has_sent_ids(&self) -> bool {
        self.quinn().stats().frame_tx.new_connection_id > 0
    }

    /// The figures of the connection at this moment.
    #[must_use]
    pub fn stats(&self) -> ConnectionStats {
        let stats = self.quinn().stats();
        ConnectionStats {
            rtt: stats.path.rtt,
            mtu: stats.path.current_mtu,
            congestion_window: stats.path.cwnd,
            sent_packets: stats.path.sent_packets,
            lost_packets: stats.path.lost_packets,
            received_datagrams: stats.udp_rx.datagrams,
            received_bytes: stats.udp_rx.bytes,
        }
    }

    /// The protocol that both ends agreed on by ALPN.
    #[must_use]
    pub fn alpn(&self) -> Option<Vec<u8>> {
        self.quinn()
            .handshake_data()?
            .downcast::<quinn::crypto::rustls::HandshakeData>()
            .ok()?
            .protocol
    }

    /// Opens a stream. Waits while the peer allows no further streams. Cancel-safe.
    ///
    /// # Errors
    ///
    /// [`StreamError::Closed`] if the connection has ended or is being closed by this side.
    pub async fn open(&self) -> Result<Stream, StreamError> {
        let (send, recv) = self.unless_closing(self.quinn().open_bi()).await?;
        self.fit_windows(&mut self.limits());
        Ok(self.stream(send, recv, None))
    }

    /// The next stream that the peer opens. `None`: the connection has ended, or this side is closing it. Cancel-safe.
    pub async fn accept(&self) -> Option<Stream> {
        let (send, recv) = self.unless_closing(self.quinn().accept_bi()).await.ok()?;
        let slot = self.count_in();
        Some(self.stream(send, recv, Some(Arc::new(slot))))
    }

    /// Opens a stream on which only this side sends, for [`Flavour::RawPublicKey`]. libp2p peers do not allow such
    /// streams.
    ///
    /// *Backpressure:* waits while the peer allows no further streams. Writing waits while the peer
    /// takes no more bytes. The peer learns of the stream with its first byte.
    ///
    /// *Cancel-safety:* a dropped future has opened no stream and uses up no permission of the
    /// peer.
    ///
    /// [`Flavour::RawPublicKey`]: crate::Flavour::RawPublicKey
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub async fn open_uni(&self) -> Result<SendStream, StreamError> {
        let send = self.unless_closing(self.quinn().open_uni()).await?;
        Ok(SendStream::new(send, self.inner.handle.clone(), None))
    }

    /// The next stream on which only the peer sends. `None`: the connection has ended, or this side is closing it.
    ///
    /// *Backpressure:* the peer has at most
    /// [`Config::max_inbound_streams`](crate::Config::max_inbound_streams) such streams, whether
    /// or not they were accepted. A stream counts until it has ended and was read to its end, or
    /// until its [`RecvStream`] is dropped. The peer learns of free places when more than an eighth
    /// of them are free. Bytes that nobody reads stay within
    /// [`Config::stream_window`](crate::Config::stream_window), and within
    /// [`Config::connection_window`](crate::Config::connection_window) for all streams together.
    ///
    /// *Cancel-safety:* a dropped future has taken no stream.
    pub async fn accept_uni(&self) -> Option<RecvStream> {
        let recv = self.unless_closing(self.quinn().accept_uni()).await.ok()?;
        Some(RecvStream::new(recv, self.inner.handle.clone(), None))
    }

    async fn unless_closing<T>(
        &self,
        stream: impl Future<Output = Result<T, quinn::ConnectionError>>,
    ) -> Result<T, StreamError> {
        let link = &self.inner.handle.link;
        tokio::select! {
            biased;
            () = link.closing.raised() => {
                let how = self.quinn().close_reason();
                Err(StreamError::Closed(how.map_or(CloseReason::Local, |error| link.reason(error))))
            }
            stream = stream => stream.map_err(|error| StreamError::Closed(link.reason(error))),
        }
    }

    fn stream(
        &self,
        send: quinn::SendStream,
        recv: quinn::RecvStream,
        slot: Option<Arc<Slot>>,
    ) -> Stream {
        let handle = &self.inner.handle;
        Stream::new(
            SendStream::new(send, Arc::clone(handle), slot.clone()),
            RecvStream::new(recv, Arc::clone(handle), slot),
        )
    }

    fn count_in(&self) -> Slot {
        let now = Instant::now().into_std();
        let mut limits = self.limits();
        self.fit_windows(&mut limits);
        let (slot, grown) = limits.budget.handle_accept(now);
        if let Some(limit) = grown {
            self.quinn()
                .set_max_concurrent_bi_streams(VarInt::from_u32(limit));
        }
        slot
    }

    /// Starts a graceful close and returns.
    ///
    /// From now on no stream is opened or accepted. The connection ends when the peer's QUIC stack has acknowledged
    /// every finished stream, and at the latest after [`Config::close_timeout`](crate::Config::close_timeout). The peer
    /// then receives `code` and `reason`. Unfinished streams break at this time. If nothing waits for an
    /// acknowledgement, the connection ends at once. To wait for the end, call [`closed`](Self::closed).
    ///
    /// If the peer uses this crate or quinn, its application can still read the delivered bytes after the end. Other
    /// QUIC stacks may discard bytes that their application has not read yet. If this matters, let the peer close
    /// first.
    pub fn close(&self, code: CloseCode, reason: &str) {
        self.inner.handle.link.close(code, reason);
    }

    /// Ends the connection at once, even during a graceful close. Bytes that are not acknowledged yet may be lost. The
    /// peer receives `code` and `reason`, and streams fail on both sides.
    pub fn abort(&self, code: CloseCode, reason: &str) {
        self.inner.handle.link.abort(code, reason);
    }

    /// Waits until the connection has ended, and returns the reason. Cancel-safe.
    pub async fn closed(&self) -> CloseReason {
        let error = self.quinn().closed().await;
        self.inner.handle.link.reason(error)
    }

    /// Whether the connection has ended. False while a graceful close still delivers streams.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.inner.handle.link.is_closed()
    }

    /// Checks within `deadline` that the peer still answers on this connection. A restarted
    /// peer answers with a reset, which ends the connection: see
    /// [`can_be_reset`](Self::can_be_reset).
    ///
    /// # Errors
    ///
    /// [`ProbeError`] if no answer arrived in time, or the connection ended.
    pub async fn probe(&self, deadline: Duration) -> Result<(), ProbeError> {
        let quinn = self.quinn();
        let probe = probe::run(quinn, || self.elicit());
        tokio::select! {
            biased;
            reason = self.closed() => Err(ProbeError::Closed(reason)),
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
            self.quinn().set_receive_window(window);
        }
    }
}

/// An IPv4 address, where a dual-stack socket reports it as a mapped IPv6 address.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
