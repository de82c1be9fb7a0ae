//! Peers that do not follow the protocol. Each test speaks the wire format over a link of its own.

use gossip_net::{
    Bytes, Config, DownCause, Event, LinkProtocol, Links, MessageId, Subscription,
    memory::MemoryNetwork,
    wire::{Gossip, IHave, Message, PeerInfo, Priority, Scope, Swarm, put_header},
};
use tokio::{
    io::AsyncWriteExt,
    time::{Duration, Instant, sleep, timeout},
};

use crate::{
    after,
    attacker::{Attacker, content, graft},
    id, info, message, network, node, topic,
};

/// A node that takes part in the topic, and a peer that has a link to the node.
struct Attack {
    network: MemoryNetwork,
    victim: gossip_net::Gossip,
    subscription: Subscription,
    attacker: Attacker,
}

async fn attack(protocol: LinkProtocol) -> Attack {
    let network = network(1);
    let victim = node(&network, 0, Config::default());
    let subscription = victim.subscribe(topic(), &[]).unwrap();
    let attacker = Attacker::connect(&network, 9, protocol).await;
    Attack {
        network,
        victim,
        subscription,
        attacker,
    }
}

#[tokio::test(start_paused = true)]
async fn a_graft_from_a_stranger_gets_no_message_and_one_goodbye_per_second() {
    let network = network(1);
    let victim = node(&network, 0, Config::default());
    let friend = node(&network, 1, Config::default());
    let subscription = victim.subscribe(topic(), &[]).unwrap();
    let _other = friend
        .subscribe_and_join(topic(), &[info(0)], after(5.0))
        .await
        .unwrap();
    subscription.publish("secret", after(1.0)).await.unwrap();
    let mut attacker = Attacker::connect(&network, 9, LinkProtocol::Bowline).await;
    for _ in 0..100 {
        attacker.send(graft(b"secret")).await;
        sleep(Duration::from_millis(9)).await;
    }
    let heard = attacker.hear(Duration::from_millis(600)).await;
    assert!(
        matches!(
            heard[..],
            [
                Message::Swarm(Swarm::ShuffleReply { .. }),
                Message::Swarm(Swarm::Disconnect { alive: true, .. })
            ]
        ),
        "{heard:?}"
    );
    subscription.publish("later", after(1.0)).await.unwrap();
    assert_eq!(attacker.hear(Duration::from_secs(5)).await, []);
}

#[tokio::test(start_paused = true)]
async fn round_65535_is_delivered_and_forwarded_with_a_bounded_round() {
    let Attack {
        network,
        mut subscription,
        mut attacker,
        ..
    } = attack(LinkProtocol::Bowline).await;
    let mut watcher = Attacker::connect(&network, 8, LinkProtocol::Bowline).await;
    attacker.become_neighbour().await;
    watcher.become_neighbour().await;
    attacker.send(content(b"far", u16::MAX)).await;
    attacker
        .send(Message::Gossip(Gossip::IHave(vec![IHave {
            id: MessageId::of(b"none"),
            round: u16::MAX,
        }])))
        .await;
    assert_eq!(message(&mut subscription).await.hops(), 65_536);
    let heard = watcher.hear(Duration::from_secs(1)).await;
    assert!(heard.contains(&content(b"far", 127)), "{heard:?}");
}

