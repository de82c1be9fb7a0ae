//! The addresses that a peer announces, as candidates.
//!
//! A hostile peer may announce the addresses of other hosts, so that this node dials those hosts again and again. An address
//! counts as the peer's own only if a connection shows that the peer, or a relay of this node, is there.

use std::net::IpAddr;

use libp2p_identity::PeerId;
use multiaddr::{Multiaddr, Protocol};

use crate::{Candidate, Origin};

/// The most addresses of each of the two kinds that are taken from one announcement. Two transports with two address families
/// and two relays need fewer.
const MAX_SHOWN: usize = 8;
const MAX_CLAIMED: usize = 4;

/// Two candidates with the addresses that a connected peer announces. The first candidate has the origin [`Origin::Peer`] and the
/// addresses at which a connection shows the peer. The second candidate has the origin [`Origin::Claimed`] and the other
/// addresses.
///
/// `at` is the IP address of the peer; `None` if the connection uses a relay. `relay` returns the IP address of a connected
/// relay, because circuit addresses of that relay count as shown. Host names are left out, because their owner chooses their
/// addresses. The caller leaves out the addresses that such a peer must not name, such as those of this node's private network.
///
/// ```
/// use bootstrap::{Origin, PeerId, announced};
///
/// let own = "/ip4/192.0.2.1/tcp/4077".parse().unwrap();
/// let other = "/ip4/198.51.100.7/tcp/4077".parse().unwrap();
/// let at = Some([192, 0, 2, 1].into());
/// let [shown, claimed] = announced(PeerId::random(), at, [&own, &other], |_| None);
/// assert_eq!((shown.origin, shown.addresses), (Origin::Peer, vec![own]));
/// assert_eq!((claimed.origin, claimed.addresses), (Origin::Claimed, vec![other]));
/// ```
pub fn announced<'a>(
    peer: PeerId,
    at: Option<IpAddr>,
    addresses: impl IntoIterator<Item = &'a Multiaddr>,
    relay: impl Fn(&PeerId) -> Option<IpAddr>,
) -> [Candidate<PeerId, Multiaddr>; 2] {
    let (mut shown, mut claimed) = (Vec::new(), Vec::new());
    for address in addresses {
        let there = match relay_of(address) {
            Some(id) => relay(&id),
            None => at,
        };
        let is_shown = match ip(address) {
            Some(ip) => there.is_some_and(|there| is_same_host(there, ip)),
            None if is_onion(address) => false,
            None => continue,
        };
        let (kind, max) = match is_shown {
            true => (&mut shown, MAX_SHOWN),
            false => (&mut claimed, MAX_CLAIMED),
        };
        if kind.len() < max {
            kind.push(address.clone());
        }
    }
    [(shown, Origin::Peer), (claimed, Origin::Claimed)]
        .map(|(addresses, origin)| Candidate::new(Some(peer), addresses, origin))
}

/// The IP address at the start of the address.
fn ip(address: &Multiaddr) -> Option<IpAddr> {
    let mut parts = address
        .iter()
        .skip_while(|part| matches!(part, Protocol::Ip6zone(_)));
    match parts.next()? {
        Protocol::Ip4(v4) => Some(v4.into()),
        Protocol::Ip6(v6) => Some(v6.into()),
        _ => None,
    }
}

fn is_onion(address: &Multiaddr) -> bool {
    matches!(address.iter().next(), Some(Protocol::Onion3(_)))
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
    use super::*;

    const RELAY: &str = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";

    /// The shown and the claimed addresses of a peer at `at`. The relay is at 44.9.9.9.
    fn sorted<T: AsRef<str>>(at: &str, listen: &[T]) -> [Vec<String>; 2] {
        let listen = listen.iter().map(|text| text.as_ref().parse().unwrap());
        let listen: Vec<Multiaddr> = listen.collect();
        let relay = |id: &PeerId| {
            let is_known = id.to_string() == RELAY;
            is_known.then(|| [44, 9, 9, 9].into())
        };
        let both = announced(PeerId::random(), Some(at.parse().unwrap()), &listen, relay);
        both.map(|one| one.addresses.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn an_announced_address_is_the_peer_s_own_only_where_the_peer_or_a_relay_of_this_node_is() {
        let own = [
            "/ip4/44.1.2.3/tcp/1".to_owned(),
            "/ip4/44.1.2.3/udp/9/quic-v1".to_owned(),
            format!("/ip4/44.1.2.3/tcp/2/p2p/{}", PeerId::random()),
            format!("/ip4/44.9.9.9/tcp/7/p2p/{RELAY}/p2p-circuit"),
            format!(
                "/ip4/44.9.9.9/tcp/7/p2p/{RELAY}/p2p-circuit/p2p/{}",
                PeerId::random()
            ),
            "/ip6/::ffff:44.1.2.3/tcp/1".to_owned(),
        ];
        let others = [
            "/ip4/44.1.2.4/tcp/1".to_owned(),
            "/ip6/2a00:1:2:3::1/tcp/1".to_owned(),
            format!("/ip4/44.1.2.3/tcp/7/p2p/{}/p2p-circuit", PeerId::random()),
            format!("/ip4/44.8.8.8/tcp/7/p2p/{RELAY}/p2p-circuit"),
        ];
        let all: Vec<&String> = own.iter().chain(&others).collect();
        assert_eq!(sorted("44.1.2.3", &all), [own.to_vec(), others.to_vec()]);
        assert_eq!(sorted("::ffff:44.1.2.3", &own[..2])[0], own[..2]);
        let local = ["/ip4/127.0.0.2/tcp/1", "/ip6/::1/tcp/1"];
        assert_eq!(sorted("127.0.0.1", &local)[0], local);
        let neighbour = ["/ip6/2a00:1:2:3::1/tcp/1", "/ip6/2a00:1:2:4::1/tcp/1"];
        let [shown, claimed] = sorted("2a00:1:2:3:4:5:6:7", &neighbour);
        assert_eq!(
            (shown, claimed),
            (vec![neighbour[0].to_owned()], vec![neighbour[1].to_owned()])
        );
    }

    #[test]
    fn a_host_name_is_no_address_of_a_peer_and_an_onion_address_is_only_claimed() {
        let onion = format!("/onion3/{}:1", "a".repeat(56));
        let names = [
            "/dns/a.example/tcp/1",
            "/dnsaddr/a.example",
            "/dns4/localhost/tcp/1",
            &onion,
        ];
        assert_eq!(sorted("44.1.2.3", &names), [vec![], vec![onion.clone()]]);
    }

    #[test]
    fn of_the_addresses_that_a_peer_only_claims_four_are_taken() {
        let many: Vec<String> = (0..64).map(|n| format!("/ip4/45.0.0.{n}/tcp/1")).collect();
        let [shown, claimed] = sorted("44.1.2.3", &many);
        assert_eq!((shown.len(), claimed.len()), (0, 4));
        let many: Vec<String> = (1..64).map(|n| format!("/ip4/44.1.2.3/tcp/{n}")).collect();
        let [shown, claimed] = sorted("44.1.2.3", &many);
        assert_eq!((shown.len(), claimed.len()), (8, 0));
    }
}
