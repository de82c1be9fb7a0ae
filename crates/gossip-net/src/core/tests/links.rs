//! The ends of links and streams.

use super::*;

#[test]
fn the_older_link_is_used_again_if_the_link_that_replaced_it_closes() {
    let mut node = Node::with_neighbours(1);
    node.up(2, id(1), id(1), LinkProtocol::Bowline);
    node.core.handle_link_closed(node.now, LinkId(2));
    node.wait(Duration::from_secs(3), None);
    assert_eq!(node.closed, []);
    assert_eq!(node.core.neighbors(&TOPIC), [id(1)]);
}

#[test]
fn a_link_that_no_topic_uses_closes_after_ten_silent_seconds() {
    let mut node = Node::new(id(100));
    node.up(1, id(1), id(1), LinkProtocol::Bowline);
    let start = node.now;
    while node.closed.is_empty() {
        let due = node.core.poll_timeout().unwrap();
        node.now = due.max(node.now + Duration::from_micros(1));
        assert!(node.now < start + Duration::from_secs(20));
        node.core.handle_timeout(node.now);
        node.settle();
    }
    let after = node.now - start;
    let ten = Duration::from_secs(10);
    assert!(
        (ten..ten + Duration::from_millis(600)).contains(&after),
        "{after:?}"
    );
}

#[test]
fn a_link_closes_ten_seconds_after_its_peer_was_a_neighbour() {
    let mut node = Node::with_neighbours(2);
    node.wait(Duration::from_secs(1), Some(1));
    let leaves = Message::Swarm(Swarm::Disconnect {
        alive: false,
        respond: false,
    });
    node.hear(1, leaves);
    node.sent(1);
    node.wait(Duration::from_millis(9900), Some(2));
    assert_eq!(node.closed, []);
    node.wait(Duration::from_millis(700), Some(2));
    assert_eq!(node.closed, [LinkId(1)]);
}

#[test]
fn a_link_that_was_replaced_and_is_not_read_does_not_part_neighbours() {
    let mut node = Node::with_neighbours(1);
    node.up(2, id(1), id(1), LinkProtocol::Bowline);
    node.core.handle_stalled(node.now, LinkId(1));
    node.settle();
    assert_eq!(node.closed, [LinkId(1)]);
    assert_eq!(node.core.neighbors(&TOPIC), [id(1)]);
    assert_eq!(node.core.link_counters().stalled, 0);
}

/// A node with one neighbour in two topics.
fn with_two_topics() -> Node {
    let mut node = Node::with_neighbours(1);
    node.core.subscribe(node.now, OTHER, &[]).unwrap();
    node.core
        .handle_message(node.now, LinkId(1), (2, 1), OTHER, neighbor());
    assert_eq!(node.core.neighbors(&OTHER), [id(1)]);
    node
}

#[test]
fn a_stream_that_cannot_be_written_parts_the_neighbours_in_its_topic_alone() {
    let mut node = with_two_topics();
    node.core.handle_stream_failed(node.now, LinkId(1), OTHER);
    node.settle();
    assert_eq!(node.core.neighbors(&OTHER), []);
    assert_eq!(node.core.neighbors(&TOPIC), [id(1)]);
    assert_eq!(node.closed, []);
}

#[test]
fn a_peer_with_another_link_has_closed_the_link_whose_stream_cannot_be_written() {
    let mut node = with_two_topics();
    node.up(2, id(1), id(1), LinkProtocol::Bowline);
    node.core.handle_stream_failed(node.now, LinkId(2), OTHER);
    node.settle();
    assert_eq!(node.closed, [LinkId(2)]);
    assert_eq!(node.core.neighbors(&OTHER), [id(1)]);
}

#[test]
fn what_was_sent_over_a_replaced_link_that_closes_is_announced_over_the_other_link() {
    let mut node = Node::with_neighbours(1);
    node.publish(true).unwrap();
    assert!(!node.sent(1).is_empty());
    node.up(2, id(1), id(1), LinkProtocol::Bowline);
    assert_eq!(node.core.current_link(&id(1)), Some(LinkId(2)));
    node.core.handle_link_closed(node.now, LinkId(1));
    node.now += Duration::from_millis(5);
    node.core.handle_timeout(node.now);
    node.settle();
    let sent = node.sent(2);
    let announced = sent.iter().filter_map(|message| match message {
        Message::Gossip(crate::wire::Gossip::IHave(ids)) => Some(ids.len()),
        _ => None,
    });
    assert_eq!(announced.sum::<usize>(), 1, "{sent:?}");
}

#[test]
fn a_link_closes_after_32_invalid_messages_in_a_row_and_a_valid_one_ends_the_row() {
    let mut node = Node::with_neighbours(2);
    let invalid = |node: &mut Node, count| {
        for _ in 0..count {
            node.core.handle_invalid(node.now, LinkId(1));
        }
        node.settle();
    };
    invalid(&mut node, 31);
    node.hear(1, Message::Gossip(crate::wire::Gossip::Prune));
    invalid(&mut node, 31);
    assert_eq!(node.closed, []);
    invalid(&mut node, 1);
    assert_eq!(node.closed, [LinkId(1)]);
}