#[tokio::test(start_paused = true)]
async fn storms_of_join_and_high_neighbor_evict_one_neighbour_per_second_and_never_the_two_oldest()
{
    let network = network(1);
    let victim = node(&network, 0, Config::default());
    let mut subscription = victim.subscribe(topic(), &[]).unwrap();
    let mut friends = Vec::new();
    for number in 1..=5 {
        let friend = node(&network, number, Config::default());
        friends.push((friend.subscribe(topic(), &[info(0)]).unwrap(), friend));
        sleep(Duration::from_secs(2)).await;
    }
    let neighbours = subscription.neighbors();
    assert_eq!(neighbours.len(), 5);
    while timeout(Duration::from_millis(1), subscription.recv())
        .await
        .is_ok()
    {}
    for number in 100..200 {
        let mut attacker = Attacker::connect(&network, number, LinkProtocol::Bowline).await;
        attacker.send(Message::Swarm(Swarm::Join(None))).await;
        attacker.become_neighbour().await;
    }
    let start = Instant::now();
    let mut evictions = 0;
    while let Ok(Some(event)) = timeout(Duration::from_millis(10), subscription.recv()).await {
        evictions += usize::from(matches!(event, Event::NeighborDown(_, DownCause::Evicted)));
    }
    // A hundred attackers took about 25 s.
    assert!((1..=40).contains(&evictions), "{evictions}");
    let left = subscription.neighbors();
    assert_eq!(left[..2], neighbours[..2]);
    assert!(left.len() <= 5 && start.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn ihaves_that_are_never_fulfilled_are_bounded_and_forgotten() {
    let Attack {
        victim,
        subscription: _subscription,
        mut attacker,
        ..
    } = attack(LinkProtocol::Bowline).await;
    attacker.keep_reading();
    attacker.become_neighbour().await;
    for number in 0..50_u32 {
        let id = |at: u32| MessageId::of(&(number * 100 + at).to_le_bytes());
        let found = (0..100)
            .map(|at| IHave {
                id: id(at),
                round: 1,
            })
            .collect();
        attacker.send(Message::Gossip(Gossip::IHave(found))).await;
    }
    // The attacker answers probes, so that it stays a neighbour.
    for _ in 0..12 {
        sleep(Duration::from_secs(1)).await;
        attacker.send(Message::Gossip(Gossip::Prune)).await;
    }
    let counters = victim.topics()[0].counters;
    assert_eq!(counters.not_noted, 5000 - 1024);
    assert_eq!(counters.never_arrived, 1024);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_sends_only_invalid_messages_is_evicted_and_its_link_closed() {
    let Attack {
        network,
        mut subscription,
        mut attacker,
        ..
    } = attack(LinkProtocol::Bowline).await;
    attacker.become_neighbour().await;
    for number in 0..32_u8 {
        // A content that does not hash to the id, ids off the curve, and no message at all.
        let wrong = Message::Gossip(Gossip::Content {
            id: MessageId::of(b"other"),
            content: Bytes::from(vec![number]),
            scope: Scope::Neighbors,
        });
        match number % 3 {
            0 => attacker.send(wrong).await,
            1 => attacker
                .stream
                .write_all(
                    &[0, 0, 0, 36, 0, 3, 1, 2]
                        .iter()
                        .copied()
                        .chain([0; 32])
                        .collect::<Vec<_>>(),
                )
                .await
                .unwrap(),
            _ => attacker.stream.write_all(&[0, 0, 0, 1, 9]).await.unwrap(),
        }
    }
    let mut events = Vec::new();
    while let Ok(Some(event)) = timeout(Duration::from_secs(1), subscription.recv()).await {
        events.push(event);
    }
    assert_eq!(
        events.last(),
        Some(&Event::NeighborDown(id(9), DownCause::Invalid))
    );
    assert_eq!(network.links_of(&id(9)), []);
}

#[tokio::test(start_paused = true)]
async fn streams_without_a_header_end_after_ten_seconds_and_delay_nobody() {
    let Attack {
        victim,
        mut subscription,
        mut attacker,
        ..
    } = attack(LinkProtocol::Bowline).await;
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(attacker.links.open(attacker.link).await.unwrap());
    }
    attacker.become_neighbour().await;
    attacker.send(content(b"through", 0)).await;
    assert_eq!(message(&mut subscription).await.content, "through");
    sleep(Duration::from_secs(11)).await;
    assert_eq!(victim.link_counters().invalid, 20);
}

#[tokio::test(start_paused = true)]
async fn a_neighbour_that_never_reads_is_evicted_slows_nobody_down_and_delays_no_shutdown() {
    let network = network(1);
    let nodes = [0, 1, 2].map(|number| node(&network, number, Config::default()));
    let mut subscription = nodes[0].subscribe(topic(), &[]).unwrap();
    let mut readers = Vec::new();
    for node in &nodes[1..] {
        readers.push(
            node.subscribe_and_join(topic(), &[info(0)], after(5.0))
                .await
                .unwrap(),
        );
    }
    let rate = async |count: u32, from: u32, reader: &mut Subscription| {
        let start = Instant::now();
        for number in from..from + count {
            let mut bytes = vec![0; 1024];
            bytes[..4].copy_from_slice(&number.to_le_bytes());
            subscription.publish(bytes, after(10.0)).await.unwrap();
        }
        let mut received = 0;
        while received < count {
            if let Event::Received(_) = reader.recv().await.unwrap() {
                received += 1;
            }
        }
        start.elapsed()
    };
    let before = rate(2000, 0, &mut readers[0]).await;
    let mut attacker = Attacker::connect(&network, 9, LinkProtocol::Bowline).await;
    attacker.become_neighbour().await;
    assert_eq!(subscription.neighbors().len(), 3);
    // The first burst fills the attacker's window and queue. Publishers wait for it for a quarter of a second at most.
    let during = rate(2000, 10_000, &mut readers[0]).await;
    assert!(
        during <= before + Duration::from_millis(400),
        "{during:?} instead of {before:?}"
    );
    let stalled = rate(2000, 20_000, &mut readers[0]).await;
    assert!(
        stalled.as_secs_f64() <= before.as_secs_f64() / 0.9 + 0.05,
        "{stalled:?} instead of {before:?}"
    );
    let start = Instant::now();
    loop {
        if let Event::NeighborDown(peer, cause) =
            timeout(Duration::from_secs(60), subscription.recv())
                .await
                .unwrap()
                .unwrap()
        {
            assert_eq!((peer, cause), (id(9), DownCause::Stalled));
            break;
        }
    }
    assert!(
        start.elapsed() <= Duration::from_secs(4),
        "{:?}",
        start.elapsed()
    );
    let mut attacker = Attacker::connect(&network, 10, LinkProtocol::Bowline).await;
    attacker.become_neighbour().await;
    let start = Instant::now();
    nodes[0].shut_down(after(1.0)).await;
    assert!(start.elapsed() <= Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_stale_disconnect_on_an_older_stream_does_not_part_neighbours() {
    let Attack {
        victim,
        subscription,
        mut attacker,
        ..
    } = attack(LinkProtocol::Iroh).await;
    let mut newer = attacker.links.open(attacker.link).await.unwrap();
    let mut bytes = Vec::new();
    put_header(&mut bytes, &topic());
    Message::Swarm(Swarm::Neighbor {
        priority: Priority::High,
        data: None,
    })
    .encode(&mut bytes);
    newer.write_all(&bytes).await.unwrap();
    sleep(Duration::from_millis(200)).await;
    attacker
        .send(Message::Swarm(Swarm::Disconnect {
            alive: true,
            respond: false,
        }))
        .await;
    sleep(Duration::from_millis(200)).await;
    assert_eq!(subscription.neighbors(), [id(9)]);
    assert_eq!(victim.link_counters().stale, 1);
    let mut bytes = Vec::new();
    Message::Swarm(Swarm::Disconnect {
        alive: true,
        respond: false,
    })
    .encode(&mut bytes);
    newer.write_all(&bytes).await.unwrap();
    sleep(Duration::from_millis(200)).await;
    assert_eq!(subscription.neighbors(), []);
}

#[tokio::test(start_paused = true)]
async fn floods_of_shuffles_are_dropped_before_they_are_decoded_and_cause_no_dials() {
    let Attack {
        victim,
        subscription: _subscription,
        mut attacker,
        ..
    } = attack(LinkProtocol::Bowline).await;
    attacker.become_neighbour().await;
    let before = victim.link_counters();
    for number in 0..2000 {
        let nodes = vec![
            PeerInfo {
                id: id(5000 + number % 50),
                data: None
            };
            30
        ];
        let origin = id(6000 + number % 50);
        attacker
            .send(Message::Swarm(Swarm::Shuffle {
                origin,
                nodes,
                ttl: u16::MAX,
            }))
            .await;
    }
    sleep(Duration::from_millis(500)).await;
    let counters = victim.link_counters();
    assert!(counters.over_rate >= 1500, "{counters:?}");
    // Each origin gets at most one answer per second, and eight dials at a time are in flight.
    assert!(counters.dials - before.dials <= 60, "{counters:?}");
    assert!(victim.topics()[0].remembered <= 60);
}
