//! The results of queries.

use bootstrap::kad::PeerInfo;
use libp2p_identity::PeerId;
use multiaddr::Multiaddr;
use serde_json::{Value, json};

use super::text::hex;

/// A peer that a query has found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FoundPeer {
    /// The peer.
    pub peer: PeerId,
    /// The addresses of the peer, without its id.
    pub addresses: Vec<Multiaddr>,
    /// Whether this node has reached the peer. Otherwise other peers have named the addresses.
    pub reached: bool,
}

/// A peer that provides some content, according to other peers.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FoundProvider {
    /// The peer.
    pub peer: PeerId,
    /// The addresses of the peer, without its id.
    pub addresses: Vec<Multiaddr>,
}

/// A valid value, the best that a query has found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FoundValue {
    /// The value.
    pub value: Vec<u8>,
    /// The number of peers that have returned it.
    pub holders: usize,
}

/// The number of peers that have stored a value or a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stored {
    /// The number of peers that have confirmed it. A provider counts as confirmed when it is delivered, because the protocol has no
    /// answer for it.
    pub stored: usize,
    /// The number of peers that were asked to store it.
    pub asked: usize,
}

impl FoundPeer {
    /// The result as a JSON object, as `bowline dht find --json` prints it.
    pub fn to_json(&self) -> Value {
        json!({
            "event": "found",
            "peer_id": self.peer.to_string(),
            "addresses": texts(&self.addresses),
            "reached": self.reached,
        })
    }
}

impl FoundProvider {
    pub(super) fn of(info: PeerInfo<PeerId, Multiaddr>) -> Self {
        Self {
            peer: info.id,
            addresses: info.addresses,
        }
    }

    /// The result as a JSON object, as `bowline dht providers --json` prints it.
    pub fn to_json(&self) -> Value {
        json!({
            "event": "provider",
            "peer_id": self.peer.to_string(),
            "addresses": texts(&self.addresses),
        })
    }
}

impl FoundValue {
    /// The result as a JSON object, as `bowline dht get --json` prints it. The field `value` is null if the value is not UTF-8
    /// text.
    pub fn to_json(&self) -> Value {
        json!({
            "event": "value",
            "value": std::str::from_utf8(&self.value).ok(),
            "value_hex": hex(&self.value),
            "holders": self.holders,
        })
    }
}

impl Stored {
    /// The result as a JSON object, as `bowline dht put --json` and `bowline dht provide --json` print it.
    pub fn to_json(&self) -> Value {
        json!({"event": "stored", "stored": self.stored, "asked": self.asked})
    }
}

pub(super) fn texts(addresses: &[Multiaddr]) -> Vec<String> {
    addresses.iter().map(ToString::to_string).collect()
}
