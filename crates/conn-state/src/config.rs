//! The settings of the limits and of the tracker.

use std::time::Duration;

/// The limits on the number and the rate of connections, in all and by their origin.
///
/// The defaults are at least as strict as those of go-libp2p's resource manager.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct LimitsConfig {
    /// Inbound connections whose handshake has succeeded. Default 256, the result of [`LimitsConfig::for_memory`] for a machine
    /// with 1 GiB. Connections in their handshake count separately: see [`Self::max_handshaking`].
    pub max_inbound: usize,
    /// Inbound connections whose peer is not known yet. Default 64. Each costs the CPU time of a handshake, so this limit
    /// bounds the work that unknown peers can cause at once. A newcomer above this limit displaces another handshake.
    pub max_handshaking: usize,
    /// How long a handshake may take while the pool of handshakes is at most half full. Default 30 s: a last resort behind
    /// the transport's own deadlines.
    pub handshake: Duration,
    /// How long a handshake may take while the pool is full. Default 2 s: a handshake over TCP takes six round trips, and the
    /// round trip of a slow path takes 300 ms. Between half full and full, the time falls with each handshake.
    pub handshake_under_load: Duration,
    /// How long an inbound connection must have been idle before it may be closed for a newcomer, when
    /// [`Self::max_inbound`] is reached. Default 10 s, after which rust-libp2p closes any idle connection. `None`: no
    /// connection is closed for a newcomer. A host that reports no [`Usage`](crate::Usage) must set `None`, because all of
    /// its connections look idle.
    pub trim_idle: Option<Duration>,
    /// Connections to one peer, in either direction. Default 8, because both ends may dial several addresses of each other at
    /// once. There may be more for some time: see [`Limits::handle_authenticated`](crate::Limits::handle_authenticated).
    pub max_per_peer: usize,
    /// Inbound connections from one IPv4 address or one IPv6 /56, the usual prefix of a household. Default 8.
    pub max_per_address: usize,
    /// New inbound connections per second from one IPv4 address or IPv6 /56, on average. Default 0.2: one per 5 s.
    pub rate_per_address: f64,
    /// How many connections may arrive at once from one address before the rate applies. Default 16.
    pub burst_per_address: u32,
    /// Inbound connections from one IPv4 /24 or one IPv6 /48, including those in their handshake. Default 64, a quarter of
    /// [`Self::max_inbound`]: one subnet alone cannot take all places.
    pub max_per_subnet: usize,
    /// How many connections from one subnet, or through one relay, may be in their handshake. Default 16, a quarter of
    /// [`Self::max_handshaking`]. A newcomer above this limit displaces another handshake of its subnet or relay.
    pub max_handshaking_per_subnet: usize,
    /// Inbound circuits through one relay, including those in their handshake. Default 64, a quarter of [`Self::max_inbound`]:
    /// one relay alone cannot take all places.
    pub max_per_relay: usize,
    /// Whether loopback and private addresses are exempt from the limits per address and subnet. Default true: the machines
    /// of a cluster often share one private address.
    pub exempt_private: bool,
    /// How many addresses are remembered with their rate and count. Default 65,536, which take about 8 MiB. If none of them
    /// can be forgotten yet, an unknown address is refused.
    pub max_tracked_addresses: usize,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            max_inbound: 256,
            max_handshaking: 64,
            handshake: Duration::from_secs(30),
            handshake_under_load: Duration::from_secs(2),
            trim_idle: Some(Duration::from_secs(10)),
            max_per_peer: 8,
            max_per_address: 8,
            rate_per_address: 0.2,
            burst_per_address: 16,
            max_per_subnet: 64,
            max_handshaking_per_subnet: 16,
            max_per_relay: 64,
            exempt_private: true,
            max_tracked_addresses: 65_536,
        }
    }
}

impl LimitsConfig {
    /// The defaults for a machine with `bytes` of memory: 128 inbound connections, and 128 more for each whole GiB; a
    /// quarter of them from one subnet, and a quarter of them through one relay.
    pub fn for_memory(bytes: u64) -> Self {
        let gib = usize::try_from(bytes >> 30).unwrap_or(usize::MAX);
        let mut limits = Self::default();
        limits.max_inbound = gib.saturating_mul(128).saturating_add(128);
        limits.max_per_subnet = limits.max_inbound / 4;
        limits.max_per_relay = limits.max_inbound / 4;
        limits
    }

