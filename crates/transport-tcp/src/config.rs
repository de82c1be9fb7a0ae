//! Settings. Each default gives its reason.

use std::time::Duration;

use crate::{Resolver, Security};

/// TCP keepalive: when to probe whether an idle peer's kernel is still there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Keepalive {
    /// Idle time before the first probe. Default 15 s: below 30 s, the shortest
    /// lifetime of NAT mappings in the field.
    pub idle: Duration,
    /// Time between probes. Default 5 s.
    pub interval: Duration,
    /// Probes without an answer before the connection is dead. Default 3, so that with the other
    /// defaults a vanished host is noticed after 30 s.
    pub retries: u32,
}

impl Default for Keepalive {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(15),
            interval: Duration::from_secs(5),
            retries: 3,
        }
    }
}

impl Keepalive {
    /// Sets [`Keepalive::idle`].
    pub fn with_idle(mut self, idle: Duration) -> Self {
        self.idle = idle;
        self
    }

    /// Sets [`Keepalive::interval`].
    pub fn with_interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// Sets [`Keepalive::retries`].
    pub fn with_retries(mut self, retries: u32) -> Self {
        self.retries = retries;
        self
    }
}

/// Settings of [`Direct`](crate::Direct).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DirectConfig {
    /// Resolves `/dns*` and `/dnsaddr` hosts. Default [`Resolver::system`]. `None` refuses such hosts, so that no DNS
    /// question can leave the machine.
    pub resolver: Option<Resolver>,
    /// TCP_NODELAY. Default true: the muxer already writes whole frames, and Nagle's algorithm
    /// would hold back the last one for a round trip.
    pub nodelay: bool,
    /// TCP keepalive. Default [`Keepalive::default`]; `None` turns it off.
    pub keepalive: Option<Keepalive>,
    /// How long one address is tried alone before the next one is tried as well. Default
    /// 250 ms, as RFC 8305 section 8 recommends.
    pub attempt_delay: Duration,
}

impl Default for DirectConfig {
    fn default() -> Self {
        Self {
            resolver: Some(Resolver::system()),
            nodelay: true,
            keepalive: Some(Keepalive::default()),
            attempt_delay: Duration::from_millis(250),
        }
    }
}

impl DirectConfig {
    /// Sets [`DirectConfig::resolver`].
    pub fn with_resolver(mut self, resolver: impl Into<Option<Resolver>>) -> Self {
        self.resolver = resolver.into();
        self
    }

    /// Sets [`DirectConfig::nodelay`].
    pub fn with_nodelay(mut self, nodelay: bool) -> Self {
        self.nodelay = nodelay;
        self
    }

    /// Sets [`DirectConfig::keepalive`].
    pub fn with_keepalive(mut self, keepalive: Option<Keepalive>) -> Self {
        self.keepalive = keepalive;
        self
    }

    /// Sets [`DirectConfig::attempt_delay`].
    pub fn with_attempt_delay(mut self, delay: Duration) -> Self {
        self.attempt_delay = delay;
        self
    }
}

/// Settings of [`Listener`](crate::Listener).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ListenConfig {
    /// Connections the kernel holds until they are accepted. Default 1024: enough for one
    /// second of a crowd of peers that reconnect at once. The kernel caps it (`net.core.somaxconn`).
    pub backlog: u32,
    /// TCP_NODELAY on accepted sockets. Default true, see [`DirectConfig::nodelay`].
    pub nodelay: bool,
    /// TCP keepalive on accepted sockets. Default [`Keepalive::default`]; `None` turns it off.
    pub keepalive: Option<Keepalive>,
    /// How long accepting pauses when the process is out of file descriptors or memory. Default
    /// 100 ms: long enough not to spin, short enough not to delay connections once there is room.
    pub exhausted_pause: Duration,
}

impl Default for ListenConfig {
    fn default() -> Self {
        Self {
            backlog: 1024,
            nodelay: true,
            keepalive: Some(Keepalive::default()),
            exhausted_pause: Duration::from_millis(100),
        }
    }
}

impl ListenConfig {
    /// Sets [`ListenConfig::backlog`].
    pub fn with_backlog(mut self, backlog: u32) -> Self {
        self.backlog = backlog;
        self
    }

    /// Sets [`ListenConfig::nodelay`].
    pub fn with_nodelay(mut self, nodelay: bool) -> Self {
        self.nodelay = nodelay;
        self
    }

    /// Sets [`ListenConfig::keepalive`].
    pub fn with_keepalive(mut self, keepalive: Option<Keepalive>) -> Self {
        self.keepalive = keepalive;
        self
    }

    /// Sets [`ListenConfig::exhausted_pause`].
    pub fn with_exhausted_pause(mut self, pause: Duration) -> Self {
        self.exhausted_pause = pause;
        self
    }
}

