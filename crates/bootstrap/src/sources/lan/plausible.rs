//! The check whether an address on a LAN is plausible.

use std::net::{IpAddr, Ipv4Addr};

use multiaddr::{Multiaddr, Protocol};

/// An IPv4 address of this host with the length of its network's prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Interface {
    pub(crate) ip: Ipv4Addr,
    pub(crate) prefix: u8,
}

impl Interface {
    /// Whether an address is in the network of this interface.
    pub(crate) fn reaches(&self, ip: Ipv4Addr) -> bool {
        let mask = u32::MAX
            .checked_shl(32 - u32::from(self.prefix.min(32)))
            .unwrap_or(0);
        (ip.to_bits() ^ self.ip.to_bits()) & mask == 0
    }
}

/// Whether a peer that announces this address from `source` may have it: the address is the sender's own, a private one in the
/// network through which the packet came, or a unique local one of IPv6. So nobody on the LAN can aim this node at hosts
/// elsewhere. Loopback addresses are believed if this host sent the packet. IPv6 link-local addresses have no zone, and cannot
/// be dialed.
pub(crate) fn is_plausible(address: &Multiaddr, source: Ipv4Addr, at: &Interface) -> bool {
    let mut parts = address.iter();
    let (ip, transport) = (parts.next(), parts.next());
    if !matches!(transport, Some(Protocol::Tcp(1..) | Protocol::Udp(1..))) || parts.any(leads_on) {
        return false;
    }
    match ip {
        Some(Protocol::Ip4(ip)) if ip.is_loopback() => source == at.ip,
        Some(Protocol::Ip4(ip)) => {
            ip == source || at.reaches(ip) && (ip.is_private() || ip.is_link_local())
        }
        Some(Protocol::Ip6(ip)) if ip.is_loopback() => source == at.ip,
        Some(Protocol::Ip6(ip)) => ip.is_unique_local(),
        _ => false,
    }
}

/// Whether this node announces one of its addresses through an interface: an address of that interface, or a unique local one
/// of IPv6.
pub(crate) fn is_announced(address: &Multiaddr, at: &Interface) -> bool {
    let mut parts = address.iter();
    let ip = parts.next();
    !parts.any(leads_on)
        && match ip {
            Some(Protocol::Ip4(ip)) => ip == at.ip && (ip.is_private() || ip.is_link_local()),
            Some(Protocol::Ip6(ip)) => ip.is_unique_local(),
            _ => false,
        }
}

/// A part that leads to another host or peer.
fn leads_on(part: Protocol<'_>) -> bool {
    matches!(
        part,
        Protocol::P2pCircuit
            | Protocol::P2p(_)
            | Protocol::Ip4(_)
            | Protocol::Ip6(_)
            | Protocol::Dnsaddr(_)
    )
}

/// The prefix's length of a netmask.
pub(super) fn prefix(mask: IpAddr) -> Option<u8> {
    match mask {
        IpAddr::V4(mask) => u8::try_from(mask.to_bits().leading_ones()).ok(),
        IpAddr::V6(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Interface = Interface {
        ip: Ipv4Addr::new(192, 168, 1, 7),
        prefix: 24,
    };

    #[test]
    fn only_addresses_of_the_sender_or_of_its_network_are_believed() {
        let source = Ipv4Addr::new(192, 168, 1, 9);
        let believed = |text: &str| is_plausible(&text.parse().unwrap(), source, &HERE);
        for good in [
            "/ip4/192.168.1.9/tcp/1",
            "/ip4/192.168.1.10/udp/1/quic-v1",
            "/ip6/fd00::1/tcp/1",
        ] {
            assert!(believed(good), "{good}");
        }
        for bad in [
            "/ip4/192.168.2.9/tcp/1",
            "/ip4/44.1.2.3/tcp/1",
            "/ip4/127.0.0.1/tcp/1",
            "/ip6/::1/tcp/1",
            "/ip6/fe80::1/tcp/1",
            "/ip6/2001:db8::1/tcp/1",
            "/dns/example.org/tcp/1",
            "/ip4/192.168.1.9/tcp/0",
            "/ip4/192.168.1.9",
            "/ip4/192.168.1.9/tcp/1/p2p-circuit",
            "/tcp/1",
        ] {
            assert!(!believed(bad), "{bad}");
        }
        let own = is_plausible(&"/ip4/127.0.0.1/tcp/1".parse().unwrap(), HERE.ip, &HERE);
        assert!(own, "another node on this host");
        let public = Interface {
            ip: Ipv4Addr::new(44, 0, 0, 1),
            prefix: 8,
        };
        let address = "/ip4/44.0.0.9/tcp/1".parse().unwrap();
        assert!(
            is_plausible(&address, Ipv4Addr::new(44, 0, 0, 9), &public),
            "the sender's own"
        );
        assert!(!is_plausible(&address, Ipv4Addr::new(44, 0, 0, 8), &public));
    }

    #[test]
    fn prefixes_of_all_lengths_are_compared() {
        let at = |prefix| Interface {
            ip: Ipv4Addr::new(10, 0, 0, 1),
            prefix,
        };
        assert!(at(0).reaches(Ipv4Addr::new(200, 1, 1, 1)));
        assert!(
            at(32).reaches(Ipv4Addr::new(10, 0, 0, 1))
                && !at(32).reaches(Ipv4Addr::new(10, 0, 0, 2))
        );
        assert!(
            at(31).reaches(Ipv4Addr::new(10, 0, 0, 0))
                && !at(31).reaches(Ipv4Addr::new(10, 0, 0, 2))
        );
        assert_eq!(prefix([255, 255, 240, 0].into()), Some(20));
    }

    #[test]
    fn an_interface_announces_its_own_addresses_and_no_circuit() {
        let announced = |text: &str| is_announced(&text.parse().unwrap(), &HERE);
        assert!(announced("/ip4/192.168.1.7/tcp/1") && announced("/ip6/fd00::1/udp/1/quic-v1"));
        assert!(!announced("/ip4/127.0.0.1/tcp/1") && !announced("/ip4/10.0.0.1/tcp/1"));
        let alone = Interface {
            ip: Ipv4Addr::new(169, 254, 1, 7),
            prefix: 16,
        };
        let (own, other) = ("/ip4/169.254.1.7/tcp/1", "/ip4/169.254.9.9/tcp/1");
        let [own, other] = [own, other].map(|text| text.parse().unwrap());
        assert!(is_announced(&own, &alone) && !is_announced(&other, &alone));
        let source = Ipv4Addr::new(169, 254, 1, 9);
        assert!(is_plausible(&other, source, &alone), "without a router");
        let relay = libp2p_identity::PeerId::random();
        assert!(!announced(&format!(
            "/ip4/192.168.1.7/tcp/1/p2p/{relay}/p2p-circuit"
        )));
    }
}
