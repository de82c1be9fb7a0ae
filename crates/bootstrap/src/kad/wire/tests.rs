use proptest::prelude::*;
use prost::Message as _;

use super::*;

type Info = PeerInfo<PeerId, Multiaddr>;

fn peer(seed: u8, addresses: usize) -> Info {
    let secret = libp2p_identity::Keypair::ed25519_from_bytes([seed; 32]).unwrap();
    let address = |port: usize| {
        format!("/ip4/8.8.{seed}.1/tcp/{}", port + 1)
            .parse()
            .unwrap()
    };
    PeerInfo::new(
        secret.public().to_peer_id(),
        (0..addresses).map(address).collect(),
    )
}

fn body(bytes: Vec<u8>) -> Vec<u8> {
    Frames::new(MAX_ANSWER)
        .next(&mut &bytes[..])
        .unwrap()
        .unwrap()
}

fn record() -> Record {
    Record::new(b"/a/key".to_vec(), b"value".to_vec())
}

#[test]
fn every_message_is_read_as_it_was_written() {
    let key = b"key".to_vec();
    let (some, closer) = (vec![peer(1, 2)], vec![peer(2, 1), peer(3, 8)]);
    let mut brief = record();
    brief.ttl = Some(Duration::from_secs(7));
    let cases = [
        (Request::Ping, Some(Response::Empty)),
        (
            Request::FindNode { key: key.clone() },
            Some(Response::FindNode {
                closer: closer.clone(),
            }),
        ),
        (
            Request::GetValue { key: key.clone() },
            Some(Response::GetValue {
                record: Some(brief.clone()),
                closer: closer.clone(),
            }),
        ),
        (
            Request::GetValue { key: key.clone() },
            Some(Response::GetValue {
                record: None,
                closer: closer.clone(),
            }),
        ),
        (
            Request::PutValue { record: record() },
            Some(Response::PutValue { record: record() }),
        ),
        (
            Request::GetProviders { key: key.clone() },
            Some(Response::GetProviders {
                providers: some.clone(),
                closer,
            }),
        ),
        (
            Request::AddProvider {
                key,
                providers: some,
            },
            None,
        ),
    ];
    for (request, response) in cases {
        assert_eq!(
            Request::decode(&body(request.encode().unwrap())).unwrap(),
            request
        );
        if let Some(response) = response {
            assert_eq!(
                Response::decode(&body(response.encode(&request).unwrap())).unwrap(),
                response
            );
        }
    }
}

#[test]
fn the_bytes_of_a_find_node_are_those_of_the_spec() {
    let bytes = Request::FindNode {
        key: b"ab".to_vec(),
    }
    .encode()
    .unwrap();
    assert_eq!(bytes, [6, 8, 4, 18, 2, b'a', b'b']);
    // A PUT_VALUE has type 0, which protobuf leaves out.
    let bytes = Request::PutValue {
        record: Record::new(b"k".to_vec(), b"v".to_vec()),
    }
    .encode()
    .unwrap();
    assert_eq!(bytes, [11, 18, 1, b'k', 26, 6, 10, 1, b'k', 18, 1, b'v']);
}

/// A peer with 12 addresses, each of `length` bytes or a few more.
fn long(seed: u8, length: usize) -> Info {
    let mut info = peer(seed, 0);
    let name = "n".repeat(length - 10);
    info.addresses = (0..12)
        .map(|port| format!("/dns/{name}.org/tcp/{}", port + 1).parse().unwrap())
        .collect();
    info
}

