//! The addresses that a peer announces, as candidates for a dial.
//!
//! A peer may announce the addresses of others, so that this node dials them again and again. An address counts as the peer's
//! own only if the connection shows that the peer, or a relay of this node, is there.

use std::net::IpAddr;

use conn_state::Route;
use libp2p_identity::PeerId;
use multiaddr::{Multiaddr, Protocol};

use crate::{
    address::{self, audience::Reach},
    connection::Connection,
};

/// The most addresses of each of the two kinds that are taken from one identify message. Two transports with two address
/// families and two relays need fewer.
const MAX_SHOWN: usize = 8;
const MAX_CLAIMED: usize = 4;

/// The addresses at which the connection has shown the peer, and those that the peer only claims. Other addresses are left out:
/// host names, because their owner chooses where they lead, and addresses of a nearer network than that of the peer, so that a
/// peer on the Internet cannot aim dials at this node's private network. `relay` gives the address of a connected peer.
pub(super) fn sort(
    connection: &Connection,
    listen: &[Multiaddr],
    relay: impl Fn(&PeerId) -> Option<Multiaddr>,
) -> (Vec<Multiaddr>, Vec<Multiaddr>) {
    let audience = connection.audience();
    // The address of a circuit is that of the relay.
    let is_circuit = matches!(connection.route(), Route::Relayed(_));
    let at = address::ip(connection.address()).filter(|_| !is_circuit);
    split(audience, at, listen, relay)
}

fn split(
    audience: Reach,
    at: Option<IpAddr>,
    listen: &[Multiaddr],
    relay: impl Fn(&PeerId) -> Option<Multiaddr>,
) -> (Vec<Multiaddr>, Vec<Multiaddr>) {
    let usable = listen.iter().filter(|address| audience.is_told(address));
    let is_onion = |address: &Multiaddr| matches!(address.iter().next(), Some(Protocol::Onion3(_)));
    let usable = usable.filter(|address| address::ip(address).is_some() || is_onion(address));
    let is_shown = |address: &&Multiaddr| {
        let there = match relay_of(address) {
            Some(id) => relay(&id).and_then(|address| address::ip(&address)),
            None => at,
        };
        there
            .zip(address::ip(address))
            .is_some_and(|(one, other)| is_same_host(one, other))
    };
    let (mut shown, mut claimed): (Vec<_>, Vec<_>) = usable.partition(is_shown);
    shown.truncate(MAX_SHOWN);
    claimed.truncate(MAX_CLAIMED);
    let owned = |some: Vec<&Multiaddr>| some.into_iter().cloned().collect();
    (owned(shown), owned(claimed))
}

/// The relay in the address of a circuit.
fn relay_of(address: &Multiaddr) -> Option<PeerId> {
    let is_circuit = address.iter().any(|part| part == Protocol::P2pCircuit);
    address
        .iter()
        .filter(|_| is_circuit)
        .find_map(|part| match part {
            Protocol::P2p(relay) => Some(relay),
            _ => None,
        })
}

/// Whether two addresses belong to one host: the same IPv4 address, the same IPv6 /64, in which a host has several addresses, or
/// two loopback addresses, which belong to this host. A connection to 127.0.0.2 comes from 127.0.0.1.
fn is_same_host(one: IpAddr, other: IpAddr) -> bool {
    match (one.to_canonical(), other.to_canonical()) {
        (one, other) if one.is_loopback() && other.is_loopback() => true,
        (IpAddr::V6(one), IpAddr::V6(other)) => one.segments()[..4] == other.segments()[..4],
        (one, other) => one == other,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is a test's verdict")]

    use super::*;

    const RELAY: &str = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";

    fn addresses(texts: &[String]) -> Vec<Multiaddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn sorted(at: &str, listen: &[&str]) -> [Vec<String>; 2] {
        let at: IpAddr = at.parse().unwrap();
        let listen: Vec<String> = listen.iter().map(ToString::to_string).collect();
        let relay = |id: &PeerId| {
            let known = id.to_string() == RELAY;
            known.then(|| "/ip4/44.9.9.9/tcp/1".parse().unwrap())
        };
        let (shown, claimed) = split(Reach::of_ip(at), Some(at), &addresses(&listen), relay);
        [shown, claimed].map(|some| some.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn an_announced_address_is_the_peer_s_own_only_where_the_peer_or_a_relay_of_this_node_is() {
        let own = [
            "/ip4/44.1.2.3/tcp/1".to_owned(),
            "/ip4/44.1.2.3/udp/9/quic-v1".to_owned(),
            format!("/ip4/44.9.9.9/tcp/7/p2p/{RELAY}/p2p-circuit"),
        ];
        let others = [
            "/ip4/44.1.2.4/tcp/1".to_owned(),
            "/ip6/2a00:1:2:3::1/tcp/1".to_owned(),
            format!("/ip4/44.1.2.3/tcp/7/p2p/{}/p2p-circuit", PeerId::random()),
            format!("/ip4/44.8.8.8/tcp/7/p2p/{RELAY}/p2p-circuit"),
        ];
        let all: Vec<&str> = own.iter().chain(&others).map(String::as_str).collect();
        assert_eq!(sorted("44.1.2.3", &all), [own.to_vec(), others.to_vec()]);
        let local = ["/ip4/127.0.0.2/tcp/1", "/ip6/::1/tcp/1"];
        assert_eq!(sorted("127.0.0.1", &local)[0], local);
        let neighbour = ["/ip6/2a00:1:2:3::1/tcp/1", "/ip6/2a00:1:2:4::1/tcp/1"];
        let [shown, claimed] = sorted("2a00:1:2:3:4:5:6:7", &neighbour);
        assert_eq!(
            (&shown[..], &claimed[..]),
            (
                &[neighbour[0].to_owned()][..],
                &[neighbour[1].to_owned()][..]
            )
        );
    }

    #[test]
    fn a_peer_on_the_internet_aims_no_dial_at_private_networks_and_no_peer_at_host_names() {
        let announced = [
            "/ip4/127.0.0.1/tcp/1",
            "/ip4/10.0.0.1/tcp/1",
            "/ip6/fd00::1/tcp/1",
            "/dns/a.example/tcp/1",
        ];
        let [shown, claimed] = sorted("44.1.2.3", &announced);
        assert!(shown.is_empty() && claimed.is_empty());
        let [shown, claimed] = sorted("10.0.0.9", &announced);
        assert!(shown.is_empty());
        assert_eq!(claimed, ["/ip4/10.0.0.1/tcp/1", "/ip6/fd00::1/tcp/1"]);
    }

    #[test]
    fn of_the_addresses_that_a_peer_only_claims_four_are_taken() {
        let many: Vec<String> = (0..64).map(|n| format!("/ip4/45.0.0.{n}/tcp/1")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let [shown, claimed] = sorted("44.1.2.3", &many);
        assert_eq!((shown.len(), claimed.len()), (0, 4));
    }
}
