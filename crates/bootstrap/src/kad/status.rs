//! The state of the DHT.

use std::time::Instant;

use super::{Kad, key::Key, message::PeerInfo};

/// The state of the DHT.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct KadStatus {
    /// How many peers are in the routing table.
    pub peers: usize,
    /// The estimated number of servers in the network.
    pub network: Option<f64>,
    /// Whether this node serves.
    pub serves: bool,
    /// How many queries are running, including the node's own ones.
    pub queries: usize,
    /// How many requests are in flight.
    pub requests: usize,
    /// How many values of other peers are kept.
    pub values: usize,
    /// How many provider records of other peers are kept.
    pub providers: usize,
    /// How many values and provider records of its own the node publishes.
    pub published: usize,
}

impl<Id: Clone + Ord + Into<Vec<u8>>, A: Clone + PartialEq> Kad<Id, A> {
    /// The peers of the routing table.
    pub fn table(&self) -> impl Iterator<Item = &PeerInfo<Id, A>> {
        self.table.iter().map(|entry| &entry.info)
    }

    /// Whether a peer is in the routing table.
    pub fn knows(&self, peer: &Id) -> bool {
        self.table.get(&Key::of(peer.clone().into())).is_some()
    }

    /// Whether this node serves.
    pub fn serves(&self) -> bool {
        self.serving.serves()
    }

    /// The state of the DHT.
    pub fn status(&self, now: Instant) -> KadStatus {
        KadStatus {
            peers: self.table.len(),
            network: self.size.estimate(now),
            serves: self.serves(),
            queries: self.queries.len(),
            requests: self.requests.len(),
            values: self.values.len(),
            providers: self.providers.len(),
            published: self.published.len(),
        }
    }
}
