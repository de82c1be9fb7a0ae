//! Honest peers connect while others flood the node.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use node::{
    Config, Keypair, Multiaddr, Node,
    conn_state::LimitsConfig,
    multiaddr::Protocol,
    transport_quic,
    transport_tcp::{Bound, DirectConfig, Target, Upgrader, Uplink},
};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpSocket, TcpStream, UdpSocket},
    time::timeout,
};

use super::{
    common::{QUIC, TCP, listen, node, with, within},
    limits::initials,
};

/// How many honest peers connect during each flood.
const HONEST: usize = 60;

/// How long an honest peer waits for its answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// A node that dials from this address.
fn from(address: Ipv4Addr) -> Node {
    let dialer = Bound::new([Uplink::Address(address.into())], DirectConfig::default());
    let builder = Node::builder(Keypair::generate_ed25519());
    builder.dialer(Arc::new(dialer)).build().unwrap()
}

/// Whether the node connects and gets an answer.
async fn is_answered(honest: &Node, at: &Multiaddr) -> bool {
    let job = async {
        let connection = honest.dial([at.clone()]).await.ok()?;
        connection.ping().await.ok()?;
        Some(())
    };
    let answered = timeout(PATIENCE, job).await;
    honest.shutdown().await;
    matches!(answered, Ok(Some(())))
}

fn report(flood: &str, answered: usize) {
    println!("{flood}: {answered} of {HONEST} honest connects were answered");
    assert!(answered * 100 >= HONEST * 95, "{flood}: {answered}");
}

/// A TCP socket that is connected from this address.
async fn socket_from(address: Ipv4Addr, to: &Multiaddr) -> TcpStream {
    let to = Target::from_multiaddr(to).unwrap().authority();
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((address, 0).into()).unwrap();
    within(socket.connect(to.parse().unwrap())).await.unwrap()
}

#[tokio::test]
async fn honest_peers_connect_while_silent_sockets_flood_the_node() {
    let there = with(Config::default());
    let address = listen(&there, TCP).await;
    let mut silent = Vec::new();
    let mut answered = 0;
    for round in 0..HONEST {
        // Enough to fill the pool of 64 in the first round, and to replace a quarter of it in each one that follows.
        for _ in 0..if round == 0 { 100 } else { 16 } {
            silent.push(socket_from(Ipv4Addr::LOCALHOST, &address).await);
        }
        answered += usize::from(is_answered(&node(), &address).await);
    }
    report("silent sockets", answered);
}

#[tokio::test]
async fn honest_peers_connect_while_handshakes_trickle_in_from_four_subnets() {
    let limits = LimitsConfig::for_memory(0).with_exempt_private(false);
    let there = with(Config::default().with_limits(limits));
    let address = listen(&there, TCP).await;
    let mut trickling = Vec::new();
    let mut answered = 0;
    let mut host = 0_u8;
    for round in 0..HONEST as u8 {
        // The four subnets hold all 64 places, and take each place that becomes free.
        for _ in 0..if round == 0 { 16 } else { 3 } {
            host += 1;
            for subnet in 1..=4 {
                let mut stream = socket_from([127, 1, subnet, host].into(), &address).await;
                let first = b"\x13/multistream/1.0.0\n\x0b/tls/1.0.0\n";
                let _ = stream.write_all(first).await;
                trickling.push(stream);
            }
        }
        let honest = from([127, 2, round, 1].into());
        answered += usize::from(is_answered(&honest, &address).await);
    }
    report("trickling handshakes", answered);
}

