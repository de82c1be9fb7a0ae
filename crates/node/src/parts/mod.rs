//! The parts of a node: one file or folder per part. No part imports another part.

#[cfg(feature = "gossip")]
mod gossip;
mod identify;
mod interfaces;
#[cfg(feature = "kad")]
mod kad;
#[cfg(feature = "metrics")]
mod metrics;
mod observed;
mod ping;
#[cfg(feature = "bootstrap")]
mod rejoin;
#[cfg(feature = "relay")]
mod relay_client;
#[cfg(feature = "relay")]
mod relay_server;
#[cfg(all(test, feature = "cli"))]
mod tests;

#[cfg(feature = "gossip")]
pub(crate) use gossip::Gossip;
#[cfg(feature = "gossip")]
pub use gossip::{GossipEvent, SubscribeError, describe_gossip};
#[cfg(feature = "iroh")]
pub use gossip::{IrohListenError, IrohPeer, IrohPeerError};
pub(crate) use identify::Identify;
pub(crate) use interfaces::Interfaces;
#[cfg(feature = "kad")]
pub(crate) use kad::Kademlia;
#[cfg(feature = "kad")]
pub use kad::{
    ContentKeyError, DhtError, DhtEvent, FoundPeer, FoundProvider, FoundValue, Stored, content_key,
    value_key,
};
#[cfg(feature = "metrics")]
pub(crate) use metrics::Metrics;
pub(crate) use observed::Observers;
pub(crate) use ping::Ping;
#[cfg(feature = "bootstrap")]
pub(crate) use rejoin::Rejoin;
#[cfg(feature = "bootstrap")]
pub use rejoin::{BootstrapFailed, NetworkEvent, NodeCandidate};
#[cfg(feature = "relay")]
pub use relay_client::ReservationEvent;
#[cfg(feature = "relay")]
pub(crate) use {relay_client::RelayClient, relay_server::RelayServer};
