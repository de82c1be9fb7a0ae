//! A node's settings.

#[cfg(feature = "relay")]
mod relay;

use std::time::Duration;

use conn_state::{AddressBookConfig, LimitsConfig, LivenessConfig, Recommended, TrackerConfig};

#[cfg(feature = "relay")]
pub use relay::{AsnLookup, RelayConfig, RelayServerConfig};

/// A node's settings. The defaults suit a machine that runs all the time.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// The node's software, as identify names it. Default `bowline/VERSION`.
    pub agent: String,
    /// The protocol family, as identify names it. Default `ipfs/0.1.0`, which libp2p peers expect.
    pub protocol_version: String,
    /// How many connections are admitted. Default: [`LimitsConfig::for_memory`] of this machine.
    pub limits: LimitsConfig,
    /// Which of two connections to one peer stays, and how long a transient connection may last.
    pub state: Recommended,
    /// How many events about peers' states are kept. Default: 65,536 in all, 64 per peer.
    pub history: TrackerConfig,
    /// How much is remembered of peers' addresses.
    pub address_book: AddressBookConfig,
    /// When connections are pinged, and when silence means that a connection is dead.
    pub ping: LivenessConfig,
    /// Inbound streams that may be open at once on one connection. Default 256.
    pub max_inbound_streams: usize,
    /// How long two ends may take to agree on a stream's protocol. Default 10 s.
    pub negotiation_timeout: Duration,
    /// How long one attempt may take, from the first packet to an authenticated connection. Default 15 s.
    pub dial_timeout: Duration,
    /// Like [`Self::dial_timeout`], for loopback and private addresses. Default 5 s: hosts there are near.
    pub dial_timeout_private: Duration,
    /// How many attempts of one dial run at once. Default 8.
    pub dials_per_peer: usize,
    /// How many attempts of all dials run at once. Default 160.
    pub dials: usize,
    /// How many events are kept for a subscriber that falls behind. Older ones are dropped and counted. Default 1,024.
    pub event_capacity: usize,
    /// How long [`crate::Node::shutdown`] lets connections deliver what was finished. Default 3 s.
    pub shutdown_timeout: Duration,
    /// Whether the node relays for others, and which relays it wants to be reached through.
    #[cfg(feature = "relay")]
    pub relay: RelayConfig,
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
            address_book: AddressBookConfig::default(),
            ping: LivenessConfig::default(),
            max_inbound_streams: 256,
            negotiation_timeout: Duration::from_secs(10),
            dial_timeout: Duration::from_secs(15),
            dial_timeout_private: Duration::from_secs(5),
            dials_per_peer: 8,
            dials: 160,
            event_capacity: 1024,
            shutdown_timeout: Duration::from_secs(3),
            #[cfg(feature = "relay")]
            relay: RelayConfig::default(),
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

    /// Sets [`Self::ping`].
    pub fn with_ping(mut self, ping: LivenessConfig) -> Self {
        self.ping = ping;
        self
    }

    /// Sets [`Self::address_book`].
    pub fn with_address_book(mut self, address_book: AddressBookConfig) -> Self {
        self.address_book = address_book;
        self
    }

    /// Sets [`Self::shutdown_timeout`].
    pub fn with_shutdown_timeout(mut self, timeout: Duration) -> Self {
        self.shutdown_timeout = timeout;
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
    pub fn with_relay(mut self, relay: RelayConfig) -> Self {
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

/// This machine's memory in bytes; 0 if it cannot be read, which grants the smallest limits.
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
