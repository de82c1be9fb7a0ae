//! Nodes in a DHT, over loopback with real sockets.
#![allow(clippy::unwrap_used, reason = "a panic is a test's verdict")]

mod bounds;
mod joins;

use std::collections::BTreeSet;

use bootstrap::{
    RejoinConfig,
    kad::{KadConfig, Mode, Namespaces, Preset, Validator},
};
use libp2p_identity::Keypair;

use super::*;
use crate::{BootstrapConfig, Config, KademliaConfig, Node, SetupError};

const TCP: &str = "/ip4/127.0.0.1/tcp/0";
const KEY: &[u8] = b"/app/name";

/// The DHT of the tests, with one namespace.
fn dht(mode: Mode) -> KademliaConfig {
    let names = Namespaces::new().with("app", Validator::new(|_, value| !value.is_empty()));
    let figures = KadConfig::default().with_mode(mode);
    KademliaConfig::default()
        .with_figures(figures)
        .with_preset(Preset::Private)
        .with_namespaces(names)
}

/// A node that joins its network through `peers`, and dials at most `target` peers for that.
fn node(dht: KademliaConfig, peers: &[Multiaddr], target: usize) -> Node {
    let rejoin = RejoinConfig::default().with_target(target);
    let bootstrap = BootstrapConfig::default()
        .with_list(peers.to_vec())
        .with_rejoin(rejoin);
    let config = Config::default()
        .with_kademlia(dht)
        .with_bootstrap(bootstrap);
    let builder = Node::builder(Keypair::generate_ed25519());
    builder.config(config).build().unwrap()
}

async fn listen(node: &Node) -> Multiaddr {
    let addresses = node.listen(TCP.parse().unwrap()).await;
    addresses.unwrap().remove(0)
}

/// Servers that join through the first one, when each knows all others.
async fn network(size: usize) -> (Vec<Node>, Multiaddr) {
    let first = node(dht(Mode::Server), &[], 8);
    let at = listen(&first).await;
    let mut nodes = vec![first];
    for _ in 1..size {
        let next = node(dht(Mode::Server), std::slice::from_ref(&at), 8);
        listen(&next).await;
        nodes.push(next);
    }
    for node in &nodes {
        until("a table is full", || peers(node) == size - 1).await;
    }
    (nodes, at)
}

fn part(node: &Node) -> Arc<Kademlia> {
    node.part().unwrap()
}

/// The number of peers in the routing table.
fn peers(node: &Node) -> usize {
    node.dht_status().unwrap().peers
}

fn knows(node: &Node, peer: PeerId) -> bool {
    part(node).lock().knows(&peer)
}

fn serves(node: &Node) -> bool {
    let protocols = part(node).context.protocols();
    protocols.iter().any(|name| name == "/ipfs/kad/1.0.0")
}

