//! A gossip link whose connection is drained, and dials of peers that only other members have named.
#![allow(clippy::unwrap_used, reason = "a panic is a test's verdict")]

use std::{collections::BTreeSet, time::Duration};

use gossip_net::{Bytes, Event, LinkError, Links, Subscription, TopicId, wire::AddrInfo};
use libp2p_identity::Keypair;
use multiaddr::Multiaddr;
use tokio::time::timeout;

use super::{Gossip, id::key_of, links::now};
use crate::{
    Node, address,
    context::Context,
    dial_budget::DialBudget,
    part::{Circuits, DialRequest, Existing, Origin},
};

/// The deadline of what must happen. Only a broken test reaches it.
const PATIENCE: Duration = Duration::from_secs(30);

struct Member {
    node: Node,
    context: Context,
    address: Multiaddr,
    subscription: Subscription,
}

async fn member() -> Member {
    let mut kept = None;
    let builder = Node::builder(Keypair::generate_ed25519());
    let built = builder.build_with(|context| {
        kept = Some(context.clone());
        Vec::new()
    });
    let node = built.unwrap().0;
    let listening = node.listen("/ip4/127.0.0.1/tcp/0".parse().unwrap()).await;
    let subscription = node.subscribe(TopicId::from_name("news"), []).unwrap();
    Member {
        node,
        context: kept.unwrap(),
        address: listening.unwrap().remove(0),
        subscription,
    }
}

/// Whether the member has one connection, and it is this one.
fn has_only(member: &Member, dialed: bool) -> bool {
    let connections = member.node.connections();
    let direction = match dialed {
        true => crate::Direction::Outbound,
        false => crate::Direction::Inbound,
    };
    matches!(&*connections, [only] if only.direction() == direction && !only.is_draining())
}

/// Reads the texts until all of `wanted` have arrived. Each must arrive once, and no neighbour may go.
async fn expect(subscription: &mut Subscription, mut wanted: BTreeSet<String>) {
    while !wanted.is_empty() {
        let next = timeout(PATIENCE, subscription.recv()).await;
        let Ok(Some(event)) = next else {
            panic!("{wanted:?} do not come");
        };
        match event {
            Event::Received(message) => {
                let text = String::from_utf8(message.content.to_vec()).unwrap();
                assert!(wanted.remove(&text), "{text} has come twice");
            }
            Event::NeighborDown(_, cause) => panic!("a neighbour has gone: {cause}"),
            _ => {}
        }
    }
}

/// The node with the higher id dials first. Then the node with the lower id dials once more, and both nodes keep its connection.
/// Only the first connection has a link when it is drained.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_link_of_a_drained_connection_moves_to_the_successor_without_the_loss_of_a_message() {
    let mut members = [member().await, member().await];
    members.sort_by_key(|member| member.node.peer_id());
    let [low, high] = &members;
    high.node.dial([low.address.clone()]).await.unwrap();
    for member in &members {
        let joined = timeout(PATIENCE, async {
            while member.subscription.neighbors().is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        joined.await.unwrap();
        assert_eq!(member.node.gossip_counters().opened, 1);
    }
    let again = DialRequest {
        addresses: vec![high.address.clone()],
        expected: None,
        origin: Origin::Part,
        existing: Existing::Ignore,
        circuits: Circuits::Refused,
        until: None,
        budget: DialBudget::default(),
    };
    low.context.dial(again).await.unwrap();

    // Messages go both ways until the first connection has ended at both ends.
    let mut sent = [BTreeSet::new(), BTreeSet::new()];
    let moving = async {
        let mut number = 0;
        while number < 50 || !has_only(low, true) || !has_only(high, false) {
            for (member, sent) in members.iter().zip(&mut sent) {
                let text = format!("{number} of {}", member.node.peer_id());
                let until = std::time::Instant::now() + PATIENCE;
                let published = member.subscription.publish(text.clone(), until).await;
                published.unwrap();
                sent.insert(text);
            }
            number += 1;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, moving).await.unwrap();
    let [by_low, by_high] = sent;
    for (member, wanted) in members.iter_mut().zip([by_high, by_low]) {
        expect(&mut member.subscription, wanted).await;
        let counters = member.node.gossip_counters();
        assert_eq!((counters.opened, counters.replaced), (2, 1), "{counters:?}");
    }
    for member in members {
        timeout(PATIENCE, member.node.shutdown()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_aims_dials_at_this_machine_only_if_a_peer_on_this_machine_has_a_link() {
    let [here, there, near] = [member().await, member().await, member().await];
    let part = here.node.part::<Gossip>().unwrap();
    let links = part.links().unwrap();
    let plain = address::without_peer(&there.address);
    let named = AddrInfo {
        multiaddrs: vec![Bytes::from(plain.to_vec())],
        ..AddrInfo::default()
    };
    let (key, data) = (key_of(&there.node.peer_id()).unwrap(), named.encode().0);
    let refused = links.connect(&key, &data, now() + PATIENCE).await;
    let is_refused = matches!(refused, Err(LinkError::Unreachable { .. }));
    assert!(is_refused, "{refused:?}");
    assert!(here.node.connections().is_empty());

    here.node.dial([near.address.clone()]).await.unwrap();
    let joined = here.subscription.joined(now() + PATIENCE);
    joined.await.unwrap();
    let link = links.connect(&key, &data, now() + PATIENCE).await;
    assert!(link.is_ok(), "{link:?}");
    assert!(here.node.connection(there.node.peer_id()).is_some());
    for member in [here, there, near] {
        timeout(PATIENCE, member.node.shutdown()).await.unwrap();
    }
}
