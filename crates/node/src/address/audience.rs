//! The audience of an address: the peers to which the node tells the address.
//!
//! A peer outside of the network of an address cannot use the address, but would learn something about this machine and its
//! network. The node therefore tells a peer only the addresses that reach at least as far as the peer's own address.
//!
//! | the peer's address | loopback addresses | private addresses | public addresses |
//! | --- | --- | --- | --- |
//! | loopback | told | told | told |
//! | private | - | told | told |
//! | public, or behind a relay | - | - | told |

use std::net::IpAddr;

use multiaddr::{Multiaddr, Protocol};

use crate::address;

/// The reach of an address: the part of the network from which peers can use it. The order is from near to far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reach {
    /// Only this machine: 127.0.0.0/8, `::1`, `localhost`, and addresses that no packet can have as its destination.
    Machine,
    /// A private network: the addresses of RFC 1918, RFC 3927 and RFC 4193, IPv6 link-local addresses, and 100.64.0.0/10
    /// (RFC 6598), which carriers and overlay networks use.
    Network,
    /// The Internet.
    Internet,
}

/// The number of reaches, for tables that have one entry per reach.
pub(crate) const REACHES: usize = 3;

impl Reach {
    pub(crate) fn of_ip(ip: IpAddr) -> Self {
        let (is_machine, is_network) = match ip.to_canonical() {
            IpAddr::V4(v4) => {
                let [first, second, ..] = v4.octets();
                let shared = first == 100 && second & 0xc0 == 64;
                let unusable = first == 0 || v4.is_broadcast() || v4.is_multicast();
                (
                    v4.is_loopback() || unusable,
                    v4.is_private() || v4.is_link_local() || shared,
                )
            }
            IpAddr::V6(v6) => (
                v6.is_loopback() || v6.is_unspecified() || v6.is_multicast(),
                v6.is_unique_local() || v6.is_unicast_link_local(),
            ),
        };
        match (is_machine, is_network) {
            (true, _) => Self::Machine,
            (false, true) => Self::Network,
            (false, false) => Self::Internet,
        }
    }

    /// The reach of an address. The address of a circuit has the reach of the relay's address. A host name counts as public,
    /// except `localhost`.
    pub(crate) fn of(address: &Multiaddr) -> Self {
        use Protocol::{Dns, Dns4, Dns6};
        match (address::ip(address), address.iter().next()) {
            (Some(ip), _) => Self::of_ip(ip),
            (None, Some(Dns(name) | Dns4(name) | Dns6(name))) if is_localhost(&name) => {
                Self::Machine
            }
            _ => Self::Internet,
        }
    }

    /// Whether the node tells `address` to a peer whose own address has this reach.
    pub(crate) fn is_told(self, address: &Multiaddr) -> bool {
        Self::of(address) >= self
    }

    /// Whether the node accepts `address` as an address of a peer whose own address has this reach. A loopback address is
    /// accepted only from a peer on this machine, because the node's dial of that address would stay on this machine.
    pub(crate) fn is_believed(self, address: &Multiaddr) -> bool {
        self == Self::Machine || Self::of(address) > Self::Machine
    }
}

/// Whether the name is `localhost` or a name below it (RFC 6761).
fn is_localhost(name: &str) -> bool {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach(text: &str) -> Reach {
        Reach::of(&text.parse().unwrap())
    }

    #[test]
    fn each_range_of_addresses_has_its_reach_up_to_its_last_address() {
        for (text, expected) in [
            ("/ip4/127.0.0.1", Reach::Machine),
            ("/ip4/127.255.255.255", Reach::Machine),
            ("/ip4/128.0.0.0", Reach::Internet),
            ("/ip4/0.0.0.0", Reach::Machine),
            ("/ip4/224.0.0.1", Reach::Machine),
            ("/ip4/255.255.255.255", Reach::Machine),
            ("/ip6/ff02::1", Reach::Machine),
            ("/ip6/::1", Reach::Machine),
            ("/ip6/::", Reach::Machine),
            ("/ip6/::ffff:127.0.0.1", Reach::Machine),
            ("/dns4/localhost", Reach::Machine),
            ("/dns/a.LocalHost.", Reach::Machine),
            ("/ip4/10.0.0.0", Reach::Network),
            ("/ip4/10.255.255.255", Reach::Network),
            ("/ip4/11.0.0.0", Reach::Internet),
            ("/ip4/172.15.255.255", Reach::Internet),
            ("/ip4/172.16.0.0", Reach::Network),
            ("/ip4/172.31.255.255", Reach::Network),
            ("/ip4/172.32.0.0", Reach::Internet),
            ("/ip4/192.168.0.1", Reach::Network),
            ("/ip4/169.254.0.1", Reach::Network),
            ("/ip4/100.63.255.255", Reach::Internet),
            ("/ip4/100.64.0.0", Reach::Network),
            ("/ip4/100.127.255.255", Reach::Network),
            ("/ip4/100.128.0.0", Reach::Internet),
            ("/ip6/fe80::1", Reach::Network),
            ("/ip6/fdff::1", Reach::Network),
            ("/ip6/fe00::1", Reach::Internet),
            ("/ip6/2001:db8::1", Reach::Internet),
            ("/ip6/::ffff:10.0.0.1", Reach::Network),
            ("/dns4/notlocalhost", Reach::Internet),
            ("/dns4/relay.example", Reach::Internet),
        ] {
            assert_eq!(reach(text), expected, "{text}");
        }
    }

    #[test]
    fn a_peer_is_told_only_addresses_that_reach_as_far_as_its_own() {
        let relay = "/p2p/12D3KooWJRSrypvnpHgc6ZAgyCni4KcSmbV7uGRaMw5LgMKT18fq/p2p-circuit";
        let all = [
            "/ip4/127.0.0.1/tcp/1".to_owned(),
            "/ip4/10.0.0.1/tcp/1".to_owned(),
            "/ip4/192.0.2.1/tcp/1".to_owned(),
            format!("/ip4/127.0.0.1/tcp/1{relay}"),
            format!("/ip4/10.0.0.1/tcp/1{relay}"),
            format!("/ip4/192.0.2.1/tcp/1{relay}"),
        ];
        let told = |reach: Reach| {
            all.each_ref()
                .map(|text| reach.is_told(&text.parse().unwrap()))
        };
        assert_eq!(told(Reach::Machine), [true; 6]);
        let network = [false, true, true, false, true, true];
        assert_eq!(told(Reach::Network), network);
        let internet = [false, false, true, false, false, true];
        assert_eq!(told(Reach::Internet), internet);
    }

    #[test]
    fn only_a_peer_on_loopback_is_believed_to_have_a_loopback_address() {
        let believed = |reach: Reach, text: &str| reach.is_believed(&text.parse().unwrap());
        for text in ["/ip4/127.0.0.1/tcp/1", "/ip6/::1/udp/1/quic-v1"] {
            assert!(believed(Reach::Machine, text));
            assert!(!believed(Reach::Network, text));
            assert!(!believed(Reach::Internet, text));
        }
        assert!(believed(Reach::Internet, "/ip4/10.0.0.1/tcp/1"));
        assert!(believed(Reach::Internet, "/ip4/192.0.2.1/tcp/1"));
    }
}
