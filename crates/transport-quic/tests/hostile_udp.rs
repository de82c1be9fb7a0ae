//! Datagrams that must not hurt: garbage, broken and forged Initials, floods of them.
#![allow(clippy::unwrap_used)]

mod common;

use std::{collections::HashSet, net::SocketAddr, time::Duration};

use common::{Node, ask, localhost, within};
use tokio::{net::UdpSocket, task::JoinSet};
use transport_quic::{AcceptError, CloseCode, Config, DialError, Incoming, Keypair};

/// The first datagrams of `count` different dials, as somebody on the path would see them.
async fn captured_initials(count: usize) -> Vec<Vec<u8>> {
    let tap = UdpSocket::bind(localhost()).await.unwrap();
    let address = tap.local_addr().unwrap();
    let dialer = Node::new(Config::default());
    let mut initials = Vec::new();
    let mut seen = HashSet::new();
    let mut buffer = [0; 2048];
    while initials.len() < count {
        let endpoint = dialer.endpoint.clone();
        let dial = tokio::spawn(async move { endpoint.dial(address, None).await });
        loop {
            let (length, _) = within(tap.recv_from(&mut buffer)).await.unwrap();
            // Long header: flags, version, length of the destination's connection id, the id.
            let id = buffer[6..6 + usize::from(buffer[5])].to_vec();
            let is_initial = length >= 1200 && buffer[0] & 0xf0 == 0xc0;
            if is_initial && seen.insert(id) {
                initials.push(buffer[..length].to_vec());
                break;
            }
        }
        dial.abort();
    }
    initials
}

/// A source of numbers that is the same in each run.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next() as u8).collect()
    }
}

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

/// Whether it is a Retry packet of QUIC v1: long header, type 3 (RFC 9000 section 17.2.5).
fn is_retry(datagram: &[u8]) -> bool {
    datagram.len() > 5 && datagram[0] & 0xf0 == 0xf0 && datagram[1..5] == [0, 0, 0, 1]
}

#[tokio::test]
async fn garbage_leaves_the_endpoint_serving_and_its_memory_flat() {
    let node = Node::new(Config::default());
    let _echo = node.echo();
    still_serves(&node).await;
    let attacker = UdpSocket::bind(localhost()).await.unwrap();
    let mut noise = Noise(0x5eed);
    let shoot = async |noise: &mut Noise, times: usize| {
        for round in 0..times {
            let length = noise.next() as usize % 1500;
            let mut datagram = noise.bytes(length);
            // All kinds of first bytes, but half of them a long header of version 1.
            if round % 2 == 0 && datagram.len() > 6 {
                datagram[0] |= 0xc0;
                datagram[1..5].copy_from_slice(&[0, 0, 0, 1]);
                datagram[5] = [0, 8, 20, 21, 255][round / 2 % 5];
            }
            attacker.send_to(&datagram, node.address).await.unwrap();
        }
    };
    shoot(&mut noise, 2_000).await;
    still_serves(&node).await;
    let before = resident_bytes();
    shoot(&mut noise, 20_000).await;
    still_serves(&node).await;
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < 8 << 20, "{grown} bytes");
}

#[tokio::test]
async fn an_initial_cut_or_changed_anywhere_makes_no_connection() {
    let node = Node::new(Config::default().with_handshake_timeout(Duration::from_millis(200)));
    let endpoint = node.endpoint.clone();
    let accepting = tokio::spawn(async move {
        let mut handshakes = JoinSet::new();
        while let Ok(incoming) = endpoint.accept().await {
            let from = incoming.remote_addr();
            handshakes.spawn(async move {
                let connection = incoming.accept().await.ok();
                let established = connection.is_some();
                connection.map(|it| tokio::spawn(common::echo_streams(it)));
                (from, established)
            });
        }
        handshakes.join_all().await
    });
    let initial = captured_initials(1).await.remove(0);
    let attacker = UdpSocket::bind(localhost()).await.unwrap();
    for cut in (0..initial.len()).step_by(7) {
        attacker
            .send_to(&initial[..cut], node.address)
            .await
            .unwrap();
    }
    for byte in 0..initial.len() {
        let mut changed = initial.clone();
        changed[byte] ^= 1 << (byte % 8);
        attacker.send_to(&changed, node.address).await.unwrap();
    }
    // The last to come is a healthy dialer; before it, everything has been looked at.
    let healthy = Node::new(Config::default());
    let dialed = within(healthy.endpoint.dial(node.address, Some(node.id()))).await;
    let answer = within(ask(&dialed.unwrap(), b"healthy")).await;
    assert_eq!(answer.unwrap(), b"healthy");
    within(node.endpoint.close(CloseCode::SHUTDOWN, "")).await;
    let handshakes = within(accepting).await.unwrap();
    assert!(
        handshakes.len() > 1,
        "some reach the handshake and stall there"
    );
    for (from, established) in handshakes {
        assert_eq!(established, from == healthy.address);
    }
}

