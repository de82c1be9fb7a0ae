//! The target of a dial: a host that may still be a name, a port, and perhaps a peer.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    str::FromStr,
    sync::Arc,
};

use multiaddr::{Multiaddr, Protocol};

use crate::{AddressError, PeerId, peer_text};

/// The longest DNS name, in its text form (RFC 1035 section 2.3.4).
const MAX_NAME: usize = 253;

/// The address family of a name's addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// Both, from `/dns`.
    Any,
    /// IPv4 only, from `/dns4`.
    V4,
    /// IPv6 only, from `/dns6`.
    V6,
}

/// The host of a [`Target`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Host {
    /// `/ip4` or `/ip6`.
    Ip(IpAddr),
    /// `/ip6zone/ZONE/ip6`: a link-local address, which may exist on each network interface.
    Ip6Zone {
        /// The address.
        ip: Ipv6Addr,
        /// The interface: its name or its index on this machine.
        zone: String,
    },
    /// `/dns`, `/dns4` or `/dns6`.
    Dns {
        /// The name, unresolved.
        name: String,
        /// The address family of the addresses to use.
        family: Family,
    },
    /// `/dnsaddr`: a name whose TXT records are complete multiaddrs. It has no port.
    DnsAddr(String),
    /// `/onion3`.
    Onion3 {
        /// Public key, checksum and version, as in the address.
        hash: Box<[u8; 35]>,
    },
}

/// The target of a dial. Host names stay names until the dialer resolves them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Target {
    host: Host,
    port: u16,
    peer: Option<PeerId>,
}

impl Target {
    /// A target from its parts. For a [`Host::DnsAddr`], the port is ignored.
    pub fn new(host: Host, port: u16, peer: Option<PeerId>) -> Self {
        Self { host, port, peer }
    }

