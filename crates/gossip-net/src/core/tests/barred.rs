//! Peers that come back after an eviction.

use super::*;

/// A node with the neighbours 1 and 2. The first one was evicted because it did not read, and has a link again.
fn evicted() -> Node {
    let mut node = Node::with_neighbours(2);
    node.core.handle_stalled(node.now, LinkId(1));
    node.settle();
    node.up(3, id(1), id(1), LinkProtocol::Bowline);
    node.sent(3);
    node
}

#[test]
fn a_peer_that_was_evicted_because_it_did_not_read_is_refused_for_some_time() {
    let mut node = evicted();
    node.now += Duration::from_secs(1);
    for message in [neighbor(), Message::Swarm(Swarm::Join(None))] {
        node.hear(3, message);
        assert_eq!(node.core.neighbors(&TOPIC), [id(2)]);
    }
    let sent = node.sent(3);
    let is_goodbye = |message: &Message| {
        matches!(
            message,
            Message::Swarm(Swarm::Disconnect { alive: true, .. })
        )
    };
    assert_eq!(sent.iter().filter(|message| is_goodbye(message)).count(), 1);
    // Others name the peer, and the node does not ask it.
    let peer = PeerInfo {
        id: id(1),
        data: None,
    };
    let nodes = vec![peer.clone()];
    node.hear(2, Message::Swarm(Swarm::ShuffleReply { nodes }));
    node.hear(2, Message::Swarm(Swarm::ForwardJoin { peer, ttl: 0 }));
    let sent = node.sent(3);
    assert_eq!(sent, []);
    node.wait(Duration::from_secs(3), Some(2));
    node.up(4, id(1), id(1), LinkProtocol::Bowline);
    node.hear(4, neighbor());
    assert_eq!(node.core.neighbors(&TOPIC), [id(2), id(1)]);
}

#[test]
fn a_node_without_another_neighbour_accepts_a_peer_that_it_has_evicted() {
    let mut node = evicted();
    node.core.handle_link_closed(node.now, LinkId(2));
    node.hear(3, neighbor());
    assert_eq!(node.core.neighbors(&TOPIC), [id(1)]);
}