#[test]
fn an_answer_has_at_most_16_kib_and_8_addresses_per_peer_and_drops_the_farthest_peers() {
    let closer: Vec<Info> = (0..12).map(|seed| long(seed, 100)).collect();
    let request = Request::FindNode { key: b"k".to_vec() };
    let answer = |closer: &[Info]| {
        let closer = closer.to_vec();
        let bytes = Response::FindNode { closer }.encode(&request).unwrap();
        assert!(bytes.len() <= MAX_MESSAGE + 3);
        match Response::decode(&body(bytes)).unwrap() {
            Response::FindNode { closer } => closer,
            other => panic!("{other:?}"),
        }
    };
    let read = answer(&closer);
    assert_eq!(read.len(), 12);
    for (read, sent) in read.iter().zip(&closer) {
        assert_eq!(
            (read.id, &read.addresses[..]),
            (sent.id, &sent.addresses[..8])
        );
    }
    let many: Vec<Info> = (0..250).map(|seed| long(seed, 100)).collect();
    let read = answer(&many);
    // The answer has more peers, and a reader takes 40 of them.
    assert_eq!(read.len(), MAX_PEERS);
    assert!(
        read.iter()
            .zip(&many)
            .all(|(read, sent)| read.id == sent.id)
    );
    let request = Request::GetProviders { key: b"k".to_vec() };
    let bytes = Response::GetProviders {
        providers: many[..40].to_vec(),
        closer: many[..40].to_vec(),
    }
    .encode(&request)
    .unwrap();
    let Response::GetProviders { providers, closer } = Response::decode(&body(bytes)).unwrap()
    else {
        panic!()
    };
    assert!(providers.len() > 20 && closer.len() > 20);
    let value = Record::new(vec![1; MAX_KEY], vec![1; MAX_VALUE]);
    let request = Request::GetValue { key: b"k".to_vec() };
    let bytes = Response::GetValue {
        record: Some(value),
        closer: many[..40].to_vec(),
    }
    .encode(&request)
    .unwrap();
    assert!(bytes.len() <= MAX_MESSAGE + 3);
}

#[test]
fn peers_with_long_addresses_take_the_room_of_no_others_in_an_answer() {
    let mut closer: Vec<Info> = (0..8).map(|seed| long(seed, 250)).collect();
    closer.extend((8..20).map(|seed| peer(seed, 8)));
    let request = Request::FindNode { key: b"k".to_vec() };
    let bytes = Response::FindNode {
        closer: closer.clone(),
    }
    .encode(&request)
    .unwrap();
    let Response::FindNode { closer: read } = Response::decode(&body(bytes)).unwrap() else {
        panic!()
    };
    assert_eq!(read.len(), 20);
    assert!(
        read[..8]
            .iter()
            .all(|long| (1..8).contains(&long.addresses.len()))
    );
    assert_eq!(read[8..], closer[8..]);
}

#[test]
fn an_address_of_more_than_256_bytes_is_ignored_and_sixteen_addresses_are_read_per_peer() {
    let id = peer(1, 0).id;
    let address = |parts: usize| [&[4, 8, 8, 8, 8][..], &[6, 0, 1].repeat(parts)].concat();
    let read = |addresses: Vec<Vec<u8>>| {
        let message = proto::Message {
            code: code::FIND_NODE,
            closer: vec![proto::Peer {
                id: id.to_bytes(),
                addresses,
                connection: 1,
            }],
            ..proto::Message::default()
        };
        let body = message.encode_to_vec();
        let kept = proto::read(&body).unwrap().closer[0].addresses.len();
        let Response::FindNode { closer } = Response::decode(&body).unwrap() else {
            panic!()
        };
        (kept, closer[0].addresses.len())
    };
    // 254 and 257 bytes.
    assert_eq!(read(vec![address(84), address(83), address(1)]), (2, 2));
    assert_eq!(read(vec![vec![]; 10_000]), (16, 0));
    assert_eq!(read(vec![address(1); 10_000]).1, 8);
}

#[test]
fn of_more_peers_than_40_and_more_addresses_than_8_the_rest_is_ignored() {
    let message = proto::Message {
        code: code::FIND_NODE,
        closer: (0..41)
            .map(|seed| proto::Peer {
                addresses: vec![vec![4, 8, 8, 8, 8, 6, 0, 1]; 9],
                ..proto::Peer::of(&peer(seed, 0))
            })
            .collect(),
        ..proto::Message::default()
    };
    let Response::FindNode { closer } = Response::decode(&message.encode_to_vec()).unwrap() else {
        panic!()
    };
    assert_eq!((closer.len(), closer[0].addresses.len()), (40, 8));
}

#[test]
fn unreadable_peers_and_addresses_and_those_of_other_peers_are_left_out() {
    let (good, other) = (peer(1, 1), peer(2, 0));
    let named = good.addresses[0].clone().with_p2p(good.id).unwrap();
    let wrong = good.addresses[0].clone().with_p2p(other.id).unwrap();
    let addresses = vec![named.to_vec(), wrong.to_vec(), vec![255; 8], vec![]];
    let message = proto::Message {
        code: code::FIND_NODE,
        closer: vec![
            proto::Peer {
                id: vec![1, 2, 3],
                ..proto::Peer::default()
            },
            proto::Peer {
                addresses,
                ..proto::Peer::of(&good)
            },
        ],
        ..proto::Message::default()
    };
    let Response::FindNode { closer } = Response::decode(&message.encode_to_vec()).unwrap() else {
        panic!()
    };
    assert_eq!(closer, [good]);
}

