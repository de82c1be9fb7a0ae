//! Which endpoint dials where.
#![allow(clippy::unwrap_used)]

mod common;

use std::{
    io::ErrorKind,
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    sync::Arc,
    time::Duration,
};

use common::{Node, within};
use tokio::time::Instant;
use transport_quic::{
    CloseCode, Config, DialError, Endpoint, Endpoints, Faults, Keypair, Misbehaving, RouteError,
    Tuned, UdpBinder, multiaddr::Protocol, multiaddr_of,
};

fn endpoints() -> Endpoints {
    with_binder(Arc::new(Tuned::default()))
}

fn with_binder(binder: Arc<dyn UdpBinder>) -> Endpoints {
    Endpoints::new(&Keypair::generate_ed25519(), Config::default(), binder)
}

fn add(endpoints: &Endpoints, address: &str) -> SocketAddr {
    let endpoint = endpoints.bind(address.parse().unwrap()).unwrap();
    endpoints.add(endpoint.clone());
    endpoint.local_addr().unwrap()
}

/// The address that the dial to `remote` starts from.
fn from(endpoints: &Endpoints, remote: &str) -> SocketAddr {
    let endpoint = endpoints.for_remote(remote.parse().unwrap()).unwrap();
    endpoint.local_addr().unwrap()
}

/// An address of this machine that is not loopback, where it has one.
fn lan() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.connect("192.0.2.1:9").ok()?;
    Some(socket.local_addr().unwrap().ip())
}

#[tokio::test]
async fn loopback_is_dialed_from_loopback_and_nothing_else_is() {
    let endpoints = endpoints();
    let loopback = add(&endpoints, "127.0.0.1:0");
    assert_eq!(from(&endpoints, "127.0.0.1:1"), loopback);
    assert_eq!(from(&endpoints, "127.0.0.9:1"), loopback);
    if lan().is_some() {
        let outside = from(&endpoints, "192.0.2.1:1");
        assert_ne!(outside, loopback);
        assert!(outside.ip().is_unspecified());
    }
}

#[tokio::test]
async fn the_endpoint_on_the_address_that_the_route_leaves_from_is_taken_before_a_wildcard() {
    let endpoints = endpoints();
    let wildcard = add(&endpoints, "0.0.0.0:0");
    let loopback = add(&endpoints, "127.0.0.1:0");
    assert_eq!(from(&endpoints, "127.0.0.1:1"), loopback);
    if let Some(lan) = lan() {
        assert_eq!(from(&endpoints, "192.0.2.1:1"), wildcard);
        let exact = add(&endpoints, &format!("{lan}:0"));
        assert_eq!(from(&endpoints, "192.0.2.1:1"), exact);
    }
}

#[tokio::test]
async fn each_family_has_one_shared_endpoint_of_its_own_where_none_listens() {
    let endpoints = endpoints();
    let four = from(&endpoints, "127.0.0.1:1");
    let six = from(&endpoints, "[::1]:1");
    assert!(four.is_ipv4() && six.is_ipv6());
    assert_eq!(from(&endpoints, "127.0.0.1:2"), four);
    assert_eq!(from(&endpoints, "[::1]:2"), six);
    let listening = add(&endpoints, "[::]:0");
    assert_eq!(from(&endpoints, "[::1]:1"), listening);
    assert_eq!(from(&endpoints, "127.0.0.1:1"), four);
}

/// IPv6 sockets that take IPv4, too.
#[derive(Debug)]
struct DualStack;

impl UdpBinder for DualStack {
    fn bind(&self, address: SocketAddr) -> std::io::Result<UdpSocket> {
        let domain = socket2::Domain::for_address(address);
        let socket = socket2::Socket::new(domain, socket2::Type::DGRAM, None)?;
        if address.is_ipv6() {
            socket.set_only_v6(false)?;
        }
        socket.bind(&address.into())?;
        Ok(socket.into())
    }
}

#[tokio::test]
async fn a_dual_stack_endpoint_dials_ipv4_unless_an_ipv4_one_listens() {
    let endpoints = with_binder(Arc::new(DualStack));
    let dual = add(&endpoints, "[::]:0");
    assert_eq!(from(&endpoints, "127.0.0.1:1"), dual);
    assert_eq!(from(&endpoints, "[::1]:1"), dual);
    let listener = Node::new(Config::default());
    let accepted = listener.accept_one();
    let dialed = within(endpoints.dial(listener.address, Some(listener.id()))).await;
    assert_eq!(dialed.unwrap().remote_addr(), listener.address);
    let seen = within(accepted).await.unwrap().remote_addr();
    assert_eq!(seen.port(), dual.port());
    let four = add(&endpoints, "0.0.0.0:0");
    assert_eq!(from(&endpoints, "127.0.0.1:1"), four);
}

