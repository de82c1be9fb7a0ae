//! Neighbours that were evicted a moment ago.

use super::*;
use crate::wire::Gossip;

fn content(text: &'static str) -> Message {
    let content = Bytes::from_static(text.as_bytes());
    Message::Gossip(Gossip::Content {
        id: MessageId::of(&content),
        content,
        scope: Scope::Swarm(0),
    })
}

fn has_received(node: &Node, text: &str) -> bool {
    let is_it = |event: &Event| matches!(event, Event::Received(of) if of.content == text);
    node.events.iter().any(is_it)
}

#[test]
fn what_an_evicted_neighbour_has_sent_before_it_hears_of_its_eviction_counts_for_five_seconds() {
    let mut node = Node::with_neighbours(5);
    node.up(6, id(6), id(6), LinkProtocol::Bowline);
    node.hear(6, Message::Swarm(Swarm::Join(None)));
    let neighbours = node.core.neighbors(&TOPIC);
    assert!(neighbours.contains(&id(6)));
    let evicted = (1..=5).find(|number| !neighbours.contains(&id(*number)));
    let link = u64::from(evicted.unwrap());
    node.now += Duration::from_millis(4999);
    node.hear(link, content("in time"));
    assert!(has_received(&node, "in time"));
    node.now += Duration::from_millis(1);
    node.hear(link, content("too late"));
    assert!(!has_received(&node, "too late"));
}
