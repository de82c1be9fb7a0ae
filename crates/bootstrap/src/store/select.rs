//! The choice of the saved peers to keep: the peers that stayed longest, and only a few of each subnet.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use multiaddr::{Multiaddr, Protocol};

use super::{StoreConfig, record::SavedPeer};

/// What the owners of some addresses have in common.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Group {
    /// An IPv4 /24 or an IPv6 /48.
    Subnet(IpAddr),
    /// An IPv4 /16 or an IPv6 /32.
    Network(IpAddr),
    Name(String),
    Names,
    /// Addresses that are the host's own or those of its LAN.
    Private,
}

/// Keeps the peers that stayed longest, within the caps of their subnets. Addresses in a subnet whose cap is used up are left
/// out, and peers without an address.
pub(super) fn select(mut peers: Vec<SavedPeer>, config: &StoreConfig, now: u64) -> Vec<SavedPeer> {
    peers.retain(|peer| now.saturating_sub(peer.last_seen) <= config.max_age.as_secs());
    peers.sort_by_key(|peer| std::cmp::Reverse((peer.stayed, peer.last_seen)));
    let mut used = BTreeMap::<Group, usize>::new();
    let mut kept = Vec::new();
    for mut peer in peers {
        if kept.len() >= config.max_peers {
            break;
        }
        let mut groups = Vec::new();
        peer.addresses.retain(|address| {
            let Some(of) = groups_of(address) else {
                return false;
            };
            let room = |group: &Group| used.get(group).copied().unwrap_or(0) < cap(group, config);
            let fits = of.iter().all(room);
            if fits {
                groups.extend(of);
            }
            fits
        });
        if !peer.addresses.is_empty() {
            // A peer counts once for each of its groups.
            groups.sort();
            groups.dedup();
            groups
                .into_iter()
                .for_each(|group| *used.entry(group).or_default() += 1);
            kept.push(peer);
        }
    }
    kept
}

fn cap(group: &Group, config: &StoreConfig) -> usize {
    match group {
        Group::Subnet(_) | Group::Name(_) => config.max_per_subnet,
        Group::Network(_) => config.max_per_subnet.saturating_mul(4),
        Group::Names => config.max_peers / 4,
        Group::Private => config.max_peers / 2,
    }
}

/// The groups of an address. `None`: the address is not worth saving, such as a circuit, whose relay forgets it.
fn groups_of(address: &Multiaddr) -> Option<Vec<Group>> {
    if address
        .iter()
        .any(|part| matches!(part, Protocol::P2pCircuit | Protocol::P2p(_)))
    {
        return None;
    }
    match address.iter().next()? {
        Protocol::Ip4(ip) if is_private_v4(ip) => Some(vec![Group::Private]),
        Protocol::Ip6(ip) if is_private_v6(ip) => Some(vec![Group::Private]),
        Protocol::Ip4(ip) => {
            let [a, b, c, _] = ip.octets();
            let groups = [
                Group::Subnet(Ipv4Addr::new(a, b, c, 0).into()),
                Group::Network(Ipv4Addr::new(a, b, 0, 0).into()),
            ];
            Some(groups.into())
        }
        Protocol::Ip6(ip) => {
            let [a, b, c, ..] = ip.segments();
            let v6 = |c| IpAddr::V6(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0));
            Some(vec![Group::Subnet(v6(c)), Group::Network(v6(0))])
        }
        Protocol::Dns(name) | Protocol::Dns4(name) | Protocol::Dns6(name) => {
            Some(vec![Group::Name(name.to_ascii_lowercase()), Group::Names])
        }
        Protocol::Onion3(onion) => Some(vec![
            Group::Name(format!("{:?}", onion.hash())),
            Group::Names,
        ]),
        _ => None,
    }
}

fn is_private_v4(ip: Ipv4Addr) -> bool {
    ip.is_private() || ip.is_loopback() || ip.is_link_local()
}

