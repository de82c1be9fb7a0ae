//! Multiaddrs of QUIC v1: `[/ip6zone/ZONE]/ip4|ip6|dns|dns4|dns6/HOST/udp/PORT/quic-v1[/p2p/ID]`.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};

use libp2p_identity::PeerId;
use multiaddr::{Multiaddr, Protocol};

use crate::{error::AddressError, zone};

/// Which addresses of a host name are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    /// `/dns`
    Any,
    /// `/dns4`
    V4,
    /// `/dns6`
    V6,
}

impl Family {
    /// Whether `address` belongs to it.
    pub(crate) fn admits(self, address: IpAddr) -> bool {
        match self {
            Self::Any => true,
            Self::V4 => address.is_ipv4(),
            Self::V6 => address.is_ipv6(),
        }
    }
}

/// The host of a target: an address, or a name to be resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Host {
    /// An IP address.
    Ip(IpAddr),
    /// A link-local IPv6 address with its interface.
    Ip6Zone(Ipv6Addr, String),
    /// A name.
    Name(String, Family),
}

/// A parsed QUIC multiaddr.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) host: Host,
    pub(crate) port: u16,
    pub(crate) peer: Option<PeerId>,
}

/// The socket address and the peer in `[/ip6zone/…]/ip4|ip6/…/udp/…/quic-v1[/p2p/…]`.
///
/// # Errors
///
/// [`AddressError`] if the address has another form, contains a host name, or names an interface that this machine does not have.
///
/// ```
/// let address = "/ip4/192.0.2.7/udp/4001/quic-v1".parse().unwrap();
/// let (socket, peer) = transport_quic::socket_addr(&address).unwrap();
/// assert_eq!(socket.to_string(), "192.0.2.7:4001");
/// assert_eq!(peer, None);
/// ```
pub fn socket_addr(addr: &Multiaddr) -> Result<(SocketAddr, Option<PeerId>), AddressError> {
    let target = target(addr)?;
    match target.host {
        Host::Ip(ip) => Ok((SocketAddr::new(ip, target.port), target.peer)),
        Host::Ip6Zone(ip, zone) => Ok((zoned(ip, &zone, target.port)?, target.peer)),
        Host::Name(..) => Err(AddressError::HostName(addr.clone())),
    }
}

/// The socket address of a link-local address.
pub(crate) fn zoned(ip: Ipv6Addr, zone: &str, port: u16) -> Result<SocketAddr, AddressError> {
    let missing = || AddressError::NoInterface(zone.to_owned());
    let index = zone::index(zone).ok_or_else(missing)?;
    Ok(SocketAddrV6::new(ip, port, 0, index).into())
}

/// Parses the whole address; anything left over is an error.
pub(crate) fn target(addr: &Multiaddr) -> Result<Target, AddressError> {
    let not_quic = || AddressError::NotQuic(addr.clone());
    let mut parts = addr.iter();
    let host = match parts.next() {
        Some(Protocol::Ip4(ip)) => Host::Ip(ip.into()),
        Some(Protocol::Ip6(ip)) if ip.is_unicast_link_local() => {
            return Err(AddressError::NoZone(addr.clone()));
        }
        Some(Protocol::Ip6(ip)) => Host::Ip(ip.into()),
        Some(Protocol::Ip6zone(zone)) => match parts.next() {
            Some(Protocol::Ip6(ip)) if ip.is_unicast_link_local() && !zone.is_empty() => {
                Host::Ip6Zone(ip, zone.into_owned())
            }
            _ => return Err(AddressError::BadZone(addr.clone())),
        },
        Some(Protocol::Dns(name)) => Host::Name(name.into_owned(), Family::Any),
        Some(Protocol::Dns4(name)) => Host::Name(name.into_owned(), Family::V4),
        Some(Protocol::Dns6(name)) => Host::Name(name.into_owned(), Family::V6),
        _ => return Err(not_quic()),
    };
    let Some(Protocol::Udp(port)) = parts.next() else {
        return Err(not_quic());
    };
    let Some(Protocol::QuicV1) = parts.next() else {
        return Err(not_quic());
    };
    let peer = match parts.next() {
        None => None,
        Some(Protocol::P2p(peer)) => Some(peer),
        Some(_) => return Err(not_quic()),
    };
    match parts.next() {
        None => Ok(Target { host, port, peer }),
        Some(_) => Err(not_quic()),
    }
}

