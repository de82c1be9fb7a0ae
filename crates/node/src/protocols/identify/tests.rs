use libp2p_core::PeerRecord;
use libp2p_identity::{Keypair, PeerId};
use multiaddr::{Multiaddr, Protocol};
use proptest::prelude::*;

use super::{
    IdentifyError, Info, SignatureBudget,
    info::Description,
    wire::{self, MAX_FRAME_SENT, Message},
};

fn decode(message: &Message, peer: PeerId) -> Result<Info, IdentifyError> {
    Info::decode(message, peer, &SignatureBudget::default())
}

fn addresses(count: u16) -> Vec<Multiaddr> {
    let address = |port| format!("/ip4/192.0.2.1/tcp/{port}").parse().unwrap();
    (1..=count).map(address).collect()
}

fn ours(keypair: &Keypair, protocols: Vec<String>, listen: Vec<Multiaddr>) -> Vec<u8> {
    let ours = Description {
        keypair,
        agent: "bowline/test",
        protocol_version: "ipfs/0.1.0",
        protocols,
        listen,
    };
    ours.sign()
        .encode_for(Some(&"/ip4/198.51.100.1/tcp/9".parse().unwrap()))
}

fn frame_lengths(mut bytes: &[u8]) -> Vec<usize> {
    let mut lengths = Vec::new();
    while !bytes.is_empty() {
        let (length, rest) = unsigned_varint::decode::usize(bytes).unwrap();
        lengths.push(length);
        bytes = &rest[length..];
    }
    lengths
}

#[test]
fn what_is_said_is_what_is_read() {
    let keypair = Keypair::generate_ed25519();
    let peer = keypair.public().to_peer_id();
    let bytes = ours(&keypair, vec!["/a/1".into()], addresses(3));
    let message = wire::merge(&bytes).unwrap().unwrap();
    let info = decode(&message, peer).unwrap();
    assert_eq!(info.agent, "bowline/test");
    assert_eq!(info.protocols, ["/a/1"]);
    assert_eq!(info.listen, addresses(3));
    assert!(info.signed);
    assert_eq!(
        info.observed,
        Some("/ip4/198.51.100.1/tcp/9".parse().unwrap())
    );
}

#[test]
fn link_local_addresses_and_zones_of_a_peer_are_ignored() {
    let keypair = Keypair::generate_ed25519();
    let peer = keypair.public().to_peer_id();
    let bound = [
        "/ip6zone/eth0/ip6/fe80::1/tcp/1",
        "/ip6zone/lo/ip6/2001:db8::1/tcp/1",
        "/ip6/fe80::1/udp/1/quic-v1",
    ];
    let bound = bound.map(|text| text.parse::<Multiaddr>().unwrap());
    let listen: Vec<_> = bound.iter().cloned().chain(addresses(1)).collect();
    let bytes = ours(&keypair, Vec::new(), listen);
    let mut message = wire::merge(&bytes).unwrap().unwrap();
    message.observed_addr = Some(bound[0].to_vec());
    let info = decode(&message, peer).unwrap();
    assert!(info.signed);
    assert_eq!(info.listen, addresses(1));
    assert_eq!(info.observed, None);
    // An address on the common link is shown to the user of `bowline identify`.
    message.observed_addr = Some(bound[2].to_vec());
    let info = decode(&message, peer).unwrap();
    assert_eq!(info.observed.as_ref(), Some(&bound[2]));
    message.signed_peer_record = None;
    let info = decode(&message, peer).unwrap();
    assert!(!info.signed);
    assert_eq!(info.listen, addresses(1));
}

