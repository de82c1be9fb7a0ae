//! What differs if the peer is iroh-gossip.

use super::*;

/// Both ends dialed at the same time, and the connections came up in another order at the other end.
#[test]
fn the_messages_of_iroh_over_two_links_are_ordered_by_the_first_message_of_each_link() {
    let (low, high) = pair();
    let disconnect = || {
        Message::Swarm(Swarm::Disconnect {
            alive: true,
            respond: false,
        })
    };
    for iroh_moves_to in [1, 2] {
        let mut node = Node::new(high);
        node.up(1, low, high, LinkProtocol::Iroh);
        node.up(2, low, low, LinkProtocol::Iroh);
        let first = 3 - iroh_moves_to;
        node.hear(first, neighbor());
        node.hear(iroh_moves_to, neighbor());
        // This message was sent before iroh moved, and is late.
        node.hear(first, disconnect());
        assert_eq!(
            node.core.neighbors(&TOPIC),
            [low],
            "to link {iroh_moves_to}"
        );
        let message = disconnect();
        node.core
            .handle_message(node.now, LinkId(iroh_moves_to), (1, 2), TOPIC, message);
        assert!(
            node.core.neighbors(&TOPIC).is_empty(),
            "to link {iroh_moves_to}"
        );
        assert_eq!(node.core.link_counters().stale, 1);
    }
}

#[test]
fn iroh_gets_no_shuffle_of_a_peer_that_it_cannot_dial() {
    let (low, high) = pair();
    let (iroh, origin) = (id(3), high);
    for (data, passed_on) in [(at([192, 0, 2, 1], 1), true), (PeerData::default(), false)] {
        let mut node = Node::new(low);
        node.up(1, iroh, iroh, LinkProtocol::Iroh);
        node.hear(1, neighbor());
        node.up(2, origin, origin, LinkProtocol::Bowline);
        let priority = Priority::High;
        let data = Some(data);
        node.hear(2, Message::Swarm(Swarm::Neighbor { priority, data }));
        node.sent(1);
        let nodes = vec![PeerInfo {
            id: origin,
            data: None,
        }];
        let shuffle = Swarm::Shuffle {
            origin,
            nodes,
            ttl: 3,
        };
        node.hear(2, Message::Swarm(shuffle));
        let is_shuffle =
            |message: &Message| matches!(message, Message::Swarm(Swarm::Shuffle { .. }));
        assert_eq!(node.sent(1).iter().any(is_shuffle), passed_on);
    }
}

#[test]
fn iroh_is_told_only_about_peers_that_it_can_dial() {
    let (low, high) = pair();
    let direct = at([192, 0, 2, 1], 1);
    let multiaddr = AddrInfo {
        multiaddrs: vec![Bytes::from_static(&[4, 1, 2, 3, 4])],
        ..AddrInfo::default()
    }
    .encode();
    let nodes = vec![
        PeerInfo {
            id: id(3),
            data: Some(direct),
        },
        PeerInfo {
            id: id(4),
            data: Some(multiaddr),
        },
    ];
    for (protocol, told) in [
        (LinkProtocol::Iroh, vec![id(3)]),
        (LinkProtocol::Bowline, vec![id(3), id(4)]),
    ] {
        let mut node = Node::new(low);
        node.up(1, high, high, protocol);
        node.hear(1, neighbor());
        node.hear(
            1,
            Message::Swarm(Swarm::ShuffleReply {
                nodes: nodes.clone(),
            }),
        );
        node.sent(1);
        node.hear(
            1,
            Message::Swarm(Swarm::Shuffle {
                origin: high,
                nodes: nodes.clone(),
                ttl: 0,
            }),
        );
        let replies = node.sent(1);
        let [Message::Swarm(Swarm::ShuffleReply { nodes })] = &replies[..] else {
            panic!("{replies:?}")
        };
        let mut named = nodes.iter().map(|node| node.id).collect::<Vec<_>>();
        named.sort_by_key(|named| *named != id(3));
        assert_eq!(named, told, "{protocol:?}");
    }
}