#[tokio::test(start_paused = true)]
async fn an_address_without_a_route_is_an_error_at_once() {
    let endpoints = endpoints();
    // Broadcast is refused to a socket without SO_BROADCAST, on every machine.
    let nowhere: SocketAddr = "255.255.255.255:1".parse().unwrap();
    let failed = endpoints.for_remote(nowhere);
    assert!(matches!(failed, Err(RouteError::Unroutable { .. })));
    let start = Instant::now();
    let failed = within(endpoints.dial(nowhere, None)).await;
    assert!(matches!(
        failed,
        Err(DialError::Route {
            source: RouteError::Unroutable { .. },
            ..
        })
    ));
    // The paused clock moves only if the dial waits.
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test]
async fn endpoints_that_have_stopped_or_were_removed_dial_no_more() {
    let misbehaving = Misbehaving::new(Arc::new(Tuned::default()), 1, Faults::default());
    let control = misbehaving.control();
    let endpoints = with_binder(Arc::new(Tuned::default()));
    let keypair = Keypair::generate_ed25519();
    let local = "127.0.0.1:0".parse().unwrap();
    let breaks =
        Endpoint::with_binder(local, &keypair, Config::default(), Arc::new(misbehaving)).unwrap();
    endpoints.add(breaks.clone());
    let closes = endpoints.bind(local).unwrap();
    endpoints.add(closes.clone());
    let removed = endpoints.bind(local).unwrap();
    endpoints.add(removed.clone());

    assert_eq!(
        from(&endpoints, "127.0.0.1:1"),
        breaks.local_addr().unwrap()
    );
    control.break_socket(ErrorKind::NetworkDown);
    within(breaks.accept()).await.unwrap_err();
    assert_eq!(
        from(&endpoints, "127.0.0.1:1"),
        closes.local_addr().unwrap()
    );
    within(closes.close(CloseCode::NONE, "")).await;
    assert_eq!(
        from(&endpoints, "127.0.0.1:1"),
        removed.local_addr().unwrap()
    );
    endpoints.remove(&removed);
    let shared = from(&endpoints, "127.0.0.1:1");
    assert!(shared.ip().is_unspecified());
    assert!(removed.stopped().is_none(), "removed is not closed");

    within(endpoints.close(CloseCode::NONE, "")).await;
    let failed = endpoints.for_remote("127.0.0.1:1".parse().unwrap());
    assert!(matches!(failed, Err(RouteError::Closed)));
    assert!(UdpSocket::bind(shared).is_ok(), "the shared one is closed");
}

#[tokio::test]
async fn a_multiaddr_is_dialed_from_the_listening_endpoint_and_held_to_its_peer() {
    let listener = Node::new(Config::default());
    let _echo = listener.echo();
    let endpoints = endpoints();
    add(&endpoints, "127.0.0.1:0");
    let plain = multiaddr_of(listener.address);
    let named = plain.clone().with(Protocol::P2p(listener.id()));
    let dialed = within(endpoints.dial_multiaddr(&plain, Some(listener.id()))).await;
    assert_eq!(dialed.unwrap().peer(), listener.id());
    let stranger = Keypair::generate_ed25519().public().to_peer_id();
    let failed = within(endpoints.dial_multiaddr(&plain, Some(stranger))).await;
    assert!(matches!(failed, Err(DialError::WrongPeer { .. })));
    let failed = within(endpoints.dial_multiaddr(&named, Some(stranger))).await;
    assert!(matches!(failed, Err(DialError::PeerConflict { .. })));
}

#[tokio::test]
async fn the_shared_endpoint_accepts_nothing() {
    let endpoints = endpoints();
    let shared = from(&endpoints, "127.0.0.1:1");
    let dialer = Node::new(Config::default().with_handshake_timeout(Duration::from_millis(300)));
    let to = (Ipv4Addr::LOCALHOST, shared.port()).into();
    let failed = within(dialer.endpoint.dial(to, None)).await;
    assert!(matches!(failed, Err(DialError::Timeout { .. })));
}

#[tokio::test]
async fn a_dial_fails_at_once_if_the_system_refuses_its_packets() {
    let node = Node::at(
        "127.0.0.1:0".parse().unwrap(),
        Keypair::generate_ed25519(),
        Config::default(),
    );
    let remote = "192.0.2.1:9".parse().unwrap();
    // The socket is writable before the clock stops, so only a timer can delay the dial.
    common::pause().await;
    tokio::time::pause();
    let begun = Instant::now();
    // The system sends nothing from a loopback address to another machine. No route tells so beforehand.
    let error = node.endpoint.dial(remote, None).await.unwrap_err();
    assert!(
        matches!(&error, DialError::Route { source: RouteError::Unroutable { address, .. }, .. } if *address == remote),
        "{error}"
    );
    assert_eq!(begun.elapsed(), Duration::ZERO, "{error}");
}
