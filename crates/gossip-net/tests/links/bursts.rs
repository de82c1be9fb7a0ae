//! Many messages at once, and neighbours that do not read.

use std::{collections::BTreeSet, time::Duration};

use gossip_net::{Config, Event, Gossip, Receiver, Sender};
use tokio::time::{Instant, sleep, timeout};

use crate::{after, info, network, node, topic};

/// Members of one topic that all know the first one.
async fn members(seed: u64, count: u32, config: &Config) -> (Vec<Gossip>, Vec<(Sender, Receiver)>) {
    let network = network(seed);
    let nodes = (0..count)
        .map(|number| node(&network, number, config.clone()))
        .collect::<Vec<_>>();
    let mut handles = Vec::new();
    for node in &nodes {
        let subscription = node
            .subscribe_with_capacity(topic(), &[info(0)], 1 << 20)
            .unwrap();
        handles.push(subscription.split());
    }
    sleep(Duration::from_secs(5)).await;
    (nodes, handles)
}

async fn publish(sender: Sender, number: u32, count: u32) {
    let mut content = vec![0; 1024];
    content[..4].copy_from_slice(&number.to_le_bytes());
    for at in 0..count {
        content[4..8].copy_from_slice(&at.to_le_bytes());
        sender.publish(content.clone(), after(60.0)).await.unwrap();
    }
}

/// Takes messages until there are enough or none comes for 20 s.
async fn take(receiver: &mut Receiver, expected: usize) -> usize {
    let mut received = BTreeSet::new();
    while received.len() < expected {
        match timeout(Duration::from_secs(20), receiver.recv()).await {
            Ok(Some(Event::Received(message))) => {
                let key = <[u8; 8]>::try_from(&message.content[..8]).unwrap();
                assert!(received.insert(key), "a message was delivered twice");
            }
            Ok(Some(Event::Lagged(missed))) => panic!("missed {missed}"),
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => break,
        }
    }
    received.len()
}

async fn burst(count: u32, each: u32) {
    let (nodes, handles) = members(1, count, &Config::default()).await;
    let start = Instant::now();
    let mut publishing = Vec::new();
    let mut taking = Vec::new();
    let mut keep = Vec::new();
    for (number, (sender, mut receiver)) in (0..).zip(handles) {
        keep.push(sender.clone());
        publishing.push(tokio::spawn(publish(sender, number, each)));
        let expected = (each * (count - 1)) as usize;
        taking.push(tokio::spawn(async move {
            (take(&mut receiver, expected).await, expected)
        }));
    }
    for task in publishing {
        task.await.unwrap();
    }
    for task in taking {
        let (received, expected) = task.await.unwrap();
        assert_eq!(
            received,
            expected,
            "{:?}",
            nodes.iter().map(Gossip::topics).collect::<Vec<_>>()
        );
    }
    println!(
        "{count} nodes, {each} messages each: {:?} of simulated time",
        start.elapsed()
    );
    for node in nodes {
        node.shut_down(after(1.0)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn two_nodes_that_burst_at_each_other_deliver_everything() {
    burst(2, 20_000).await;
}

#[tokio::test(start_paused = true)]
async fn sixteen_nodes_that_all_publish_at_once_deliver_everything() {
    burst(16, 500).await;
}

/// Takes a minute without optimization: `cargo test --release -p gossip-net --test links two_thousand`.
#[cfg(not(debug_assertions))]
#[tokio::test(start_paused = true)]
async fn sixteen_nodes_that_publish_two_thousand_messages_each_deliver_everything() {
    burst(16, 2000).await;
}
