//! Dialing, accepting, streams and closing between two endpoints.
#![allow(clippy::unwrap_used)]

mod common;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use common::{Node, ask, id, localhost, pair, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use transport_quic::{
    BoundTo, CloseCode, CloseReason, Config, DialError, Endpoint, EndpointError, Faults, Keypair,
    Misbehaving, ProbeError, Stream, StreamError, Tuned, multiaddr::Protocol, multiaddr_of,
};

#[tokio::test]
async fn both_ends_know_whom_they_talk_to() {
    let (dialer, dialed, listener, accepted) = pair(Config::default()).await;
    assert_eq!(dialed.peer(), listener.id());
    assert_eq!(accepted.peer(), dialer.id());
    assert_eq!(dialed.remote_addr(), listener.address);
    assert_eq!(accepted.remote_addr(), dialer.address);
    assert_eq!(dialed.alpn().unwrap(), b"libp2p");
    assert_eq!(dialed.via(), "quic");
    assert_eq!(accepted.handshake_addr(), dialer.address);
    assert_eq!(accepted.local_addr(), listener.address);
    assert_eq!(dialed.local_addr(), dialer.address);
    common::until(|| dialed.can_be_reset() && accepted.can_be_reset()).await;
    let (stats, heard) = (dialed.stats(), dialed.received_datagrams());
    assert!(stats.received_datagrams > 0 && stats.received_bytes > 0);
    within(dialed.probe(common::PATIENCE)).await.unwrap();
    assert!(dialed.received_datagrams() > heard);
    assert!(!dialed.is_closed());
}

#[tokio::test]
async fn a_connection_to_a_wildcard_socket_knows_the_address_that_was_dialed() {
    let keypair = Keypair::generate_ed25519();
    let listener = Node::at("0.0.0.0:0".parse().unwrap(), keypair, Config::default());
    let dialer = Node::new(Config::default());
    let to = SocketAddr::from(([127, 0, 0, 1], listener.address.port()));
    let accepted = listener.accept_one();
    let dialed = within(dialer.endpoint.dial(to, Some(listener.id()))).await;
    assert_eq!(dialed.unwrap().local_addr(), dialer.address);
    let accepted = within(accepted).await.unwrap();
    assert_eq!(accepted.local_addr(), to);
}

#[tokio::test]
async fn every_kind_of_identity_can_dial_and_be_dialed() {
    let rsa = rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048);
    let keys = [
        Keypair::generate_ed25519(),
        Keypair::generate_secp256k1(),
        Keypair::generate_ecdsa(),
        Keypair::rsa_from_pkcs8(&mut rsa.unwrap().serialize_der()).unwrap(),
    ];
    let other = Node::new(Config::default());
    for key in keys {
        let node = Node::at(localhost(), key, Config::default());
        for (from, to) in [(&node, &other), (&other, &node)] {
            let accepted = to.accept_one();
            let dialed = within(from.endpoint.dial(to.address, Some(to.id()))).await;
            assert_eq!(dialed.unwrap().peer(), to.id());
            assert_eq!(within(accepted).await.unwrap().peer(), from.id());
        }
    }
}

#[tokio::test]
async fn a_dial_to_the_wrong_peer_fails_in_the_handshake_and_says_who_is_there() {
    let (dialer, listener) = (Node::new(Config::default()), Node::new(Config::default()));
    let wanted = id(&Keypair::generate_ed25519());
    let endpoint = listener.endpoint.clone();
    let accepting =
        tokio::spawn(async move { endpoint.accept().await.unwrap().accept().await.err() });
    let failed = within(dialer.endpoint.dial(listener.address, Some(wanted))).await;
    match failed.unwrap_err() {
        DialError::WrongPeer {
            expected, found, ..
        } => assert_eq!((*expected, *found), (wanted, listener.id())),
        other => panic!("{other}"),
    }
    let refused = within(accepting).await.unwrap();
    assert!(refused.is_some(), "the listener must not see a connection");
}

