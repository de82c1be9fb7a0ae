//! Two peers that dial each other at the same moment.

use std::collections::BTreeSet;

use gossip_net::{Builder, Bytes, Config, Event, LinkProtocol, Receiver, Sender};
use tokio::time::{Duration, sleep, timeout};

use crate::{after, id, info, network, node, topic};

/// Sends 20 messages at the first neighbour-up, and takes the other's.
async fn exchange(name: u8, sender: Sender, mut receiver: Receiver) -> (BTreeSet<Bytes>, usize) {
    let (mut received, mut doubled, mut sent) = (BTreeSet::new(), 0, false);
    let end = tokio::time::Instant::from_std(after(10.0));
    while let Ok(Some(event)) = tokio::time::timeout_at(end, receiver.recv()).await {
        match event {
            Event::NeighborUp(_) if !sent => {
                sent = true;
                for number in 0..20 {
                    sender
                        .publish(vec![name, number], after(5.0))
                        .await
                        .unwrap();
                }
            }
            Event::Received(message) if !received.insert(message.content.clone()) => doubled += 1,
            _ => {}
        }
    }
    (received, doubled)
}

async fn race(seed: u64) {
    let network = network(seed);
    let nodes = [
        node(&network, 0, Config::default()),
        node(&network, 1, Config::default()),
    ];
    let subscriptions = [
        nodes[0].subscribe(topic(), &[info(1)]).unwrap(),
        nodes[1].subscribe(topic(), &[info(0)]).unwrap(),
    ];
    let [one, other] = subscriptions.map(|subscription| subscription.split());
    let keep = (one.0.clone(), other.0.clone());
    let (one, other) = tokio::join!(exchange(0, one.0, one.1), exchange(1, other.0, other.1));
    for (received, doubled) in [one, other] {
        assert_eq!((received.len(), doubled), (20, 0), "seed {seed}");
    }
    let links = network.links_of(&id(0));
    assert_eq!(links.len(), 1, "seed {seed}");
    assert_eq!(nodes[0].links(), links, "seed {seed}");
    assert_eq!(nodes[1].links(), links, "seed {seed}");
    assert_eq!(keep.0.neighbors(), [id(1)]);
    assert_eq!(keep.1.neighbors(), [id(0)]);
    for node in nodes {
        node.shut_down(after(1.0)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn peers_that_dial_each_other_keep_the_same_link_and_lose_no_message_in_a_thousand_runs() {
    for seed in 0..1000 {
        race(seed).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_returns_over_a_new_link_is_heard_and_the_dead_link_goes() {
    for seed in 0..20 {
        let network = network(seed);
        let staying = node(&network, 0, Config::default());
        let mut subscription = staying.subscribe(topic(), &[]).unwrap();
        for generation in 0..3_u8 {
            let returning = node(&network, 1, Config::default());
            let joined = returning
                .subscribe_and_join(topic(), &[info(0)], after(5.0))
                .await
                .unwrap();
            joined.publish(vec![generation], after(1.0)).await.unwrap();
            loop {
                match timeout(Duration::from_secs(60), subscription.recv())
                    .await
                    .unwrap()
                    .unwrap()
                {
                    Event::Received(message) if message.content == [generation][..] => break,
                    _ => {}
                }
            }
            network.kill(&id(1));
            sleep(Duration::from_millis(100)).await;
            drop(joined);
            returning.shut_down(after(0.1)).await;
        }
        assert!(network.links_of(&id(0)).is_empty());
        staying.shut_down(after(1.0)).await;
    }
}

/// Two peers that speak iroh's protocol to each other. The ends may use different links, and close none that is in use.
async fn race_of_iroh(seed: u64) {
    let network = network(seed);
    let nodes = [0, 1].map(|name| {
        let links = network.attach(id(name), LinkProtocol::Iroh);
        Builder::new(id(name), seed + u64::from(name), Config::default(), links).spawn()
    });
    let subscriptions = [
        nodes[0].subscribe(topic(), &[info(1)]).unwrap(),
        nodes[1].subscribe(topic(), &[info(0)]).unwrap(),
    ];
    let [one, other] = subscriptions.map(|subscription| subscription.split());
    let mut watching = nodes
        .each_ref()
        .map(|node| node.subscribe(topic(), &[]).unwrap());
    let keep = (one.0.clone(), other.0.clone());
    let (one, other) = tokio::join!(exchange(0, one.0, one.1), exchange(1, other.0, other.1));
    for (received, doubled) in [one, other] {
        assert_eq!((received.len(), doubled), (20, 0), "seed {seed}");
    }
    // The drained links close meanwhile.
    sleep(Duration::from_secs(30)).await;
    for events in &mut watching {
        while let Ok(Some(event)) = timeout(Duration::ZERO, events.recv()).await {
            let lost = matches!(event, Event::NeighborDown(..));
            assert!(!lost, "seed {seed}: {event:?}");
        }
    }
    assert_eq!(keep.0.neighbors(), [id(1)]);
    assert_eq!(keep.1.neighbors(), [id(0)]);
    for node in nodes {
        node.shut_down(after(1.0)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn peers_that_dial_each_other_by_irohs_protocol_lose_no_message_and_no_neighbour() {
    for seed in 0..100 {
        race_of_iroh(seed).await;
    }
}
