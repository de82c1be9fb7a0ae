//! The kind of a multiaddr, and its components.

pub(crate) mod announce;
pub(crate) mod audience;
pub(crate) mod unsupported;
pub(crate) mod zone;

use std::net::{IpAddr, SocketAddr};

use libp2p_identity::PeerId;
use multiaddr::{Multiaddr, Protocol};

/// The kind of an address, which decides which transport or part dials it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Quic,
    Tcp,
    /// A peer behind a relay.
    Circuit,
    /// A DNS name whose TXT records hold addresses.
    DnsAddr,
    /// Only a peer's id: the address book knows where the peer is.
    Peer,
    Unsupported,
}

pub(crate) fn kind(address: &Multiaddr) -> Kind {
    if address.iter().any(|part| part == Protocol::P2pCircuit) {
        return match circuit(address) {
            Some(_) => Kind::Circuit,
            None => Kind::Unsupported,
        };
    }
    let mut kind = Kind::Unsupported;
    if let (Some(Protocol::P2p(_)), 1) = (address.iter().next(), address.iter().count()) {
        return Kind::Peer;
    }
    for (n, protocol) in zone::skip(address).enumerate() {
        match (n, protocol) {
            (0, Protocol::Dnsaddr(_)) => kind = Kind::DnsAddr,
            (0, Protocol::Onion3(_)) | (1, Protocol::Tcp(_)) => kind = Kind::Tcp,
            (0, p) if is_host(&p) => {}
            (1, Protocol::Udp(_)) => {}
            (2, Protocol::QuicV1) => kind = Kind::Quic,
            (_, Protocol::P2p(_)) if n > 0 && kind != Kind::Unsupported => {}
            _ => return Kind::Unsupported,
        }
    }
    kind
}

/// Splits the address of a peer behind a relay into the relay's address and the relay's id. The relay's address may
/// consist of only `/p2p/ID`.
pub(crate) fn circuit(address: &Multiaddr) -> Option<(Multiaddr, PeerId)> {
    let mut parts = address.iter();
    let at = parts.position(|part| part == Protocol::P2pCircuit)?;
    let relay: Multiaddr = address.iter().take(at).collect();
    let ends = parts.all(|part| matches!(part, Protocol::P2p(_)));
    let id = peer(&relay)?;
    let reachable = matches!(
        kind(&relay),
        Kind::Tcp | Kind::Quic | Kind::DnsAddr | Kind::Peer
    );
    (ends && reachable).then_some((relay, id))
}

fn is_host(protocol: &Protocol<'_>) -> bool {
    use Protocol::{Dns, Dns4, Dns6, Ip4, Ip6};
    matches!(protocol, Ip4(_) | Ip6(_) | Dns(_) | Dns4(_) | Dns6(_))
}

/// The IP address at the start of the address. `None`: the address starts with a host name.
pub(crate) fn ip(address: &Multiaddr) -> Option<IpAddr> {
    match zone::skip(address).next()? {
        Protocol::Ip4(v4) => Some(v4.into()),
        Protocol::Ip6(v6) => Some(v6.into()),
        _ => None,
    }
}

/// The host, port and peer of an address of any transport, which the dialer's rules match.
#[cfg(feature = "tcp")]
pub(crate) fn target(address: &Multiaddr) -> Option<transport_tcp::Target> {
    let as_tcp = address.iter().filter_map(|protocol| match protocol {
        Protocol::Udp(port) => Some(Protocol::Tcp(port)),
        Protocol::QuicV1 => None,
        other => Some(other),
    });
    let as_tcp: Multiaddr = as_tcp.collect();
    transport_tcp::Target::from_multiaddr(&as_tcp).ok()
}

/// Whether the address starts with a loopback, link-local or private IP address.
pub(crate) fn is_private(address: &Multiaddr) -> bool {
    match ip(address) {
        Some(IpAddr::V4(v4)) => v4.is_loopback() || v4.is_private() || v4.is_link_local(),
        Some(IpAddr::V6(v6)) => {
            v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local()
        }
        None => false,
    }
}

/// The peer id at the end of the address.
pub(crate) fn peer(address: &Multiaddr) -> Option<PeerId> {
    match address.iter().last()? {
        Protocol::P2p(peer) => Some(peer),
        _ => None,
    }
}

/// The address without a peer id at its end.
pub(crate) fn without_peer(address: &Multiaddr) -> Multiaddr {
    let mut plain = address.clone();
    if peer(address).is_some() {
        plain.pop();
    }
    plain
}

