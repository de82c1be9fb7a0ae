//! `bench-gossip-members`: the counterpart of what `bench-gossip` does with Bowline. Everything has its default.

use std::{net::Ipv4Addr, sync::Arc, time::Duration};

use anyhow::{Context, Result, bail};
use futures::StreamExt;
use iroh::{SecretKey, address_lookup::memory::MemoryLookup, protocol::Router};
use iroh_gossip::api::{Event, GossipReceiver, GossipSender};
use tokio::time::timeout;

use self::load::Tally;
use crate::{Peer, endpoint, topic};

#[path = "../../../src/bin/bench-gossip/load.rs"]
mod load;

/// How long a member may take to join.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long the goodbye of a member may take.
const GOODBYE: Duration = Duration::from_secs(1);

struct Member {
    sender: GossipSender,
    router: Router,
}

impl load::Member for Member {
    async fn publish(&self, content: Vec<u8>) -> Result<()> {
        Ok(self.sender.broadcast(content.into()).await?)
    }
}

/// Runs members until standard input closes. Each joins through the first member, or through the peer `join`.
pub async fn members(count: usize, join: Option<Peer>) -> Result<()> {
    // A runtime's main future lives on a thread of its own, and a wake-up of that thread takes longer.
    tokio::spawn(run(count, join))
        .await
        .context("it panicked")?
}

async fn run(count: usize, join: Option<Peer>) -> Result<()> {
    let (tally, known) = (Tally::new(count), MemoryLookup::new());
    let (mut members, mut first, mut contact) = (Vec::new(), Vec::new(), Vec::new());
    contact.extend(join.map(|peer| crate::learn(&known, &peer)));
    for number in 0..count {
        let at = (Ipv4Addr::LOCALHOST, 0).into();
        let member = endpoint::Member::start(SecretKey::generate(), at, &known).await?;
        let router = member.serve();
        crate::learn(&known, &member.name().parse()?);
        let subscription = member.gossip.subscribe(topic("bench"), contact.clone());
        let (sender, mut receiver) = subscription.await?.split();
        if !contact.is_empty() {
            let joined = first_neighbour(number, &mut receiver, &tally);
            timeout(PATIENCE, joined).await.context("no neighbour")??;
        }
        if number == 0 {
            first.push(member.name());
        }
        if contact.is_empty() {
            contact.push(member.id);
        }
        tokio::spawn(listen(number, receiver, Arc::clone(&tally)));
        members.push(Member { sender, router });
    }
    load::say_ready(&first);
    load::obey(&members, &tally).await?;
    for member in members {
        let _ = timeout(GOODBYE, member.router.shutdown()).await;
    }
    Ok(())
}

async fn first_neighbour(
    member: usize,
    receiver: &mut GossipReceiver,
    tally: &Tally,
) -> Result<()> {
    while let Some(event) = receiver.next().await {
        let event = event?;
        note(member, &event, tally);
        if matches!(event, Event::NeighborUp(_)) {
            return Ok(());
        }
    }
    bail!("the subscription has ended")
}

async fn listen(member: usize, mut receiver: GossipReceiver, tally: Arc<Tally>) {
    while let Some(Ok(event)) = receiver.next().await {
        note(member, &event, &tally);
    }
}

fn note(member: usize, event: &Event, tally: &Tally) {
    match event {
        Event::Received(message) => tally.receive(member, &message.content),
        Event::NeighborUp(peer) => load::say_neighbour(member, &peer.to_string(), true),
        Event::NeighborDown(peer) => load::say_neighbour(member, &peer.to_string(), false),
        Event::Lagged => {}
    }
}
