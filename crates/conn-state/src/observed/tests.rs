//! The observers of an address, honest and hostile.

use super::*;

type Observed = ObservedAddresses<u64, &'static str>;

const ADDRESS: &str = "198.51.100.7:4077";
const TTL: Duration = Observed::TTL;

struct Host {
    observed: Observed,
    now: Instant,
    connections: u64,
    listener: u64,
}

impl Host {
    fn new() -> Self {
        Self {
            observed: Observed::default(),
            now: Instant::now(),
            connections: 0,
            listener: 0,
        }
    }

    /// `observer` at `from` reports over a new connection that it sees this host at `address`.
    fn observe(&mut self, observer: u64, from: &str, address: &'static str) -> ConnectionId {
        self.connections += 1;
        let connection = ConnectionId::from_u64(self.connections);
        let observation = Observation {
            listener: self.listener,
            observer,
            connection,
            from: from.parse().unwrap(),
            address,
        };
        self.observed.handle_observed(self.now, observation);
        connection
    }

    /// The same of a peer that has not reported anything before.
    fn newcomer(&mut self, from: &str, address: &'static str) -> ConnectionId {
        self.observe(1_000_000 + self.connections, from, address)
    }

    /// Peers in the first `networks` networks see this host at `address`.
    fn observed_by(&mut self, networks: u8, address: &'static str) -> Vec<ConnectionId> {
        let observe = |network| self.newcomer(&format!("203.0.{network}.1"), address);
        (0..networks).map(observe).collect()
    }

    fn addresses(&mut self) -> Vec<&'static str> {
        self.observed.handle_timeout(self.now);
        self.observed.addresses()
    }
}

#[test]
fn an_address_is_announced_when_peers_in_four_networks_see_it() {
    let mut host = Host::new();
    host.observed_by(3, ADDRESS);
    assert!(host.addresses().is_empty());
    // A fourth peer in the third network adds nothing.
    host.newcomer("203.0.2.254", ADDRESS);
    assert!(host.addresses().is_empty());
    host.newcomer("203.0.3.1", ADDRESS);
    assert_eq!(host.addresses(), [ADDRESS]);
}

#[test]
fn four_ipv6_networks_of_one_provider_count_as_one() {
    let mut host = Host::new();
    for n in 0..100 {
        host.newcomer(&format!("2001:db8:{n}::1"), ADDRESS);
    }
    assert!(host.addresses().is_empty());
    for provider in ["2001:db9", "2001:dba"] {
        host.newcomer(&format!("{provider}::1"), ADDRESS);
        assert!(host.addresses().is_empty());
    }
    host.newcomer("2001:dbb:ffff::1", ADDRESS);
    assert_eq!(host.addresses(), [ADDRESS]);
}

#[test]
fn an_observer_with_a_mapped_ipv6_address_is_in_the_network_of_its_ipv4_address() {
    let mut host = Host::new();
    host.observed_by(3, ADDRESS);
    host.newcomer("::ffff:203.0.2.9", ADDRESS);
    assert!(host.addresses().is_empty());
    host.newcomer("::ffff:203.0.3.9", ADDRESS);
    assert_eq!(host.addresses(), [ADDRESS]);
}

#[test]
fn one_peer_in_a_thousand_networks_counts_once() {
    let mut host = Host::new();
    for n in 0..1_000 {
        host.observe(1, &format!("203.{}.{}.1", n / 250, n % 250), ADDRESS);
    }
    assert!(host.addresses().is_empty());
    assert_eq!(host.observed.reports.len(), 1);
}

#[test]
fn a_thousand_peers_in_one_network_count_once_and_have_four_places() {
    let mut host = Host::new();
    for n in 0..1_000 {
        host.newcomer(&format!("203.0.113.{}", n % 256), ADDRESS);
    }
    assert!(host.addresses().is_empty());
    assert_eq!(host.observed.reports.len(), PER_NETWORK);
    // Three honest networks and this one agree.
    host.observed_by(3, ADDRESS);
    assert_eq!(host.addresses(), [ADDRESS]);
}

#[test]
fn an_observation_counts_for_ten_minutes_after_its_connection_and_a_new_one_renews_it() {
    let mut host = Host::new();
    let connections = host.observed_by(4, ADDRESS);
    for connection in connections {
        host.observed.handle_disconnected(host.now, connection);
    }
    assert_eq!(host.observed.poll_timeout(), Some(host.now + TTL));
    host.now += TTL - Duration::from_nanos(1);
    assert_eq!(host.addresses(), [ADDRESS]);
    host.now += Duration::from_nanos(1);
    assert!(host.addresses().is_empty());
    assert!(host.observed.reports.is_empty());
    assert_eq!(host.observed.poll_timeout(), None);
    host.observed_by(4, ADDRESS);
    host.now += TTL * 100;
    assert_eq!(host.addresses(), [ADDRESS]);
}