fn is_private_v6(ip: Ipv6Addr) -> bool {
    let v4 = ip.to_ipv4_mapped().is_some_and(is_private_v4);
    v4 || ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use libp2p_identity::PeerId;

    use super::*;

    fn peer(address: &str, stayed: u64) -> SavedPeer {
        let address = address.parse().unwrap();
        SavedPeer::new(
            PeerId::random(),
            vec![address],
            1000,
            Duration::from_secs(stayed),
        )
    }

    fn kept(peers: Vec<SavedPeer>, config: &StoreConfig) -> Vec<u64> {
        select(peers, config, 1000)
            .iter()
            .map(|peer| peer.stayed.as_secs())
            .collect()
    }

    #[test]
    fn the_peers_that_stayed_longest_are_kept() {
        let peers = (1..=9)
            .map(|n| peer(&format!("/ip4/{n}.0.0.1/tcp/1"), n))
            .collect();
        assert_eq!(
            kept(peers, &StoreConfig::default().with_max_peers(3)),
            [9, 8, 7]
        );
    }

    #[test]
    fn one_subnet_and_one_network_fill_only_their_share_whatever_stays_they_claim() {
        let config = StoreConfig::default();
        let mut peers = vec![
            peer("/ip4/44.1.2.3/tcp/1", 10),
            peer("/ip6/2001:db8:1::1/tcp/1", 9),
        ];
        let lie = |n: u64| 1_000_000 + n;
        peers.extend((0..200).map(|n| peer(&format!("/ip4/66.6.6.{n}/tcp/1"), lie(n))));
        peers.extend((0..200).map(|n| peer(&format!("/ip4/67.7.{n}.1/tcp/1"), lie(n))));
        peers.extend((0..200).map(|n| peer(&format!("/ip6/2a00:1:{n:x}::1/tcp/1"), lie(n))));
        peers.extend((0..200).map(|n| peer(&format!("/dns/{n}.example/tcp/1"), lie(n))));
        peers.extend((0..200).map(|n| peer(&format!("/ip4/10.0.0.{n}/tcp/1"), lie(n))));
        let kept = kept(peers, &config);
        let (subnet, names, private) = (
            config.max_per_subnet,
            config.max_peers / 4,
            config.max_peers / 2,
        );
        assert_eq!(
            kept.len(),
            2 + subnet + 4 * subnet + 4 * subnet + names + private
        );
        assert!(
            kept.contains(&10) && kept.contains(&9),
            "honest peers have their place"
        );
    }

    #[test]
    fn circuits_and_old_peers_are_not_kept() {
        let relay = PeerId::random();
        let circuit = peer(&format!("/ip4/44.1.2.3/tcp/1/p2p/{relay}/p2p-circuit"), 5);
        let mut old = peer("/ip4/44.1.2.3/tcp/1", 6);
        old.last_seen = 0;
        let config = StoreConfig::default().with_max_age(Duration::from_secs(999));
        assert_eq!(
            kept(vec![circuit, old, peer("/ip4/44.1.2.3/tcp/1", 7)], &config),
            [7]
        );
    }

    #[test]
    fn a_peer_with_several_addresses_in_a_subnet_takes_one_of_its_places() {
        let many = |n: u64| {
            let mut peer = peer(&format!("/ip4/44.1.2.{n}/tcp/1"), n);
            let quic = format!("/ip4/44.1.2.{n}/udp/1/quic-v1").parse();
            peer.addresses.push(quic.unwrap());
            peer
        };
        let peers = (1..=5).map(many).collect();
        assert_eq!(kept(peers, &StoreConfig::default()), [5, 4, 3, 2]);
    }

    #[test]
    fn by_default_256_peers_are_kept_and_none_that_was_not_seen_for_ninety_days() {
        let now = 100 * 24 * 3600;
        let seen = |n: u64, days: u64, more: u64| {
            let mut peer = peer(&format!("/ip4/44.{n}.0.1/tcp/1"), n);
            peer.last_seen = now - days * 24 * 3600 - more;
            peer
        };
        let kept = |peers| select(peers, &StoreConfig::default(), now).len();
        assert_eq!(kept(vec![seen(1, 90, 0), seen(2, 90, 1)]), 1);
        let at = |n: u64| peer(&format!("/ip4/{}.{}.0.1/tcp/1", 44 + n / 200, n % 200), n);
        let many = |n: u64| {
            let mut peer = at(n);
            peer.last_seen = now;
            peer
        };
        assert_eq!(kept((0..300).map(many).collect()), 256);
    }

    #[test]
    fn a_host_name_in_another_case_is_the_same_name() {
        let names = ["a.example", "A.example", "a.EXAMPLE", "A.Example"];
        let peers = (1..).zip(names.iter().cycle().take(8));
        let peers = peers.map(|(n, name)| peer(&format!("/dns/{name}/tcp/1"), n));
        assert_eq!(kept(peers.collect(), &StoreConfig::default()), [8, 7, 6, 5]);
    }

    #[test]
    fn the_unique_local_networks_of_ipv6_are_private_whatever_their_number() {
        let config = StoreConfig::default().with_max_peers(8);
        let local = |n: u64| peer(&format!("/ip6/fd{n:02x}::1/tcp/1"), n);
        assert_eq!(kept((1..=8).map(local).collect(), &config), [8, 7, 6, 5]);
    }

    #[test]
    fn a_private_address_in_its_ipv6_form_is_private_too() {
        let config = StoreConfig::default().with_max_peers(8);
        let mapped = |n: u64| peer(&format!("/ip6/::ffff:10.0.0.{n}/tcp/1"), n);
        let plain = |n: u64| peer(&format!("/ip4/10.0.0.{n}/tcp/1"), n);
        let peers = (1..=4).map(mapped).chain((5..=8).map(plain)).collect();
        assert_eq!(kept(peers, &config), [8, 7, 6, 5]);
    }
}
