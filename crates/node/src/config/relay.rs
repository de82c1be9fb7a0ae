//! The configuration of relaying.

use std::{fmt, net::IpAddr, sync::Arc};

use multiaddr::Multiaddr;
use relay_slots::{Caps, ClientConfig, TableConfig};

/// The settings for relaying: of a node that is a relay, and of a node that holds slots at relays.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct RelayConfig {
    /// The settings of this node as a relay. Default `None`: the node is not a relay.
    pub server: Option<RelayServerConfig>,
    /// The addresses of relays at which the node may hold a slot. Each address must end in the relay's peer id.
    /// Default: none.
    pub reserve_at: Vec<Multiaddr>,
    /// The number of slots that the node holds at the same time, and the pauses before it asks a relay again. With
    /// [`ClientConfig::auto`], the node also looks for relays by itself, among the candidates of the feature `bootstrap`.
    pub client: ClientConfig,
}

/// The settings of a relay.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct RelayServerConfig {
    /// The caps on slots and circuits: in all, and per peer, address and network.
    pub caps: Caps,
    /// The durations of slots and circuits, and the number of bytes that a circuit may carry.
    pub table: TableConfig,
    /// Looks up the autonomous system of an address. Default `None`: [`Caps::slots_per_asn`] has no effect.
    pub asn: Option<AsnLookup>,
}

/// Looks up the autonomous system of an address. The relay calls the function once per connection. The function must
/// not block.
#[derive(Clone)]
pub struct AsnLookup(Arc<dyn Fn(IpAddr) -> Option<u32> + Send + Sync>);

impl AsnLookup {
    pub(crate) fn find(&self, address: IpAddr) -> Option<u32> {
        (self.0)(address)
    }
}

impl fmt::Debug for AsnLookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AsnLookup")
    }
}

impl RelayServerConfig {
    /// A relay with these caps and durations.
    pub fn new(caps: Caps, table: TableConfig) -> Self {
        Self {
            caps,
            table,
            asn: None,
        }
    }

    /// Sets [`Self::asn`].
    pub fn with_asn(
        mut self,
        lookup: impl Fn(IpAddr) -> Option<u32> + Send + Sync + 'static,
    ) -> Self {
        self.asn = Some(AsnLookup(Arc::new(lookup)));
        self
    }
}

impl RelayConfig {
    /// Sets [`Self::server`].
    pub fn with_server(mut self, server: RelayServerConfig) -> Self {
        self.server = Some(server);
        self
    }

    /// Sets [`Self::reserve_at`].
    pub fn with_reserve_at(mut self, relays: impl IntoIterator<Item = Multiaddr>) -> Self {
        self.reserve_at = relays.into_iter().collect();
        self
    }

    /// Sets [`Self::client`].
    pub fn with_client(mut self, client: ClientConfig) -> Self {
        self.client = client;
        self
    }
}
