use super::*;
use crate::{TopicId, id::tests::base_point};

fn encoded(message: Message) -> Vec<u8> {
    let mut out = Vec::new();
    message.encode(&mut out);
    out
}

/// Encodes and compares, then decodes and compares.
fn is(message: Message, body: &[u8]) {
    let mut expected = u32::try_from(body.len()).unwrap().to_be_bytes().to_vec();
    expected.extend_from_slice(body);
    assert_eq!(encoded(message.clone()), expected);
    assert_eq!(Message::decode(body), Ok(message));
}

fn info(data: Option<PeerData>) -> PeerInfo {
    PeerInfo {
        id: base_point(),
        data,
    }
}

#[test]
fn membership_messages_have_the_bytes_of_iroh_gossip() {
    let id = *base_point().as_bytes();
    let data = PeerData(Bytes::from_static(&[7, 8]));
    is(Message::Swarm(Swarm::Join(None)), &[0, 0, 0]);
    is(
        Message::Swarm(Swarm::Join(Some(data.clone()))),
        &[0, 0, 1, 2, 7, 8],
    );
    let walk = Swarm::ForwardJoin {
        peer: info(Some(data.clone())),
        ttl: 6,
    };
    is(
        Message::Swarm(walk),
        &[&[0, 1][..], &id, &[1, 2, 7, 8, 6]].concat(),
    );
    let shuffle = Swarm::Shuffle {
        origin: base_point(),
        nodes: vec![info(None)],
        ttl: 300,
    };
    is(
        Message::Swarm(shuffle),
        &[&[0, 2][..], &id, &[1], &id, &[0, 0xac, 0x02]].concat(),
    );
    is(
        Message::Swarm(Swarm::ShuffleReply { nodes: vec![] }),
        &[0, 3, 0],
    );
    let neighbor = |priority, data| Message::Swarm(Swarm::Neighbor { priority, data });
    is(neighbor(Priority::High, None), &[0, 4, 0, 0]);
    is(neighbor(Priority::Low, Some(data)), &[0, 4, 1, 1, 2, 7, 8]);
    is(
        Message::Swarm(Swarm::Disconnect {
            alive: true,
            respond: false,
        }),
        &[0, 5, 1, 0],
    );
}

#[test]
fn broadcast_messages_have_the_bytes_of_iroh_gossip() {
    let id = MessageId::of(b"hi");
    let gossip = |scope| {
        Message::Gossip(Gossip::Content {
            id,
            content: Bytes::from_static(b"hi"),
            scope,
        })
    };
    is(
        gossip(Scope::Swarm(3)),
        &[&[1, 0][..], id.as_bytes(), &[2, b'h', b'i', 0, 3]].concat(),
    );
    is(
        gossip(Scope::Neighbors),
        &[&[1, 0][..], id.as_bytes(), &[2, b'h', b'i', 1]].concat(),
    );
    is(Message::Gossip(Gossip::Prune), &[1, 1]);
    is(
        Message::Gossip(Gossip::Graft { id: None, round: 2 }),
        &[1, 2, 0, 2],
    );
    is(
        Message::Gossip(Gossip::Graft {
            id: Some(id),
            round: 2,
        }),
        &[&[1, 2, 1][..], id.as_bytes(), &[2]].concat(),
    );
    is(
        Message::Gossip(Gossip::IHave(vec![IHave { id, round: 1 }])),
        &[&[1, 3, 1][..], id.as_bytes(), &[1]].concat(),
    );
}

#[test]
fn the_longest_content_and_a_full_ihave_fit_into_a_frame_of_iroh() {
    let content = Bytes::from(vec![1; MAX_IROH_CONTENT]);
    let scope = Scope::Swarm(MAX_ROUND);
    let full = Message::Gossip(Gossip::Content {
        id: MessageId::of(&content),
        content,
        scope,
    });
    assert_eq!(encoded(full).len() - 4, MAX_IROH_FRAME);
    let ihave = IHave {
        id: MessageId::of(b""),
        round: u16::MAX,
    };
    assert!(
        encoded(Message::Gossip(Gossip::IHave(vec![ihave; MAX_IHAVES]))).len() - 4
            <= MAX_IROH_FRAME
    );
}

#[test]
fn a_content_that_does_not_hash_to_the_id_is_refused() {
    let id = MessageId::of(b"other");
    let wrong = Message::Gossip(Gossip::Content {
        id,
        content: Bytes::from_static(b"hi"),
        scope: Scope::Neighbors,
    });
    assert_eq!(
        Message::decode(&encoded(wrong)[4..]),
        Err(WireError::WrongId)
    );
}

#[test]
fn an_id_off_the_curve_in_a_shuffle_is_refused() {
    let mut body = [
        &[0, 2][..],
        base_point().as_bytes(),
        &[1],
        base_point().as_bytes(),
        &[0, 6],
    ]
    .concat();
    assert!(Message::decode(&body).is_ok());
    body[35..67].fill(0);
    body[35] = 2;
    assert!(matches!(
        Message::decode(&body),
        Err(WireError::Malformed { .. })
    ));
}

