//! The places of addresses: the addresses that a preset accepts, and the subnets by which a routing table counts its
//! entries.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

#[cfg(feature = "libp2p")]
use super::message::MAX_ADDRESS_BYTES;

/// The place to which an address leads. The host passes the core a function from addresses to places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Place {
    /// An IP address.
    Ip(IpAddr),
    /// A host name, or another address whose subnet is not known.
    Named,
    /// A relay. The IP address is the relay's, if the address contains one.
    Relayed(Option<IpAddr>),
    /// Nowhere: no peer can be dialed at the address.
    Unusable,
}

/// The network for which the DHT is meant. The preset decides which addresses the node accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Preset {
    /// The public network. The node accepts only public IP addresses and names. At most 2 peers per bucket and 3 peers
    /// per table have addresses in the same subnet.
    #[default]
    Amino,
    /// Your own network, such as a LAN or one machine. The node also accepts private addresses, and no cap applies to
    /// them.
    Private,
}

impl Place {
    /// The place to which an address leads that a peer at `from` has named. Only a peer on this machine may name addresses of this
    /// machine: a peer elsewhere could otherwise make this node dial programs here.
    pub(crate) fn named_by(self, from: Option<Self>) -> Self {
        let is_here = |place: Self| match place {
            Self::Ip(ip) | Self::Relayed(Some(ip)) => ip.to_canonical().is_loopback(),
            _ => false,
        };
        match is_here(self) && !from.is_some_and(is_here) {
            true => Self::Unusable,
            false => self,
        }
    }
}

impl Preset {
    /// Whether the DHT may name an address of a peer, and dial it.
    pub(crate) fn accepts(self, place: Place) -> bool {
        match (self, place) {
            (_, Place::Unusable | Place::Relayed(_)) => false,
            (_, Place::Named) => true,
            (Self::Amino, Place::Ip(ip)) => is_public(ip),
            (Self::Private, Place::Ip(ip)) => !ip.is_unspecified() && !ip.is_multicast(),
        }
    }

    /// Whether the DHT may name an address of a provider, which need not be a server and may be behind a relay.
    pub(crate) fn accepts_provider(self, place: Place) -> bool {
        match (self, place) {
            (Self::Amino, Place::Relayed(Some(ip))) => is_public(ip),
            (_, Place::Relayed(_)) => true,
            (_, place) => self.accepts(place),
        }
    }

    /// The subnet by which a peer at this place is counted. `None`: no cap applies to it.
    pub(crate) fn subnet(self, place: Option<Place>) -> Option<Subnet> {
        match place {
            Some(Place::Ip(ip)) if self == Self::Private && is_private(ip) => None,
            Some(Place::Ip(ip)) => Some(Subnet::of(ip)),
            _ if self == Self::Private => None,
            // All peers at unknown places share one allowance, so that no cap is avoided by hiding an address.
            _ => Some(Subnet::UNKNOWN),
        }
    }

    /// The site of a peer at this place.
    pub(crate) fn site(self, place: Option<Place>) -> Site {
        match (self.subnet(place), place) {
            (Some(subnet), _) => Site::Subnet(subnet),
            (None, Some(Place::Ip(ip))) => Site::Host(host(ip)),
            (None, _) => Site::Unknown,
        }
    }
}

/// The site of a peer that stores something here. All peer ids of a site share their places in a full store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Site {
    Subnet(Subnet),
    /// A host in a private network. IPv6 hosts are counted by their /64.
    Host(IpAddr),
    /// A peer in a private network whose IP address is not known.
    Unknown,
}

/// An IPv4 /16 or an IPv6 /32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Subnet(u64);

impl Subnet {
    const UNKNOWN: Self = Self(0);

    fn of(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(v4) => Self(1 << 32 | u64::from(v4.to_bits() >> 16)),
            IpAddr::V6(v6) => Self(2 << 32 | (v6.to_bits() >> 96) as u64),
        }
    }
}

/// The household of an address: an IPv4 /24 or an IPv6 /64. A peer in another one is in another subnet.
pub(crate) fn household(ip: IpAddr) -> (bool, u64) {
    match ip.to_canonical() {
        IpAddr::V4(v4) => (true, u64::from(v4.to_bits() >> 8)),
        IpAddr::V6(v6) => (false, (v6.to_bits() >> 64) as u64),
    }
}