#[test]
fn no_frame_is_longer_than_4096_bytes_however_much_there_is_to_say() {
    let keypair = Keypair::generate_ed25519();
    let peer = keypair.public().to_peer_id();
    let protocols: Vec<String> = (0..200)
        .map(|n| format!("/{n}/{}", "x".repeat(60)))
        .collect();
    let bytes = ours(&keypair, protocols.clone(), addresses(60));
    let lengths = frame_lengths(&bytes);
    assert!(lengths.len() > 1, "{lengths:?}");
    assert!(
        lengths.iter().all(|length| *length <= MAX_FRAME_SENT),
        "{lengths:?}"
    );
    let info = decode(&wire::merge(&bytes).unwrap().unwrap(), peer).unwrap();
    assert_eq!(info.protocols, protocols);
    assert_eq!(info.listen, addresses(60));
}

#[test]
fn ten_frames_are_merged_and_the_eleventh_is_refused() {
    let frame = prost::Message::encode_length_delimited_to_vec(&Message {
        protocols: vec!["/a".into()],
        ..Message::default()
    });
    let ten = wire::merge(&frame.repeat(10)).unwrap().unwrap();
    assert_eq!(ten.protocols.len(), 10);
    let eleven = wire::merge(&frame.repeat(11));
    assert!(matches!(
        eleven,
        Err(IdentifyError::TooManyFrames { limit: 10 })
    ));
}

#[tokio::test]
async fn an_endless_answer_is_cut_at_64_kib() {
    let endless = tokio::io::repeat(0);
    let error = wire::read(endless).await.unwrap_err();
    assert!(
        matches!(error, IdentifyError::TooLong { limit: 65_536 }),
        "{error}"
    );
}

#[test]
fn of_thousands_of_protocols_and_addresses_a_bounded_number_is_kept() {
    let peer = Keypair::generate_ed25519().public().to_peer_id();
    let message = Message {
        protocols: (0..9_000).map(|n| n.to_string()).collect(),
        listen_addrs: addresses(4_000).iter().map(Multiaddr::to_vec).collect(),
        agent_version: Some("x".repeat(100_000)),
        ..Message::default()
    };
    let info = decode(&message, peer).unwrap();
    assert_eq!(info.protocols.len(), 256);
    assert_eq!(info.listen.len(), 64);
    assert_eq!(info.agent.len(), 128);
}

#[test]
fn a_signed_record_of_another_peer_is_refused() {
    let (other, peer) = (Keypair::generate_ed25519(), Keypair::generate_ed25519());
    for record in [
        PeerRecord::new_interop(&other, addresses(1)).unwrap(),
        PeerRecord::new(&other, addresses(1)).unwrap(),
    ] {
        let message = Message {
            signed_peer_record: Some(record.into_signed_envelope().into_protobuf_encoding()),
            ..Message::default()
        };
        let decoded = decode(&message, peer.public().to_peer_id());
        assert!(
            matches!(decoded, Err(IdentifyError::WrongPeer { .. })),
            "{decoded:?}"
        );
    }
}

#[test]
fn the_owner_of_a_record_is_compared_before_its_signature_is_verified() {
    let (other, peer) = (Keypair::generate_ed25519(), Keypair::generate_ed25519());
    let record = PeerRecord::new_interop(&other, addresses(1)).unwrap();
    let mut envelope = record.into_signed_envelope().into_protobuf_encoding();
    *envelope.last_mut().unwrap() ^= 1;
    let message = Message {
        signed_peer_record: Some(envelope),
        ..Message::default()
    };
    // A verification would have found that the signature is wrong, and the record would have been passed over.
    let decoded = decode(&message, peer.public().to_peer_id());
    assert!(
        matches!(decoded, Err(IdentifyError::WrongPeer { .. })),
        "{decoded:?}"
    );
}

/// A message with a record that `keypair` signed.
fn signed_by(keypair: &Keypair, listen: Vec<Multiaddr>) -> Message {
    let record = PeerRecord::new_interop(keypair, listen).unwrap();
    Message {
        signed_peer_record: Some(record.into_signed_envelope().into_protobuf_encoding()),
        ..Message::default()
    }
}

