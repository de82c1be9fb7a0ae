//! Messages, and what becomes of them when connections and members come and go.

use std::time::Duration;

use node::{
    Config, Event as NodeEvent, Events, GossipConfig, GossipEvent, Keypair, Multiaddr, Node,
    SubscribeError,
    gossip_net::{DownCause, JoinError, PublishError},
    multiaddr::Protocol,
};
use tokio::sync::oneshot;

use super::{
    AT,
    common::{QUIC, TCP, listen, node, wait, within},
    expect, member, neighbours, next_text, soon, topic,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_members_over_tcp_and_quic_hear_every_message_of_each_other_once() {
    let (first, address, subscription) = member(Keypair::generate_ed25519(), TCP, &[]).await;
    let mut members = vec![(first, subscription)];
    for at in [QUIC, TCP, QUIC, TCP] {
        let peers = [address.clone()];
        let (node, _, subscription) = member(Keypair::generate_ed25519(), at, &peers).await;
        subscription.joined(soon()).await.unwrap();
        members.push((node, subscription));
    }
    members[0].1.joined(soon()).await.unwrap();
    for (number, (_, subscription)) in members.iter().enumerate() {
        for message in 0..20 {
            let text = format!("message {message} of {number}");
            subscription.publish(text, soon()).await.unwrap();
        }
    }
    for (number, (_, subscription)) in members.iter_mut().enumerate() {
        let others = (0..5).filter(|other| *other != number);
        let wanted = others
            .flat_map(|other| (0..20).map(move |message| format!("message {message} of {other}")));
        expect(subscription, wanted).await;
    }
    for (node, _) in members {
        within(node.shutdown()).await;
    }
}

/// A member in a runtime of its own. When the sender is dropped, the runtime ends without a goodbye, as in a process that is
/// killed.
fn mortal(keypair: Keypair, at: String, peers: Vec<Multiaddr>) -> (Mortal, oneshot::Sender<()>) {
    let (kill, killed) = oneshot::channel::<()>();
    let (up, is_up) = oneshot::channel();
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let alive = runtime.block_on(async {
            let mortal = member(keypair, &at, &peers).await;
            mortal.2.joined(soon()).await.unwrap();
            up.send(mortal.1.clone()).unwrap();
            let _ = killed.await;
            mortal
        });
        // Nothing runs any more that could say goodbye.
        runtime.shutdown_background();
        drop(alive);
    });
    (Mortal { is_up, thread }, kill)
}

