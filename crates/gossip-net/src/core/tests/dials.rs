//! Dials of peers that may not exist.

use super::*;

fn named(number: u8) -> PeerInfo {
    PeerInfo {
        id: id(number),
        data: None,
    }
}

#[test]
fn a_peer_that_the_host_names_is_dialed_although_a_member_has_named_many_that_do_not_answer() {
    let mut node = Node::with_neighbours(3);
    for number in 10..40 {
        let peer = named(number);
        node.hear(1, Message::Swarm(Swarm::ForwardJoin { peer, ttl: 0 }));
        node.now += Duration::from_millis(100);
        node.core.handle_timeout(node.now);
        node.settle();
    }
    assert_eq!(node.dials.len(), 6);
    let live = [named(50), named(51), named(52)];
    node.core.subscribe(node.now, OTHER, &live).unwrap();
    node.settle();
    assert_eq!(node.dials[6..], [id(50), id(51)]);
    // The next place is for a peer that the host has named, although others have waited for a longer time.
    let failed = node.dials[..3].to_vec();
    for peer in failed {
        node.core.handle_dial_failed(node.now, &peer);
    }
    node.settle();
    assert_eq!(node.dials[8..], [id(52)]);
}

#[test]
fn nobody_is_dialed_for_a_goodbye() {
    let mut node = Node::with_neighbours(5);
    node.up(9, id(9), id(9), LinkProtocol::Bowline);
    for _ in 0..2 {
        let asks = Swarm::Neighbor {
            priority: Priority::Low,
            data: Some(at([192, 0, 2, 9], 22)),
        };
        node.hear(9, Message::Swarm(asks));
    }
    assert_eq!(node.core.neighbors(&TOPIC).len(), 5);
    // The second answer is due after a second.
    node.core.handle_link_closed(node.now, LinkId(9));
    node.now += Duration::from_millis(1100);
    node.core.handle_timeout(node.now);
    node.settle();
    assert_eq!(node.dials, []);
}
