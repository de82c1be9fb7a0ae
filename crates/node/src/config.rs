//! What may be set about a node.

use std::time::Duration;

use conn_state::{LimitsConfig, Recommended, TrackerConfig};

/// A node's settings. The defaults suit a machine that is up all the time.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// What the node calls itself in identify. Default `bowline/VERSION`.
    pub agent: String,
    /// The protocol family it claims in identify. Default `ipfs/0.1.0`, what libp2p peers expect to read.
    pub protocol_version: String,
    /// How many connections are admitted. Default: by this machine's memory, [`LimitsConfig::for_memory`].
    pub limits: LimitsConfig,
    /// Which of two connections to one peer stays, and how long what is not a full connection may last.
    pub state: Recommended,
    /// How many events about peers' states are kept. Default: 65,536 in all, 64 of one peer.
    pub history: TrackerConfig,
    /// Inbound streams that may be open at once on one connection. Default 256.
    pub max_inbound_streams: usize,
    /// How long the two ends may take to agree on a stream's protocol. Default 10 s.
    pub negotiation_timeout: Duration,
    /// How often an idle connection is pinged. Default 15 s: below the 30 s after which common NATs forget a UDP flow.
    pub ping_interval: Duration,
    /// How long a ping may stay unanswered. Default 10 s.
    pub ping_timeout: Duration,
    /// After how many unanswered pings in a row a connection counts as dead and is closed. Default 2.
    pub ping_failures: u32,
    /// How long one address may take from the first packet to an authenticated connection. Default 15 s.
    pub dial_timeout: Duration,
    /// The same for loopback and private addresses. Default 5 s: nothing there is 5 s away.
    pub dial_timeout_private: Duration,
    /// Attempts under way at once in one [`crate::Node::dial`]. Default 8.
    pub dials_per_peer: usize,
    /// Attempts under way at once in all. Default 160.
    pub dials: usize,
    /// Events kept for a subscriber that does not read; older ones are dropped and counted. Default 1,024.
    pub event_capacity: usize,
    /// How long [`crate::Node::shutdown`] waits for connections to say goodbye. Default 3 s.
    pub shutdown_timeout: Duration,
    /// Whether the node relays for others, and where it wants to be relayed to.
    #[cfg(feature = "relay")]
    pub relay: crate::relay::RelayConfig,
    /// How TCP connections are secured and multiplexed.
    #[cfg(feature = "tcp")]
    pub upgrade: transport_tcp::UpgradeConfig,
    /// How QUIC connections behave.
    #[cfg(feature = "quic")]
    pub quic: transport_quic::Config,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            agent: concat!("bowline/", env!("CARGO_PKG_VERSION")).to_owned(),
            protocol_version: "ipfs/0.1.0".to_owned(),
            limits: LimitsConfig::for_memory(physical_memory()),
            state: Recommended::default(),
            history: TrackerConfig::default(),
            max_inbound_streams: 256,
            negotiation_timeout: Duration::from_secs(10),
            ping_interval: Duration::from_secs(15),
            ping_timeout: Duration::from_secs(10),
            ping_failures: 2,
            dial_timeout: Duration::from_secs(15),
            dial_timeout_private: Duration::from_secs(5),
            dials_per_peer: 8,
            dials: 160,
            event_capacity: 1024,
            shutdown_timeout: Duration::from_secs(3),
            #[cfg(feature = "relay")]
            relay: crate::relay::RelayConfig::default(),
            #[cfg(feature = "tcp")]
            upgrade: transport_tcp::UpgradeConfig::default(),
            #[cfg(feature = "quic")]
            quic: transport_quic::Config::default(),
        }
    }
}

impl Config {
    /// Sets [`Self::agent`].
    pub fn with_agent(mut self, agent: impl Into<String>) -> Self {
        self.agent = agent.into();
        self
    }

    /// Sets [`Self::limits`].
    pub fn with_limits(mut self, limits: LimitsConfig) -> Self {
        self.limits = limits;
        self
    }

    /// Sets [`Self::state`].
    pub fn with_state(mut self, policy: Recommended) -> Self {
        self.state = policy;
        self
    }

    /// Sets [`Self::history`].
    pub fn with_history(mut self, history: TrackerConfig) -> Self {
        self.history = history;
        self
    }

    /// Sets [`Self::max_inbound_streams`].
    pub fn with_max_inbound_streams(mut self, streams: usize) -> Self {
        self.max_inbound_streams = streams;
        self
    }

    /// Sets [`Self::negotiation_timeout`].
    pub fn with_negotiation_timeout(mut self, timeout: Duration) -> Self {
        self.negotiation_timeout = timeout;
        self
    }

    /// Sets [`Self::ping_interval`], [`Self::ping_timeout`] and [`Self::ping_failures`].
    pub fn with_ping(mut self, interval: Duration, timeout: Duration, failures: u32) -> Self {
        self.ping_interval = interval;
        self.ping_timeout = timeout;
        self.ping_failures = failures;
        self
    }

    /// Sets [`Self::dial_timeout`] and [`Self::dial_timeout_private`].
    pub fn with_dial_timeouts(mut self, timeout: Duration, private: Duration) -> Self {
        self.dial_timeout = timeout;
        self.dial_timeout_private = private;
        self
    }

    /// Sets [`Self::event_capacity`].
    pub fn with_event_capacity(mut self, events: usize) -> Self {
        self.event_capacity = events;
        self
    }

    /// Sets [`Self::relay`].
    #[cfg(feature = "relay")]
    pub fn with_relay(mut self, relay: crate::relay::RelayConfig) -> Self {
        self.relay = relay;
        self
    }

    /// Sets [`Self::upgrade`].
    #[cfg(feature = "tcp")]
    pub fn with_upgrade(mut self, upgrade: transport_tcp::UpgradeConfig) -> Self {
        self.upgrade = upgrade;
        self
    }

    /// Sets [`Self::quic`].
    #[cfg(feature = "quic")]
    pub fn with_quic(mut self, quic: transport_quic::Config) -> Self {
        self.quic = quic;
        self
    }
}

/// Bytes of memory this machine has; 0 where that cannot be read, which grants the least.
fn physical_memory() -> u64 {
    let Ok(text) = std::fs::read_to_string("/proc/meminfo") else {
        return 0;
    };
    let kib = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|number| number.parse::<u64>().ok());
    kib.unwrap_or(0).saturating_mul(1024)
}
