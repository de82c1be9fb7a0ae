//! Endpoints that have stopped: what frees their port, and how it is noticed.
#![allow(clippy::unwrap_used)]

mod common;

use std::{
    io::ErrorKind,
    net::{SocketAddr, UdpSocket},
    sync::Arc,
};

use common::{Node, localhost, pair, within};
use tokio::io::AsyncWriteExt;
use transport_quic::{
    BindError, CloseCode, CloseReason, Config, DialError, Endpoint, EndpointError, Faults, Keypair,
    Misbehaving, Tuned,
};

fn is_free(address: SocketAddr) -> bool {
    UdpSocket::bind(address).is_ok()
}

#[tokio::test]
async fn the_port_of_a_closed_endpoint_is_free_although_handles_are_held() {
    let (dialer, dialed, listener, accepted) = pair(Config::default()).await;
    let mut stream = dialed.open().await.unwrap();
    stream.write_all(b"!").await.unwrap();
    let _seen = within(accepted.accept()).await.unwrap();
    for node in [&dialer, &listener] {
        assert!(!is_free(node.address));
        within(node.endpoint.close(CloseCode::SHUTDOWN, "")).await;
        assert!(is_free(node.address));
        assert_eq!(node.endpoint.local_addr().unwrap(), node.address);
    }
    assert!(dialed.is_closed() && accepted.is_closed());
}

#[tokio::test]
async fn the_port_of_a_dropped_endpoint_is_free_once_its_connections_have_ended() {
    let (dialer, dialed, _listener, accepted) = pair(Config::default()).await;
    let (keypair, address) = (dialer.keypair.clone(), dialer.address);
    let stream = dialed.open().await.unwrap();
    drop(dialer);
    tokio::spawn(common::echo_streams(accepted));
    let echoed = within(common::ask(&dialed, b"lives on")).await.unwrap();
    assert_eq!(echoed, b"lives on");
    assert!(!is_free(address));
    dialed.close(CloseCode::NONE, "");
    common::until(|| is_free(address)).await;
    // The same node can be started again while the old handles are still held.
    let again = Endpoint::bind(address, &keypair, Config::default()).unwrap();
    assert_eq!(again.local_addr().unwrap(), address);
    assert_eq!(dialed.closed().await, CloseReason::Local);
    drop(stream);
}

#[tokio::test]
async fn a_rebound_endpoint_gives_its_port_back_too() {
    let (dialer, dialed, _listener, accepted) = pair(Config::default()).await;
    dialer.endpoint.rebind().unwrap();
    within(dialer.endpoint.close(CloseCode::SHUTDOWN, "")).await;
    assert!(is_free(dialer.address));
    drop((dialed, accepted));
}

#[tokio::test]
async fn a_socket_that_breaks_ends_accepting_and_dialing_and_says_why() {
    let misbehaving = Misbehaving::new(Arc::new(Tuned::default()), 1, Faults::default());
    let control = misbehaving.control();
    let broken = Node::with_binder(Config::default(), Arc::new(misbehaving));
    let other = Node::new(Config::default());
    let accepted = other.accept_one();
    let dialed = within(broken.endpoint.dial(other.address, None)).await;
    let dialed = dialed.unwrap();
    let _accepted = within(accepted).await.unwrap();
    assert!(broken.endpoint.stopped().is_none());

    let endpoint = broken.endpoint.clone();
    let accepting = tokio::spawn(async move { endpoint.accept().await.map(drop) });
    tokio::task::yield_now().await;
    control.break_socket(ErrorKind::NetworkDown);
    match within(accepting).await.unwrap() {
        Err(EndpointError::Broken { address, source }) => {
            assert_eq!(address, broken.address);
            assert_eq!(source.kind(), ErrorKind::NetworkDown);
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(
        broken.endpoint.stopped(),
        Some(EndpointError::Broken { .. })
    ));
    assert_eq!(within(dialed.closed()).await, CloseReason::SocketFailed);
    let failed = within(broken.endpoint.dial(other.address, None)).await;
    assert!(matches!(
        failed,
        Err(DialError::EndpointStopped {
            source: EndpointError::Broken { .. },
            ..
        })
    ));
    assert!(matches!(
        broken.endpoint.rebind(),
        Err(BindError::Stopped(_))
    ));
    within(broken.endpoint.close(CloseCode::NONE, "")).await;
    assert!(is_free(broken.address));
}

#[tokio::test]
async fn an_accept_that_waits_ends_when_the_endpoint_is_closed() {
    let node = Node::new(Config::default());
    let endpoint = node.endpoint.clone();
    let accepting = tokio::spawn(async move { endpoint.accept().await.map(drop) });
    tokio::task::yield_now().await;
    within(node.endpoint.close(CloseCode::NONE, "")).await;
    let ended = within(accepting).await.unwrap();
    assert!(matches!(ended, Err(EndpointError::Closed)));
}

#[tokio::test]
async fn a_dialer_in_the_queue_of_an_endpoint_that_closes_is_refused_at_once() {
    // An established connection takes some time to drain, during which the newcomer is heard.
    let (_d, _dialed, node, _accepted) = pair(Config::default()).await;
    let dialer = Node::new(Config::default());
    let dial = tokio::spawn({
        let (endpoint, to, expected) = (dialer.endpoint.clone(), node.address, node.id());
        async move { endpoint.dial(to, Some(expected)).await }
    });
    // Nobody accepts: the handshake waits in the queue.
    common::until(|| dialer.endpoint.open_connections() == 1).await;
    within(node.endpoint.close(CloseCode::SHUTDOWN, "")).await;
    match within(dial).await.unwrap() {
        Err(DialError::Handshake { source, .. }) => assert_eq!(source, CloseReason::Refused),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn each_error_says_its_own_level_and_leads_to_the_next() {
    let taken = UdpSocket::bind(localhost()).unwrap();
    let address = taken.local_addr().unwrap();
    let keypair = Keypair::generate_ed25519();
    let error = Endpoint::bind(address, &keypair, Config::default()).unwrap_err();
    let source = std::error::Error::source(&error).unwrap();
    assert!(!error.to_string().contains(&source.to_string()), "{error}");
    assert!(source.downcast_ref::<std::io::Error>().is_some());
}