pub(crate) fn of_tcp(address: SocketAddr) -> Multiaddr {
    host(address).with(Protocol::Tcp(address.port()))
}

pub(crate) fn of_quic(address: SocketAddr) -> Multiaddr {
    host(address)
        .with(Protocol::Udp(address.port()))
        .with(Protocol::QuicV1)
}

/// The wildcard address of every transport and family, as functions of the port.
pub(crate) fn everywhere() -> [fn(u16) -> Multiaddr; 4] {
    use std::net::{Ipv4Addr, Ipv6Addr};
    [
        |port| of_tcp((Ipv4Addr::UNSPECIFIED, port).into()),
        |port| of_quic((Ipv4Addr::UNSPECIFIED, port).into()),
        |port| of_tcp((Ipv6Addr::UNSPECIFIED, port).into()),
        |port| of_quic((Ipv6Addr::UNSPECIFIED, port).into()),
    ]
}

fn host(address: SocketAddr) -> Multiaddr {
    if let SocketAddr::V6(v6) = &address
        && let Some(zoned) = zone::host(v6)
    {
        return zoned;
    }
    // A dual-stack socket shows IPv4 peers as mapped IPv6 addresses, which cannot be dialed.
    match address.ip().to_canonical() {
        IpAddr::V4(v4) => Protocol::Ip4(v4).into(),
        IpAddr::V6(v6) => Protocol::Ip6(v6).into(),
    }
}

/// The socket address in `[/ip6zone/…]/ip4|ip6/…/tcp|udp/…`.
pub(crate) fn socket(address: &Multiaddr) -> Option<SocketAddr> {
    let ip = ip(address)?;
    match zone::skip(address).nth(1)? {
        Protocol::Tcp(port) | Protocol::Udp(port) => zone::socket(address, ip, port),
        _ => None,
    }
}

/// The addresses at which peers reach a socket that is bound to `bound`. If `bound` is a wildcard, there is one address for each
/// of `ips`, the addresses of the interfaces, with the same IP version.
pub(crate) fn expand(bound: &Multiaddr, ips: &[IpAddr]) -> Vec<Multiaddr> {
    match ip(bound) {
        Some(wildcard) if wildcard.is_unspecified() => ips
            .iter()
            .filter(|ip| ip.is_ipv4() == wildcard.is_ipv4())
            .map(|ip| {
                let host = host((*ip, 0).into());
                host.into_iter().chain(zone::skip(bound).skip(1)).collect()
            })
            .collect(),
        _ => vec![bound.clone()],
    }
}

/// Whether `local`, the local address of a connection, belongs to the socket that is bound to `bound`. The IP address of `local`
/// may be unspecified, because a transport does not always know it.
pub(crate) fn is_at(bound: &Multiaddr, local: &Multiaddr) -> bool {
    let (Some(bound_ip), Some(local_ip)) = (ip(bound), ip(local)) else {
        return false;
    };
    let is_open = |ip: IpAddr| ip.is_unspecified();
    let same_ip = bound_ip == local_ip || is_open(bound_ip) || is_open(local_ip);
    same_ip
        && bound_ip.is_ipv4() == local_ip.is_ipv4()
        && zone::skip(bound).skip(1).eq(zone::skip(local).skip(1))
}

/// Entry points for the fuzzer: addresses that peers, relays and name servers send.
#[cfg(any(fuzzing, test))]
pub mod fuzzing {
    use super::*;

