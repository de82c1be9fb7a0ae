//! The settings, with the reason for each default.

use std::time::Duration;

use crate::{Resolver, Security};

/// TCP keepalive: when to check whether the kernel of an idle peer still answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Keepalive {
    /// Idle time before the first probe. Default 15 s, which is less than 30 s, the shortest lifetime of common NAT mappings.
    pub idle: Duration,
    /// Time between probes. Default 5 s.
    pub interval: Duration,
    /// The number of unanswered probes after which the connection is dead. Default 3, so that with the other defaults the loss of
    /// a host is noticed after 30 s.
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
    /// TCP_NODELAY. Default true, because the muxer already writes whole frames, and Nagle's algorithm would delay the last frame
    /// by a round trip.
    pub nodelay: bool,
    /// TCP keepalive. Default [`Keepalive::default`]; `None` turns it off.
    pub keepalive: Option<Keepalive>,
    /// The delay after which the next address is tried, if the previous one has not answered. Default 250 ms, as RFC 8305 section
    /// 8 recommends.
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
    /// The number of connections that the kernel holds until they are accepted. Default 1024, which suffices for one second if
    /// many peers reconnect at once. The kernel limits this number (`net.core.somaxconn`).
    pub backlog: u32,
    /// TCP_NODELAY on accepted sockets. Default true, see [`DirectConfig::nodelay`].
    pub nodelay: bool,
    /// TCP keepalive on accepted sockets. Default [`Keepalive::default`]; `None` turns it off.
    pub keepalive: Option<Keepalive>,
    /// How long the listener pauses if the process has no free file descriptor or memory. Default 100 ms, which is long enough to
    /// avoid a busy loop, and short enough to accept connections soon after a descriptor becomes free.
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
/// unread frames are joined, so the number of frames does not matter. The bytes of a stream are freed when the stream is dropped,
/// even if the peer reads nothing. All bytes are freed when the connection ends.
///
/// An open stream costs about 1 KiB. In addition, a stream keeps at most 448 KiB that this side has written and the peer has not
/// read. A dropped stream counts until the peer has received its reset. There can be 256 dropped streams in addition to
/// [`UpgradeConfig::max_streams`]. If there are more, the connection closes.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct UpgradeConfig {
    /// Security protocols, the preferred one first. Default TLS, then Noise, because TLS uses the CPU's AES instructions, and
    /// go-libp2p prefers TLS.
    pub security: Vec<Security>,
    /// Deadline for agreeing on the security protocol. Default 5 s, which suffices for two round trips, even over a slow
    /// satellite link with a retransmission.
    pub negotiate_timeout: Duration,
    /// Deadline for the TLS or Noise handshake. Default 10 s, which suffices for two round trips and the computations of a busy
    /// or slow peer.
    pub secure_timeout: Duration,
    /// Deadline for agreeing on the muxer, unless the handshake has already done this. Default 5 s, for the same reason as
    /// [`UpgradeConfig::negotiate_timeout`].
    pub mux_timeout: Duration,
    /// How long a graceful close may take. After this time, the connection is dropped and undelivered bytes are lost. Default 1
    /// s, which is several round trips for a peer that reads. A peer that does not read must not hold a socket for long. If your
    /// program finishes large streams just before the close, raise this value or use
    /// [`Stream::wait_delivered`](crate::Stream::wait_delivered).
    pub close_timeout: Duration,
    /// The number of streams of one connection, in both directions together. Default 512. A further outbound stream is an error,
    /// and a further inbound stream is reset.
    pub max_streams: usize,
    /// The number of inbound streams of one connection. Default 256, as in go-libp2p. Further streams are reset.
    pub max_inbound_streams: usize,
    /// The number of inbound streams that wait to be accepted. Default 256. Further streams are reset.
    pub max_pending_inbound: usize,
    /// The number of bytes by which the receive windows of all streams of one connection may together exceed yamux's initial 256
    /// KiB per stream. Default 16 MiB, with which one stream can use a path of 1 Gbit/s and 130 ms.
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

    /// The maximum number of received and unread bytes of one connection: the sum of the receive windows that the peer can have.
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