/// The multiaddr of a socket address, without a peer. A scope becomes a zone.
#[must_use]
pub fn multiaddr_of(address: SocketAddr) -> Multiaddr {
    let host = match address {
        SocketAddr::V6(v6) if v6.scope_id() > 0 => {
            let zone = v6.scope_id().to_string();
            Multiaddr::from(Protocol::Ip6zone(zone.into())).with(Protocol::Ip6(*v6.ip()))
        }
        _ => Multiaddr::from(address.ip()),
    };
    host.with(Protocol::Udp(address.port()))
        .with(Protocol::QuicV1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Multiaddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_survives_the_way_there_and_back() {
        for text in ["192.0.2.7:4001", "[2001:db8::1]:1", "[fe80::1%7]:1"] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(socket_addr(&multiaddr_of(address)), Ok((address, None)));
        }
    }

    #[test]
    fn the_peer_is_read_when_it_is_there() {
        let peer = PeerId::random();
        let address = parse("/ip6/::1/udp/4001/quic-v1").with(Protocol::P2p(peer));
        let (_, found) = socket_addr(&address).unwrap();
        assert_eq!(found, Some(peer));
    }

    #[test]
    fn what_is_not_quic_v1_is_refused() {
        for text in [
            "/ip4/1.2.3.4/tcp/1",
            "/ip4/1.2.3.4/udp/1",
            "/ip4/1.2.3.4/udp/1/quic",
            "/ip4/1.2.3.4/udp/1/quic-v1/webtransport",
            "/ip4/1.2.3.4/udp/1/quic-v1/p2p-circuit",
            "/udp/1/quic-v1",
        ] {
            let address = parse(text);
            assert_eq!(socket_addr(&address), Err(AddressError::NotQuic(address)));
        }
        let empty = Multiaddr::empty();
        assert!(socket_addr(&empty).is_err());
    }

    #[test]
    fn a_link_local_address_needs_an_interface_that_exists() {
        let error = |text: &str| socket_addr(&parse(text)).unwrap_err().to_string();
        let quic = "/udp/1/quic-v1";
        let bare = format!("/ip6/fe80::1{quic}");
        assert!(error(&bare).ends_with(&format!("write /ip6zone/INTERFACE{bare}")));
        assert_eq!(
            error(&format!("/ip6zone/none0/ip6/fe80::1{quic}")),
            "this machine has no network interface 'none0'"
        );
        for wrong in ["/ip6zone/1/ip6/::1", "/ip6zone/1/ip4/192.0.2.1"] {
            let error = error(&format!("{wrong}{quic}"));
            assert!(error.contains("ip6zone needs an interface"), "{error}");
        }
    }

    #[test]
    fn nothing_may_follow_the_peer() {
        let address = parse("/ip4/1.2.3.4/udp/1/quic-v1")
            .with(Protocol::P2p(PeerId::random()))
            .with(Protocol::P2pCircuit);
        assert!(socket_addr(&address).is_err());
    }

    #[test]
    fn a_host_name_is_a_target_but_no_socket_address() {
        let address = parse("/dns4/example.org/udp/4001/quic-v1");
        assert_eq!(
            socket_addr(&address),
            Err(AddressError::HostName(address.clone()))
        );
        let target = target(&address).unwrap();
        assert_eq!(
            target.host,
            Host::Name("example.org".to_owned(), Family::V4)
        );
    }
}