struct Mortal {
    is_up: oneshot::Receiver<Multiaddr>,
    thread: std::thread::JoinHandle<()>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_was_killed_is_noticed_and_hears_everything_again_after_its_restart() {
    for at in [TCP, QUIC] {
        let (first, address, mut subscription) = member(Keypair::generate_ed25519(), at, &[]).await;
        let key = Keypair::generate_ed25519();
        let (mortal, kill) = mortal(key.clone(), at.to_owned(), vec![address.clone()]);
        let again_at = within(mortal.is_up).await.unwrap();
        let mut events = first.events();
        subscription.joined(soon()).await.unwrap();

        drop(kill);
        mortal.thread.join().unwrap();
        // The event about the neighbour's arrival may come late.
        while next_change(&mut events).await.is_none() {}
        assert!(subscription.neighbors().is_empty());

        let mut plain = again_at.clone();
        assert!(matches!(plain.pop(), Some(Protocol::P2p(_))));
        let (second, _, mut restarted) = member(key, &plain.to_string(), &[address]).await;
        restarted.joined(soon()).await.unwrap();
        subscription.joined(soon()).await.unwrap();
        subscription
            .publish("for the restarted member", soon())
            .await
            .unwrap();
        restarted
            .publish("of the restarted member", soon())
            .await
            .unwrap();
        expect(&mut restarted, ["for the restarted member".to_owned()]).await;
        expect(&mut subscription, ["of the restarted member".to_owned()]).await;
        within(second.shutdown()).await;
        within(first.shutdown()).await;
    }
}

/// The rounds in which both ends have two connections prove something. There must be this many of them.
const CROSSED: usize = 3;
/// The most rounds. In most rounds, the dials cross.
const MOST_ROUNDS: usize = 40;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_one_of_two_connections_is_drained_no_message_is_lost_or_doubled() {
    for at in [TCP, QUIC] {
        let (mut crossed, mut rounds) = (0, 0);
        while crossed < CROSSED {
            assert!(
                rounds < MOST_ROUNDS,
                "{at}: only {crossed} rounds had two connections"
            );
            crossed += usize::from(crossing(at).await);
            rounds += 1;
        }
    }
}

/// Both ends dial at the same time and publish until they have one connection. Returns whether both ends had two connections.
async fn crossing(at: &str) -> bool {
    let nodes = [node(), node()];
    let [one, other] = [listen(&nodes[0], at).await, listen(&nodes[1], at).await];
    let mut members = nodes
        .each_ref()
        .map(|node| node.subscribe(topic(), []).unwrap());
    let (here, there) = tokio::join!(nodes[0].dial([other]), nodes[1].dial([one]));
    here.unwrap();
    there.unwrap();
    for member in &members {
        member.joined(soon()).await.unwrap();
    }
    let (mut count, mut crossed) = (0, false);
    let publishing = async {
        while count < 50 || !nodes.iter().all(has_one_connection) {
            for (number, member) in members.iter().enumerate() {
                let text = format!("{count} of {number}");
                member.publish(text, soon()).await.unwrap();
            }
            count += 1;
            crossed |= nodes.iter().all(|node| node.connections().len() == 2);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    within(publishing).await;
    let directions = nodes
        .each_ref()
        .map(|node| node.connections()[0].direction());
    assert_ne!(
        directions[0], directions[1],
        "they keep different connections"
    );
    for (number, member) in members.iter_mut().enumerate() {
        let wanted = (0..count).map(|message| format!("{message} of {}", 1 - number));
        let others = expect(member, wanted).await;
        let lost = others.iter().any(|event| event.contains("NeighborDown"));
        assert!(!lost, "{others:?}");
    }
    for node in nodes {
        within(node.shutdown()).await;
    }
    crossed
}

fn has_one_connection(node: &Node) -> bool {
    matches!(&*node.connections(), [only] if !only.is_draining())
}

/// The next time that a neighbour comes (`None`) or goes.
async fn next_change(events: &mut Events) -> Option<DownCause> {
    wait(events, |event| match event {
        NodeEvent::Part(event) => Some(event.downcast_ref::<GossipEvent>()?.cause),
        _ => None,
    })
    .await
}

#[tokio::test]
async fn a_lost_connection_ends_the_link_and_the_members_find_each_other_again() {
    let [(first, one), (second, mut other)] = neighbours(Config::default(), AT).await;
    let mut events = first.events();
    second.connection(first.peer_id()).unwrap().abort();
    // The event about the neighbour's arrival may come late.
    while next_change(&mut events).await != Some(DownCause::Transport) {}
    assert_eq!(next_change(&mut events).await, None);
    one.publish("after the loss", soon()).await.unwrap();
    assert_eq!(within(next_text(&mut other)).await, "after the loss");
    assert_eq!(first.gossip_counters().lost, 1);
    within(second.shutdown()).await;
    within(first.shutdown()).await;
}

#[tokio::test]
async fn a_message_that_the_host_refuses_goes_no_further_and_a_peer_that_it_refuses_is_no_neighbour()
 {
    let validating = GossipConfig::default().with_validate(|_, _, content| content != b"bad");
    let [(first, mut one), (second, other)] =
        neighbours(Config::default().with_gossip(validating), AT).await;
    other.publish("bad", soon()).await.unwrap();
    other.publish("good", soon()).await.unwrap();
    assert_eq!(within(next_text(&mut one)).await, "good");
    within(second.shutdown()).await;
    within(first.shutdown()).await;

    let refusing = GossipConfig::default().with_allow(|_, _| false);
    let closed = super::with(Config::default().with_gossip(refusing));
    let address = listen(&closed, AT).await;
    let _subscription = closed.subscribe(topic(), []).unwrap();
    let stranger = node();
    let subscription = stranger.subscribe(topic(), [address]).unwrap();
    let deadline = std::time::Instant::now() + Duration::from_secs(1);
    let refused = subscription.publish("hello", deadline).await;
    assert_eq!(refused, Err(PublishError::NoNeighbour));
    assert!(closed.gossip_counters().refused > 0);
}

#[tokio::test]
async fn after_the_shutdown_of_the_node_its_subscriptions_end_and_no_new_one_begins() {
    let [(first, mut one), (second, mut other)] = neighbours(Config::default(), AT).await;
    one.publish("last words", soon()).await.unwrap();
    within(first.shutdown()).await;
    assert_eq!(within(next_text(&mut other)).await, "last words");
    while within(one.recv()).await.is_some() {}
    let refused = first.subscribe(topic(), []).err();
    assert_eq!(refused, Some(SubscribeError::Join(JoinError::Left)));
    within(second.shutdown()).await;
}

#[cfg(feature = "metrics")]
#[tokio::test]
async fn the_metrics_count_topics_neighbours_and_messages_even_after_the_topic_was_left() {
    let value = |node: &Node, name: &str| -> u64 {
        let text = node.metrics();
        let mut lines = text.lines();
        let found = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        found
            .unwrap_or_else(|| panic!("{name}: {text}"))
            .parse()
            .unwrap()
    };
    let [(first, mut one), (second, other)] = neighbours(Config::default(), AT).await;
    other.publish("counted", soon()).await.unwrap();
    within(next_text(&mut one)).await;
    for (name, expected) in [
        ("bowline_gossip_topics", 1),
        ("bowline_gossip_neighbours", 1),
        ("bowline_gossip_links", 1),
        ("bowline_gossip_received_total", 1),
        ("bowline_gossip_links_opened_total", 1),
    ] {
        assert_eq!(value(&first, name), expected, "{name}");
    }
    assert_eq!(value(&second, "bowline_gossip_published_total"), 1);
    drop(one);
    assert_eq!(value(&first, "bowline_gossip_topics"), 0);
    assert_eq!(value(&first, "bowline_gossip_received_total"), 1);
    within(second.shutdown()).await;
    within(first.shutdown()).await;
}
