//! Host names in multiaddrs, answered by a name server made for the test.
#![allow(clippy::unwrap_used)]

mod common;

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use common::{Node, localhost, within};
use tokio::net::UdpSocket;
use transport_quic::{
    CloseCode, Config, ConnectBudget, DialError, DialOptions, Endpoints, Keypair, Multiaddr,
    ResolveError, Resolver, Tuned, multiaddr::Protocol,
};

const A: u16 = 1;
const AAAA: u16 = 28;

/// Answers every question with these addresses (RFC 1035 section 4).
async fn name_server(addresses: Vec<IpAddr>) -> DialOptions {
    let socket = UdpSocket::bind(localhost()).await.unwrap();
    let at = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut query = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut query).await {
            let answer = answer(&query[..length], &addresses);
            socket.send_to(&answer, from).await.unwrap();
        }
    });
    asking(at)
}

fn asking(name_server: SocketAddr) -> DialOptions {
    let resolver = Resolver::with_nameservers(&[name_server]).unwrap();
    DialOptions::default().with_resolver(resolver)
}

fn answer(query: &[u8], addresses: &[IpAddr]) -> Vec<u8> {
    let name_end = 12 + query[12..].iter().position(|byte| *byte == 0).unwrap() + 1;
    let question = &query[12..name_end + 4];
    let kind = u16::from_be_bytes([query[name_end], query[name_end + 1]]);
    let data: Vec<Vec<u8>> = addresses
        .iter()
        .filter_map(|ip| match (ip, kind) {
            (IpAddr::V4(ip), A) => Some(ip.octets().to_vec()),
            (IpAddr::V6(ip), AAAA) => Some(ip.octets().to_vec()),
            _ => None,
        })
        .collect();
    let mut out = query[..2].to_vec();
    out.extend([0x81, 0x80, 0, 1, 0, data.len() as u8, 0, 0, 0, 0]);
    out.extend(question);
    for data in data {
        out.extend([0xc0, 12]);
        out.extend(kind.to_be_bytes());
        out.extend([0, 1, 0, 0, 0, 60, 0, data.len() as u8]);
        out.extend(data);
    }
    out
}

fn named(kind: &str, node: &Node) -> Multiaddr {
    let port = node.address.port();
    let address: Multiaddr = format!("/{kind}/node.example.org/udp/{port}/quic-v1")
        .parse()
        .unwrap();
    address.with(Protocol::P2p(node.id()))
}

#[tokio::test]
async fn each_kind_of_name_leads_to_the_addresses_of_its_family() {
    let options = name_server(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]).await;
    let four = Node::new(Config::default());
    let any: SocketAddr = "[::1]:0".parse().unwrap();
    let six = Node::at(any, Keypair::generate_ed25519(), Config::default());
    for (node, kinds) in [(&four, ["dns", "dns4"]), (&six, ["dns", "dns6"])] {
        let _echo = node.echo();
        let local = SocketAddr::new(node.address.ip(), 0);
        let dialer = Node::at(local, Keypair::generate_ed25519(), Config::default());
        for kind in kinds {
            let address = named(kind, node);
            let dialed = dialer
                .endpoint
                .dial_multiaddr_with(&address, None, &options);
            let dialed = within(dialed).await.unwrap();
            assert_eq!(dialed.peer(), node.id());
        }
    }
}

