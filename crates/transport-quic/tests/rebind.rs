//! The network changes under an endpoint: a new socket, the same connections.
#![allow(clippy::unwrap_used)]

mod common;

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    sync::Arc,
    time::Duration,
};

use common::{Node, ask, within};
use transport_quic::{Config, Connection, Tuned, UdpBinder};

/// UDP sockets of this machine on a port of 127.0.0.1, by the kernel's own table.
fn sockets_on(address: SocketAddr) -> usize {
    let local = format!("0100007F:{:04X}", address.port());
    let table = std::fs::read_to_string("/proc/net/udp").unwrap();
    let is_local = |line: &&str| line.split_whitespace().nth(1) == Some(local.as_str());
    table.lines().filter(is_local).count()
}

/// Sends a lot to and fro on one stream while `disturb` is called again and again.
async fn transfer_while(connection: &Connection, disturb: impl Fn()) {
    let data: Vec<u8> = (0..32u32 << 20).map(|n| (n >> 3) as u8).collect();
    let mut transfer = std::pin::pin!(ask(connection, &data));
    let mut pause = tokio::time::interval(Duration::from_millis(40));
    let echoed = within(async {
        loop {
            tokio::select! {
                echoed = &mut transfer => break echoed,
                _ = pause.tick() => disturb(),
            }
        }
    });
    assert!(echoed.await.unwrap() == data);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_dialers_connections_outlive_its_socket() {
    let (dialer, listener) = (Node::new(Config::default()), Node::new(Config::default()));
    let _echo = listener.echo();
    let dialed = within(dialer.endpoint.dial(listener.address, None)).await;
    let dialed = dialed.unwrap();
    transfer_while(&dialed, || dialer.endpoint.rebind().unwrap()).await;
    assert_eq!(dialer.endpoint.local_addr().unwrap(), dialer.address);
    assert_eq!(sockets_on(dialer.address), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_do_the_listeners_because_the_port_stays() {
    let (dialer, listener) = (Node::new(Config::default()), Node::new(Config::default()));
    let _echo = listener.echo();
    let dialed = within(dialer.endpoint.dial(listener.address, None)).await;
    let dialed = dialed.unwrap();
    transfer_while(&dialed, || listener.endpoint.rebind().unwrap()).await;
    assert_eq!(listener.endpoint.local_addr().unwrap(), listener.address);
    assert_eq!(sockets_on(listener.address), 1);
    // New dials find the new socket.
    let newcomer = Node::new(Config::default());
    let dialed = within(
        newcomer
            .endpoint
            .dial(listener.address, Some(listener.id())),
    )
    .await;
    assert_eq!(ask(&dialed.unwrap(), b"hi").await.unwrap(), b"hi");
}

/// Keeps no port: every socket is a new one for the outside, as behind a new NAT.
#[derive(Debug)]
struct Wanderer(Tuned);

impl UdpBinder for Wanderer {
    fn bind(&self, address: SocketAddr) -> io::Result<UdpSocket> {
        self.0.bind(SocketAddr::new(address.ip(), 0))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dialer_that_changes_its_port_keeps_its_connections_and_the_listener_sees_it() {
    let wanderer = Arc::new(Wanderer(Tuned::default()));
    let (dialer, listener) = (
        Node::with_binder(Config::default(), wanderer),
        Node::new(Config::default()),
    );
    let accepted = listener.accept_one();
    let dialed = within(dialer.endpoint.dial(listener.address, None)).await;
    let dialed = dialed.unwrap();
    let accepted = within(accepted).await.unwrap();
    tokio::spawn(common::echo_streams(accepted.clone()));
    transfer_while(&dialed, || dialer.endpoint.rebind().unwrap()).await;
    let now = dialer.endpoint.local_addr().unwrap();
    assert_ne!(now, dialer.address);
    common::until(|| accepted.remote_addr() == now).await;
    assert_eq!(accepted.handshake_addr(), dialer.address);
}

/// Fails from the second socket on.
#[derive(Debug)]
struct Once(Tuned, std::sync::atomic::AtomicBool);

impl UdpBinder for Once {
    fn bind(&self, address: SocketAddr) -> io::Result<UdpSocket> {
        match self.1.swap(true, std::sync::atomic::Ordering::Relaxed) {
            false => self.0.bind(address),
            true => Err(io::ErrorKind::AddrNotAvailable.into()),
        }
    }
}

#[tokio::test]
async fn a_rebind_that_fails_leaves_the_old_socket_at_work() {
    let once = Arc::new(Once(Tuned::default(), false.into()));
    let (dialer, listener) = (
        Node::with_binder(Config::default(), once),
        Node::new(Config::default()),
    );
    let _echo = listener.echo();
    let dialed = within(dialer.endpoint.dial(listener.address, None)).await;
    let dialed = dialed.unwrap();
    let error = dialer.endpoint.rebind().unwrap_err().to_string();
    assert!(error.contains(&dialer.address.to_string()), "{error}");
    assert_eq!(within(ask(&dialed, b"still")).await.unwrap(), b"still");
}

#[tokio::test]
async fn after_a_rebind_the_port_is_nobody_elses_to_take() {
    let (node, dialed, _listener, accepted) = common::pair(Config::default()).await;
    tokio::spawn(common::echo_streams(accepted));
    node.endpoint.rebind().unwrap();
    // The old socket is closed once the new one has received something.
    within(ask(&dialed, b"over the new one")).await.unwrap();
    common::until(|| sockets_on(node.address) == 1).await;
    let thief = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None).unwrap();
    thief.set_reuse_address(true).unwrap();
    assert!(thief.bind(&node.address.into()).is_err());
}
