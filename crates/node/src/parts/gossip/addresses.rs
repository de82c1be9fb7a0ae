//! The addresses that this node tells to the members of its topics, and the addresses of members that it dials.
//!
//! The members pass addresses on to each other, so each of them could aim the dials of others at any address. The node therefore
//! dials IP addresses only, and only those that reach at least as far as the address of a peer that has had a link within the last
//! ten minutes. If all of these peers are on the Internet, no member can aim dials at this node's private network. If one of them is
//! in the private network, any member can.

use std::net::SocketAddr;

use gossip_net::{
    Bytes,
    wire::{AddrInfo, PeerData},
};
use libp2p_identity::PeerId;
use multiaddr::Multiaddr;

use crate::address::{self, Kind, audience::Reach, zone};

/// The data with this node's addresses, without its id. `announced` are its announced addresses, `sockets` are the addresses of
/// its iroh endpoint, and `farthest` is the reach of the most distant peer with a link.
///
/// All members get the same data, so it contains only the addresses of each kind that reach farthest, and none that a peer with a
/// link could not use.
pub(super) fn own(
    announced: &[Multiaddr],
    sockets: &[SocketAddr],
    farthest: Option<Reach>,
) -> PeerData {
    let usable = announced
        .iter()
        .filter(|address| !zone::is_bound_to_machine(address));
    let usable = usable.map(|address| (Reach::of(address), address));
    let multiaddrs = told(usable.collect(), farthest).into_iter();
    let multiaddrs = multiaddrs.map(|address| Bytes::from(address.to_vec()));
    let sockets = sockets
        .iter()
        .filter(|socket| !zone::is_bound_to_machine(&address::of_quic(**socket)));
    let sockets = sockets.map(|socket| (Reach::of_ip(socket.ip()), *socket));
    let info = AddrInfo {
        relay: None,
        direct: told(sockets.collect(), farthest),
        multiaddrs: multiaddrs.collect(),
    };
    info.encode()
}

/// The addresses that reach farthest, if they reach the most distant peer.
fn told<T>(all: Vec<(Reach, T)>, farthest: Option<Reach>) -> Vec<T> {
    let best = all.iter().map(|(reach, _)| *reach).max();
    let is_told =
        |reach: Reach| Some(reach) == best && farthest.is_none_or(|farthest| reach >= farthest);
    let told = all.into_iter().filter(|(reach, _)| is_told(*reach));
    told.map(|(_, address)| address).collect()
}

/// The addresses at which a member can be dialed, according to `data` that any member may have sent. `nearest` is the reach of
/// the nearest peer that has had a link a short time ago.
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

/// Like [`of_member`], for the addresses of the member's iroh endpoint.
#[cfg_attr(not(test), allow(dead_code, reason = "only links to iroh use it"))]
pub(super) fn sockets_of_member(data: &[u8], nearest: Option<Reach>) -> Vec<SocketAddr> {
    let data = PeerData(Bytes::copy_from_slice(data));
    let nearest = nearest.unwrap_or(Reach::Internet);
    let is_dialed = |socket: &SocketAddr| {
        let address = address::of_quic(*socket);
        !zone::is_bound_to_machine(&address) && nearest.is_told(&address)
    };
    let sockets = AddrInfo::decode(&data).direct.into_iter();
    sockets.filter(is_dialed).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is a test's verdict")]

    use super::*;

    const RELAY: &str = "/p2p/12D3KooWJRSrypvnpHgc6ZAgyCni4KcSmbV7uGRaMw5LgMKT18fq/p2p-circuit";

    fn parsed(texts: &[&str]) -> Vec<Multiaddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    /// Data with these addresses.
    fn of<'a>(addresses: impl Iterator<Item = &'a Multiaddr>) -> PeerData {
        let multiaddrs = addresses.map(|address| Bytes::from(address.to_vec()));
        let info = AddrInfo {
            multiaddrs: multiaddrs.collect(),
            ..AddrInfo::default()
        };
        info.encode()
    }

    /// The addresses that the node tells.
    fn told(announced: &[&str], farthest: Option<Reach>) -> Vec<String> {
        let data = own(&parsed(announced), &[], farthest);
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

    #[test]
    fn the_addresses_of_the_iroh_endpoint_obey_the_same_rules() {
        // In the order in which peer data has them.
        let all: [SocketAddr; 4] = [
            "10.0.0.1:1".parse().unwrap(),
            "127.0.0.1:1".parse().unwrap(),
            "192.0.2.1:1".parse().unwrap(),
            "[fe80::1]:1".parse().unwrap(),
        ];
        let internet = parsed(&["/ip4/192.0.2.9/tcp/1"]);
        let told = |sockets: &[SocketAddr], farthest| {
            let data = own(&internet, sockets, farthest);
            sockets_of_member(&data.0, Some(Reach::Machine))
        };
        assert_eq!(told(&all[..2], None), all[..1], "for each kind by itself");
        assert_eq!(told(&all, None), all[2..3]);
        assert!(told(&all[..2], Some(Reach::Internet)).is_empty());

        let data = AddrInfo {
            direct: all.to_vec(),
            ..AddrInfo::default()
        };
        let dialed = |nearest| sockets_of_member(&data.encode().0, nearest);
        assert_eq!(dialed(None), all[2..3]);
        assert_eq!(dialed(Some(Reach::Network)), [all[0], all[2]]);
        assert_eq!(dialed(Some(Reach::Machine)), all[..3]);
    }
}