fn rsa(mut pkcs8: Vec<u8>) -> (Keypair, PeerId) {
    let keypair = Keypair::rsa_from_pkcs8(&mut pkcs8).unwrap();
    let peer = keypair.public().to_peer_id();
    (keypair, peer)
}

#[test]
fn the_signatures_of_a_large_rsa_key_are_verified_a_few_times_and_then_taken_for_unsigned() {
    let (large, peer) = rsa(include_bytes!("rsa-4096.pk8").to_vec());
    let signatures = SignatureBudget::default();
    let mut message = signed_by(&large, addresses(1));
    message.listen_addrs = vec![addresses(2)[1].to_vec()];
    let signed = (0..10).filter(|_| {
        let info = Info::decode(&message, peer, &signatures).unwrap();
        let shown = match info.signed {
            true => addresses(1),
            false => addresses(2).split_off(1),
        };
        assert_eq!(info.listen, shown);
        info.signed
    });
    assert_eq!(signed.count(), 4);
    // Neither another peer nor a key that is quick to verify is affected.
    let ed25519 = Keypair::generate_ed25519();
    let message = signed_by(&ed25519, addresses(1));
    for _ in 0..100 {
        let info = Info::decode(&message, ed25519.public().to_peer_id(), &signatures);
        assert!(info.unwrap().signed);
    }
}

#[test]
fn an_rsa_key_of_2048_bits_is_not_metered() {
    let (usual, peer) = rsa(include_bytes!("rsa-2048.pk8").to_vec());
    let message = signed_by(&usual, addresses(1));
    let signatures = SignatureBudget::default();
    for _ in 0..100 {
        assert!(Info::decode(&message, peer, &signatures).unwrap().signed);
    }
}

#[test]
fn thousands_of_records_with_8192_bit_keys_of_others_cost_no_verification() {
    let peer = Keypair::generate_ed25519().public().to_peer_id();
    // A modulus of 8,192 bits, and 65,537 as the exponent, as PKCS#1 in X.509 in libp2p's protobuf.
    let der = |tag: u8, content: &[u8]| {
        let length = content.len() as u16;
        [&[tag, 0x82][..], &length.to_be_bytes(), content].concat()
    };
    let modulus = [&[0, 0xc5][..], &[0x5a; 1022], &[0x5b]].concat();
    let pkcs1 = der(0x30, &[&der(0x02, &modulus)[..], &[2, 3, 1, 0, 1]].concat());
    let algorithm = b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00";
    let x509 = der(
        0x30,
        &[&algorithm[..], &der(0x03, &[&[0][..], &pkcs1].concat())].concat(),
    );
    let field = |tag: u8, content: &[u8]| {
        let length = [content.len() as u8 | 0x80, (content.len() >> 7) as u8];
        [&[tag << 3 | 2][..], &length, content].concat()
    };
    let key = [&[8, 0][..], &field(2, &x509)].concat();
    let envelope = [
        field(1, &key),
        field(2, b"\x03\x01"),
        field(3, &[7; 200]),
        field(5, &[0x17; 1024]),
    ]
    .concat();
    let received = envelope.len();
    let message = Message {
        signed_peer_record: Some(envelope),
        ..Message::default()
    };
    let begun = std::time::Instant::now();
    for _ in 0..2_000 {
        let decoded = decode(&message, peer);
        assert!(
            matches!(decoded, Err(IdentifyError::WrongPeer { .. })),
            "{decoded:?}"
        );
    }
    let each = begun.elapsed() / 2_000;
    println!("{received} bytes with an 8,192-bit key of another peer: {each:?} each");
}