    /// Sets [`Self::max_inbound`].
    pub fn with_max_inbound(mut self, connections: usize) -> Self {
        self.max_inbound = connections;
        self
    }

    /// Sets [`Self::max_handshaking`].
    pub fn with_max_handshaking(mut self, connections: usize) -> Self {
        self.max_handshaking = connections;
        self
    }

    /// Sets [`Self::handshake`] and [`Self::handshake_under_load`].
    pub fn with_handshake(mut self, full: Duration, under_load: Duration) -> Self {
        (self.handshake, self.handshake_under_load) = (full, under_load);
        self
    }

    /// Sets [`Self::trim_idle`].
    pub fn with_trim_idle(mut self, after: Option<Duration>) -> Self {
        self.trim_idle = after;
        self
    }

    /// Sets [`Self::max_per_peer`].
    pub fn with_max_per_peer(mut self, connections: usize) -> Self {
        self.max_per_peer = connections;
        self
    }

    /// Sets [`Self::max_per_address`].
    pub fn with_max_per_address(mut self, connections: usize) -> Self {
        self.max_per_address = connections;
        self
    }

    /// Sets [`Self::rate_per_address`] (per second) and [`Self::burst_per_address`].
    pub fn with_rate_per_address(mut self, rate: f64, burst: u32) -> Self {
        self.rate_per_address = rate;
        self.burst_per_address = burst;
        self
    }

    /// Sets [`Self::max_per_subnet`] and [`Self::max_handshaking_per_subnet`].
    pub fn with_max_per_subnet(mut self, connections: usize, handshaking: usize) -> Self {
        self.max_per_subnet = connections;
        self.max_handshaking_per_subnet = handshaking;
        self
    }

    /// Sets [`Self::max_per_relay`].
    pub fn with_max_per_relay(mut self, circuits: usize) -> Self {
        self.max_per_relay = circuits;
        self
    }

    /// Sets [`Self::exempt_private`].
    pub fn with_exempt_private(mut self, exempt: bool) -> Self {
        self.exempt_private = exempt;
        self
    }

    /// Sets [`Self::max_tracked_addresses`].
    pub fn with_max_tracked_addresses(mut self, addresses: usize) -> Self {
        self.max_tracked_addresses = addresses;
        self
    }
}

/// The bounds of a tracker: the number of events, and the number of connections to one peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct TrackerConfig {
    /// Events of all peers together. A subscriber that falls behind by more events misses some. Default 65,536.
    ///
    /// An event takes 64 bytes, and its [`Detail`](crate::Detail) at most 144 more. 65,536 events therefore take 4 MiB without
    /// details, and at most 13 MiB with details. A peer that is remembered only because of its events takes about 150 bytes more,
    /// with libp2p's `PeerId` as the id.
    pub history: usize,
    /// The number of events that [`Tracker::history`](crate::Tracker::history) returns for one peer. Default 64, which is about
    /// one screen of lines.
    pub history_per_peer: usize,
    /// The number of connections to one peer that the tracker keeps. Default `None`: the policy alone decides. If a peer has more
    /// connections for longer than [`Policy::drain`](crate::Policy::drain) and [`Policy::patience`](crate::Policy::patience)
    /// together, the tracker drains the oldest, and limited connections first. The delay gives the policy and the other end time
    /// to close connections themselves. A host with [`Limits`](crate::Limits) sets this to [`LimitsConfig::max_per_peer`].
    pub max_per_peer: Option<usize>,
}

impl Default for TrackerConfig {
    fn default() -> Self {
        Self {
            history: 65_536,
            history_per_peer: 64,
            max_per_peer: None,
        }
    }
}

impl TrackerConfig {
    /// Sets [`Self::history`] and [`Self::history_per_peer`].
    pub fn with_history(mut self, in_all: usize, per_peer: usize) -> Self {
        (self.history, self.history_per_peer) = (in_all, per_peer);
        self
    }

    /// Sets [`Self::max_per_peer`].
    pub fn with_max_per_peer(mut self, connections: Option<usize>) -> Self {
        self.max_per_peer = connections;
        self
    }
}
