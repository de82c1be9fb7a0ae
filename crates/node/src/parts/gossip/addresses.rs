//! The addresses that this node tells to the members of its topics, and the addresses of members that it dials.
//!
//! The members pass addresses on to each other, so each of them could aim the dials of others at any address. The node therefore
//! dials IP addresses only, and only those that reach as far as one of its neighbours has: a member on the Internet cannot aim
//! dials at this node's private network.

use gossip_net::{
    Bytes,
    wire::{AddrInfo, PeerData},
};
use libp2p_identity::PeerId;
use multiaddr::Multiaddr;

use crate::address::{self, Kind, audience::Reach, zone};

/// The data with this node's addresses, without its id. `announced` are its announced addresses, and `farthest` is the reach of
/// the most distant peer with a link.
///
/// All members get the same data, so it contains only the addresses that reach farthest, and none that a peer with a link could
/// not use.
pub(super) fn own(announced: &[Multiaddr], farthest: Option<Reach>) -> PeerData {
    let usable = announced
        .iter()
        .filter(|address| !zone::is_bound_to_machine(address));
    let best = usable.clone().map(Reach::of).max();
    let told = usable.filter(|address| {
        let reach = Reach::of(address);
        Some(reach) == best && farthest.is_none_or(|farthest| reach >= farthest)
    });
    of(told)
}

/// The data with these addresses.
pub(super) fn of<'a>(addresses: impl Iterator<Item = &'a Multiaddr>) -> PeerData {
    let multiaddrs = addresses.map(|address| Bytes::from(address.to_vec()));
    let info = AddrInfo {
        multiaddrs: multiaddrs.collect(),
        ..AddrInfo::default()
    };
    info.encode()
}

/// The addresses at which a member can be dialed, according to `data` that any member may have sent. `nearest` is the reach of
/// the nearest peer that had a link.
pub(super) fn of_member(peer: &PeerId, data: &[u8], nearest: Option<Reach>) -> Vec<Multiaddr> {
    let data = PeerData(Bytes::copy_from_slice(data));
    let addresses = AddrInfo::decode(&data).multiaddrs.into_iter();
    let addresses = addresses.filter_map(|bytes| Multiaddr::try_from(bytes.to_vec()).ok());
    let nearest = nearest.unwrap_or(Reach::Internet);
    let is_dialed = |address: &Multiaddr| {
        let names_other = address::peer(address).is_some_and(|named| named != *peer);
        let is_host = matches!(
            address::kind(address),
            Kind::Tcp | Kind::Quic | Kind::Circuit
        );
        is_host
            && !names_other
            && address::ip(address).is_some()
            && !zone::is_bound_to_machine(address)
            && nearest.is_told(address)
    };
    addresses.filter(is_dialed).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is a test's verdict")]

    use super::*;

    const RELAY: &str = "/p2p/12D3KooWJRSrypvnpHgc6ZAgyCni4KcSmbV7uGRaMw5LgMKT18fq/p2p-circuit";

    fn parsed(texts: &[&str]) -> Vec<Multiaddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    /// The addresses that the node tells.
    fn told(announced: &[&str], farthest: Option<Reach>) -> Vec<String> {
        let data = own(&parsed(announced), farthest);
        let found = of_member(&PeerId::random(), &data.0, Some(Reach::Machine));
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_node_tells_its_farthest_addresses_and_none_that_a_neighbour_cannot_use() {
        let (machine, network) = ("/ip4/127.0.0.1/tcp/1", "/ip4/10.0.0.1/tcp/1");
        let internet = "/ip4/192.0.2.1/udp/1/quic-v1";
        assert_eq!(told(&[machine], None), [machine]);
        assert_eq!(told(&[machine, network], None), [network]);
        assert_eq!(told(&[machine, network, internet], None), [internet]);
        assert_eq!(told(&[machine, network], Some(Reach::Machine)), [network]);
        assert_eq!(told(&[machine, network], Some(Reach::Network)), [network]);
        assert!(told(&[machine, network], Some(Reach::Internet)).is_empty());
        assert!(told(&["/ip6/fe80::1/tcp/1"], None).is_empty());
    }

    #[test]
    fn a_member_aims_dials_only_at_addresses_that_reach_as_far_as_a_neighbour() {
        let circuit = format!("/ip4/192.0.2.9/tcp/1{RELAY}");
        let all = parsed(&[
            "/ip4/127.0.0.1/tcp/1",
            "/ip4/10.0.0.1/tcp/1",
            "/ip4/192.0.2.1/tcp/1",
            &circuit,
        ]);
        let data = of(all.iter());
        let dialed = |nearest| of_member(&PeerId::random(), &data.0, nearest);
        assert_eq!(dialed(None), all[2..]);
        assert_eq!(dialed(Some(Reach::Internet)), all[2..]);
        assert_eq!(dialed(Some(Reach::Network)), all[1..]);
        assert_eq!(dialed(Some(Reach::Machine)), all);
    }

    #[test]
    fn host_names_and_addresses_of_other_peers_are_not_dialed() {
        let (peer, other) = (PeerId::random(), PeerId::random());
        let named = |peer: PeerId| format!("/ip4/192.0.2.1/tcp/1/p2p/{peer}");
        let (own, foreign) = (named(peer), named(other));
        let all = parsed(&[
            "/dns/a.example/tcp/1",
            "/dnsaddr/a.example",
            "/ip4/192.0.2.1/udp/1",
            &foreign,
            &own,
        ]);
        let data = of(all.iter());
        assert_eq!(of_member(&peer, &data.0, None), all[4..]);
        assert!(of_member(&peer, b"\xff\xff\xff", None).is_empty());
    }
}