/// Settings of [`Upgrader`](crate::Upgrader).
///
/// The memory that a peer can make one connection keep is bounded by a sum: the cost of the connection, the cost of its open
/// streams, 512 KiB, and twice the unread payload. The unread payload is at most [`UpgradeConfig::max_receive_bytes`]. Small
/// unread frames are joined, so that their number does not matter. The bytes of a stream are freed when the stream is
/// dropped, even if the peer reads nothing. All bytes are freed when the connection ends.
///
/// An open stream costs about 1 KiB. In addition, a stream keeps at most 448 KiB that this side has written and the peer has
/// not read. A dropped stream counts until the peer has received its reset. There can be 256 dropped streams beyond
/// [`UpgradeConfig::max_streams`]; with one more, the connection closes.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct UpgradeConfig {
    /// Security protocols, the preferred one first. Default TLS, then Noise: TLS uses the CPU's
    /// AES and is the one go-libp2p prefers.
    pub security: Vec<Security>,
    /// Deadline for agreeing on the security protocol. Default 5 s: two round trips, even over a
    /// slow satellite link with a retransmission.
    pub negotiate_timeout: Duration,
    /// Deadline for the TLS or Noise handshake. Default 10 s: two round trips and the work of
    /// a busy or small peer.
    pub secure_timeout: Duration,
    /// Deadline for agreeing on the muxer, if the handshake has not settled it. Default 5 s,
    /// for the reason of [`UpgradeConfig::negotiate_timeout`].
    pub mux_timeout: Duration,
    /// How long a graceful close may take; after it the connection is dropped with what is undelivered. Default 1 s:
    /// some round trips for a peer that reads, and a peer that does not read must not hold a socket for long. Where much
    /// is finished just before the close, raise it or use
    /// [`Stream::wait_delivered`](crate::Stream::wait_delivered).
    pub close_timeout: Duration,
    /// Streams of one connection, both directions together. Default 512. One more outbound stream is
    /// an error, one more inbound stream is reset.
    pub max_streams: usize,
    /// Inbound streams of one connection. Default 256, what go-libp2p allows a peer. Further
    /// ones are reset.
    pub max_inbound_streams: usize,
    /// Inbound streams that wait to be accepted. Default 256; further ones are reset.
    pub max_pending_inbound: usize,
    /// Bytes by which the receive windows of one connection's streams may together exceed
    /// yamux's initial 256 KiB each. Default 16 MiB: one stream fills a path of 1 Gbit/s and
    /// 130 ms.
    pub window_headroom: usize,
}

impl Default for UpgradeConfig {
    fn default() -> Self {
        Self {
            security: vec![Security::Tls, Security::Noise],
            negotiate_timeout: Duration::from_secs(5),
            secure_timeout: Duration::from_secs(10),
            mux_timeout: Duration::from_secs(5),
            close_timeout: Duration::from_secs(1),
            max_streams: 512,
            max_inbound_streams: 256,
            max_pending_inbound: 256,
            window_headroom: 16 * 1024 * 1024,
        }
    }
}

impl UpgradeConfig {
    /// Sets [`UpgradeConfig::security`].
    pub fn with_security(mut self, security: impl IntoIterator<Item = Security>) -> Self {
        self.security = security.into_iter().collect();
        self
    }

    /// Sets [`UpgradeConfig::negotiate_timeout`].
    pub fn with_negotiate_timeout(mut self, timeout: Duration) -> Self {
        self.negotiate_timeout = timeout;
        self
    }

    /// Sets [`UpgradeConfig::secure_timeout`].
    pub fn with_secure_timeout(mut self, timeout: Duration) -> Self {
        self.secure_timeout = timeout;
        self
    }

    /// Sets [`UpgradeConfig::mux_timeout`].
    pub fn with_mux_timeout(mut self, timeout: Duration) -> Self {
        self.mux_timeout = timeout;
        self
    }

    /// Sets [`UpgradeConfig::close_timeout`].
    pub fn with_close_timeout(mut self, timeout: Duration) -> Self {
        self.close_timeout = timeout;
        self
    }

    /// Sets [`UpgradeConfig::max_streams`].
    pub fn with_max_streams(mut self, streams: usize) -> Self {
        self.max_streams = streams;
        self
    }

    /// Sets [`UpgradeConfig::max_inbound_streams`].
    pub fn with_max_inbound_streams(mut self, streams: usize) -> Self {
        self.max_inbound_streams = streams;
        self
    }

    /// Sets [`UpgradeConfig::max_pending_inbound`].
    pub fn with_max_pending_inbound(mut self, streams: usize) -> Self {
        self.max_pending_inbound = streams;
        self
    }

    /// Sets [`UpgradeConfig::window_headroom`].
    pub fn with_window_headroom(mut self, bytes: usize) -> Self {
        self.window_headroom = bytes;
        self
    }

    /// The most received bytes that one connection may hold unread: the sum of all receive
    /// windows that the peer can have been granted.
    pub fn max_receive_bytes(&self) -> usize {
        self.muxer_streams()
            .saturating_mul(yamux::DEFAULT_CREDIT as usize)
            .saturating_add(self.window_headroom)
    }

    /// The muxer's own cap. It counts a dropped stream until its reset is written, so it needs
    /// room beyond that: 256 for the outbound streams that yamux lets wait for an ACK.
    pub(crate) fn muxer_streams(&self) -> usize {
        self.max_streams.saturating_add(256)
    }
}