#[tokio::test]
async fn a_name_without_an_address_of_the_family_says_so() {
    let options = name_server(vec![Ipv6Addr::LOCALHOST.into()]).await;
    let node = Node::new(Config::default());
    let address = named("dns", &node);
    let failed = node.endpoint.dial_multiaddr_with(&address, None, &options);
    match within(failed).await.unwrap_err() {
        DialError::Resolve(error) => {
            assert!(error.to_string().contains("node.example.org"), "{error}");
        }
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn an_address_that_does_not_answer_holds_up_the_next_by_a_moment_only() {
    // 127.0.0.0/8 is all loopback: nobody is on the port at the first two.
    let silent: Vec<_> = [[127, 0, 0, 2], [127, 0, 0, 3]].map(IpAddr::from).into();
    let options = name_server([silent, vec![Ipv4Addr::LOCALHOST.into()]].concat()).await;
    let node = Node::new(Config::default());
    let _echo = node.echo();
    let dialer = Node::new(Config::default());
    let start = Instant::now();
    let address = named("dns4", &node);
    let dialed = dialer
        .endpoint
        .dial_multiaddr_with(&address, None, &options);
    within(dialed).await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(5));
    // The dials that lost are cancelled.
    common::until(|| dialer.endpoint.open_connections() == 0).await;
}

#[tokio::test]
async fn a_name_server_that_never_answers_ends_at_the_handshake_deadline() {
    let silent = std::net::UdpSocket::bind(localhost()).unwrap();
    let options = asking(silent.local_addr().unwrap());
    let deadline = Duration::from_millis(300);
    let node = Node::new(Config::default().with_handshake_timeout(deadline));
    let address = named("dns4", &node);
    let failed = node.endpoint.dial_multiaddr_with(&address, None, &options);
    let failed = within(failed).await.unwrap_err();
    match failed {
        DialError::Resolve(ResolveError::Timeout { host, after }) => {
            assert_eq!(host, "node.example.org");
            assert_eq!(after, deadline);
        }
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_name_is_held_to_the_expected_peer_too() {
    let options = name_server(vec![Ipv4Addr::LOCALHOST.into()]).await;
    let node = Node::new(Config::default());
    let _echo = node.echo();
    let dialer = Node::new(Config::default());
    let port = node.address.port();
    let bare: Multiaddr = format!("/dns4/node.example.org/udp/{port}/quic-v1")
        .parse()
        .unwrap();
    let dial = |expected| {
        let endpoint = &dialer.endpoint;
        within(endpoint.dial_multiaddr_with(&bare, Some(expected), &options))
    };
    assert_eq!(dial(node.id()).await.unwrap().peer(), node.id());
    let failed = dial(dialer.id()).await;
    assert!(matches!(failed, Err(DialError::WrongPeer { .. })));
    let conflict = named("dns4", &node);
    let failed = dialer
        .endpoint
        .dial_multiaddr_with(&conflict, Some(dialer.id()), &options);
    assert!(matches!(
        within(failed).await,
        Err(DialError::PeerConflict { .. })
    ));
}

#[tokio::test]
async fn a_set_of_endpoints_dials_each_address_of_a_name_from_its_own_family() {
    let options = name_server(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]).await;
    let any: SocketAddr = "[::1]:0".parse().unwrap();
    let four = Node::new(Config::default());
    let six = Node::at(any, Keypair::generate_ed25519(), Config::default());
    let keypair = Keypair::generate_ed25519();
    let endpoints = Endpoints::new(&keypair, Config::default(), Arc::new(Tuned::default()));
    for node in [&four, &six] {
        let _echo = node.echo();
        let address = named("dns", node);
        let dialed = within(endpoints.dial_multiaddr_with(&address, None, &options)).await;
        assert_eq!(dialed.unwrap().remote_addr(), node.address);
    }
}

#[tokio::test]
async fn resolution_and_handshake_together_end_at_the_deadline() {
    let options = name_server(vec![Ipv4Addr::LOCALHOST.into(); 16]).await;
    let silent = std::net::UdpSocket::bind(localhost()).unwrap();
    let deadline = Duration::from_millis(600);
    let node = Node::new(Config::default().with_handshake_timeout(deadline));
    let port = silent.local_addr().unwrap().port();
    let address = format!("/dns4/node.example.org/udp/{port}/quic-v1");
    let start = Instant::now();
    let address = address.parse().unwrap();
    let dial = node.endpoint.dial_multiaddr_with(&address, None, &options);
    let failed = within(dial).await;
    assert!(matches!(failed, Err(DialError::Timeout { .. })));
    assert!(start.elapsed() < deadline * 2, "{:?}", start.elapsed());
}

/// A peer that answers at every loopback address, the dialer, and a name with 40 of these
/// addresses. No dial of the name succeeds, because the dialer expects another peer there.
async fn refusals() -> (Node, Node, Multiaddr, DialOptions) {
    let hosts = (1..=40).map(|host| IpAddr::from([127, 0, 1, host]));
    let options = name_server(hosts.collect()).await;
    let any = (Ipv4Addr::UNSPECIFIED, 0).into();
    let peer = Node::at(any, Keypair::generate_ed25519(), Config::default());
    let port = peer.address.port();
    let address = format!("/dns4/node.example.org/udp/{port}/quic-v1");
    let dialer = Node::at(any, Keypair::generate_ed25519(), Config::default());
    (peer, dialer, address.parse().unwrap(), options)
}

#[tokio::test]
async fn sixteen_addresses_of_a_name_are_tried_at_a_pace_even_if_each_fails_at_once() {
    let (peer, dialer, address, options) = refusals().await;
    let accepting = peer.endpoint.clone();
    let handshakes = tokio::spawn(async move {
        let mut handshakes = 0;
        while let Ok(incoming) = accepting.accept().await {
            handshakes += 1;
            tokio::spawn(incoming.accept());
        }
        handshakes
    });
    let start = Instant::now();
    let stranger = Some(dialer.id());
    let endpoint = &dialer.endpoint;
    let failed = within(endpoint.dial_multiaddr_with(&address, stranger, &options)).await;
    let took = start.elapsed();
    assert!(matches!(failed, Err(DialError::WrongPeer { .. })));
    peer.endpoint.close(CloseCode::NONE, "").await;
    let handshakes = within(handshakes).await.unwrap();
    println!("{handshakes} handshakes in {took:?}");
    assert_eq!(handshakes, 16);
    assert!(took >= Duration::from_millis(8 * 20), "{took:?}");
}

#[tokio::test]
async fn a_budget_sets_the_number_and_the_pace_of_the_attempts() {
    let (peer, dialer, address, options) = refusals().await;
    let _echo = peer.echo();
    let (endpoint, stranger) = (&dialer.endpoint, Some(dialer.id()));
    for (admitted, pause) in [(5, Duration::from_millis(50)), (0, Duration::ZERO)] {
        let left = std::sync::Mutex::new(admitted);
        let budget = ConnectBudget::new(move |now| {
            let mut left = left.lock().unwrap();
            *left = u32::checked_sub(*left, 1)?;
            Some(now + pause)
        });
        let options = options.clone().with_connects(budget);
        let start = Instant::now();
        let failed = within(endpoint.dial_multiaddr_with(&address, stranger, &options)).await;
        match failed {
            Err(DialError::NoConnects(_)) => assert_eq!(admitted, 0),
            Err(DialError::WrongPeer { .. }) => assert!(admitted > 0),
            other => panic!("{other:?}"),
        }
        assert!(start.elapsed() >= pause * admitted, "{:?}", start.elapsed());
    }
}