    /// An address in its binary form or as text. A circuit names one relay, which is dialed without another relay.
    pub fn address(bytes: &[u8]) {
        let text = str::from_utf8(bytes)
            .ok()
            .and_then(|text| text.parse().ok());
        for address in [Multiaddr::try_from(bytes.to_vec()).ok(), text] {
            let Some(address) = address else { continue };
            let kind = kind(&address);
            assert_eq!(kind == Kind::Circuit, circuit(&address).is_some());
            if let Some((relay, id)) = circuit(&address) {
                assert_eq!(peer(&relay), Some(id));
                assert!(circuit(&relay).is_none(), "a circuit to a relay: {relay}");
                assert!(address.to_vec().starts_with(&relay.to_vec()));
            }
            assert!(socket(&address).is_none_or(|at| Some(at.ip()) == ip(&address)));
            assert!(!is_private(&address) || ip(&address).is_some());
            let plain = without_peer(&address);
            assert!(plain.len() <= address.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_address_of_a_circuit_upsets_its_reader() {
        let id = "/p2p/12D3KooWJRSrypvnpHgc6ZAgyCni4KcSmbV7uGRaMw5LgMKT18fq";
        let relay = format!("/ip4/192.0.2.1/tcp/1{id}");
        for text in [
            format!("{relay}/p2p-circuit"),
            format!("{relay}/p2p-circuit{id}"),
            format!("{relay}/p2p-circuit{id}/p2p-circuit{id}"),
            format!("{relay}/p2p-circuit/tcp/1"),
            format!("{id}/p2p-circuit"),
            format!("/dnsaddr/a.example{id}/p2p-circuit{id}"),
            "/p2p-circuit".to_owned(),
            "/ip4/192.0.2.1/tcp/1/p2p-circuit".to_owned(),
        ] {
            fuzzing::address(text.as_bytes());
            let address: Multiaddr = text.parse().unwrap();
            let bytes = address.to_vec();
            for end in 0..=bytes.len() {
                fuzzing::address(&bytes[..end]);
            }
        }
    }

    #[test]
    fn an_address_belongs_to_the_transport_that_its_parts_spell() {
        let kind_of = |text: &str| kind(&text.parse().unwrap());
        let id = "/p2p/12D3KooWJRSrypvnpHgc6ZAgyCni4KcSmbV7uGRaMw5LgMKT18fq";
        assert_eq!(kind_of("/ip4/192.0.2.1/tcp/1"), Kind::Tcp);
        assert_eq!(kind_of(&format!("/dns4/a.example/tcp/1{id}")), Kind::Tcp);
        assert_eq!(kind_of(&format!("/ip6/::1/udp/1/quic-v1{id}")), Kind::Quic);
        assert_eq!(kind_of(&format!("/dnsaddr/a.example{id}")), Kind::DnsAddr);
        assert_eq!(kind_of("/ip4/192.0.2.1/udp/1"), Kind::Unsupported);
        assert_eq!(kind_of("/ip4/192.0.2.1/udp/1/quic"), Kind::Unsupported);
        assert_eq!(kind_of("/ip4/192.0.2.1/tcp/1/ws"), Kind::Unsupported);
        assert_eq!(kind_of(id), Kind::Peer);
        assert_eq!(kind_of("/ip6zone/eth0/ip6/fe80::1/tcp/1"), Kind::Tcp);
        assert_eq!(
            kind_of(&format!("/ip6zone/eth0/ip6/fe80::1/udp/1/quic-v1{id}")),
            Kind::Quic
        );
    }

    #[test]
    fn a_wildcard_stands_for_the_addresses_of_the_interfaces_of_its_family() {
        let address = |text: &str| text.parse::<Multiaddr>().unwrap();
        let ips = ["192.0.2.1", "2001:db8::1", "127.0.0.1"].map(|ip| ip.parse().unwrap());
        let expanded = expand(&address("/ip4/0.0.0.0/tcp/7"), &ips);
        let expected = ["/ip4/192.0.2.1/tcp/7", "/ip4/127.0.0.1/tcp/7"].map(address);
        assert_eq!(expanded, expected);
        let expanded = expand(&address("/ip6/::/udp/7/quic-v1"), &ips);
        assert_eq!(expanded, [address("/ip6/2001:db8::1/udp/7/quic-v1")]);
        let fixed = address("/ip4/192.0.2.9/tcp/7");
        assert_eq!(expand(&fixed, &ips), [fixed]);
    }

    #[test]
    fn a_connection_belongs_to_the_listener_with_its_transport_port_and_ip() {
        let at = |bound: &str, local: &str| is_at(&bound.parse().unwrap(), &local.parse().unwrap());
        assert!(at("/ip4/0.0.0.0/tcp/7", "/ip4/192.0.2.1/tcp/7"));
        assert!(at("/ip4/192.0.2.1/tcp/7", "/ip4/192.0.2.1/tcp/7"));
        assert!(at(
            "/ip4/0.0.0.0/udp/7/quic-v1",
            "/ip4/0.0.0.0/udp/7/quic-v1"
        ));
        assert!(!at("/ip4/192.0.2.1/tcp/7", "/ip4/192.0.2.2/tcp/7"));
        assert!(!at("/ip4/0.0.0.0/tcp/7", "/ip4/192.0.2.1/tcp/8"));
        assert!(!at("/ip4/0.0.0.0/tcp/7", "/ip4/192.0.2.1/udp/7/quic-v1"));
        assert!(!at("/ip6/::/tcp/7", "/ip4/192.0.2.1/tcp/7"));
    }
}
