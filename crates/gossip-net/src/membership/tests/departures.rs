//! Neighbours that go by themselves.

use super::*;

#[test]
fn a_neighbour_that_made_room_is_remembered_and_one_that_left_is_forgotten_each_with_its_cause() {
    let mut node = Node::full();
    let out = node.hear(3, Swarm::Disconnect { alive: true });
    assert!(
        out.contains(&Out::Down(3, DownCause::EvictedByPeer)),
        "{out:?}"
    );
    assert_eq!(node.core.remembered(), 1);
    let out = node.hear(4, Swarm::Disconnect { alive: false });
    assert!(out.contains(&Out::Down(4, DownCause::Left)), "{out:?}");
    assert_eq!(node.core.remembered(), 1);
}
