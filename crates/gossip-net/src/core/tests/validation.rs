//! Messages that the host refuses.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use super::*;
use crate::wire::{Gossip, IHave};

/// A node whose host refuses all messages, with the neighbours 1 and 2. The number counts the questions to the host.
fn refusing() -> (Node, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = asked.clone();
    let core = Core::new(id(100), 1, Config::default()).with_validation(move |_, _, _| {
        counter.fetch_add(1, Ordering::Relaxed);
        false
    });
    let mut node = Node::of(core);
    node.add_neighbour(1);
    node.add_neighbour(2);
    (node, asked)
}

fn content() -> Message {
    let content = Bytes::from_static(b"spam");
    Message::Gossip(Gossip::Content {
        id: MessageId::of(&content),
        content,
        scope: Scope::Swarm(0),
    })
}

#[test]
fn the_host_is_asked_once_about_a_refused_message_of_a_neighbour_and_not_about_those_of_strangers()
{
    let (mut node, asked) = refusing();
    let asked = || asked.load(Ordering::Relaxed);
    node.up(9, id(9), id(9), LinkProtocol::Bowline);
    for (link, questions) in [(9, 0), (1, 1), (2, 2)] {
        for _ in 0..10 {
            node.hear(link, content());
        }
        assert_eq!(asked(), questions, "link {link}");
    }
    assert_eq!(node.core.counters().received, 0);
    assert_eq!(node.core.link_counters().refused, 20);
}

#[test]
fn a_neighbour_is_not_asked_for_a_message_that_was_refused_and_another_one_is() {
    let (mut node, _) = refusing();
    let id = MessageId::of(b"spam");
    let announces = || Message::Gossip(Gossip::IHave(vec![IHave { id, round: 1 }]));
    for link in [1, 2] {
        node.hear(link, announces());
    }
    node.hear(1, content());
    node.hear(1, announces());
    for link in [1, 2] {
        node.sent(link);
    }
    for _ in 0..10 {
        node.now += Duration::from_millis(100);
        node.core.handle_timeout(node.now);
        node.settle();
    }
    let mut asks = |link| {
        let sent = node.sent(link);
        let is_graft = |message: &Message| matches!(message, Message::Gossip(Gossip::Graft { .. }));
        sent.iter().any(is_graft)
    };
    assert_eq!((asks(1), asks(2)), (false, true));
}

#[test]
fn a_message_longer_than_the_limit_is_neither_delivered_nor_forwarded() {
    // A frame may be a few bytes longer than the longest message needs.
    for (length, passes) in [(4057, true), (4058, false)] {
        let mut node = Node::with_neighbours(2);
        node.sent(2);
        let content = Bytes::from(vec![7; length]);
        let message = Gossip::Content {
            id: MessageId::of(&content),
            content,
            scope: Scope::Swarm(0),
        };
        node.hear(1, Message::Gossip(message));
        let is_content =
            |message: &Message| matches!(message, Message::Gossip(Gossip::Content { .. }));
        assert_eq!(node.sent(2).iter().any(is_content), passes, "{length}");
        assert_eq!(node.core.counters().received, u64::from(passes));
    }
}
