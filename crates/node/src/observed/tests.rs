//! The witnesses of an address, honest and hostile.
#![allow(clippy::unwrap_used, reason = "a panic is a test's verdict")]

use super::*;

const SEEN: &str = "/ip4/198.51.100.7/tcp/4077";

fn address(text: &str) -> Multiaddr {
    text.parse().unwrap()
}

struct Node {
    observed: Observed,
    now: Instant,
    connections: u64,
}

impl Node {
    fn new() -> Self {
        Self {
            observed: Observed::default(),
            now: Instant::now(),
            connections: 0,
        }
    }

    /// `peer` at `from` says over a new connection that it sees this node's listener 0 at `seen`.
    fn sees(&mut self, peer: PeerId, from: &str, seen: &str) -> ConnectionId {
        self.connections += 1;
        let connection = ConnectionId::from_u64(self.connections);
        let sighting = Sighting {
            listener: 0,
            peer,
            connection,
            from: address(&format!("{from}/tcp/5")),
            seen: address(seen),
        };
        self.observed.handle_seen(self.now, sighting);
        connection
    }

    /// Peers in the first `networks` networks see this node at `seen`.
    fn seen_by(&mut self, networks: u8, seen: &str) -> Vec<ConnectionId> {
        let sees = |network| {
            let from = format!("/ip4/203.0.{network}.1");
            self.sees(PeerId::random(), &from, seen)
        };
        (0..networks).map(sees).collect()
    }

    fn addresses(&mut self) -> Vec<Multiaddr> {
        self.observed.handle_timeout(self.now);
        self.observed.addresses()
    }
}

#[test]
fn an_address_is_announced_when_peers_in_four_networks_see_it() {
    let mut node = Node::new();
    node.seen_by(3, SEEN);
    assert!(node.addresses().is_empty());
    // A fourth peer in the third network adds nothing.
    node.sees(PeerId::random(), "/ip4/203.0.2.254", SEEN);
    assert!(node.addresses().is_empty());
    node.sees(PeerId::random(), "/ip4/203.0.3.1", SEEN);
    assert_eq!(node.addresses(), [address(SEEN)]);
}

#[test]
fn one_peer_in_a_thousand_networks_has_one_voice() {
    let (mut node, peer) = (Node::new(), PeerId::random());
    for n in 0..1_000 {
        node.sees(peer, &format!("/ip4/203.{}.{}.1", n / 250, n % 250), SEEN);
    }
    assert!(node.addresses().is_empty());
    assert_eq!(node.observed.sightings.len(), 1);
}

#[test]
fn a_thousand_peers_in_one_network_have_one_voice_and_four_places() {
    let mut node = Node::new();
    for n in 0..1_000 {
        let from = format!("/ip4/203.0.113.{}", n % 256);
        node.sees(PeerId::random(), &from, SEEN);
    }
    assert!(node.addresses().is_empty());
    assert_eq!(node.observed.sightings.len(), PER_NETWORK);
    // Three honest networks and this one agree.
    node.seen_by(3, SEEN);
    assert_eq!(node.addresses(), [address(SEEN)]);
}

#[test]
fn a_sighting_counts_for_ten_minutes_after_its_connection_and_a_new_one_renews_it() {
    let mut node = Node::new();
    let connections = node.seen_by(4, SEEN);
    for connection in connections {
        node.observed.handle_disconnected(node.now, connection);
    }
    assert_eq!(node.observed.poll_timeout(), Some(node.now + KEPT));
    node.now += KEPT - Duration::from_nanos(1);
    assert_eq!(node.addresses(), [address(SEEN)]);
    node.now += Duration::from_nanos(1);
    assert!(node.addresses().is_empty());
    assert!(node.observed.sightings.is_empty());
    assert_eq!(node.observed.poll_timeout(), None);
    node.seen_by(4, SEEN);
    node.now += KEPT * 100;
    assert_eq!(node.addresses(), [address(SEEN)]);
}

#[test]
fn a_peer_that_changes_its_mind_takes_its_word_back() {
    let mut node = Node::new();
    node.seen_by(3, SEEN);
    let peer = PeerId::random();
    let old = node.sees(peer, "/ip4/203.0.3.1", SEEN);
    assert_eq!(node.addresses().len(), 1);
    node.sees(peer, "/ip4/203.0.3.1", "/ip4/198.51.100.8/tcp/4077");
    assert!(node.addresses().is_empty());
    // The end of the old connection does not touch the new sighting.
    node.observed.handle_disconnected(node.now, old);
    assert_eq!(node.observed.poll_timeout(), None);
}

