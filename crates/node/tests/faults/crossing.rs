//! Nodes that keep one connection to each peer, and dial each other at once or come back after a crash.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use futures::future::join_all;
use node::{
    Config, ConnectionId, Keypair, Multiaddr, Node, PeerId,
    conn_state::{LimitsConfig, Recommended},
    multiaddr::Protocol,
};
use tokio::{net::UdpSocket, sync::oneshot};

use super::common::{QUIC, TCP, fragile_path, listen, within};

/// How many pairs dial each other.
const ROUNDS: usize = 24;

/// Keeps one connection per peer, and ends a drain soon.
fn single(key: Keypair) -> Node {
    let state = Recommended::default().with_drain(Duration::from_millis(300), QUICK);
    let limits = LimitsConfig::for_memory(0).with_max_per_peer(1);
    let config = Config::default().with_limits(limits).with_state(state);
    Node::builder(key).config(config).build().unwrap()
}

const QUICK: Duration = Duration::from_secs(2);

fn to(node: &Node, peer: PeerId) -> Vec<ConnectionId> {
    let connections = node.connections().into_iter();
    let of_peer = connections.filter(|one| one.peer() == peer && !one.is_closed());
    of_peer.map(|one| one.id()).collect()
}

/// Waits until both have one connection to the other.
async fn settled(one: &Node, other: &Node) {
    let (mut here, mut there) = (one.events(), other.events());
    while to(one, other.peer_id()).len() != 1 || to(other, one.peer_id()).len() != 1 {
        let _ = tokio::select! {
            event = here.next() => event,
            event = there.next() => event,
        };
    }
}

async fn crossing(transport: &str) {
    let nodes = [0, 1].map(|_| single(Keypair::generate_ed25519()));
    let [one, other] = &nodes;
    let (at_one, at_other) = (listen(one, transport).await, listen(other, transport).await);
    let (there, here) = tokio::join!(one.dial([at_other]), other.dial([at_one]));
    there.unwrap();
    here.unwrap();
    within(settled(one, other)).await;
    // Neither end closes what the other one keeps: the connection is still there when every drain is over.
    let before = (to(one, other.peer_id()), to(other, one.peer_id()));
    tokio::time::sleep(QUICK).await;
    assert_eq!((to(one, other.peer_id()), to(other, one.peer_id())), before);
    for (node, peer) in [(one, other), (other, one)] {
        let connection = node.connection(peer.peer_id()).unwrap();
        within(connection.ping()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dials_that_cross_leave_exactly_one_connection_between_nodes_that_keep_one() {
    for transport in [TCP, QUIC] {
        let rounds = (0..ROUNDS).map(|_| tokio::spawn(crossing(transport)));
        let ended = join_all(rounds).await;
        let kept = ended.iter().filter(|round| round.is_ok()).count();
        println!("{transport}: {kept} of {ROUNDS} pairs kept exactly one connection");
        assert_eq!(kept, ROUNDS, "{transport}");
    }
}

/// A path to a QUIC address that goes dead, and no end notices, once the sender fires.
async fn fragile_udp(address: &Multiaddr, peer: PeerId) -> (Multiaddr, oneshot::Sender<()>) {
    let mut parts = address.iter();
    let target: SocketAddr = match (parts.next(), parts.next()) {
        (Some(Protocol::Ip4(ip)), Some(Protocol::Udp(port))) => (ip, port).into(),
        other => panic!("{other:?}"),
    };
    let near = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
    let far = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let port = near.local_addr().unwrap().port();
    let (kill, mut killed) = oneshot::channel();
    tokio::spawn(async move {
        let (mut out, mut back, mut dialer) = ([0; 2048], [0; 2048], None);
        loop {
            tokio::select! {
                got = near.recv_from(&mut out) => {
                    let (length, from) = got.unwrap();
                    dialer = Some(from);
                    far.send_to(&out[..length], target).await.unwrap();
                }
                got = far.recv_from(&mut back) => {
                    let (length, _) = got.unwrap();
                    if let Some(dialer) = dialer {
                        near.send_to(&back[..length], dialer).await.unwrap();
                    }
                }
                _ = &mut killed => break,
            }
        }
        // The sockets stay open, so that nobody hears that nobody listens.
        std::future::pending::<()>().await;
        drop((near, far));
    });
    let through: Multiaddr = format!("/ip4/127.0.0.1/udp/{port}/quic-v1")
        .parse()
        .unwrap();
    (through.with(Protocol::P2p(peer)), kill)
}

#[tokio::test]
async fn a_dead_connection_at_the_limit_does_not_keep_a_restarted_peer_out() {
    for transport in [TCP, QUIC] {
        let there = single(Keypair::generate_ed25519());
        let address = listen(&there, transport).await;
        let key = Keypair::generate_ed25519();
        let crashed = single(key.clone());
        let (path, kill) = match transport {
            TCP => fragile_path(&address).await,
            _ => fragile_udp(&address, there.peer_id()).await,
        };
        within(crashed.dial([path])).await.unwrap();
        let dead = within(async {
            loop {
                if let [dead] = to(&there, crashed.peer_id())[..] {
                    break dead;
                }
                tokio::task::yield_now().await;
            }
        })
        .await;
        kill.send(()).unwrap();

        let restarted = single(key);
        let connection = within(restarted.dial([address])).await.unwrap();
        within(settled(&restarted, &there)).await;
        within(connection.ping()).await.unwrap();
        let left = to(&there, restarted.peer_id());
        assert!(left.len() == 1 && left[0] != dead, "{transport}: {left:?}");
        drop(crashed);
    }
}