#[test]
fn names_that_are_not_printable_or_too_long_are_left_out_and_other_texts_are_cut_and_escaped() {
    let peer = Keypair::generate_ed25519().public().to_peer_id();
    let name = |tail: &str| format!("/a{tail}");
    let message = Message {
        protocols: vec![
            name("\u{1}"),
            name("\u{1b}[2J"),
            name("\n"),
            name("\u{9b}31m"),
            name("\u{202e}"),
            name("\u{2066}"),
            name(&"x".repeat(254)),
            name(&"x".repeat(255)),
        ],
        agent_version: Some("\u{1b}]0;owned\u{7}".into()),
        protocol_version: Some("x".repeat(300)),
        ..Message::default()
    };
    let info = decode(&message, peer).unwrap();
    assert_eq!(info.protocols, [name(&"x".repeat(254))]);
    assert_eq!(info.agent, "\\u{1b}]0;owned\\u{7}");
    assert_eq!(info.protocol_version.len(), 128);
}

#[test]
fn a_record_with_a_broken_signature_is_passed_over() {
    let keypair = Keypair::generate_ed25519();
    let record = PeerRecord::new_interop(&keypair, addresses(1)).unwrap();
    let mut envelope = record.into_signed_envelope().into_protobuf_encoding();
    *envelope.last_mut().unwrap() ^= 1;
    let message = Message {
        signed_peer_record: Some(envelope),
        listen_addrs: vec![addresses(2)[1].to_vec()],
        ..Message::default()
    };
    let info = decode(&message, keypair.public().to_peer_id()).unwrap();
    assert!(!info.signed);
    assert_eq!(info.listen, [addresses(2)[1].clone()]);
}

#[test]
fn the_key_of_another_peer_is_refused_and_der_lengths_that_lie_do_not_panic() {
    let (other, peer) = (Keypair::generate_ed25519(), Keypair::generate_ed25519());
    let peer = peer.public().to_peer_id();
    let with_key = |key: Vec<u8>| {
        let message = Message {
            public_key: Some(key),
            ..Message::default()
        };
        decode(&message, peer)
    };
    let decoded = with_key(other.public().encode_protobuf());
    assert!(matches!(decoded, Err(IdentifyError::WrongPeer { .. })));
    // RSA, secp256k1 and ECDSA keys whose DER announces more than there is, and in impossible widths.
    for key_type in [0_u8, 2, 3] {
        for der in [
            &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff][..],
            &[0x30, 0x80],
            &[0x30, 0x89, 1],
            &[],
        ] {
            let mut key = vec![0x08, key_type, 0x12, u8::try_from(der.len()).unwrap()];
            key.extend_from_slice(der);
            assert!(with_key(key).is_err());
        }
    }
}

#[test]
fn addresses_that_end_in_another_peers_id_are_dropped() {
    let peer = Keypair::generate_ed25519().public().to_peer_id();
    let other = Keypair::generate_ed25519().public().to_peer_id();
    let plain = addresses(1)[0].clone();
    let own = plain.clone().with(Protocol::P2p(peer));
    let foreign = plain.clone().with(Protocol::P2p(other));
    let message = Message {
        listen_addrs: [&plain, &own, &foreign].map(Multiaddr::to_vec).to_vec(),
        ..Message::default()
    };
    assert_eq!(decode(&message, peer).unwrap().listen, [plain, own]);
}

#[test]
fn a_push_that_is_partial_keeps_what_it_does_not_say() {
    let keypair = Keypair::generate_ed25519();
    let peer = keypair.public().to_peer_id();
    let first = wire::merge(&ours(&keypair, vec!["/a/1".into()], addresses(1)));
    let known = decode(&first.unwrap().unwrap(), peer).unwrap();
    let update = Message {
        protocols: vec!["/b/1".into()],
        ..Message::default()
    };
    let updated = known.updated_with(decode(&update, peer).unwrap());
    assert_eq!(updated.protocols, ["/b/1"]);
    assert_eq!(updated.listen, known.listen);
    assert_eq!(updated.agent, known.agent);
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let peer = Keypair::generate_ed25519().public().to_peer_id();
        if let Ok(Some(message)) = wire::merge(&bytes) {
            let _ = decode(&message, peer);
        }
    }
}
