//! The numbers a host may set.

/// How many connections are admitted, from whom and how fast.
///
/// The defaults are no looser than go-libp2p's resource manager.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct LimitsConfig {
    /// Inbound connections in total, including handshaking ones. Default 256: what [`LimitsConfig::for_memory`] gives a
    /// machine with 1 GiB.
    pub max_inbound: usize,
    /// Inbound connections whose peer is not known yet. Default 64. Each costs the CPU time of a handshake, so this limit
    /// bounds the work that strangers can cause at once.
    pub max_handshaking: usize,
    /// Connections to one peer, in either direction. Default 8: several addresses of a peer dialed at once, by both ends.
    pub max_per_peer: usize,
    /// Inbound connections from one IPv4 address or one IPv6 /56, which is what a household gets. Default 8.
    pub max_per_address: usize,
    /// New inbound connections per second from one IPv4 address or IPv6 /56, in the long run. Default 0.2: one each 5 s.
    pub rate_per_address: f64,
    /// How many may arrive at once from one address before the rate counts. Default 16.
    pub burst_per_address: u32,
    /// Inbound connections from one IPv4 /24 or one IPv6 /48, including handshaking ones. Default 64, a quarter of
    /// [`Self::max_inbound`]: one subnet alone cannot use up all of them.
    pub max_per_subnet: usize,
    /// How many connections from one subnet may be in their handshake. Default 16, a quarter of [`Self::max_handshaking`].
    pub max_handshaking_per_subnet: usize,
    /// Whether loopback and private addresses are exempt from the limits per address and subnet. Default true: the machines
    /// of a cluster often share one private address.
    pub exempt_private: bool,
    /// How many addresses are remembered for their rate and count. Default 65,536, about 4 MiB. When that many were seen
    /// recently, an unknown address is refused.
    pub max_tracked_addresses: usize,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            max_inbound: 256,
            max_handshaking: 64,
            max_per_peer: 8,
            max_per_address: 8,
            rate_per_address: 0.2,
            burst_per_address: 16,
            max_per_subnet: 64,
            max_handshaking_per_subnet: 16,
            exempt_private: true,
            max_tracked_addresses: 65_536,
        }
    }
}

impl LimitsConfig {
    /// The defaults for a machine with `bytes` of memory: 128 inbound connections, and 128 more for each whole GiB; a
    /// quarter of them from one subnet.
    pub fn for_memory(bytes: u64) -> Self {
        let gib = usize::try_from(bytes >> 30).unwrap_or(usize::MAX);
        let mut limits = Self::default();
        limits.max_inbound = gib.saturating_mul(128).saturating_add(128);
        limits.max_per_subnet = limits.max_inbound / 4;
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

/// How many events a tracker keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct TrackerConfig {
    /// Events of all peers together. A subscriber that falls behind by more of them misses some. Default 65,536.
    ///
    /// An event takes 64 bytes, and its [`Detail`](crate::Detail) at most 144 more, so that 65,536 events take 4 MiB, and at
    /// most 13 MiB whatever peers do. A peer that is remembered only for its events takes about 150 bytes more with libp2p's
    /// `PeerId` as the id.
    pub history: usize,
    /// The number of events that [`Tracker::history`](crate::Tracker::history) returns for one peer. Default 64: a screen.
    pub history_per_peer: usize,
}

impl Default for TrackerConfig {
    fn default() -> Self {
        Self {
            history: 65_536,
            history_per_peer: 64,
        }
    }
}

impl TrackerConfig {
    /// Sets [`Self::history`] and [`Self::history_per_peer`].
    pub fn with_history(mut self, in_all: usize, per_peer: usize) -> Self {
        (self.history, self.history_per_peer) = (in_all, per_peer);
        self
    }
}
