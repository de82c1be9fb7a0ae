//! The configuration of the Kademlia DHT.

use bootstrap::kad::{KadConfig, Mode, Namespaces, Preset, wire::KAD_PROTOCOL};

/// The Kademlia DHT in which the node takes part, as a client or as a server.
///
/// ```
/// use node::{KademliaConfig, bootstrap::kad::{Mode, Preset}};
///
/// let config = KademliaConfig::default().with_mode(Mode::Server).with_preset(Preset::Private);
/// assert_eq!(config.protocols, ["/ipfs/kad/1.0.0"]);
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct KademliaConfig {
    /// The names of the DHT's protocol, best first. All names belong to the same DHT: a peer that supports one of them takes part
    /// in it. A network of your own needs a name of its own. Default: `/ipfs/kad/1.0.0`, the public network of IPFS.
    pub protocols: Vec<String>,
    /// The namespaces of values, each with a function that checks values. Default: only `/pk/`, the public keys of peers.
    pub namespaces: Namespaces,
    /// The mode, the preset of addresses, and the figures of the DHT. The node has no protocol yet that measures whether others
    /// can reach it, so only the dials of other peers decide about the mode `Auto`.
    pub figures: KadConfig,
    /// The number of connections that the node keeps open only because requests of the DHT have opened them. Default 64. The
    /// connection with the oldest request is closed first. Connections to protected peers and connections with open streams are
    /// closed only if there are four times as many.
    pub max_connections: usize,
}

impl Default for KademliaConfig {
    fn default() -> Self {
        Self {
            protocols: vec![KAD_PROTOCOL.to_owned()],
            namespaces: Namespaces::new().with_public_keys(),
            figures: KadConfig::default(),
            max_connections: 64,
        }
    }
}

impl KademliaConfig {
    /// Sets [`Self::protocols`].
    pub fn with_protocols<Name: Into<String>>(
        mut self,
        names: impl IntoIterator<Item = Name>,
    ) -> Self {
        self.protocols = names.into_iter().map(Into::into).collect();
        self
    }

    /// Sets [`Self::namespaces`].
    pub fn with_namespaces(mut self, namespaces: Namespaces) -> Self {
        self.namespaces = namespaces;
        self
    }

    /// Sets [`Self::figures`].
    pub fn with_figures(mut self, figures: KadConfig) -> Self {
        self.figures = figures;
        self
    }

    /// Sets [`KadConfig::mode`].
    pub fn with_mode(mut self, mode: Mode) -> Self {
        self.figures.mode = mode;
        self
    }

    /// Sets [`KadConfig::preset`].
    pub fn with_preset(mut self, preset: Preset) -> Self {
        self.figures.preset = preset;
        self
    }

    /// Sets [`Self::max_connections`].
    pub fn with_max_connections(mut self, connections: usize) -> Self {
        self.max_connections = connections;
        self
    }
}
