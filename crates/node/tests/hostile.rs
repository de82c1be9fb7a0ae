//! Peers that mean no good, against a whole node.

#![cfg(all(feature = "tcp", feature = "quic"))]

mod common;

use std::time::Duration;

use common::{QUIC, TCP, listen, node, wait, with, within};
use node::{
    Config, Event, Keypair, Multiaddr,
    conn_state::LivenessConfig,
    multiaddr::Protocol,
    transport_tcp::{self, Upgrader},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_util::compat::FuturesAsyncReadCompatExt;

fn socket(address: &Multiaddr) -> (std::net::Ipv4Addr, u16) {
    let mut parts = address.iter();
    match (parts.next(), parts.next()) {
        (Some(Protocol::Ip4(ip)), Some(Protocol::Tcp(port) | Protocol::Udp(port))) => (ip, port),
        other => panic!("{other:?}"),
    }
}

/// Pings so often that silence is noticed within a second.
fn quick_pings() -> Config {
    let ping = LivenessConfig::default()
        .with_interval(Duration::from_millis(50))
        .with_timeout(Duration::from_millis(200))
        .with_failures(2);
    Config::default().with_ping(ping)
}

#[tokio::test]
async fn thousands_of_half_open_connections_share_64_places_until_the_deadline_and_then_hold_none()
{
    let there = with(Config::default());
    let mut events = there.events();
    let address = listen(&there, TCP).await;
    let mut silent = Vec::new();
    for _ in 0..1_000 {
        silent.push(TcpStream::connect(socket(&address)).await.unwrap());
    }
    let mut turned_away = 0;
    while turned_away < 1_000 - 64 {
        wait(&mut events, |event| match event {
            Event::InboundFailed { .. } => Some(()),
            _ => None,
        })
        .await;
        turned_away += 1;
    }
    // The last 64 say nothing and are dropped at the stage's deadline.
    let mut dropped = 0;
    for stream in &mut silent {
        let mut rest = Vec::new();
        if within(stream.read_to_end(&mut rest)).await.is_ok() && !rest.is_empty() {
            dropped += 1;
        }
    }
    assert!(dropped <= 64, "{dropped}");
    let here = node();
    let connection = within(here.dial([address])).await.unwrap();
    connection.ping().await.unwrap();
}

#[tokio::test]
async fn a_256th_inbound_stream_is_served_and_the_257th_is_reset() {
    for address in [TCP, QUIC] {
        let (here, there) = (node(), node());
        let mut streams = there.handle("/hold/1", 512).unwrap();
        let address = listen(&there, address).await;
        let connection = here.dial([address]).await.unwrap();
        // Identify and ping use streams of their own for a moment; they must be through.
        connection.identify().await.unwrap();
        let mut open = Vec::new();
        let mut held = Vec::new();
        let refused = loop {
            let stream =
                tokio::time::timeout(Duration::from_secs(2), connection.open(&["/hold/1"]));
            match stream.await {
                Ok(Ok((_, stream))) => {
                    open.push(stream);
                    held.push(within(streams.next()).await.unwrap());
                }
                refused => break refused.is_err() || matches!(refused, Ok(Err(_))),
            }
            assert!(open.len() <= 256, "no more than 256");
        };
        assert!(refused);
        assert!((250..=256).contains(&open.len()), "{}", open.len());
        held.truncate(200);
        open.truncate(200);
        within(connection.ping()).await.unwrap();
    }
}

#[tokio::test]
async fn streams_nobody_takes_are_reset_beyond_the_handlers_capacity() {
    let (here, there) = (node(), node());
    let _streams = there.handle("/slow/1", 2).unwrap();
    let address = listen(&there, TCP).await;
    let connection = here.dial([address]).await.unwrap();
    let mut broken = 0;
    let mut open = Vec::new();
    for _ in 0..10 {
        let (_, mut stream) = connection.open(&["/slow/1"]).await.unwrap();
        let mut byte = [0];
        let read = tokio::time::timeout(Duration::from_millis(300), stream.read(&mut byte));
        match read.await {
            // Reset, or ended without a byte: refused either way.
            Ok(_) => broken += 1,
            Err(_) => open.push(stream),
        }
    }
    assert_eq!((open.len(), broken), (2, 8));
}

#[tokio::test]
async fn a_third_ping_stream_is_refused() {
    let (here, there) = (node(), node());
    let address = listen(&there, TCP).await;
    let connection = here.dial([address]).await.unwrap();
    connection.identify().await.unwrap();
    let mut answered = Vec::new();
    for _ in 0..2 {
        let (_, mut stream) = connection.open(&["/ipfs/ping/1.0.0"]).await.unwrap();
        stream.write_all(&[1; 32]).await.unwrap();
        stream.read_exact(&mut [0; 32]).await.unwrap();
        answered.push(stream);
    }
    let (_, mut third) = connection.open(&["/ipfs/ping/1.0.0"]).await.unwrap();
    let _ = third.write_all(&[1; 32]).await;
    assert!(within(third.read_exact(&mut [0; 32])).await.is_err());
    drop(answered.pop());
}

#[tokio::test]
async fn a_negotiation_that_stalls_ends_at_its_deadline() {
    let config = Config::default().with_negotiation_timeout(Duration::from_millis(200));
    let there = with(config);
    let address = listen(&there, TCP).await;
    let upgrader = Upgrader::new(&Keypair::generate_ed25519(), Default::default()).unwrap();
    let stream = TcpStream::connect(socket(&address)).await.unwrap();
    let mut ignore = |_| {};
    let upgraded = upgrader.outbound(stream, Some(there.peer_id()), &mut ignore);
    let connection = within(upgraded).await.unwrap();
    let mut stalled = connection.open().await.unwrap().compat();
    // Half of the first message. Nothing but the deadline can end this.
    stalled.write_all(b"\x13/multi").await.unwrap();
    stalled.flush().await.unwrap();
    let mut rest = Vec::new();
    let _ = within(stalled.read_to_end(&mut rest)).await;
    assert!(rest.len() < 64, "{rest:?}");
}

#[tokio::test]
async fn a_peer_that_stops_answering_pings_is_dropped() {
    let here = with(quick_pings());
    let mut events = here.events();
    // A forwarder that can be stopped stands for a path that goes dead.
    let there = node();
    let address = listen(&there, TCP).await;
    let forwarder = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = forwarder.local_addr().unwrap().port();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let target = socket(&address);
    tokio::spawn(async move {
        let (mut near, _) = forwarder.accept().await.unwrap();
        let mut far = TcpStream::connect(target).await.unwrap();
        tokio::select! {
            _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
            _ = stopped => std::future::pending().await,
        }
    });
    let through = format!("/ip4/127.0.0.1/tcp/{port}/p2p/{}", there.peer_id());
    here.dial([through.parse().unwrap()]).await.unwrap();
    wait(&mut events, |event| {
        matches!(event, Event::Pong { .. }).then_some(())
    })
    .await;
    stop.send(()).unwrap();
    wait(&mut events, |event| {
        matches!(event, Event::Disconnected { .. }).then_some(())
    })
    .await;
    assert!(here.connections().is_empty());
}

#[tokio::test]
async fn garbage_is_turned_away_and_the_node_goes_on() {
    let there = node();
    let address = listen(&there, TCP).await;
    for garbage in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0xff; 4096],
        &[0; 4096],
        b"\x13/multistream/1.0.0\n\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01",
        b"\x13/multistream/1.0.0\n\xff\x7f",
    ] {
        let mut stream = TcpStream::connect(socket(&address)).await.unwrap();
        stream.write_all(garbage).await.unwrap();
        let mut rest = Vec::new();
        // A reset is as good as an end.
        let _ = within(stream.read_to_end(&mut rest)).await;
        assert!(rest.len() < 100, "{} bytes came back", rest.len());
    }
    let here = node();
    within(here.dial([address]))
        .await
        .unwrap()
        .ping()
        .await
        .unwrap();
}