    /// Reads `/ip4|ip6|dns|dns4|dns6/HOST/tcp/PORT`, `/ip6zone/INTERFACE/ip6/HOST/tcp/PORT`, `/dnsaddr/NAME` or
    /// `/onion3/HOST:PORT`, each with an optional `/p2p/PEER` at its end. A link-local IPv6 address needs a zone.
    pub fn from_multiaddr(address: &Multiaddr) -> Result<Self, AddressError> {
        let mut parts = address.iter();
        let unexpected = |part: Protocol<'_>| AddressError::Unexpected {
            address: address.clone(),
            component: part.to_string(),
        };
        let name = |name: &str| match name.len() {
            1..=MAX_NAME => Ok(name.to_owned()),
            _ => Err(AddressError::BadName(address.clone())),
        };
        let dns = |text: &str, family| name(text).map(|name| Host::Dns { name, family });
        let (host, own_port) = match parts.next() {
            Some(Protocol::Ip4(ip)) => (Host::Ip(ip.into()), None),
            Some(Protocol::Ip6(ip)) if ip.is_unicast_link_local() => {
                return Err(AddressError::NoZone(address.clone()));
            }
            Some(Protocol::Ip6(ip)) => (Host::Ip(ip.into()), None),
            Some(Protocol::Ip6zone(zone)) => match parts.next() {
                Some(Protocol::Ip6(ip)) if ip.is_unicast_link_local() && !zone.is_empty() => {
                    let zone = zone.into_owned();
                    (Host::Ip6Zone { ip, zone }, None)
                }
                _ => return Err(AddressError::BadZone(address.clone())),
            },
            Some(Protocol::Dns(text)) => (dns(&text, Family::Any)?, None),
            Some(Protocol::Dns4(text)) => (dns(&text, Family::V4)?, None),
            Some(Protocol::Dns6(text)) => (dns(&text, Family::V6)?, None),
            Some(Protocol::Dnsaddr(text)) => (Host::DnsAddr(name(&text)?), Some(0)),
            Some(Protocol::Onion3(onion)) => {
                let hash = Box::new(*onion.hash());
                (Host::Onion3 { hash }, Some(onion.port()))
            }
            _ => return Err(AddressError::NoHost(address.clone())),
        };
        let port = match own_port {
            Some(port) => port,
            None => match parts.next() {
                Some(Protocol::Tcp(port)) => port,
                _ => return Err(AddressError::NoPort(address.clone())),
            },
        };
        let peer = match parts.next() {
            None => None,
            Some(Protocol::P2p(peer)) => Some(peer),
            Some(other) => return Err(unexpected(other)),
        };
        match parts.next() {
            None => Ok(Self { host, port, peer }),
            Some(other) => Err(unexpected(other)),
        }
    }

    /// The host.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The TCP port. For a [`Host::DnsAddr`] it is 0, because its records contain ports.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The peer that must answer.
    pub fn peer(&self) -> Option<PeerId> {
        self.peer
    }

    /// The same target with another peer that must answer.
    pub fn with_peer(mut self, peer: Option<PeerId>) -> Self {
        self.peer = peer;
        self
    }

    /// The host in the form that proxies accept: an IP address, a DNS name, or `….onion`.
    pub fn host_name(&self) -> String {
        match &self.host {
            Host::Ip(ip) => ip.to_string(),
            Host::Ip6Zone { ip, zone } => format!("{ip}%{zone}"),
            Host::Dns { name, .. } | Host::DnsAddr(name) => name.clone(),
            Host::Onion3 { hash } => {
                let text = Protocol::Onion3((**hash, self.port).into()).to_string();
                let base32 = text.trim_start_matches("/onion3/").split(':').next();
                format!("{}.onion", base32.unwrap_or_default())
            }
        }
    }

    /// Host and port, as in a URL: `192.0.2.1:80`, `[2001:db8::1]:80`, `name.example:80`.
    pub fn authority(&self) -> String {
        match self.host() {
            Host::Ip(IpAddr::V6(_)) | Host::Ip6Zone { .. } => {
                format!("[{}]:{}", self.host_name(), self.port)
            }
            _ => format!("{}:{}", self.host_name(), self.port),
        }
    }

    /// The IP address that is meant, in any notation: mapped into IPv6, or in the place of a name.
    pub(crate) fn ip(&self) -> Option<IpAddr> {
        let ip = match self.host() {
            Host::Ip(ip) => Some(*ip),
            Host::Ip6Zone { ip, .. } => Some((*ip).into()),
            Host::Dns { name, .. } => name.trim_end_matches('.').parse::<IpAddr>().ok(),
            Host::DnsAddr(_) | Host::Onion3 { .. } => None,
        };
        ip.map(|ip| ip.to_canonical())
    }

    /// Whether it is an onion service. Such a name must never be asked of a name server (RFC 7686 section 2).
    pub(crate) fn is_onion(&self) -> bool {
        match self.host() {
            Host::Onion3 { .. } => true,
            Host::Ip(_) | Host::Ip6Zone { .. } => false,
            Host::Dns { name, .. } | Host::DnsAddr(name) => {
                let name = name.trim_end_matches('.').to_ascii_lowercase();
                name == "onion" || name.ends_with(".onion")
            }
        }
    }

    /// The multiaddr of this target.
    pub fn to_multiaddr(&self) -> Multiaddr {
        let mut address = match &self.host {
            Host::Ip(ip) => Multiaddr::from(*ip),
            Host::Ip6Zone { ip, zone } => {
                Multiaddr::from(Protocol::Ip6zone(zone.into())).with(Protocol::Ip6(*ip))
            }
            Host::Dns { name, family } => Multiaddr::from(match family {
                Family::Any => Protocol::Dns(name.into()),
                Family::V4 => Protocol::Dns4(name.into()),
                Family::V6 => Protocol::Dns6(name.into()),
            }),
            Host::DnsAddr(name) => Multiaddr::from(Protocol::Dnsaddr(name.into())),
            Host::Onion3 { hash } => Multiaddr::from(Protocol::Onion3((**hash, self.port).into())),
        };
        if !matches!(self.host, Host::DnsAddr(_) | Host::Onion3 { .. }) {
            address.push(Protocol::Tcp(self.port));
        }
        if let Some(peer) = self.peer {
            address.push(Protocol::P2p(peer));
        }
        address
    }
}

impl From<SocketAddr> for Target {
    fn from(address: SocketAddr) -> Self {
        let host = match address {
            SocketAddr::V6(v6) if v6.scope_id() > 0 => Host::Ip6Zone {
                ip: *v6.ip(),
                zone: v6.scope_id().to_string(),
            },
            _ => Host::Ip(address.ip()),
        };
        Self::new(host, address.port(), None)
    }
}

impl TryFrom<&Multiaddr> for Target {
    type Error = AddressError;

    fn try_from(address: &Multiaddr) -> Result<Self, AddressError> {
        Self::from_multiaddr(address)
    }
}

impl FromStr for Target {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let address = peer_text::multiaddr(text).map_err(|source| AddressError::Parse {
            text: text.to_owned(),
            source: Arc::new(source),
        })?;
        Self::from_multiaddr(&address)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_multiaddr().fmt(f)
    }
}

#[cfg(test)]
mod tests;
