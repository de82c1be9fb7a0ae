//! Nodes over links in memory, with paused time.
#![cfg(feature = "tokio")]
#![allow(clippy::unwrap_used, reason = "a panic is a test's verdict")]

mod attacker;
mod bursts;
mod expected;
mod hostile;
mod race;
mod streams;
mod topics;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use ed25519_dalek::SigningKey;
use gossip_net::{
    Builder, Config, Event, Gossip, Id, LinkProtocol, Received, Subscription, TopicId,
    memory::MemoryNetwork, wire::PeerInfo,
};

/// The id of the peer with this number.
fn id(number: u32) -> Id {
    let mut secret = [0; 32];
    secret[..4].copy_from_slice(&number.to_le_bytes());
    Id::from_bytes(SigningKey::from_bytes(&secret).verifying_key().to_bytes()).unwrap()
}

fn info(number: u32) -> PeerInfo {
    PeerInfo {
        id: id(number),
        data: None,
    }
}

fn network(seed: u64) -> MemoryNetwork {
    MemoryNetwork::new(seed, Duration::from_millis(10), Duration::from_millis(50))
}

fn node(network: &MemoryNetwork, number: u32, config: Config) -> Gossip {
    let links = network.attach(id(number), LinkProtocol::Bowline);
    Builder::new(id(number), u64::from(number) + 1, config, links as Arc<_>).spawn()
}

/// The next message.
async fn message(subscription: &mut Subscription) -> Received {
    loop {
        if let Event::Received(message) =
            tokio::time::timeout(Duration::from_secs(60), subscription.recv())
                .await
                .unwrap()
                .unwrap()
        {
            return message;
        }
    }
}

fn topic() -> TopicId {
    TopicId::from_name("test")
}

fn after(seconds: f64) -> Instant {
    (tokio::time::Instant::now() + Duration::from_secs_f64(seconds)).into_std()
}
