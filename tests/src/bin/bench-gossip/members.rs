//! Members of a topic, each a whole node with its own identity and port. gossip-net uses the libp2p connections of the nodes.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Result;
use node::{
    Keypair, Multiaddr, Node, PeerId,
    gossip_net::{Event, Id, Receiver, Sender, TopicId},
};

use crate::load::{self, Tally};

/// How long a member may take to join, and a message to find room in the queues.
const PATIENCE: Duration = Duration::from_secs(30);

struct Member {
    node: Node,
    sender: Sender,
}

impl load::Member for Member {
    async fn publish(&self, content: Vec<u8>) -> Result<()> {
        self.sender
            .publish(content, Instant::now() + PATIENCE)
            .await?;
        Ok(())
    }
}

/// Runs members that listen at such an address. Each joins through the first member, or through the peer at `join`.
pub(crate) async fn run(at: Multiaddr, count: usize, join: Vec<Multiaddr>) -> Result<()> {
    let (tally, topic) = (Tally::new(count), TopicId::from_name("bench"));
    let (mut members, mut first, mut contact) = (Vec::new(), Vec::new(), join);
    for number in 0..count {
        let node = Node::builder(Keypair::generate_ed25519()).build()?;
        let addresses = node.listen(at.clone()).await?;
        let subscription = node.subscribe(topic, contact.clone())?;
        if !contact.is_empty() {
            subscription.joined(Instant::now() + PATIENCE).await?;
        }
        if number == 0 {
            first.clone_from(&addresses);
        }
        if contact.is_empty() {
            contact = addresses;
        }
        let (sender, receiver) = subscription.split();
        tokio::spawn(listen(number, receiver, Arc::clone(&tally)));
        members.push(Member { node, sender });
    }
    let first: Vec<String> = first.iter().map(ToString::to_string).collect();
    load::say_ready(&first);
    load::obey(&members, &tally).await?;
    for member in members {
        member.node.shutdown().await;
    }
    Ok(())
}

async fn listen(member: usize, mut receiver: Receiver, tally: Arc<Tally>) {
    while let Some(event) = receiver.recv().await {
        match event {
            Event::Received(message) => tally.receive(member, &message.content),
            Event::NeighborUp(peer) => load::say_neighbour(member, &name(peer), true),
            Event::NeighborDown(peer, _) => load::say_neighbour(member, &name(peer), false),
            _ => {}
        }
    }
}

/// The peer as it is named in addresses.
fn name(peer: Id) -> String {
    let id = PeerId::from_bytes(&peer.to_peer_id());
    id.map_or_else(|_| peer.to_string(), |id| id.to_string())
}