/// Sends each Initial from a port of its own; nobody there ever answers.
async fn flood(initials: &[Vec<u8>], target: SocketAddr) -> Vec<UdpSocket> {
    flood_from(localhost(), initials, target).await
}

async fn flood_from(
    source: SocketAddr,
    initials: &[Vec<u8>],
    target: SocketAddr,
) -> Vec<UdpSocket> {
    let mut sources = Vec::new();
    for initial in initials {
        let source = UdpSocket::bind(source).await.unwrap();
        source.send_to(initial, target).await.unwrap();
        sources.push(source);
    }
    sources
}

async fn answer(source: &UdpSocket) -> Vec<u8> {
    let mut buffer = [0; 2048];
    let (length, _) = within(source.recv_from(&mut buffer)).await.unwrap();
    buffer[..length].to_vec()
}

#[tokio::test]
async fn above_the_rate_spoofed_initials_are_answered_with_retry_and_honest_ones_get_in() {
    const RATE: usize = 20;
    let config = Config::default()
        .with_retry_above(RATE as u32)
        .with_max_unvalidated(1000)
        .with_max_unvalidated_per_address(1000);
    let node = Node::new(config);
    let mut waiting = admitted(&node);
    let initials = captured_initials(5 * RATE).await;
    let sources = flood(&initials, node.address).await;
    let spoofed: HashSet<_> = sources.iter().map(|s| s.local_addr().unwrap()).collect();

    // An honest dialer goes through the Retry round trip and is known to be where it says.
    let honest = Node::new(Config::default());
    let dialing = tokio::spawn({
        let (endpoint, to) = (honest.endpoint.clone(), node.address);
        async move { endpoint.dial(to, None).await }
    });
    let mut let_in = HashSet::new();
    let validated = loop {
        let incoming = within(waiting.recv()).await.unwrap();
        if spoofed.contains(&incoming.remote_addr()) {
            assert!(!incoming.is_validated());
            let_in.insert(incoming.remote_addr());
            incoming.ignore();
        } else {
            break incoming;
        }
    };
    assert!(validated.is_validated());
    within(validated.accept()).await.unwrap();
    within(dialing).await.unwrap().unwrap();

    assert!(let_in.len() >= RATE, "{} let in", let_in.len());
    let kept_out: Vec<_> = sources
        .iter()
        .filter(|source| !let_in.contains(&source.local_addr().unwrap()))
        .collect();
    // What the bucket gains while the test runs is a few a second.
    assert!(kept_out.len() > 2 * RATE, "{} kept out", kept_out.len());
    for source in kept_out {
        assert!(is_retry(&answer(source).await));
    }
}

#[tokio::test]
async fn an_initial_sent_twice_above_the_rate_gets_two_retries() {
    let node = Node::new(Config::default().with_retry_above(0));
    let _echo = node.echo();
    let initial = captured_initials(1).await.remove(0);
    let source = flood(std::slice::from_ref(&initial), node.address)
        .await
        .remove(0);
    assert!(is_retry(&answer(&source).await));
    source.send_to(&initial, node.address).await.unwrap();
    assert!(is_retry(&answer(&source).await));
    still_serves(&node).await;
}

#[tokio::test]
async fn half_open_handshakes_are_bounded_and_spoofed_ones_fill_only_their_own_room() {
    let node = Node::new(
        Config::default()
            .with_max_incoming(4)
            .with_max_unvalidated(4),
    );
    let mut waiting = admitted(&node);
    let sources = flood(&captured_initials(20).await, node.address).await;
    let mut held = Vec::new();
    for _ in 0..4 {
        let incoming = within(waiting.recv()).await.unwrap();
        assert!(!incoming.is_validated());
        held.push(incoming);
    }
    for source in &sources[4..] {
        assert!(is_retry(&answer(source).await));
    }

    // Four honest dialers still find room; the fifth is told that there is none.
    let honest = Node::new(Config::default());
    let dial = || {
        let (endpoint, to) = (honest.endpoint.clone(), node.address);
        tokio::spawn(async move { endpoint.dial(to, None).await })
    };
    let dials: Vec<_> = (0..4).map(|_| dial()).collect();
    for _ in 0..4 {
        let incoming = within(waiting.recv()).await.unwrap();
        assert!(incoming.is_validated());
        held.push(incoming);
    }
    let refused = within(dial()).await.unwrap();
    assert!(matches!(refused, Err(DialError::Handshake { .. })));
    assert!(waiting.try_recv().is_err());

    // Room comes back as handshakes end, well or badly.
    drop(held);
    for dial in dials {
        assert!(within(dial).await.unwrap().is_err());
    }
    let again = dial();
    let incoming = within(waiting.recv()).await.unwrap();
    within(incoming.accept()).await.unwrap();
    within(again).await.unwrap().unwrap();
}

