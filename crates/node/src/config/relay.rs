//! The configuration of relaying.

use std::{fmt, net::IpAddr, sync::Arc};

use multiaddr::Multiaddr;
use relay_slots::{Caps, ClientConfig, TableConfig};

/// Whether a node is a relay, and at which relays it keeps slots.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct RelayConfig {
    /// The terms on which the node relays for others. Default `None`: it does not.
    pub server: Option<RelayServerConfig>,
    /// The addresses of relays that may be asked for a slot. Each must end in the relay's peer id. Default: none.
    pub reserve_at: Vec<Multiaddr>,
    /// How many slots are kept at the same time, and when a relay is asked again.
    pub client: ClientConfig,
}

/// The terms of a relay.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct RelayServerConfig {
    /// How many slots and circuits are granted, in all and per peer, address and network.
    pub caps: Caps,
    /// How long slots and circuits last, and how many bytes a circuit carries.
    pub table: TableConfig,
    /// Looks up the autonomous system of an address. Default `None`: [`Caps::slots_per_asn`] limits nothing.
    pub asn: Option<AsnLookup>,
}

/// Looks up the autonomous system of an address. The relay calls it once per connection; it must not block.
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
