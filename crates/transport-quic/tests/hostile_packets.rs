//! Packets that are well encrypted and say what no honest peer says.
#![allow(clippy::unwrap_used)]

mod common;

use std::{sync::Arc, time::Duration};

use common::{
    Node, ask,
    foreign::Face,
    initial::{SOURCE, client_hello, crypto, parameter, seal, varint},
    localhost, until, within,
};
use quinn_proto::RandomConnectionIdGenerator;
use tokio::{net::UdpSocket, sync::mpsc};
use transport_quic::{AcceptError, Config, Incoming, Keypair};

/// Transport parameters (RFC 9000, section 18.2).
const ORIGINAL_DESTINATION: u64 = 0;
const RESET_TOKEN: u64 = 2;
const MAX_UDP_PAYLOAD: u64 = 3;
const MAX_STREAMS: u64 = 8;
const ACK_DELAY_EXPONENT: u64 = 10;
const MAX_ACK_DELAY: u64 = 11;
const PREFERRED_ADDRESS: u64 = 13;
const ACTIVE_IDS: u64 = 14;
const INITIAL_SOURCE: u64 = 15;

fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

async fn still_serves(node: &Node) {
    let client = Node::new(Config::default());
    let dialed = within(client.endpoint.dial(node.address, Some(node.id()))).await;
    let answer = within(ask(&dialed.unwrap(), b"still there?")).await;
    assert_eq!(answer.unwrap(), b"still there?");
}

/// Hands over each handshake, and echoes on nothing.
fn admitted(node: &Node) -> mpsc::UnboundedReceiver<Incoming> {
    let endpoint = node.endpoint.clone();
    let (sender, receiver) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok(incoming) = endpoint.accept().await {
            sender.send(incoming).unwrap();
        }
    });
    receiver
}

/// How the handshake ends that begins with these transport parameters.
async fn outcome(number: u8, parameters: Vec<u8>) -> Result<(), AcceptError> {
    let node = Node::new(Config::default().with_handshake_timeout(Duration::from_secs(1)));
    let mut handshakes = admitted(&node);
    let attacker = UdpSocket::bind(localhost()).await.unwrap();
    let hello = crypto(0, &client_hello(parameters));
    let packet = seal([number; 8], 0, &hello);
    attacker.send_to(&packet, node.address).await.unwrap();
    let incoming = within(handshakes.recv()).await.unwrap();
    let accepted = within(incoming.accept()).await.map(drop);
    until(|| node.endpoint.open_connections() == 0).await;
    accepted
}

#[tokio::test]
async fn bad_transport_parameters_end_the_handshake_at_once_and_leave_nothing() {
    let good = parameter(INITIAL_SOURCE, &SOURCE);
    // The packets by hand are good: with good parameters, the node waits for the rest of the handshake.
    let silent = outcome(0, good.clone()).await;
    assert!(
        matches!(silent, Err(AcceptError::Timeout { .. })),
        "{silent:?}"
    );

    let limit = |id, value| parameter(id, &varint(value));
    let bad = [
        Vec::new(),
        parameter(INITIAL_SOURCE, b"somebody"),
        parameter(INITIAL_SOURCE, &[7; 21]),
        limit(MAX_UDP_PAYLOAD, 0),
        limit(MAX_UDP_PAYLOAD, 1199),
        limit(MAX_STREAMS, (1 << 60) + 1),
        limit(ACK_DELAY_EXPONENT, 21),
        limit(MAX_ACK_DELAY, 1 << 14),
        limit(ACTIVE_IDS, 1),
        limit(MAX_STREAMS, 1).repeat(2),
        parameter(MAX_STREAMS, &[0xc0]),
        parameter(MAX_STREAMS, &[1, 1]),
        parameter(MAX_STREAMS, &[]),
        parameter(RESET_TOKEN, &[1; 16]),
        parameter(ORIGINAL_DESTINATION, &[1; 8]),
        parameter(PREFERRED_ADDRESS, &[1; 50]),
        parameter(PREFERRED_ADDRESS, &[]),
        // A length beyond the end, and one that no integer holds.
        [varint(MAX_STREAMS), varint(1000)].concat(),
        [varint(MAX_STREAMS), varint((1 << 62) - 1)].concat(),
        vec![0xff],
    ];
    for (number, bad) in (1..).zip(bad) {
        // The first two cases are about the parameter that all others have.
        let parameters = if number <= 3 {
            bad
        } else {
            [&good[..], &bad].concat()
        };
        let refused = outcome(number, parameters).await.unwrap_err();
        let at_once = matches!(refused, AcceptError::Handshake { .. });
        assert!(at_once, "case {number}: {refused:?}");
    }
}