/// An IPv4 address, or the first address of an IPv6 /64.
fn host(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(v4) => v4.into(),
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
    }
}

fn is_private(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_private() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

/// Whether the internet routes the address (the IANA registries of special-purpose addresses).
pub(crate) fn is_public(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

fn is_public_v4(v4: Ipv4Addr) -> bool {
    let [a, b, c, _] = v4.octets();
    let special =
        v4.is_loopback() || v4.is_private() || v4.is_link_local() || v4.is_documentation();
    let shared = a == 100 && b & 0xc0 == 64;
    let protocols = a == 192 && b == 0 && c == 0;
    let benchmark = a == 198 && b & 0xfe == 18;
    !(special || shared || protocols || benchmark || a == 0 || a >= 224)
}

fn is_public_v6(v6: Ipv6Addr) -> bool {
    let [a, b, ..] = v6.segments();
    let documentation = a == 0x2001 && b == 0xdb8 || a == 0x3fff && b < 0x1000;
    // Global unicast is 2000::/3. 64:ff9b::/96 is the prefix by which IPv6 hosts reach IPv4 hosts.
    let translated = v6.to_bits() >> 32 == 0x64_ff9b << 64;
    (a & 0xe000 == 0x2000 || translated) && !documentation
}

/// The place to which a multiaddr leads. An address of more than [`MAX_ADDRESS_BYTES`] and a name of this machine, such as
/// `localhost`, lead nowhere.
#[cfg(feature = "libp2p")]
pub fn place_of(address: &multiaddr::Multiaddr) -> Place {
    use multiaddr::Protocol;
    let mut place = Place::Unusable;
    if address.len() > MAX_ADDRESS_BYTES {
        return place;
    }
    for (index, part) in address.iter().enumerate() {
        match part {
            Protocol::Ip4(ip) if index == 0 => place = Place::Ip(ip.into()),
            Protocol::Ip6(ip) if index <= 1 && place == Place::Unusable => {
                place = Place::Ip(ip.into())
            }
            Protocol::Dns(name) | Protocol::Dns4(name) | Protocol::Dns6(name) if index == 0 => {
                // A name of this machine (RFC 6761), which no other peer may name.
                if is_localhost(&name) {
                    return Place::Unusable;
                }
                place = Place::Named
            }
            Protocol::P2pCircuit => {
                return Place::Relayed(match place {
                    Place::Ip(ip) => Some(ip),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    place
}

#[cfg(feature = "libp2p")]
fn is_localhost(name: &str) -> bool {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> Place {
        Place::Ip(text.parse().unwrap())
    }

    #[test]
    fn the_public_preset_accepts_public_addresses_and_names_only() {
        for good in [
            "8.8.8.8",
            "100.128.0.1",
            "198.20.0.1",
            "2606:4700::1",
            "64:ff9b::808:808",
            "::ffff:8.8.8.8",
        ] {
            assert!(Preset::Amino.accepts(ip(good)), "{good}");
        }
        for bad in [
            "127.0.0.1",
            "10.1.2.3",
            "192.168.0.1",
            "169.254.0.1",
            "0.0.0.0",
            "100.64.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "192.0.2.1",
            "198.18.0.1",
            "240.0.0.1",
            "::1",
            "::",
            "fe80::1",
            "fd00::1",
            "ff02::1",
            "2001:db8::1",
            "::ffff:10.0.0.1",
        ] {
            assert!(!Preset::Amino.accepts(ip(bad)), "{bad}");
        }
        assert!(Preset::Amino.accepts(Place::Named));
        assert!(!Preset::Amino.accepts(Place::Relayed(None)));
    }

    #[test]
    fn the_private_preset_accepts_loopback_but_no_address_that_leads_nowhere() {
        assert!(Preset::Private.accepts(ip("127.0.0.1")));
        assert!(Preset::Private.accepts(ip("8.8.8.8")));
        assert!(!Preset::Private.accepts(ip("0.0.0.0")));
        assert!(!Preset::Private.accepts(Place::Unusable));
    }

    #[test]
    fn a_provider_may_be_behind_a_public_relay() {
        assert!(Preset::Amino.accepts_provider(Place::Relayed(Some([8, 8, 8, 8].into()))));
        assert!(!Preset::Amino.accepts_provider(Place::Relayed(Some([10, 0, 0, 1].into()))));
    }

    #[test]
    fn peers_are_counted_by_ipv4_16_and_ipv6_32_and_private_ones_only_in_the_public_preset() {
        let subnet = |text: &str| Preset::Amino.subnet(Some(ip(text)));
        assert_eq!(subnet("8.8.1.1"), subnet("8.8.255.255"));
        assert_ne!(subnet("8.8.1.1"), subnet("8.9.1.1"));
        assert_eq!(subnet("2606:4700::1"), subnet("2606:4700:ffff::1"));
        assert_ne!(subnet("2606:4700::1"), subnet("2606:4701::1"));
        assert_eq!(subnet("::ffff:8.8.1.1"), subnet("8.8.1.1"));
        assert!(subnet("127.0.0.1").is_some());
        assert_eq!(
            Preset::Amino.subnet(None),
            Preset::Amino.subnet(Some(Place::Named))
        );
        assert!(Preset::Amino.subnet(None).is_some());
        assert_eq!(Preset::Private.subnet(Some(ip("127.0.0.1"))), None);
        assert!(Preset::Private.subnet(Some(ip("8.8.1.1"))).is_some());
    }

    #[test]
    fn only_a_peer_on_this_machine_may_name_addresses_of_this_machine() {
        let relayed = |text: &str| Place::Relayed(Some(text.parse().unwrap()));
        for here in [
            ip("127.0.0.1"),
            ip("::1"),
            ip("::ffff:127.0.0.1"),
            relayed("127.0.0.2"),
        ] {
            assert_eq!(here.named_by(Some(ip("127.0.0.9"))), here);
            for from in [Some(ip("192.168.0.1")), Some(Place::Named), None] {
                assert_eq!(here.named_by(from), Place::Unusable);
            }
        }
        for there in [
            ip("192.168.0.1"),
            ip("8.8.8.8"),
            relayed("8.8.8.8"),
            Place::Named,
        ] {
            assert_eq!(there.named_by(None), there);
        }
    }

    #[test]
    fn senders_are_counted_by_subnet_and_in_a_private_network_by_host() {
        let site = |preset: Preset, text: &str| preset.site(Some(ip(text)));
        let same = |preset, one, other| site(preset, one) == site(preset, other);
        assert!(same(Preset::Amino, "8.8.1.1", "8.8.2.2"));
        assert!(same(Preset::Private, "8.8.1.1", "8.8.2.2"));
        assert!(!same(Preset::Private, "10.0.0.1", "10.0.0.2"));
        assert!(same(Preset::Private, "10.0.0.1", "::ffff:10.0.0.1"));
        assert!(same(Preset::Private, "fd00::1", "fd00::2"));
        assert!(!same(Preset::Private, "fd00::1", "fd00:0:0:1::1"));
        assert_eq!(Preset::Private.site(None), Site::Unknown);
        assert_eq!(
            Preset::Amino.site(None),
            Preset::Amino.site(Some(Place::Named))
        );
    }

    #[cfg(feature = "libp2p")]
    #[test]
    fn a_multiaddr_leads_to_its_first_host_or_to_a_relay() {
        let place = |text: &str| place_of(&text.parse().unwrap());
        assert_eq!(place("/ip4/8.8.8.8/tcp/1"), ip("8.8.8.8"));
        assert_eq!(place("/ip6zone/eth0/ip6/fe80::1/tcp/1"), ip("fe80::1"));
        assert_eq!(place("/dns4/example.org/tcp/1"), Place::Named);
        for here in ["/dns4/localhost/tcp/1", "/dns/a.LocalHost./tcp/1"] {
            assert_eq!(place(here), Place::Unusable, "{here}");
        }
        let long = |parts| format!("/ip4/8.8.8.8{}", "/tcp/1".repeat(parts));
        assert_eq!(place(&long(83)), ip("8.8.8.8"), "254 bytes");
        assert_eq!(place(&long(84)), Place::Unusable, "257 bytes");
        assert_eq!(place("/memory/1"), Place::Unusable);
        assert_eq!(place("/tcp/1"), Place::Unusable);
        let circuit = "/ip4/8.8.8.8/tcp/1/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN/p2p-circuit";
        assert_eq!(place(circuit), Place::Relayed(Some([8, 8, 8, 8].into())));
    }
}