#[test]
fn a_second_report_of_a_peer_replaces_its_first() {
    let mut host = Host::new();
    host.observed_by(3, ADDRESS);
    let old = host.observe(1, "203.0.3.1", ADDRESS);
    assert_eq!(host.addresses(), [ADDRESS]);
    host.observe(1, "203.0.3.1", "198.51.100.8:4077");
    assert!(host.addresses().is_empty());
    // The end of the old connection does not touch the new observation.
    host.observed.handle_disconnected(host.now, old);
    assert_eq!(host.observed.poll_timeout(), None);
}

#[test]
fn a_peer_withdraws_its_observation_about_one_listener() {
    let mut host = Host::new();
    host.observed_by(3, ADDRESS);
    host.observe(1, "203.0.3.1", ADDRESS);
    host.observed.handle_withdrawn(host.now, 1, &1);
    assert_eq!(host.addresses(), [ADDRESS]);
    host.observed.handle_withdrawn(host.now, 0, &1);
    assert!(host.addresses().is_empty());
}

#[test]
fn of_four_agreed_addresses_the_three_with_the_most_networks_are_announced() {
    let mut host = Host::new();
    for (address, networks) in [("a", 4), ("b", 5), ("c", 6), ("d", 5)] {
        host.observed_by(networks, address);
    }
    assert_eq!(host.addresses(), ["c", "b", "d"]);
}

#[test]
fn a_flood_of_observations_is_bounded_and_displaces_no_open_connection() {
    let mut host = Host::new();
    host.observed_by(4, ADDRESS);
    for n in 0..4_000_u32 {
        let from = format!("11.{}.{}.1", n / 250, n % 250);
        host.newcomer(&from, "198.51.100.9:1");
    }
    assert_eq!(host.observed.reports.len(), MAX_REPORTS);
    assert!(host.addresses().contains(&ADDRESS));
    // An observation whose connection has ended makes room.
    let ended = ConnectionId::from_u64(5);
    host.observed.handle_disconnected(host.now, ended);
    host.observe(1, "203.0.200.1", ADDRESS);
    assert!(host.observed.reports.contains_key(&(0, 1)));
    assert_eq!(host.observed.reports.len(), MAX_REPORTS);
}

#[test]
fn each_listener_needs_its_own_four_networks() {
    let mut host = Host::new();
    host.observed_by(2, ADDRESS);
    host.listener = 1;
    host.newcomer("203.0.2.1", ADDRESS);
    host.newcomer("203.0.3.1", ADDRESS);
    assert!(host.addresses().is_empty());
}

#[test]
fn each_listener_has_its_own_three_addresses_in_the_order_of_their_numbers() {
    let mut host = Host::new();
    for (listener, addresses) in [(2, ["a", "b", "c", "d"]), (1, ["e", "f", "g", "h"])] {
        host.listener = listener;
        for address in addresses {
            host.observed_by(4, address);
        }
    }
    assert_eq!(host.addresses(), ["e", "f", "g", "a", "b", "c"]);
}

#[test]
fn the_peers_of_one_listener_take_no_place_of_another_listener() {
    let mut host = Host::new();
    host.listener = 1;
    for _ in 0..PER_NETWORK {
        host.newcomer("203.0.0.9", ADDRESS);
    }
    host.listener = 0;
    host.observed_by(4, ADDRESS);
    assert_eq!(host.addresses(), [ADDRESS]);
}

#[test]
fn the_observation_whose_connection_ended_first_makes_room() {
    let mut host = Host::new();
    let connections = [0, 1, 2, 3].map(|peer| host.observe(peer, "203.0.113.1", ADDRESS));
    // The order in time differs from every order of the peers.
    for (second, peer) in [(0, 2), (1, 0), (2, 3), (3, 1)] {
        let now = host.now + Duration::from_secs(second);
        host.observed.handle_disconnected(now, connections[peer]);
    }
    host.newcomer("203.0.113.2", ADDRESS);
    let kept = [0, 1, 2, 3].map(|peer| host.observed.reports.contains_key(&(0, peer)));
    assert_eq!(kept, [true, true, false, true]);
}
