//! What the tests of a whole node share.
#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test binary uses a part of it, and a panic is its verdict"
)]

use std::time::Duration;

use node::{
    Config, Event, Events, EventsError, Keypair, Multiaddr, Node, multiaddr::Protocol,
    transport_tcp::Target,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    sync::oneshot,
};

pub(crate) const TCP: &str = "/ip4/127.0.0.1/tcp/0";
pub(crate) const QUIC: &str = "/ip4/127.0.0.1/udp/0/quic-v1";

pub(crate) fn node() -> Node {
    with(Config::default())
}

pub(crate) fn with(config: Config) -> Node {
    let builder = Node::builder(Keypair::generate_ed25519());
    builder.config(config).build().unwrap()
}

pub(crate) async fn listen(node: &Node, address: &str) -> Multiaddr {
    node.listen(address.parse().unwrap())
        .await
        .unwrap()
        .remove(0)
}

/// Waits for an event, whatever comes before it. The deadline is for a test that hangs, not for one that passes.
pub(crate) async fn wait<T>(events: &mut Events, mut wanted: impl FnMut(Event) -> Option<T>) -> T {
    let found = async {
        loop {
            match events.next().await {
                Ok(event) => {
                    if let Some(found) = wanted(event) {
                        return found;
                    }
                }
                Err(EventsError::Lagged { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
    };
    let found = tokio::time::timeout(Duration::from_secs(30), found).await;
    found.expect("the event comes")
}

pub(crate) async fn within<T>(job: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(Duration::from_secs(30), job).await;
    done.expect("the job ends")
}

/// A path to `address` that goes dead, and no end notices, once the sender fires.
pub(crate) async fn fragile_path(address: &Multiaddr) -> (Multiaddr, oneshot::Sender<()>) {
    let target = Target::from_multiaddr(address).unwrap();
    let forwarder = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = forwarder.local_addr().unwrap().port();
    let (kill, killed) = oneshot::channel();
    let peer = Protocol::P2p(target.peer().unwrap());
    tokio::spawn(async move {
        let (mut near, _) = forwarder.accept().await.unwrap();
        let mut far = TcpStream::connect(target.authority()).await.unwrap();
        tokio::select! {
            _ = copy_bidirectional(&mut near, &mut far) => {}
            _ = killed => std::future::pending().await,
        }
    });
    let through: Multiaddr = format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap();
    (through.with(peer), kill)
}

/// A connection whose handshake has begun at the other end, and does not go on.
pub(crate) async fn half_open(address: &Multiaddr) -> TcpStream {
    let at = Target::from_multiaddr(address).unwrap().authority();
    let mut stream = TcpStream::connect(at).await.unwrap();
    let hello = b"\x13/multistream/1.0.0\n";
    stream.write_all(hello).await.unwrap();
    within(stream.read_exact(&mut hello.clone())).await.unwrap();
    stream
}