/// Connects from this address again and again, and holds each connection until it is closed.
async fn hold(from: Ipv4Addr, at: Multiaddr) {
    let upgrader = Upgrader::new(&Keypair::generate_ed25519(), Default::default()).unwrap();
    loop {
        let stream = socket_from(from, &at).await;
        if let Ok(connection) = upgrader.outbound(stream, None, &mut |_| {}).await {
            connection.closed().await;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn honest_peers_connect_while_32_addresses_hold_all_inbound_places() {
    let idle = Duration::from_millis(100);
    let limits = LimitsConfig::for_memory(0)
        .with_exempt_private(false)
        .with_max_inbound(32)
        .with_max_per_subnet(8, 16)
        .with_rate_per_address(100.0, 1_000)
        .with_trim_idle(Some(idle));
    let there = with(Config::default().with_limits(limits));
    let address = listen(&there, TCP).await;
    for host in 0..32_u8 {
        let from = [127, 3, host / 8, 1 + host].into();
        tokio::spawn(hold(from, address.clone()));
    }
    let mut answered = 0;
    for round in 0..HONEST as u8 {
        within(async {
            while there.connections().len() < 32 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        tokio::time::sleep(2 * idle).await;
        let honest = from([127, 4, round, 1].into());
        answered += usize::from(is_answered(&honest, &address).await);
    }
    report("32 addresses with all places", answered);
}

fn udp(address: &Multiaddr) -> SocketAddr {
    let mut parts = address.iter();
    match (parts.next(), parts.next()) {
        (Some(Protocol::Ip4(ip)), Some(Protocol::Udp(port))) => (ip, port).into(),
        other => panic!("{other:?}"),
    }
}

/// Whether the datagram is an Initial of QUIC v1 with a token (RFC 9000 section 17.2.2).
fn has_token(datagram: &[u8]) -> bool {
    let source = 6 + usize::from(datagram[5]);
    let token = source + 1 + usize::from(datagram[source]);
    datagram[0] & 0xf0 == 0xc0 && datagram[token] != 0
}

/// A QUIC handshake that proves its address and then says nothing more. Returns the socket, which stays silent.
async fn half_open_quic(to: SocketAddr) -> UdpSocket {
    let trap = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let at = trap.local_addr().unwrap();
    let outside = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let key = Keypair::generate_ed25519();
    let config = Default::default();
    let endpoint = transport_quic::Endpoint::bind("127.0.0.1:0".parse().unwrap(), &key, config);
    let endpoint = endpoint.unwrap();
    let dial = tokio::spawn(async move { endpoint.dial(at, None).await.is_ok() });
    let (mut sent, mut received, mut dialer) = ([0; 2048], [0; 2048], None);
    within(async {
        loop {
            tokio::select! {
                got = trap.recv_from(&mut sent) => {
                    let (length, from) = got.unwrap();
                    dialer = Some(from);
                    outside.send_to(&sent[..length], to).await.unwrap();
                    if has_token(&sent[..length]) {
                        break;
                    }
                }
                got = outside.recv_from(&mut received) => {
                    let (length, _) = got.unwrap();
                    trap.send_to(&received[..length], dialer.unwrap()).await.unwrap();
                }
            }
        }
    })
    .await;
    dial.abort();
    outside
}

#[tokio::test]
async fn honest_peers_connect_while_quic_handshakes_with_proved_addresses_are_left_half_open() {
    // Everyone must prove its address, so everyone falls under the same bound.
    let mut config = Config::default();
    config.quic = config.quic.with_retry_above(0);
    let there = with(config);
    let address = listen(&there, QUIC).await;
    let mut half_open = Vec::new();
    let mut answered = 0;
    for round in 0..HONEST {
        for _ in 0..if round == 0 { 80 } else { 4 } {
            half_open.push(half_open_quic(udp(&address)).await);
        }
        answered += usize::from(is_answered(&node(), &address).await);
    }
    report("half-open QUIC handshakes", answered);
}

#[tokio::test]
async fn honest_peers_connect_while_first_packets_with_anothers_source_address_flood_the_node() {
    let limits = LimitsConfig::for_memory(0).with_exempt_private(false);
    let there = with(Config::default().with_limits(limits.with_rate_per_address(100.0, 1_000)));
    let address = listen(&there, QUIC).await;
    let mut packets = initials(40 + 2 * HONEST).await.into_iter();
    let mut answered = 0;
    for round in 0..HONEST {
        // More than the 32 places for unproved addresses, 8 of one address, in the first round.
        for n in 0..if round == 0 { 40 } else { 2 } {
            let source = Ipv4Addr::new(127, 0, 5, 1 + n % 8);
            let spoofed = UdpSocket::bind((source, 0)).await.unwrap();
            let packet = packets.next().unwrap();
            spoofed.send_to(&packet, udp(&address)).await.unwrap();
        }
        answered += usize::from(is_answered(&node(), &address).await);
    }
    report("first packets with forged sources", answered);
}