/// Connects to `address` and answers one identify with `description`. Every other stream is left to wait.
#[allow(clippy::unwrap_used, reason = "a panic is a test's verdict")]
async fn stalling(address: &Multiaddr, description: Vec<u8>) -> transport_tcp::Connection {
    let upgrader = Upgrader::new(&Keypair::generate_ed25519(), Default::default()).unwrap();
    let socket = TcpStream::connect(socket(address)).await.unwrap();
    let connection = upgrader.outbound(socket, None, &mut |_| {}).await;
    let connection = connection.unwrap();
    let streams = connection.clone();
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Some(mut stream) = streams.accept().await {
            let mut proposed = [0; 36];
            stream.read_exact(&mut proposed).await.unwrap();
            if proposed.ends_with(b"/ipfs/id/1.0.0\n") {
                stream.write_all(&proposed).await.unwrap();
                stream.write_all(&description).await.unwrap();
                stream.shutdown().await.unwrap();
            }
            held.push(stream);
        }
    });
    connection
}

#[tokio::test]
async fn peers_that_never_take_a_push_delay_nobody_elses() {
    let config = Config::default().with_negotiation_timeout(Duration::from_secs(3600));
    let there = with(config);
    let mut events = there.events();
    let address = listen(&there, TCP).await;
    let push = b"/ipfs/id/push/1.0.0";
    let description = [&[push.len() as u8 + 2, 0x1a, push.len() as u8], &push[..]].concat();
    let mut kept = Vec::new();
    for _ in 0..40 {
        kept.push(stalling(&address, description.clone()).await);
        wait(&mut events, |event| {
            matches!(event, Event::Identified { .. }).then_some(())
        })
        .await;
    }
    let here = node();
    let connection = here.dial([address]).await.unwrap();
    connection.identify().await.unwrap();
    let _streams = there.handle("/late/1", 1).unwrap();
    within(async {
        let is_told = |connection: &node::Connection| {
            let info = connection.identified();
            info.is_some_and(|info| info.protocols.iter().any(|name| name == "/late/1"))
        };
        while !is_told(&connection) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}
