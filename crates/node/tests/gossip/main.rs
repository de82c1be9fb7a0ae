//! Topics over loopback, with real sockets.
#![cfg(all(feature = "gossip", feature = "tcp"))]
#![allow(clippy::unwrap_used, reason = "a panic is a test's verdict")]

#[path = "../common/mod.rs"]
mod common;

mod hostile;
#[cfg(feature = "iroh")]
mod iroh;
mod joining;
mod messages;

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use common::{TCP, listen, with, within};
use node::{
    Config, Keypair, Multiaddr, Node,
    gossip_net::{Event, Subscription, TopicId},
};

fn topic() -> TopicId {
    TopicId::from_name("news")
}

/// The deadline of what must succeed. Only a broken test reaches it.
fn soon() -> Instant {
    Instant::now() + Duration::from_secs(30)
}

/// A member of the topic that listens, and its address.
async fn member(
    keypair: Keypair,
    at: &str,
    peers: &[Multiaddr],
) -> (Node, Multiaddr, Subscription) {
    let node = Node::builder(keypair).build().unwrap();
    let address = listen(&node, at).await;
    let subscription = node.subscribe(topic(), peers.to_vec()).unwrap();
    (node, address, subscription)
}

/// Reads messages until all of `wanted` have arrived. Each message must arrive once. Returns the other events, in words.
async fn expect(
    subscription: &mut Subscription,
    wanted: impl IntoIterator<Item = String>,
) -> Vec<String> {
    let mut wanted = wanted.into_iter().collect::<BTreeSet<_>>();
    let mut others = Vec::new();
    while !wanted.is_empty() {
        let next = tokio::time::timeout(Duration::from_secs(30), subscription.recv());
        match next.await {
            Ok(Some(Event::Received(message))) => {
                let text = String::from_utf8(message.content.to_vec()).unwrap();
                assert!(wanted.remove(&text), "{text} is not one of {wanted:?}");
            }
            Ok(Some(event)) => others.push(format!("{event:?}")),
            Ok(None) => panic!("the subscription has ended"),
            Err(_) => panic!(
                "{wanted:?} do not come; the neighbours are {:?}, after {others:?}",
                subscription.neighbors()
            ),
        }
    }
    others
}

/// The next message.
async fn next_text(subscription: &mut Subscription) -> String {
    loop {
        match subscription.recv().await.unwrap() {
            Event::Received(message) => {
                return String::from_utf8(message.content.to_vec()).unwrap();
            }
            Event::Lagged(missed) => panic!("{missed} events were missed"),
            _ => {}
        }
    }
}

/// Waits for the next neighbour.
async fn neighbour_up(subscription: &mut Subscription) {
    while !matches!(
        within(subscription.recv()).await.unwrap(),
        Event::NeighborUp(_)
    ) {}
}

/// Two members that are neighbours.
async fn neighbours(config: Config, at: &str) -> [(Node, Subscription); 2] {
    let first = with(config);
    let address = listen(&first, at).await;
    let mut subscription = first.subscribe(topic(), []).unwrap();
    let second = common::node();
    let joined = second.subscribe_and_join(topic(), [address], soon());
    let joined = joined.await.unwrap();
    if subscription.neighbors().is_empty() {
        neighbour_up(&mut subscription).await;
    }
    [(first, subscription), (second, joined)]
}

/// The address family of most tests.
const AT: &str = TCP;