#[tokio::test]
async fn pieces_of_a_handshake_that_leave_gaps_pin_no_memory() {
    let node = Node::new(Config::default().with_handshake_timeout(Duration::from_millis(300)));
    let _echo = node.echo();
    still_serves(&node).await;
    let attacker = UdpSocket::bind(localhost()).await.unwrap();
    let before = resident_bytes();
    // Every other byte of what a handshake may be long, in packets of 1,200 bytes that hold 150 of them.
    for handshake in 0..50_u8 {
        for packet in 0..50_u64 {
            let pieces = (0..150).map(|piece| crypto(1 + 2 * (packet * 150 + piece), &[7]));
            let pieces = pieces.collect::<Vec<_>>().concat();
            let sealed = seal([handshake; 8], packet as u32, &pieces);
            attacker.send_to(&sealed, node.address).await.unwrap();
        }
        tokio::task::yield_now().await;
    }
    still_serves(&node).await;
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < 8 << 20, "{grown} bytes");
    println!("375,000 pieces with gaps in 2,500 packets: {grown} bytes");
    until(|| node.endpoint.open_connections() == 0).await;
}

#[tokio::test]
async fn a_piece_of_a_handshake_far_ahead_ends_it_at_once() {
    let node = Node::new(Config::default());
    let mut handshakes = admitted(&node);
    let attacker = UdpSocket::bind(localhost()).await.unwrap();
    for (number, offset) in (0..).zip([1 << 20, 1 << 40, (1 << 62) - 2]) {
        let sealed = seal([number; 8], 0, &crypto(offset, b"far"));
        attacker.send_to(&sealed, node.address).await.unwrap();
        let incoming = within(handshakes.recv()).await.unwrap();
        let refused = within(incoming.accept()).await.unwrap_err();
        assert!(
            matches!(refused, AcceptError::Handshake { .. }),
            "{refused:?}"
        );
    }
    until(|| node.endpoint.open_connections() == 0).await;
}

#[tokio::test]
async fn an_initial_that_is_repeated_around_its_retry_or_refusal_hurts_nobody() {
    let node = Node::new(Config::default());
    let mut handshakes = admitted(&node);
    let attacker = UdpSocket::bind(localhost()).await.unwrap();
    let ways: [fn(Incoming); 3] = [
        |incoming| incoming.retry().expect("it is not validated"),
        Incoming::refuse,
        Incoming::ignore,
    ];
    let hello = crypto(0, &client_hello(parameter(INITIAL_SOURCE, &SOURCE)));
    for (number, way) in (0..).zip(ways) {
        let packet = seal([number; 8], 0, &hello);
        attacker.send_to(&packet, node.address).await.unwrap();
        let incoming = within(handshakes.recv()).await.unwrap();
        for _ in 0..3 {
            attacker.send_to(&packet, node.address).await.unwrap();
        }
        // The copies have arrived once a packet behind them has.
        let marker = seal([number + 100; 8], 0, &hello);
        attacker.send_to(&marker, node.address).await.unwrap();
        let behind = within(handshakes.recv()).await.unwrap();
        way(incoming);
        behind.ignore();
        attacker.send_to(&packet, node.address).await.unwrap();
        attacker.send_to(&marker, node.address).await.unwrap();
        while let Ok(again) = handshakes.try_recv() {
            again.ignore();
        }
    }
    let honest = Node::new(Config::default());
    let dialing = honest.endpoint.dial(node.address, Some(node.id()));
    let accepting = async {
        loop {
            let incoming = handshakes.recv().await.unwrap();
            match incoming.remote_addr() == honest.address {
                true => return incoming.accept().await,
                false => incoming.ignore(),
            }
        }
    };
    let (dialed, accepted) = within(async { tokio::join!(dialing, accepting) }).await;
    dialed.unwrap();
    accepted.unwrap();
}

#[tokio::test]
async fn a_peer_that_renews_its_connection_ids_all_the_time_costs_no_memory() {
    let node = Node::new(Config::default());
    let _echo = node.echo();
    still_serves(&node).await;
    let identity = Keypair::generate_ed25519();
    let (certificate, key) = libp2p_tls::certificate::generate(&identity).unwrap();
    let face = Face {
        chain: vec![certificate],
        key: key.secret_der().to_vec(),
        alpn: vec![b"libp2p".to_vec()],
        raw: false,
        anonymous: false,
    };
    let mut config = quinn::EndpointConfig::default();
    config.cid_generator(|| {
        let mut ids = RandomConnectionIdGenerator::default();
        ids.set_lifetime(Duration::from_millis(1));
        Box::new(ids)
    });
    let socket = std::net::UdpSocket::bind(localhost()).unwrap();
    let runtime = Arc::new(quinn::TokioRuntime);
    let mut endpoint = quinn::Endpoint::new(config, None, socket, runtime).unwrap();
    endpoint.set_default_client_config(face.client());
    let connecting = endpoint.connect(node.address, "foreign").unwrap();
    let attacker = within(connecting).await.unwrap();
    let renewed = || attacker.stats().frame_tx.new_connection_id;
    until(|| renewed() >= 100).await;
    let before = resident_bytes();
    until(|| renewed() >= 1_000 || attacker.close_reason().is_some()).await;
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < 4 << 20, "{grown} bytes");
    println!("{} new connection ids: {grown} bytes", renewed());
    still_serves(&node).await;
}
