//! Full queues.

use super::*;
use crate::PublishError;

const QUARTER: usize = 1 << 18;
/// A frame with 1 KiB of content.
const FRAME: usize = 1066;

#[test]
fn publishers_wait_until_a_neighbour_has_room_however_slowly_it_reads() {
    let mut node = Node::with_neighbours(1);
    while node.publish(true).is_ok() {}
    for _ in 0..100 {
        // The link takes 64 KiB at once, and nothing for 260 ms.
        node.core.poll_transmit(node.now, LinkId(1), 64 << 10);
        node.now += Duration::from_millis(260);
        let published = (0..200).filter(|_| node.publish(true).is_ok()).count();
        assert!((50..70).contains(&published), "{published}");
        assert!(node.waiting(&id(1)) <= QUARTER + FRAME);
    }
    let counters = node.core.counters();
    assert_eq!((counters.not_announced, counters.deferred), (0, 0));
    assert_eq!(node.publish(true), Err(PublishError::Busy));
}

#[test]
fn a_neighbour_that_takes_nothing_delays_publishers_for_250_ms_and_is_evicted_after_three_seconds()
{
    let mut node = Node::with_neighbours(2);
    let publish = |node: &mut Node| {
        let published = node.publish(true);
        node.core.poll_transmit(node.now, LinkId(2), 1 << 20);
        published
    };
    let mut published = 0;
    while publish(&mut node) == Ok(2) {
        published += 1;
    }
    // A quarter of the queue is for own messages.
    assert_eq!(published, QUARTER / FRAME + 1);
    node.now += Duration::from_millis(249);
    assert_eq!(publish(&mut node), Err(PublishError::Busy));
    node.now += Duration::from_millis(1);
    assert_eq!(publish(&mut node), Ok(2), "another neighbour has room");
    node.hear(1, Message::Gossip(crate::wire::Gossip::Prune));
    node.now += Duration::from_millis(2749);
    for closed in [vec![], vec![LinkId(1)]] {
        node.core.handle_timeout(node.now);
        node.settle();
        node.core.poll_transmit(node.now, LinkId(2), 1 << 20);
        assert_eq!(node.closed, closed);
        node.now += Duration::from_millis(1);
    }
    let down = Event::NeighborDown(id(1), DownCause::Stalled);
    assert!(node.events.contains(&down), "{:?}", node.events);
    assert_eq!(node.core.link_counters().unsent, 1);
}

#[test]
fn a_message_to_the_neighbours_alone_does_not_go_to_a_neighbour_with_a_full_queue() {
    let mut node = Node::with_neighbours(2);
    let mut counts = BTreeSet::new();
    for _ in 0..2000 {
        match node.publish(false) {
            Ok(count) => counts.extend([count]),
            Err(error) => {
                assert_eq!(error, PublishError::Busy);
                node.now += Duration::from_millis(250);
            }
        }
        node.core.poll_transmit(node.now, LinkId(2), 1 << 20);
    }
    assert_eq!(counts, BTreeSet::from([1, 2]));
    assert!(node.waiting(&id(1)) <= 3 * QUARTER + FRAME);
}

#[test]
fn a_neighbour_whose_contents_were_dropped_gets_contents_again() {
    let mut node = Node::with_neighbours(2);
    node.core.subscribe(node.now, OTHER, &[]).unwrap();
    node.core
        .handle_message(node.now, LinkId(1), (2, 1), OTHER, neighbor());
    while node.waiting(&id(1)) < 3 * QUARTER {
        if node.publish(true).is_err() {
            node.now += Duration::from_millis(250);
        }
        node.core.poll_transmit(node.now, LinkId(2), 1 << 20);
    }
    let evicts = Message::Swarm(Swarm::Disconnect {
        alive: true,
        respond: false,
    });
    node.hear(1, evicts);
    assert_eq!(node.waiting(&id(1)), 0);
    let content = Bytes::from_static(b"in the other topic");
    let other = MessageId::of(&content);
    let published = node.core.publish(node.now, OTHER, other, content, true);
    assert_eq!(published, Ok(1));
    assert!(node.waiting(&id(1)) > 0, "the content is queued");
}

#[test]
fn a_node_that_leaves_a_topic_and_takes_part_again_says_goodbye_before_it_asks() {
    let mut node = Node::with_neighbours(1);
    node.sent(1);
    node.core.leave(node.now, TOPIC);
    node.core.subscribe(node.now, TOPIC, &[]).unwrap();
    let peer = PeerInfo {
        id: id(1),
        data: None,
    };
    node.core.offer(node.now, TOPIC, &[peer]);
    let sent = node.sent(1);
    let at = |wanted: fn(&Swarm) -> bool| {
        let is_wanted =
            |message: &Message| matches!(message, Message::Swarm(swarm) if wanted(swarm));
        sent.iter().position(is_wanted).unwrap()
    };
    let goodbye = at(|swarm| matches!(swarm, Swarm::Disconnect { alive: false, .. }));
    let asks = at(|swarm| matches!(swarm, Swarm::Neighbor { .. }));
    assert!(goodbye < asks, "{sent:?}");
}

#[test]
fn a_neighbour_that_asks_for_a_message_again_and_again_fills_no_more_than_its_queue() {
    let mut node = Node::with_neighbours(1);
    node.publish(true).unwrap();
    let content = [&node.published.to_le_bytes()[..], &[0; 1020]].concat();
    let id_of_message = Some(MessageId::of(&content));
    for _ in 0..2000 {
        let graft = crate::wire::Gossip::Graft {
            id: id_of_message,
            round: 0,
        };
        node.hear(1, Message::Gossip(graft));
    }
    let waiting = node.waiting(&id(1));
    let full = 3 * QUARTER..=3 * QUARTER + FRAME;
    assert!(full.contains(&waiting), "{waiting}");
}

#[test]
fn a_neighbour_with_a_full_queue_gets_ids_in_a_topic_that_it_joins_then() {
    let mut node = Node::with_neighbours(2);
    while node.waiting(&id(1)) < 3 * QUARTER {
        if node.publish(true).is_err() {
            node.now += Duration::from_millis(250);
        }
        node.core.poll_transmit(node.now, LinkId(2), 1 << 20);
    }
    node.core.subscribe(node.now, OTHER, &[]).unwrap();
    for link in [1, 2] {
        node.core
            .handle_message(node.now, LinkId(link), (2, 1), OTHER, neighbor());
    }
    for number in 0..1000_u32 {
        let content = Bytes::from([&number.to_le_bytes()[..], &[1; 1020]].concat());
        let message = crate::wire::Gossip::Content {
            id: MessageId::of(&content),
            content,
            scope: Scope::Swarm(0),
        };
        let position = (2, 2 + u64::from(number));
        node.core.handle_message(
            node.now,
            LinkId(2),
            position,
            OTHER,
            Message::Gossip(message),
        );
        node.settle();
    }
    let waiting = node.waiting(&id(1));
    assert!(waiting <= 3 * QUARTER + FRAME, "{waiting}");
    assert_eq!(node.core.counters().received, 1000);
}