/// Hands over each inbound handshake that the endpoint lets in.
fn admitted(node: &Node) -> tokio::sync::mpsc::UnboundedReceiver<Incoming> {
    let endpoint = node.endpoint.clone();
    let (admitted, waiting) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok(incoming) = endpoint.accept().await {
            admitted.send(incoming).unwrap();
        }
    });
    waiting
}

#[tokio::test]
async fn spoofed_initials_cost_their_address_one_round_trip_and_other_addresses_nothing() {
    let node = Node::new(Config::default());
    let mut waiting = admitted(&node);
    let victim: SocketAddr = ([127, 0, 0, 2], 0).into();
    let sources = flood_from(victim, &captured_initials(80).await, node.address).await;
    let mut held = Vec::new();
    for _ in 0..8 {
        let incoming = within(waiting.recv()).await.unwrap();
        assert!(!incoming.is_validated());
        held.push(incoming);
    }
    for source in &sources[8..] {
        assert!(is_retry(&answer(source).await));
    }

    // The victim itself proves its address and gets in, others need no proof.
    for (local, proved) in [(victim, true), (localhost(), false)] {
        let honest = Node::at(local, Keypair::generate_ed25519(), Config::default());
        let dial = honest.endpoint.dial(node.address, Some(node.id()));
        let (dialed, accepted) = within(async {
            tokio::join!(dial, async {
                let incoming = waiting.recv().await.unwrap();
                assert_eq!(incoming.is_validated(), proved);
                incoming.accept().await
            })
        })
        .await;
        dialed.unwrap();
        assert_eq!(accepted.unwrap().handshake_addr(), honest.address);
    }
}

#[tokio::test]
async fn a_dialer_that_is_asked_comes_back_validated_and_is_not_asked_again() {
    let node = Node::new(Config::default());
    let mut waiting = admitted(&node);
    let dialer = Node::new(Config::default());
    let dial = dialer.endpoint.dial(node.address, Some(node.id()));
    let (dialed, accepted) = within(async {
        tokio::join!(dial, async {
            let first = waiting.recv().await.unwrap();
            assert!(!first.is_validated());
            first.retry().expect("an unvalidated address can be asked");
            let second = waiting.recv().await.unwrap();
            assert!(second.is_validated());
            let second = second.retry().expect_err("it is validated");
            second.accept().await
        })
    })
    .await;
    dialed.unwrap();
    accepted.unwrap();
}

#[tokio::test]
async fn a_handshake_that_stalls_ends_at_its_deadline_and_leaves_nothing() {
    let deadline = Duration::from_millis(200);
    let node = Node::new(Config::default().with_handshake_timeout(deadline));
    let _sources = flood(&captured_initials(1).await, node.address).await;
    let incoming = within(node.endpoint.accept()).await.unwrap();
    let failed = within(incoming.accept()).await.unwrap_err();
    assert!(matches!(failed, AcceptError::Timeout { after, .. } if after == deadline));
    common::until(|| node.endpoint.open_connections() == 0).await;
}

/// Gapped STREAM frames are quinn-proto's to withstand (RUSTSEC-2026-0185, -0339, -0341): it does from this version on. The
/// tests in `hostile_packets.rs` send the other bad frames.
#[test]
fn quinn_proto_is_not_older_than_the_one_that_bounds_its_memory() {
    let lock = concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.lock");
    let lock = std::fs::read_to_string(lock).unwrap();
    let (_, after) = lock
        .split_once("name = \"quinn-proto\"\nversion = \"")
        .unwrap();
    let version = after.split('"').next().unwrap();
    let numbers: Vec<u32> = version.split('.').map(|n| n.parse().unwrap()).collect();
    assert!(numbers >= vec![0, 11, 19], "{version}");
}