#[test]
fn a_word_that_the_peer_cannot_know_does_not_count() {
    for (from, seen) in [
        // Loopback, and addresses that no packet has as its destination.
        ("/ip4/127.0.0", "/ip4/127.0.0.1/tcp/4077"),
        ("/ip4/203.0.113", "/ip4/127.0.0.1/tcp/4077"),
        ("/ip4/203.0.113", "/ip4/0.0.0.0/tcp/4077"),
        // A public peer speaks of a private address, and the reverse.
        ("/ip4/203.0.113", "/ip4/10.0.0.1/tcp/4077"),
        ("/ip4/10.0.0", "/ip4/198.51.100.7/tcp/4077"),
        // Another family, a name, no port, another peer's id, or no address of a listener.
        ("/ip4/203.0.113", "/ip6/2001:db8::1/tcp/4077"),
        ("/ip4/203.0.113", "/dns4/a.example/tcp/4077"),
        ("/ip4/203.0.113", "/ip4/198.51.100.7/tcp/0"),
        ("/ip4/203.0.113", "/ip4/198.51.100.7/udp/4077"),
        (
            "/ip4/203.0.113",
            "/ip4/198.51.100.7/tcp/4077/p2p/12D3KooWJRSrypvnpHgc6ZAgyCni4KcSmbV7uGRaMw5LgMKT18fq",
        ),
    ] {
        let mut node = Node::new();
        node.sees(PeerId::random(), &format!("{from}.1"), seen);
        assert!(node.observed.sightings.is_empty(), "{from} {seen}");
    }
}

#[test]
fn peers_in_four_private_networks_are_witnesses_of_a_private_address() {
    let mut node = Node::new();
    for n in 0..4 {
        let from = format!("/ip4/10.0.{n}.1");
        node.sees(PeerId::random(), &from, "/ip4/10.9.0.1/tcp/4077");
    }
    assert_eq!(node.addresses(), [address("/ip4/10.9.0.1/tcp/4077")]);
}

#[test]
fn of_four_agreed_addresses_the_three_with_the_most_networks_are_announced() {
    let mut node = Node::new();
    let seen = |port: u8| format!("/ip4/198.51.100.7/tcp/{port}");
    for (port, networks) in [(1, 4), (2, 5), (3, 6), (4, 5)] {
        node.seen_by(networks, &seen(port));
    }
    let announced = [seen(3), seen(2), seen(4)];
    assert_eq!(node.addresses(), announced.map(|text| address(&text)));
}

#[test]
fn a_flood_of_sightings_is_bounded_and_displaces_no_open_connection() {
    let mut node = Node::new();
    node.seen_by(4, SEEN);
    for n in 0..4_000_u32 {
        let from = format!("/ip4/11.{}.{}.1", n / 250, n % 250);
        node.sees(
            PeerId::random(),
            &from,
            &format!("/ip4/198.51.100.7/tcp/{}", n + 1),
        );
    }
    assert_eq!(node.observed.sightings.len(), MAX_SIGHTINGS);
    assert_eq!(node.addresses(), [address(SEEN)]);
    // A sighting whose connection has ended makes room.
    node.observed
        .handle_disconnected(node.now, ConnectionId::from_u64(5));
    let late = PeerId::random();
    node.sees(late, "/ip4/203.0.200.1", SEEN);
    assert!(node.observed.sightings.contains_key(&(0, late)));
    assert_eq!(node.observed.sightings.len(), MAX_SIGHTINGS);
}

#[test]
fn each_listener_needs_its_own_four_networks() {
    let mut node = Node::new();
    node.seen_by(2, SEEN);
    for n in 2..4_u64 {
        let sighting = Sighting {
            listener: 1,
            peer: PeerId::random(),
            connection: ConnectionId::from_u64(100 + n),
            from: address(&format!("/ip4/203.0.{n}.1/tcp/5")),
            seen: address(SEEN),
        };
        node.observed.handle_seen(node.now, sighting);
    }
    assert!(node.addresses().is_empty());
}

#[test]
fn the_peers_of_one_listener_take_no_place_of_another_listener() {
    let mut node = Node::new();
    for n in 0..PER_NETWORK as u64 {
        let sighting = Sighting {
            listener: 1,
            peer: PeerId::random(),
            connection: ConnectionId::from_u64(100 + n),
            from: address("/ip4/203.0.0.9/tcp/5"),
            seen: address(SEEN),
        };
        node.observed.handle_seen(node.now, sighting);
    }
    node.seen_by(4, SEEN);
    assert_eq!(node.addresses(), [address(SEEN)]);
}

#[test]
fn the_sighting_whose_connection_ended_first_makes_room() {
    let mut node = Node::new();
    let peers = [(); PER_NETWORK].map(|()| PeerId::random());
    let connections = peers.map(|peer| node.sees(peer, "/ip4/203.0.113.1", SEEN));
    // The order in time differs from every order of the peers.
    let first = peers.iter().max().unwrap();
    for second in 0..PER_NETWORK as u64 {
        let is_turn = |peer: &PeerId| (second == 0) == (peer == first);
        let turn = peers
            .iter()
            .zip(connections)
            .filter(|(peer, _)| is_turn(peer));
        let now = node.now + Duration::from_secs(second);
        turn.for_each(|(_, connection)| node.observed.handle_disconnected(now, connection));
    }
    node.sees(PeerId::random(), "/ip4/203.0.113.2", SEEN);
    let kept = peers.map(|peer| node.observed.sightings.contains_key(&(0, peer)));
    assert_eq!(kept, peers.map(|peer| peer != *first));
}

#[test]
fn a_peer_takes_its_word_back_also_by_a_word_that_does_not_count() {
    let mut node = Node::new();
    node.seen_by(3, SEEN);
    let peer = PeerId::random();
    node.sees(peer, "/ip4/203.0.3.1", SEEN);
    assert_eq!(node.addresses().len(), 1);
    node.sees(peer, "/ip4/203.0.3.1", "/ip4/127.0.0.1/tcp/4077");
    assert!(node.addresses().is_empty());
}