#[test]
fn messages_beyond_their_limits_are_refused() {
    let decode = |message: proto::Message| Request::decode(&message.encode_to_vec()).unwrap_err();
    let message = |code, key: usize| proto::Message {
        code,
        key: vec![1; key],
        ..proto::Message::default()
    };
    assert_eq!(
        decode(message(code::FIND_NODE, 0)),
        WireError::KeyLength { length: 0 }
    );
    assert_eq!(
        decode(message(code::FIND_NODE, MAX_KEY + 1)),
        WireError::KeyLength {
            length: MAX_KEY + 1
        }
    );
    assert_eq!(
        decode(message(code::GET_PROVIDERS, 81)),
        WireError::KeyLength { length: 81 }
    );
    assert_eq!(decode(message(6, 1)), WireError::UnfitType { code: 6 });
    assert_eq!(
        decode(message(code::FIND_NODE + (1 << 32), 1)),
        WireError::UnfitType {
            code: 4 + (1 << 32)
        }
    );
    assert_eq!(decode(message(code::PUT_VALUE, 1)), WireError::NoRecord);
    let mut other = message(code::PUT_VALUE, 1);
    other.record = Some(proto::Record::of(&record()));
    assert_eq!(decode(other), WireError::NoRecord);
    let mut long = record();
    long.value = vec![0; MAX_VALUE + 1];
    let mut put = message(code::PUT_VALUE, 0);
    put.record = Some(proto::Record::of(&long));
    assert_eq!(
        decode(put),
        WireError::ValueLength {
            length: MAX_VALUE + 1
        }
    );
    assert_eq!(
        Response::decode(&[8, 2]).unwrap_err(),
        WireError::UnfitType { code: 2 }
    );
    assert_eq!(
        Response::decode(&[66, 200]).unwrap_err(),
        WireError::Protobuf
    );
}

#[test]
fn a_frame_of_the_limit_passes_and_a_longer_or_ill_prefixed_one_ends_the_stream() {
    let frame = |length: usize| {
        [
            &[
                (length & 0x7f | 0x80) as u8,
                (length >> 7 & 0x7f | 0x80) as u8,
                (length >> 14) as u8,
            ][..],
            &vec![7; length],
        ]
        .concat()
    };
    let next = |bytes: &[u8]| {
        let mut frames = Frames::new(MAX_MESSAGE);
        let mut last = Ok(None);
        // Byte by byte, as a slow peer sends.
        for byte in bytes {
            last = frames.next(&mut &[*byte][..]);
        }
        last
    };
    assert_eq!(
        next(&frame(MAX_MESSAGE)).unwrap().unwrap().len(),
        MAX_MESSAGE
    );
    assert_eq!(
        next(&frame(MAX_MESSAGE + 1)).unwrap_err(),
        WireError::TooLong {
            length: MAX_MESSAGE + 1,
            limit: MAX_MESSAGE
        }
    );
    assert_eq!(next(&[0x80, 0x80, 0x80, 1]).unwrap_err(), WireError::Prefix);
    assert_eq!(next(&[0x81, 0]).unwrap_err(), WireError::Prefix);
    assert_eq!(next(&[0]).unwrap(), Some(vec![]));
}

proptest! {
    #[test]
    fn whatever_the_bytes_a_message_is_read_within_its_bounds_or_refused(data in prop::collection::vec(any::<u8>(), 0..300)) {
        crate::fuzzing::kad_message(&data);
    }

    #[test]
    fn frames_do_not_depend_on_how_bytes_are_split(cuts in prop::collection::vec(1usize..9, 0..20), count in 1usize..5) {
        let one = Request::FindNode { key: vec![7; 200] }.encode().unwrap();
        let all: Vec<u8> = one.iter().copied().cycle().take(one.len() * count).collect();
        let (mut frames, mut rest, mut read) = (Frames::new(MAX_MESSAGE), &all[..], 0);
        for cut in cuts.iter().cycle().chain(std::iter::once(&usize::MAX)) {
            let (mut piece, after) = rest.split_at((*cut).min(rest.len()));
            rest = after;
            while frames.next(&mut piece).unwrap().is_some() { read += 1; }
            if rest.is_empty() { break; }
        }
        prop_assert_eq!(read, count);
        prop_assert!(frames.is_between());
    }
}
