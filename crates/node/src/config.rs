//! A node's settings.

#[cfg(feature = "bootstrap")]
mod bootstrap;
#[cfg(feature = "gossip")]
mod gossip;
#[cfg(feature = "kad")]
mod kademlia;
mod memory;
#[cfg(feature = "relay")]
mod relay;

use std::time::Duration;

use conn_state::{AddressBookConfig, LimitsConfig, LivenessConfig, Recommended, TrackerConfig};

#[cfg(feature = "bootstrap")]
pub use self::bootstrap::BootstrapConfig;
#[cfg(feature = "kad")]
pub use self::kademlia::KademliaConfig;
use crate::address::announce::AnnounceConfig;
#[cfg(feature = "gossip")]
pub use gossip::{AllowPeer, GossipConfig, ValidateMessage};
#[cfg(feature = "relay")]
pub use relay::{AsnLookup, RelayConfig, RelayServerConfig};

/// A node's settings. The defaults suit a machine that always runs.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// The name of the program in identify messages. Default `bowline/VERSION`.
    pub agent: String,
    /// The protocol family in identify messages. Default `ipfs/0.1.0`, which libp2p peers expect.
    pub protocol_version: String,
    /// The addresses that the node announces. Default: the addresses that it detects.
    pub announce: AnnounceConfig,
    /// The limits on inbound connections. Default: [`LimitsConfig::for_memory`] with the memory that this process may use.
    pub limits: LimitsConfig,
    /// The policy that chooses between two connections to one peer and limits the time of a transient connection.
    pub state: Recommended,
    /// The number of events about peers' states that the tracker keeps. Default: 65,536 in all, 64 per peer. The node replaces
    /// [`TrackerConfig::max_per_peer`] by the value in [`Self::limits`].
    pub history: TrackerConfig,
    /// The limits of the address book.
    pub address_book: AddressBookConfig,
    /// The interval of pings, and the silence after which a connection counts as dead.
    pub ping: LivenessConfig,
    /// The number of inbound streams that may be open at the same time on one connection. Default 256. If the limit of a
    /// transport is lower, the node raises it to this number. The node never lowers the limit of a transport.
    pub max_inbound_streams: usize,
    /// The time in which two ends must agree on the protocol of a stream. Default 10 s.
    pub negotiation_timeout: Duration,
    /// The time limit of one dial attempt, from the first packet to an authenticated connection. Default 15 s.
    pub dial_timeout: Duration,
    /// Like [`Self::dial_timeout`], but for loopback and private addresses. Default 5 s, because these hosts are near.
    pub dial_timeout_private: Duration,
    /// The time limit of a whole dial, with all of its addresses and look-ups. With `None`, the default, the limit is 60 s, or
    /// the longer of [`Self::dial_timeout`] and [`Self::dial_timeout_private`] if that is longer. 60 s suffice for 32 silent
    /// addresses, with 8 simultaneous attempts of 15 s each. Without this limit, a dial of 100 silent addresses would take over 3
    /// minutes.
    pub dial_total_timeout: Option<Duration>,
    /// The number of attempts of one dial that run at the same time. Default 8.
    pub dials_per_peer: usize,
    /// The number of attempts of all dials that run at the same time. Default 160.
    pub dials: usize,
    /// The number of events that the node keeps for a subscriber that falls behind. The node drops and counts older
    /// events. Default 1,024.
    pub event_capacity: usize,
    /// The time that [`crate::Node::shutdown`] gives connections to deliver their finished streams. Default 3 s.
    pub shutdown_timeout: Duration,
    /// The sources of peers, and the pace of dials to them.
    #[cfg(feature = "bootstrap")]
    pub bootstrap: BootstrapConfig,
    /// The Kademlia DHT in which the node takes part. Default `None`: the node takes part in no DHT.
    #[cfg(feature = "kad")]
    pub kademlia: Option<KademliaConfig>,
    /// The topics: their number, the size of their messages, and who may take part.
    #[cfg(feature = "gossip")]
    pub gossip: GossipConfig,
    /// Relaying for other peers, and the relays through which peers can reach this node.
    #[cfg(feature = "relay")]
    pub relay: RelayConfig,
    /// The security and multiplexing of TCP connections.
    #[cfg(feature = "tcp")]
    pub upgrade: transport_tcp::UpgradeConfig,
    /// The settings of QUIC. The node raises [`max_incoming`](transport_quic::Config::max_incoming) to 8 times
    /// [`LimitsConfig::max_handshaking`], because [`Self::limits`] decides which handshakes with a proved address stay.
    #[cfg(feature = "quic")]
    pub quic: transport_quic::Config,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            agent: concat!("bowline/", env!("CARGO_PKG_VERSION")).to_owned(),
            protocol_version: "ipfs/0.1.0".to_owned(),
            announce: AnnounceConfig::default(),
            limits: LimitsConfig::for_memory(memory::usable()),
            state: Recommended::default(),
            history: TrackerConfig::default(),
            address_book: AddressBookConfig::default(),
            ping: LivenessConfig::default(),
            max_inbound_streams: 256,
            negotiation_timeout: Duration::from_secs(10),
            dial_timeout: Duration::from_secs(15),
            dial_timeout_private: Duration::from_secs(5),
            dial_total_timeout: None,
            dials_per_peer: 8,
            dials: 160,
            event_capacity: 1024,
            shutdown_timeout: Duration::from_secs(3),
            #[cfg(feature = "bootstrap")]
            bootstrap: BootstrapConfig::default(),
            #[cfg(feature = "kad")]
            kademlia: None,
            #[cfg(feature = "gossip")]
            gossip: GossipConfig::default(),
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

    /// Sets [`Self::announce`].
    pub fn with_announce(mut self, announce: AnnounceConfig) -> Self {
        self.announce = announce;
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

    /// Sets [`Self::dial_total_timeout`].
    pub fn with_dial_total_timeout(mut self, timeout: Duration) -> Self {
        self.dial_total_timeout = Some(timeout);
        self
    }

    /// The time limit of a whole dial: [`Self::dial_total_timeout`] or its default.
    pub fn whole_dial_timeout(&self) -> Duration {
        let longest = self.dial_timeout.max(self.dial_timeout_private);
        self.dial_total_timeout
            .unwrap_or(longest.max(Duration::from_secs(60)))
    }

    /// Sets [`Self::event_capacity`].
    pub fn with_event_capacity(mut self, events: usize) -> Self {
        self.event_capacity = events;
        self
    }

    /// Sets [`Self::bootstrap`].
    #[cfg(feature = "bootstrap")]
    pub fn with_bootstrap(mut self, bootstrap: BootstrapConfig) -> Self {
        self.bootstrap = bootstrap;
        self
    }

    /// Sets [`Self::kademlia`].
    #[cfg(feature = "kad")]
    pub fn with_kademlia(mut self, kademlia: KademliaConfig) -> Self {
        self.kademlia = Some(kademlia);
        self
    }

    /// Sets [`Self::gossip`].
    #[cfg(feature = "gossip")]
    pub fn with_gossip(mut self, gossip: GossipConfig) -> Self {
        self.gossip = gossip;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_whole_dial_does_not_depend_on_the_order_of_the_setters() {
        let [short, minute, long] = [30, 60, 90].map(Duration::from_secs);
        let total = |config: Config| config.whole_dial_timeout();
        assert_eq!(total(Config::default()), minute);
        assert_eq!(
            total(Config::default().with_dial_timeouts(short, short)),
            minute
        );
        assert_eq!(
            total(Config::default().with_dial_timeouts(long, short)),
            long
        );
        assert_eq!(
            total(Config::default().with_dial_timeouts(short, long)),
            long
        );
        let first = Config::default().with_dial_total_timeout(short);
        let second = Config::default().with_dial_timeouts(long, long);
        assert_eq!(total(first.with_dial_timeouts(long, long)), short);
        assert_eq!(total(second.with_dial_total_timeout(short)), short);
    }
}