/// Waits for a state. The deadline is for a test that hangs.
async fn until(what: &str, mut is_it: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is_it() {
        assert!(Instant::now() < deadline, "{what}: not within 30 s");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(30)
}

async fn end(nodes: Vec<Node>) {
    futures::future::join_all(nodes.iter().map(Node::shutdown)).await;
}

#[tokio::test]
async fn a_client_finds_peers_values_and_providers_among_ten_servers_through_one_of_them() {
    let (nodes, at) = network(10).await;
    let client = node(dht(Mode::Client), &[at], 1);
    let found = client.find_peer(nodes[7].peer_id(), soon()).await.unwrap();
    let plain = |node: &Node| part(node).context.announced();
    assert_eq!(
        (found.peer, found.addresses),
        (nodes[7].peer_id(), plain(&nodes[7]))
    );
    assert!(found.reached);
    let nobody = client.find_peer(PeerId::random(), soon()).await;
    assert!(
        matches!(nobody, Err(DhtError::Query(QueryError::NotFound { .. }))),
        "{nobody:?}"
    );

    let stored = nodes[1].put_value(KEY.to_vec(), b"value".to_vec(), soon());
    let stored = stored.await.unwrap();
    assert_eq!((stored.stored, stored.asked), (9, 9));
    let value = client.get_value(KEY.to_vec(), soon()).await.unwrap();
    assert_eq!((value.value, value.holders), (b"value".to_vec(), 1));
    let none = client.get_value(b"/app/none".to_vec(), soon()).await;
    assert!(
        none.unwrap_err()
            .to_string()
            .contains("none of the 10 asked")
    );
    let invalid = client.put_value(KEY.to_vec(), Vec::new(), soon()).await;
    assert_eq!(invalid, Err(DhtError::Query(QueryError::Invalid)));

    let key = content_key("QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG").unwrap();
    for provider in [&nodes[2], &nodes[3]] {
        let stored = provider.provide(key.clone(), soon()).await.unwrap();
        assert_eq!((stored.stored, stored.asked), (9, 9));
    }
    let found = client.providers(key.clone(), 2, soon()).await.unwrap();
    let found: BTreeSet<PeerId> = found.iter().map(|provider| provider.peer).collect();
    let expected = [&nodes[2], &nodes[3]].map(Node::peer_id);
    assert_eq!(found, BTreeSet::from(expected));
    // A client that does not listen has no address to tell.
    let refused = client.provide(key, soon()).await;
    assert_eq!(refused, Err(DhtError::Query(QueryError::NoAddress)));

    // Nobody has the client in its table, although it has asked many peers.
    assert!(!serves(&client));
    assert!(nodes.iter().all(serves));
    assert!(!nodes.iter().any(|node| knows(node, client.peer_id())));
    client.shutdown().await;
    end(nodes).await;
}

#[tokio::test]
async fn a_provider_that_a_query_has_found_can_be_dialed_by_its_peer_id() {
    let (nodes, at) = network(3).await;
    // No server dials a client, and no query asks it.
    let provider = node(dht(Mode::Client), std::slice::from_ref(&at), 1);
    listen(&provider).await;
    let key = content_key("QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG").unwrap();
    provider.provide(key.clone(), soon()).await.unwrap();
    let client = node(dht(Mode::Client), &[at], 1);
    let found = client.providers(key, 1, soon()).await.unwrap();
    let peer = provider.peer_id();
    assert_eq!(found[0].peer, peer);
    assert!(client.connection(peer).is_none());
    let by_id = Multiaddr::from(multiaddr::Protocol::P2p(peer));
    assert_eq!(client.dial([by_id]).await.unwrap().peer(), peer);
    let oneself = client.find_peer(client.peer_id(), soon()).await.unwrap();
    assert!(oneself.reached);
    end(vec![client, provider]).await;
    end(nodes).await;
}

#[tokio::test]
async fn ten_tables_that_are_emptied_are_full_again_within_ten_seconds() {
    let (nodes, _) = network(10).await;
    for node in &nodes {
        part(node).with(|kad, now| kad.handle_reset(now));
    }
    let emptied = Instant::now();
    for node in &nodes {
        until("a table is full again", || peers(node) == 9).await;
    }
    let took = emptied.elapsed();
    println!("ten tables were full again after {took:?}");
    assert!(took < Duration::from_secs(10), "{took:?}");
    end(nodes).await;
}

#[tokio::test]
async fn a_node_serves_when_it_is_reachable_and_leaves_the_tables_when_it_serves_no_longer() {
    let (nodes, _) = network(2).await;
    let auto = node(dht(Mode::Auto), &[], 8);
    let address = listen(&auto).await;
    // A peer on the same machine does not show that others can reach the node.
    nodes[1].dial([address]).await.unwrap();
    until("the node has joined", || peers(&auto) == 2).await;
    assert!(!serves(&auto) && !knows(&nodes[0], auto.peer_id()));

    part(&auto).with(|kad, now| kad.handle_reachable(now, Some(true)));
    until("the others know it", || {
        nodes.iter().all(|node| knows(node, auto.peer_id()))
    })
    .await;
    assert!(serves(&auto));

    part(&auto).with(|kad, now| kad.handle_reachable(now, Some(false)));
    until("the others have forgotten it", || {
        !nodes.iter().any(|node| knows(node, auto.peer_id()))
    })
    .await;
    assert!(!serves(&auto));
    auto.shutdown().await;
    end(nodes).await;
}

#[tokio::test]
async fn a_node_without_a_dht_says_so_and_a_wrong_protocol_name_is_refused() {
    let without = Node::builder(Keypair::generate_ed25519()).build().unwrap();
    let off = without.find_peer(PeerId::random(), soon()).await;
    assert_eq!(off, Err(DhtError::Off));
    assert_eq!(without.dht_status(), None);
    without.shutdown().await;
    for wrong in ["kad", "/kad\n", ""] {
        let config = Config::default().with_kademlia(dht(Mode::Client).with_protocols([wrong]));
        let built = Node::builder(Keypair::generate_ed25519()).config(config);
        let refused = built.build().unwrap_err();
        assert!(
            matches!(&refused, SetupError::Protocol { protocol } if protocol == wrong),
            "{refused}"
        );
    }
}

#[tokio::test]
async fn nodes_with_other_protocol_names_are_in_another_dht() {
    let own = |mode| dht(mode).with_protocols(["/app/kad/1.0.0"]);
    let (one, other) = (
        node(own(Mode::Server), &[], 8),
        node(dht(Mode::Server), &[], 8),
    );
    let list = [listen(&one).await, listen(&other).await];
    let third = node(own(Mode::Client), &list, 8);
    let mut events = third.events();
    until("the node knows a server", || knows(&third, one.peer_id())).await;
    // The other server is connected and has told its protocols, too.
    until("both are identified", || {
        let connections = third.connections();
        connections.len() == 2 && connections.iter().all(|one| one.identified().is_some())
    })
    .await;
    assert!(!knows(&third, other.peer_id()));
    third.shutdown().await;
    let entered = std::iter::from_fn(|| events.next().now_or_never()?.ok());
    let entered = entered.filter(|event| match event {
        crate::Event::Part(event) => event.name() == "dht_entered",
        _ => false,
    });
    assert_eq!(entered.count(), 1);
    end(vec![one, other]).await;
}

#[tokio::test]
async fn the_figures_count_the_routing_table_the_values_and_the_requests() {
    let (nodes, _) = network(3).await;
    let figure = |node: &Node, name: &str| {
        let figures = part(node).figures();
        let mut named = figures.iter().filter(|figure| figure.name == name);
        named.next().unwrap().value
    };
    let put = nodes[0].put_value(KEY.to_vec(), b"value".to_vec(), soon());
    assert_eq!(put.await.unwrap().stored, 2);
    for (name, expected) in [
        ("dht_peers", 2),
        ("dht_serving", 1),
        ("dht_values", 1),
        ("dht_providers", 0),
        ("dht_requests_refused", 0),
    ] {
        assert_eq!(figure(&nodes[1], name), expected, "{name}");
    }
    assert!(figure(&nodes[0], "dht_requests_sent") >= 2);
    assert!(figure(&nodes[1], "dht_requests_served") >= 1);
    end(nodes).await;
}