#[tokio::test]
async fn a_dial_to_nobody_ends_at_the_deadline() {
    let silent = std::net::UdpSocket::bind(localhost()).unwrap();
    let deadline = Duration::from_millis(300);
    let dialer = Node::new(Config::default().with_handshake_timeout(deadline));
    let address = silent.local_addr().unwrap();
    let failed = within(dialer.endpoint.dial(address, None)).await;
    match failed.unwrap_err() {
        DialError::Timeout { after, .. } => assert_eq!(after, deadline),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_dial_to_the_other_address_family_fails_at_once() {
    let dialer = Node::new(Config::default());
    let six: SocketAddr = "[::1]:4001".parse().unwrap();
    let failed = within(dialer.endpoint.dial(six, None)).await;
    assert!(matches!(failed, Err(DialError::Family { .. })));
    let dialer = Node::at(
        "[::1]:0".parse().unwrap(),
        Keypair::generate_ed25519(),
        Config::default(),
    );
    let four: SocketAddr = "127.0.0.1:4001".parse().unwrap();
    let failed = within(dialer.endpoint.dial(four, None)).await;
    assert!(matches!(failed, Err(DialError::Family { .. })));
}

#[tokio::test]
async fn ipv6_works_and_leaves_the_port_free_for_ipv4() {
    let any: SocketAddr = "[::]:0".parse().unwrap();
    let six = Node::at(any, Keypair::generate_ed25519(), Config::default());
    let port = six.address.port();
    let four: SocketAddr = ([0, 0, 0, 0], port).into();
    let four = Node::at(four, Keypair::generate_ed25519(), Config::default());
    let _echo = (six.echo(), four.echo());
    let dialer = Node::at(any, Keypair::generate_ed25519(), Config::default());
    let loopback = ([0, 0, 0, 0, 0, 0, 0, 1], port).into();
    let dialed = within(dialer.endpoint.dial(loopback, Some(six.id()))).await;
    assert_eq!(ask(&dialed.unwrap(), b"six").await.unwrap(), b"six");
}

#[tokio::test]
async fn a_port_in_use_is_an_error_and_stays_with_its_owner() {
    let first = Node::new(Config::default());
    let keypair = Keypair::generate_ed25519();
    let second = Endpoint::bind(first.address, &keypair, Config::default());
    let error = second.unwrap_err().to_string();
    assert!(error.contains(&first.address.to_string()), "{error}");
}

#[tokio::test]
async fn a_stream_echoes_through_tokio_traits_and_through_futures_traits() {
    let (_d, dialed, _l, accepted) = pair(Config::default()).await;
    tokio::spawn(async move {
        while let Some(stream) = accepted.accept().await {
            let (read, mut write) = futures::AsyncReadExt::split(stream);
            futures::io::copy(read, &mut write).await.unwrap();
            futures::AsyncWriteExt::close(&mut write).await.unwrap();
        }
    });
    let data: Vec<u8> = (0..1_000_000u32).map(|n| n as u8).collect();
    let echoed = within(ask(&dialed, &data)).await.unwrap();
    assert!(echoed == data);
}

#[tokio::test]
async fn a_dropped_stream_is_a_reset_and_not_an_end() {
    let (_d, dialed, _l, accepted) = pair(Config::default()).await;
    let mut stream = dialed.open().await.unwrap();
    stream.write_all(b"half a mess").await.unwrap();
    drop(stream);
    let mut stream = within(accepted.accept()).await.unwrap();
    let read = within(stream.read_to_end(&mut Vec::new())).await;
    assert_eq!(
        read.unwrap_err().kind(),
        std::io::ErrorKind::ConnectionReset
    );
}

#[tokio::test]
async fn a_finished_stream_may_be_dropped_and_still_arrives() {
    let (_d, dialed, _l, accepted) = pair(Config::default()).await;
    let mut stream = dialed.open().await.unwrap();
    stream.write_all(&vec![7; 500_000]).await.unwrap();
    stream.shutdown().await.unwrap();
    stream.shutdown().await.unwrap();
    drop(stream);
    let mut stream = within(accepted.accept()).await.unwrap();
    let mut got = Vec::new();
    within(stream.read_to_end(&mut got)).await.unwrap();
    assert_eq!(got.len(), 500_000);
}

#[tokio::test]
async fn a_reset_carries_its_code() {
    let (_d, dialed, _l, accepted) = pair(Config::default()).await;
    let mut stream = dialed.open().await.unwrap();
    stream.write_all(b"x").await.unwrap();
    let mut other = within(accepted.accept()).await.unwrap();
    stream.reset(CloseCode::RATE);
    let read = within(other.read_to_end(&mut Vec::new())).await;
    let error = read.unwrap_err();
    assert!(error.to_string().contains(&0x1002.to_string()), "{error}");
}

#[tokio::test]
async fn closing_tells_the_peer_the_code_and_the_reason() {
    let (_d, dialed, _l, accepted) = pair(Config::default()).await;
    dialed.close(CloseCode::SUPPLANTED, "a newer one");
    assert_eq!(dialed.closed().await, CloseReason::Local);
    let reason = within(accepted.closed()).await;
    let expected = CloseReason::Peer {
        code: 0x1004,
        reason: "a newer one".to_owned(),
    };
    assert_eq!(reason, expected);
    assert!(accepted.is_closed());
    assert!(accepted.accept().await.is_none());
    let failed = accepted.open().await.unwrap_err();
    assert!(matches!(failed, StreamError::Closed(reason) if reason == expected));
}

#[tokio::test]
async fn closing_an_endpoint_tells_everybody_and_ends_accepting() {
    let (dialer, dialed, listener, accepted) = pair(Config::default()).await;
    within(dialer.endpoint.close(CloseCode::SHUTDOWN, "bye")).await;
    assert!(dialed.is_closed());
    let reason = within(accepted.closed()).await;
    assert!(matches!(reason, CloseReason::Peer { code: 0x1006, .. }));
    assert!(matches!(
        dialer.endpoint.accept().await,
        Err(EndpointError::Closed)
    ));
    let failed = dialer.endpoint.dial(listener.address, None).await;
    assert!(matches!(failed, Err(DialError::EndpointStopped { .. })));
}

#[tokio::test]
async fn dropping_the_last_handle_closes_the_connection() {
    let (_d, dialed, _l, accepted) = pair(Config::default()).await;
    let clone = dialed.clone();
    drop(dialed);
    assert!(!accepted.is_closed());
    drop(clone);
    let reason = within(accepted.closed()).await;
    assert!(matches!(reason, CloseReason::Peer { code: 0, .. }));
}

/// Opens streams until no more go; a stream exists for the peer with its first byte.
async fn open_all(connection: &transport_quic::Connection, wanted: usize) -> Vec<Stream> {
    let mut streams = Vec::new();
    while streams.len() < wanted {
        let mut stream = within(connection.open()).await.unwrap();
        stream.write_all(b"!").await.unwrap();
        streams.push(stream);
    }
    streams
}

#[tokio::test]
async fn a_peer_may_open_256_streams_and_not_one_more() {
    let (_d, dialed, _l, accepted) = pair(Config::default()).await;
    let accepting = tokio::spawn(async move {
        let mut streams = Vec::new();
        while streams.len() < 256 {
            streams.push(accepted.accept().await.unwrap());
        }
        (accepted, streams)
    });
    let _open = open_all(&dialed, 256).await;
    let (accepted, mut streams) = within(accepting).await.unwrap();

    let mut one_more = std::pin::pin!(dialed.open());
    // Both ends have answered each other since, so credit would have arrived.
    for _ in 0..3 {
        within(dialed.probe(common::PATIENCE)).await.unwrap();
        within(accepted.probe(common::PATIENCE)).await.unwrap();
    }
    assert!(futures::poll!(&mut one_more).is_pending());
    // Several are given back, since credit is announced by the eighth.
    streams.truncate(128);
    drop(_open);
    within(one_more).await.unwrap();
}

#[tokio::test]
async fn many_unread_streams_together_hold_no_more_than_the_connection_window() {
    let window = 1 << 20;
    let config = Config::default().with_connection_window(window);
    let (_d, dialed, _l, accepted) = pair(config).await;
    let _unread = tokio::spawn(async move {
        let mut unread = Vec::new();
        while let Some(stream) = accepted.accept().await {
            unread.push(stream);
        }
    });
    let plenty = vec![0; 300 << 10];
    let (mut written, mut streams) = (0, Vec::new());
    for _ in 0..16 {
        let mut stream = dialed.open().await.unwrap();
        let mut write = std::pin::pin!(stream.write(&plenty));
        if let std::task::Poll::Ready(some) = futures::poll!(&mut write) {
            written += some.unwrap();
        }
        streams.push(stream);
        within(dialed.probe(common::PATIENCE)).await.unwrap();
    }
    assert_eq!(written, window as usize);
}

#[tokio::test]
async fn a_socket_bound_to_an_interface_works_there_and_an_unknown_one_is_named() {
    let bound = || Arc::new(BoundTo::interface("lo"));
    let (dialer, listener) = (
        Node::with_binder(Config::default(), bound()),
        Node::with_binder(Config::default(), bound()),
    );
    let _echo = listener.echo();
    let dialed = within(dialer.endpoint.dial(listener.address, Some(listener.id()))).await;
    let dialed = dialed.unwrap();
    assert_eq!(within(ask(&dialed, b"lo")).await.unwrap(), b"lo");
    dialer.endpoint.rebind().unwrap();
    assert_eq!(dialer.endpoint.local_addr().unwrap(), dialer.address);
    assert_eq!(within(ask(&dialed, b"again")).await.unwrap(), b"again");

    let unknown = Arc::new(BoundTo::interface("no-such-if"));
    let keypair = Keypair::generate_ed25519();
    let failed = Endpoint::with_binder(localhost(), &keypair, Config::default(), unknown);
    let error = failed.unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("no-such-if"), "{error}: {cause}");
}

#[tokio::test]
async fn a_live_peer_answers_a_probe_whose_one_byte_of_credit_is_paid_back() {
    let window = 64 << 10;
    let (_d, dialed, _l, accepted) = pair(Config::default().with_connection_window(window)).await;
    for _ in 0..50 {
        within(dialed.probe(common::PATIENCE)).await.unwrap();
    }
    let mut writer = accepted.open().await.unwrap();
    let plenty = vec![0; 1 << 20];
    let written = writer.write(&plenty).await.unwrap();
    let credit = written - window as usize;
    assert!((50..100).contains(&credit), "{credit}");

    let mut reader = within(dialed.accept()).await.unwrap();
    within(reader.read_exact(&mut vec![0; written]))
        .await
        .unwrap();
    within(dialed.probe(common::PATIENCE)).await.unwrap();
    let written = within(writer.write(&plenty)).await.unwrap();
    let credit = written - window as usize;
    assert!((1..10).contains(&credit), "{credit}");
}

#[tokio::test]
async fn a_silent_peer_fails_a_probe_at_its_deadline() {
    let misbehaving = Misbehaving::new(Arc::new(Tuned::default()), 1, Faults::default());
    let control = misbehaving.control();
    let (dialer, listener) = (
        Node::with_binder(Config::default(), Arc::new(misbehaving)),
        Node::new(Config::default()),
    );
    let accepted = listener.accept_one();
    let dialed = within(dialer.endpoint.dial(listener.address, None)).await;
    let dialed = dialed.unwrap();
    let _accepted = within(accepted).await.unwrap();
    within(dialed.probe(common::PATIENCE)).await.unwrap();
    control.stall(true);
    let probed = dialed.probe(Duration::from_millis(500)).await;
    assert!(
        matches!(probed, Err(ProbeError::Silent { .. })),
        "{probed:?}"
    );
    control.stall(false);
    within(dialed.probe(common::PATIENCE)).await.unwrap();
}

#[tokio::test]
async fn a_multiaddr_with_a_peer_is_dialed_and_holds_the_peer_to_it() {
    let (dialer, listener) = (Node::new(Config::default()), Node::new(Config::default()));
    let _echo = listener.echo();
    let address = multiaddr_of(listener.address);
    let good = address.clone().with(Protocol::P2p(listener.id()));
    let dialed = within(dialer.endpoint.dial_multiaddr(&good, None))
        .await
        .unwrap();
    assert_eq!(dialed.peer(), listener.id());
    let bad = address.with(Protocol::P2p(dialer.id()));
    let failed = within(dialer.endpoint.dial_multiaddr(&bad, None)).await;
    assert!(matches!(failed, Err(DialError::WrongPeer { .. })));
    let tcp = "/ip4/127.0.0.1/tcp/1".parse().unwrap();
    let failed = within(dialer.endpoint.dial_multiaddr(&tcp, None)).await;
    assert!(matches!(failed, Err(DialError::Address(_))));
}