#[test]
fn thousands_of_nodes_in_a_shuffle_are_read_and_the_first_32_are_kept() {
    let nodes = |count| {
        Message::Swarm(Swarm::ShuffleReply {
            nodes: vec![info(None); count],
        })
    };
    let Ok(Message::Swarm(Swarm::ShuffleReply { nodes: kept })) =
        Message::decode(&encoded(nodes(5000))[4..])
    else {
        panic!("not decoded")
    };
    assert_eq!(kept.len(), MAX_NODES);
    let shuffle = Message::Swarm(Swarm::Shuffle {
        origin: base_point(),
        nodes: vec![info(None); 5000],
        ttl: 6,
    });
    let read = Message::decode(&encoded(shuffle)[4..]);
    assert!(
        matches!(&read, Ok(Message::Swarm(Swarm::Shuffle { nodes, ttl: 6, .. })) if nodes.len() == MAX_NODES),
        "{read:?}"
    );
    for length in [1000, 100_000] {
        let mut cut = encoded(nodes(5000));
        cut.truncate(length);
        assert!(Message::decode(&cut[4..]).is_err(), "{length} bytes");
    }
}

#[test]
fn bytes_after_a_message_are_ignored_and_a_claimed_length_takes_no_memory() {
    assert_eq!(
        Message::decode(&[1, 1, 9, 9]),
        Ok(Message::Gossip(Gossip::Prune))
    );
    assert!(
        Message::decode(&[0, 3, 0xff, 0xff, 0xff, 0xff, 0x0f]).is_err(),
        "four billion peers"
    );
    assert!(Message::decode(&[]).is_err());
    assert!(Message::decode(&[2, 0]).is_err());
}

#[test]
fn peer_data_has_the_bytes_of_iroh_and_multiaddrs_behind_them() {
    let mut addresses = AddrInfo {
        relay: None,
        direct: vec![
            "192.0.2.1:4433".parse().unwrap(),
            "[2001:db8::1]:80".parse().unwrap(),
        ],
        multiaddrs: vec![],
    };
    let mut v6 = [0; 16];
    v6[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
    v6[15] = 1;
    let iroh = [&[0, 2, 0, 192, 0, 2, 1, 0xd1, 0x22, 1][..], &v6, &[80]].concat();
    assert_eq!(addresses.encode().0, iroh);
    addresses
        .multiaddrs
        .push(Bytes::from_static(&[4, 127, 0, 0, 1]));
    let data = addresses.encode();
    assert_eq!(data.0, [&iroh[..], &[1, 5, 4, 127, 0, 0, 1]].concat());
    assert_eq!(AddrInfo::decode(&data), addresses);
    assert_eq!(
        AddrInfo::decode(&PeerData(Bytes::from_static(&[5]))),
        AddrInfo::default()
    );
}

#[test]
fn the_ninth_address_of_a_kind_is_left_out() {
    let direct = (1..=9).map(|port| ([192, 0, 2, 1], port).into()).collect();
    let addresses = AddrInfo {
        relay: None,
        direct,
        multiaddrs: vec![Bytes::from_static(&[4]); 9],
    };
    // No relay, the addresses 192.0.2.1:1 and so on, and multiaddrs of one byte.
    let raw = |count: u8| {
        let direct = (1..=count).flat_map(|port| [0, 192, 0, 2, 1, port]);
        let multiaddrs = (1..=count).flat_map(|_| [1, 4]);
        let bytes = [0, count].into_iter().chain(direct).chain([count]);
        Bytes::from_iter(bytes.chain(multiaddrs))
    };
    let written = addresses.encode();
    assert_eq!(written.0, raw(8));
    assert_eq!(
        AddrInfo::decode(&PeerData(raw(9))),
        AddrInfo::decode(&written)
    );
    assert_eq!(AddrInfo::decode(&written).direct, addresses.direct[..8]);
    assert_eq!(AddrInfo::decode(&written).multiaddrs.len(), 8);
}

#[test]
fn a_stream_is_cut_into_frames_wherever_its_bytes_are_split() {
    let topic = TopicId::from_bytes([9; 32]);
    let mut bytes = Vec::new();
    put_header(&mut bytes, &topic);
    Message::Gossip(Gossip::Prune).encode(&mut bytes);
    Message::Swarm(Swarm::Join(None)).encode(&mut bytes);
    for size in 1..bytes.len() {
        let mut frames = Frames::new(4096);
        let mut found = Vec::new();
        for piece in bytes.chunks(size) {
            frames.buffer().extend_from_slice(piece);
            while let Some(frame) = frames.next_frame().unwrap() {
                found.push(frame);
            }
        }
        assert_eq!(found, [&[1, 1][..], &[0, 0, 0]]);
        assert_eq!(frames.topic(), Some(topic));
    }
}

#[test]
fn a_wrong_header_and_a_frame_over_the_limit_are_refused() {
    let mut frames = Frames::new(4096);
    frames.buffer().extend_from_slice(&[0, 0, 0, 33]);
    assert_eq!(
        frames.next_frame(),
        Err(WireError::TooLong {
            length: 33,
            limit: 32
        })
    );
    let mut frames = Frames::new(4096);
    frames.buffer().extend_from_slice(&[0, 0, 0, 1, 7]);
    assert_eq!(frames.next_frame(), Err(WireError::Header { length: 1 }));
    for (length, fits) in [(4096_u32, true), (4097, false)] {
        let mut frames = Frames::new(4096);
        let mut bytes = Vec::new();
        put_header(&mut bytes, &TopicId::from_bytes([0; 32]));
        bytes.extend_from_slice(&length.to_be_bytes());
        frames.buffer().extend_from_slice(&bytes);
        assert_eq!(frames.next_frame().is_ok(), fits);
    }
}
