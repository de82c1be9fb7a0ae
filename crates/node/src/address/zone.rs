//! IPv6 zones (RFC 4007): the network interface to which an address belongs.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};

use multiaddr::{Multiaddr, Protocol};

/// A zone that is missing or wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ZoneError {
    /// A link-local address without a zone.
    #[error(
        "{ip} is a link-local address, which exists once per network interface: write /ip6zone/INTERFACE/ip6/{ip}{rest}"
    )]
    Missing {
        /// The link-local address.
        ip: Ipv6Addr,
        /// The components after it.
        rest: Multiaddr,
    },
    /// A zone before something other than a link-local IPv6 address.
    #[error("a link-local address, such as /ip6/fe80::1, must follow /ip6zone/{0}")]
    Misplaced(String),
    /// A zone that names no interface of this machine.
    #[error("this machine has no network interface '{0}'")]
    NoInterface(String),
}

/// Checks the zone of an address, and whether a link-local address has one.
pub(crate) fn check(address: &Multiaddr) -> Result<(), ZoneError> {
    let mut parts = address.iter();
    match (parts.next(), parts.next()) {
        (Some(Protocol::Ip6(ip)), _) if ip.is_unicast_link_local() => {
            let rest = address.iter().skip(1).collect();
            Err(ZoneError::Missing { ip, rest })
        }
        (Some(Protocol::Ip6zone(zone)), Some(Protocol::Ip6(ip))) if ip.is_unicast_link_local() => {
            let missing = || ZoneError::NoInterface(zone.to_string());
            index(&zone).map(drop).ok_or_else(missing)
        }
        (Some(Protocol::Ip6zone(zone)), _) => Err(ZoneError::Misplaced(zone.into_owned())),
        _ => Ok(()),
    }
}

/// The components of an address after its zone, if it has one.
pub(crate) fn skip(address: &Multiaddr) -> impl Iterator<Item = Protocol<'_>> {
    let starts_with_zone = matches!(address.iter().next(), Some(Protocol::Ip6zone(_)));
    address.iter().skip(usize::from(starts_with_zone))
}

/// Whether the address needs a zone or has one. Such an address means something only to the machine that wrote it: a zone is an
/// interface of that machine, and a link-local address without a zone could belong to any interface.
pub(crate) fn is_bound_to_machine(address: &Multiaddr) -> bool {
    address.iter().any(|part| match part {
        Protocol::Ip6zone(_) => true,
        Protocol::Ip6(ip) => ip.is_unicast_link_local(),
        _ => false,
    })
}

/// The socket address of `ip` and `port`, with the zone of `address` if `address` has one.
pub(crate) fn socket(address: &Multiaddr, ip: IpAddr, port: u16) -> Option<SocketAddr> {
    match (address.iter().next()?, ip) {
        (Protocol::Ip6zone(zone), IpAddr::V6(ip)) => {
            let index = index(&zone)?;
            Some(SocketAddrV6::new(ip, port, 0, index).into())
        }
        _ => Some(SocketAddr::new(ip, port)),
    }
}

/// The multiaddr of a link-local address with a scope. The zone is the interface's name, or its index if it has none.
pub(crate) fn host(v6: &SocketAddrV6) -> Option<Multiaddr> {
    let scope = v6.scope_id();
    if scope == 0 || !v6.ip().is_unicast_link_local() {
        return None;
    }
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    let named = interfaces.into_iter().find(|of| of.index == Some(scope));
    let zone = named.map_or_else(|| scope.to_string(), |of| of.name);
    Some(Multiaddr::from(Protocol::Ip6zone(zone.into())).with(Protocol::Ip6(*v6.ip())))
}

/// The index of the interface that a zone names, by its name or by the index itself.
fn index(zone: &str) -> Option<u32> {
    if let Ok(index) = zone.parse::<u32>() {
        return Some(index).filter(|index| *index > 0);
    }
    let interfaces = if_addrs::get_if_addrs().ok()?;
    let named = interfaces.into_iter().find(|of| of.name == zone)?;
    named.index
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(text: &str) -> Result<(), String> {
        let address = text.parse().unwrap();
        check(&address).map_err(|error| error.to_string())
    }

    #[test]
    fn a_link_local_address_needs_the_zone_of_an_interface_and_no_other_address_has_one() {
        for fine in [
            "/ip6/2001:db8::1/tcp/1",
            "/ip4/169.254.1.1/tcp/1",
            "/ip6zone/1/ip6/fe80::1/tcp/1",
        ] {
            assert_eq!(checked(fine), Ok(()));
        }
        let missing = checked("/ip6/fe80::1/udp/1/quic-v1").unwrap_err();
        let meant = "write /ip6zone/INTERFACE/ip6/fe80::1/udp/1/quic-v1";
        assert!(missing.ends_with(meant), "{missing}");
        assert_eq!(
            checked("/ip6zone/none0/ip6/fe80::1/tcp/1").unwrap_err(),
            "this machine has no network interface 'none0'"
        );
        let unspecified = checked("/ip6zone/0/ip6/fe80::1/tcp/1").unwrap_err();
        assert!(unspecified.ends_with("interface '0'"), "{unspecified}");
        for misplaced in ["/ip6zone/1/ip6/::1/tcp/1", "/ip6zone/1/ip4/192.0.2.1/tcp/1"] {
            let error = checked(misplaced).unwrap_err();
            assert!(error.ends_with("must follow /ip6zone/1"), "{error}");
        }
    }

    #[test]
    fn a_scope_becomes_a_zone_and_a_zone_a_scope() {
        let scoped = "[fe80::1%4000000]:7".parse().unwrap();
        let SocketAddr::V6(v6) = scoped else {
            panic!("not IPv6");
        };
        let address = host(&v6).unwrap();
        assert_eq!(address.to_string(), "/ip6zone/4000000/ip6/fe80::1");
        assert_eq!(socket(&address, scoped.ip(), 7), Some(scoped));
        assert_eq!(host(&"[fe80::1]:7".parse().unwrap()), None);
        assert_eq!(host(&"[2001:db8::1]:7".parse().unwrap()), None);
    }
}
