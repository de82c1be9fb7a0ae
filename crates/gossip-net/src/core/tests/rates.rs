//! Membership messages beyond the rate.

use super::*;

/// The frame of a Disconnect, without its length.
fn disconnect() -> Vec<u8> {
    let mut frame = Vec::new();
    let message = Message::Swarm(Swarm::Disconnect {
        alive: true,
        respond: false,
    });
    message.encode(&mut frame);
    frame.split_off(4)
}

/// How many frames of a link are admitted.
fn admitted(node: &mut Node, link: u64, frame: &[u8]) -> usize {
    let admits = |_: &u32| node.core.admit(node.now, LinkId(link), frame);
    (0..1000).filter(admits).count()
}

#[test]
fn a_longer_form_of_the_tag_does_not_evade_the_rate() {
    let mut node = Node::with_neighbours(1);
    let long = [&[0x80], &disconnect()[..]].concat();
    assert_eq!(Message::decode(&long), Message::decode(&disconnect()));
    assert!(Message::decode(&long).is_ok());
    assert_eq!(admitted(&mut node, 1, &long), 400);
    assert_eq!(node.core.link_counters().over_rate, 600);
}

#[test]
fn all_links_to_a_peer_share_the_rate_and_so_does_the_next_link() {
    let mut node = Node::with_neighbours(2);
    node.up(3, id(1), id(1), LinkProtocol::Bowline);
    assert_eq!(admitted(&mut node, 1, &disconnect()), 400);
    assert_eq!(admitted(&mut node, 3, &disconnect()), 0);
    assert_eq!(admitted(&mut node, 2, &disconnect()), 400, "another peer");
    for link in [1, 3] {
        node.core.handle_link_closed(node.now, LinkId(link));
    }
    node.now += Duration::from_secs(1);
    // Another peer's link must not clear the budget.
    node.up(4, id(9), id(9), LinkProtocol::Bowline);
    node.up(5, id(1), id(1), LinkProtocol::Bowline);
    assert_eq!(admitted(&mut node, 5, &disconnect()), 100);
}

#[test]
fn messages_of_others_are_forwarded_to_a_neighbour_200_times_at_once_and_then_50_times_per_second()
{
    let mut node = Node::with_neighbours(2);
    let joining = (110..210).map(|number| PeerInfo {
        id: id(number),
        data: None,
    });
    let joining = joining.collect::<Vec<_>>();
    let forwarded = |node: &mut Node| {
        node.sent(2);
        for peer in joining.iter().cycle().take(1000).cloned() {
            let walk = Swarm::ForwardJoin { peer, ttl: 10 };
            node.hear(1, Message::Swarm(walk));
        }
        let sent = node.sent(2).into_iter();
        let walks =
            sent.filter(|message| matches!(message, Message::Swarm(Swarm::ForwardJoin { .. })));
        walks.count()
    };
    assert_eq!(forwarded(&mut node), 200);
    assert_eq!(node.core.link_counters().not_forwarded, 800);
    node.now += Duration::from_secs(1);
    assert_eq!(forwarded(&mut node), 50);
}
