//! The lengths of frames.

use super::*;
use crate::wire::MAX_IROH_FRAME;

#[test]
fn a_message_that_names_peers_with_long_data_fits_into_a_frame_of_iroh() {
    let mut node = Node::with_neighbours(2);
    let nodes = (10..18).map(|number| PeerInfo {
        id: id(number),
        data: Some(PeerData(Bytes::from(vec![1; 1000]))),
    });
    let nodes = nodes.collect::<Vec<_>>();
    let reply = Swarm::ShuffleReply {
        nodes: nodes.clone(),
    };
    node.hear(1, Message::Swarm(reply));
    node.sent(2);
    let (origin, ttl) = (id(2), 0);
    node.hear(2, Message::Swarm(Swarm::Shuffle { origin, nodes, ttl }));
    let sent = node.core.poll_transmit(node.now, LinkId(2), 1 << 20);
    let lengths = sent.iter().map(|item| match item {
        Transmit::Frame(_, frame) => frame.len() - 4,
        Transmit::Finish(_) => 0,
    });
    // The answer names three of the eight peers.
    let longest = lengths.max().unwrap();
    assert!((3000..=MAX_IROH_FRAME).contains(&longest), "{longest}");
}
