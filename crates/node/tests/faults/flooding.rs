//! Strangers that try to flood the events.

use std::time::Instant;

use node::{
    Closing, Event, Keypair, Multiaddr,
    conn_state::{Detail, is_plain},
    transport_quic::{self, CloseCode, Endpoint},
    transport_tcp::{self, Target, Upgrader},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_util::compat::FuturesAsyncReadCompatExt;

use super::common::{QUIC, TCP, listen, node, wait, within};

#[tokio::test]
async fn failures_of_one_subnet_are_one_event_at_once_and_one_per_second_and_each_is_counted() {
    const CONNECTIONS: u64 = 500;
    let there = node();
    let mut events = there.events();
    let address = listen(&there, TCP).await;
    let at = Target::from_multiaddr(&address).unwrap().authority();
    let begun = Instant::now();
    for _ in 0..CONNECTIONS {
        drop(TcpStream::connect(&at).await.unwrap());
    }
    let mut counts = Vec::new();
    while counts.iter().sum::<u64>() < CONNECTIONS {
        let count = wait(&mut events, |event| match event {
            Event::InboundFailed { count, subnet, .. } => {
                assert_eq!(subnet.unwrap().to_string(), "127.0.0.0/24");
                Some(count)
            }
            _ => None,
        });
        counts.push(count.await);
    }
    assert_eq!(counts.iter().sum::<u64>(), CONNECTIONS);
    assert_eq!(counts[0], 1);
    let most = begun.elapsed().as_secs() + 2;
    assert!(counts.len() as u64 <= most, "{counts:?}");
}

#[tokio::test]
async fn failures_that_are_not_told_yet_are_told_when_the_node_stops() {
    let there = node();
    let mut events = there.events();
    let address = listen(&there, TCP).await;
    let at = Target::from_multiaddr(&address).unwrap().authority();
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(TcpStream::connect(&at).await.unwrap());
    }
    let count = |event| match event {
        Event::InboundFailed { count, .. } => Some(count),
        _ => None,
    };
    held.clear();
    assert_eq!(wait(&mut events, count).await, 1);
    // All three have failed by the time that a fourth connection is served.
    node().dial([address]).await.unwrap().ping().await.unwrap();
    within(there.shutdown()).await;
    assert_eq!(wait(&mut events, count).await, 2);
}

/// Says nothing about itself but what it pushes.
async fn mute(address: &Multiaddr, key: &Keypair) -> transport_tcp::Connection {
    let upgrader = Upgrader::new(key, Default::default()).unwrap();
    let target = Target::from_multiaddr(address).unwrap();
    let stream = TcpStream::connect(target.authority()).await.unwrap();
    let upgraded = upgrader.outbound(stream, target.peer(), &mut |_| {}).await;
    upgraded.unwrap()
}

async fn push(connection: &transport_tcp::Connection, agent: &str) {
    let mut stream = connection.open().await.unwrap().compat();
    let mut bytes = b"\x13/multistream/1.0.0\n\x14/ipfs/id/push/1.0.0\n".to_vec();
    bytes.extend([agent.len() as u8 + 2, 0x32, agent.len() as u8]);
    bytes.extend(agent.as_bytes());
    stream.write_all(&bytes).await.unwrap();
    stream.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_peer_has_no_more_pushes_over_several_connections_than_over_one() {
    let there = node();
    let mut events = there.events();
    let address = listen(&there, TCP).await;
    let key = Keypair::generate_ed25519();
    let (begun, mut kept) = (Instant::now(), Vec::new());
    for round in 0..4 {
        let connection = mute(&address, &key).await;
        for n in 0..4 {
            push(&connection, &format!("{round} {n}")).await;
        }
        // Each message has been read, or waits for the budget.
        let mut stream = connection.open().await.unwrap().compat();
        let hello = b"\x13/multistream/1.0.0\n\x11/ipfs/ping/1.0.0\n";
        stream
            .write_all(&[&hello[..], &[7; 32]].concat())
            .await
            .unwrap();
        within(stream.read_exact(&mut [0; 70])).await.unwrap();
        kept.push(connection);
    }
    let marker = node();
    marker.dial([address]).await.unwrap();
    let mut told = 0;
    wait(&mut events, |event| match event {
        Event::Identified { peer, .. } if peer == key.public().to_peer_id() => {
            told += 1;
            None
        }
        Event::Connected { peer, .. } => (peer == marker.peer_id()).then_some(()),
        _ => None,
    })
    .await;
    let most = 8 + begun.elapsed().as_secs();
    assert!(told <= most, "{told} events of 16 pushes");
}

#[tokio::test]
async fn a_quic_close_with_1080_control_characters_leaves_a_short_visible_detail() {
    let there = node();
    let mut events = there.events();
    let address = listen(&there, QUIC).await;
    let key = Keypair::generate_ed25519();
    let config = transport_quic::Config::default();
    let endpoint = Endpoint::bind("127.0.0.1:0".parse().unwrap(), &key, config).unwrap();
    let connection = within(endpoint.dial_multiaddr(&address, None))
        .await
        .unwrap();
    connection.close(CloseCode::SHUTDOWN, &"\u{1}\u{9b}\u{202e}".repeat(200));
    let detail = wait(&mut events, |event| match event {
        Event::Disconnected { reason, detail, .. } => {
            assert!(matches!(reason, Closing::Remote { .. }), "{reason}");
            detail
        }
        _ => None,
    })
    .await;
    assert!(detail.len() <= Detail::MAX && is_plain(&detail), "{detail}");
    assert!(detail.contains("\\u{1}\\u{9b}\\u{202e}"), "{detail}");
    let history = there.tracker().history(&key.public().to_peer_id());
    assert_eq!(history.last().unwrap().detail, Some(detail));
}
