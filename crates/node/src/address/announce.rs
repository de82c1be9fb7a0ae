//! The configuration of the addresses that a node announces.

use std::{net::IpAddr, str::FromStr};

use ipnet::IpNet;
use multiaddr::{Multiaddr, Protocol};

use crate::address;

/// The addresses that the node announces to peers.
///
/// Without settings, the node announces the addresses of its listeners, which follow the network interfaces, and the addresses at
/// which peers observe it. The node also announces its addresses at relays.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct AnnounceConfig {
    /// The addresses to announce, without the node's id. [`crate::Builder::build`] fails if [`Self::problem`] refuses one of them.
    /// Default: none.
    pub addresses: Vec<Multiaddr>,
    /// Whether the node also announces the addresses that it detects: the addresses of its listeners, and the addresses that
    /// peers observe. With `None`, the default, it announces them only if [`Self::addresses`] is empty.
    pub detected: Option<bool>,
    /// The addresses that the node never announces, whatever their source. Default: none.
    pub never: Vec<AddressMatch>,
}

/// An entry that matches addresses by their network or by their beginning.
///
/// ```
/// use node::AddressMatch;
///
/// let network: AddressMatch = "10.0.0.0/8".parse().unwrap();
/// assert!(network.matches(&"/ip4/10.1.2.3/tcp/4077".parse().unwrap()));
/// let beginning: AddressMatch = "/ip4/192.0.2.1/tcp".parse().unwrap();
/// assert!(beginning.matches(&"/ip4/192.0.2.1/tcp/4077".parse().unwrap()));
/// assert!(!beginning.matches(&"/ip4/192.0.2.1/udp/4077/quic-v1".parse().unwrap()));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressMatch(Match);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Match {
    /// The IP address at the start of the address is in this network.
    Network(IpNet),
    /// The components of the address begin with these texts, in the form that [`components`] returns. The last text may be the
    /// name of a protocol without its value.
    Beginning(Vec<String>),
}

/// The error for a text that is not an [`AddressMatch`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{text}' is neither a network such as 10.0.0.0/8 nor the beginning of a multiaddr such as /ip4/192.0.2.1"
)]
pub struct AddressMatchError {
    text: String,
}

impl FromStr for AddressMatch {
    type Err = AddressMatchError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || AddressMatchError {
            text: text.to_owned(),
        };
        if text.starts_with('/') {
            let mut parts: Vec<String> = text
                .trim_end_matches('/')
                .split('/')
                .map(str::to_owned)
                .collect();
            parts.remove(0);
            return match beginning(&parts) {
                Some(parts) => Ok(Self(Match::Beginning(parts))),
                None => Err(wrong()),
            };
        }
        let network = match text.parse::<IpAddr>() {
            Ok(ip) => Ok(IpNet::from(ip)),
            Err(_) => text.parse::<IpNet>(),
        };
        match network {
            Ok(network) => Ok(Self(Match::Network(canonical(network.trunc())))),
            Err(_) => Err(wrong()),
        }
    }
}

impl AddressMatch {
    /// Whether `address` matches.
    pub fn matches(&self, address: &Multiaddr) -> bool {
        match &self.0 {
            Match::Network(network) => {
                address::ip(address).is_some_and(|ip| network.contains(&ip.to_canonical()))
            }
            Match::Beginning(parts) => components(address).starts_with(parts),
        }
    }
}

/// The components of a beginning. `parts` form a multiaddr, or they form one if the last part is left out.
fn beginning(parts: &[String]) -> Option<Vec<String>> {
    let parse = |parts: &[String]| format!("/{}", parts.join("/")).parse::<Multiaddr>().ok();
    if let Some(whole) = parse(parts) {
        return Some(components(&whole));
    }
    let (last, rest) = parts.split_last()?;
    // The name of a protocol that has a value, such as `tcp`.
    let is_name = ["ip4", "ip6", "dns", "dns4", "dns6", "tcp", "udp", "p2p"].contains(&&**last);
    let mut known = match rest {
        [] => Vec::new(),
        rest => components(&parse(rest)?),
    };
    known.push(last.clone());
    is_name.then_some(known)
}

/// The texts of an address between its slashes. Two spellings of one address have the same texts: an IPv4 address in its IPv6
/// form counts as IPv4, and a host name has small letters and no dot at its end.
fn components(address: &Multiaddr) -> Vec<String> {
    let name = |name: &str| name.trim_end_matches('.').to_ascii_lowercase();
    let plain = address.iter().map(|part| match part {
        Protocol::Ip6(ip) => match IpAddr::V6(ip).to_canonical() {
            IpAddr::V4(ip) => Protocol::Ip4(ip),
            IpAddr::V6(ip) => Protocol::Ip6(ip),
        },
        Protocol::Dns(host) => Protocol::Dns(name(&host).into()),
        Protocol::Dns4(host) => Protocol::Dns4(name(&host).into()),
        Protocol::Dns6(host) => Protocol::Dns6(name(&host).into()),
        Protocol::Dnsaddr(host) => Protocol::Dnsaddr(name(&host).into()),
        other => other,
    });
    let text = plain.collect::<Multiaddr>().to_string();
    text.split('/').skip(1).map(str::to_owned).collect()
}

fn is_group(ip: IpAddr) -> bool {
    ip.is_multicast() || matches!(ip, IpAddr::V4(v4) if v4.is_broadcast())
}

fn has_port_zero(address: &Multiaddr) -> bool {
    let mut parts = address.iter();
    parts.any(|part| matches!(part, Protocol::Tcp(0) | Protocol::Udp(0)))
}

/// The network, or the IPv4 network that it contains in its IPv6 form.
fn canonical(network: IpNet) -> IpNet {
    let (ip, length) = (network.addr().to_canonical(), network.prefix_len());
    let as_ipv4 = match network {
        IpNet::V6(_) if ip.is_ipv4() => length.checked_sub(96),
        _ => None,
    };
    let as_ipv4 = as_ipv4.and_then(|length| IpNet::new(ip, length).ok());
    as_ipv4.unwrap_or(network)
}

impl AnnounceConfig {
    /// Sets [`Self::addresses`].
    pub fn with_addresses(mut self, addresses: impl IntoIterator<Item = Multiaddr>) -> Self {
        self.addresses = addresses.into_iter().collect();
        self
    }

    /// Sets [`Self::detected`].
    pub fn with_detected(mut self, detected: bool) -> Self {
        self.detected = Some(detected);
        self
    }

    /// Sets [`Self::never`].
    pub fn with_never(mut self, never: impl IntoIterator<Item = AddressMatch>) -> Self {
        self.never = never.into_iter().collect();
        self
    }

    /// The reason why `address` cannot be an entry of [`Self::addresses`]. `None`: it can. The text continues a sentence that
    /// begins with the address.
    pub fn problem(&self, address: &Multiaddr) -> Option<&'static str> {
        use address::Kind::{DnsAddr, Quic, Tcp};
        let names_peer = |part| matches!(part, Protocol::P2p(_));
        if address.iter().any(names_peer) {
            Some("must not contain /p2p/ID, because the node adds its own id")
        } else if !matches!(address::kind(address), Tcp | Quic | DnsAddr) {
            Some(
                "is not the address of a TCP or QUIC listener; an example is /ip4/192.0.2.1/tcp/4077",
            )
        } else if address::zone::is_bound_to_machine(address) {
            Some(
                "is an IPv6 link-local address, which peers cannot use: the zone is an interface of one machine",
            )
        } else if address::ip(address).is_some_and(|ip| ip.to_canonical().is_unspecified()) {
            Some("is a wildcard address, at which no peer can reach the node")
        } else if address::ip(address).is_some_and(|ip| is_group(ip.to_canonical())) {
            Some("is a multicast or broadcast address, at which no peer can reach the node")
        } else if has_port_zero(address) {
            Some("has the port 0, at which no peer can reach the node")
        } else if !self.may_announce(address) {
            Some("also matches the addresses that the node must never announce (no_announce)")
        } else {
            None
        }
    }

    pub(crate) fn announces_detected(&self) -> bool {
        self.detected.unwrap_or(self.addresses.is_empty())
    }

    pub(crate) fn may_announce(&self, address: &Multiaddr) -> bool {
        !self.never.iter().any(|never| never.matches(address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_matches_up_to_its_last_address_and_a_beginning_matches_whole_components() {
        let matches = |pattern: &str, address: &str| {
            let pattern: AddressMatch = pattern.parse().unwrap();
            pattern.matches(&address.parse().unwrap())
        };
        assert!(matches("10.0.0.0/8", "/ip4/10.255.255.255/tcp/1"));
        assert!(!matches("10.0.0.0/8", "/ip4/11.0.0.0/tcp/1"));
        assert!(matches("10.9.9.9/8", "/ip4/10.0.0.1/tcp/1"));
        assert!(matches("192.0.2.1", "/ip4/192.0.2.1/udp/1/quic-v1"));
        assert!(!matches("192.0.2.1", "/ip4/192.0.2.2/udp/1/quic-v1"));
        assert!(matches("10.0.0.0/8", "/ip6/::ffff:10.0.0.1/tcp/1"));
        assert!(matches("fd00::/8", "/ip6/fdff::1/tcp/1"));
        assert!(!matches("fd00::/8", "/ip4/192.0.2.1/tcp/1"));
        assert!(matches("/ip4/192.0.2.1/tcp/40", "/ip4/192.0.2.1/tcp/40"));
        assert!(!matches("/ip4/192.0.2.1/tcp/40", "/ip4/192.0.2.1/tcp/4077"));
        assert!(matches("/dns4", "/dns4/a.example/tcp/1"));
        assert!(!matches("/dns4", "/dns/a.example/tcp/1"));
    }

    #[test]
    fn every_spelling_of_an_address_is_the_same_address() {
        let never = |pattern: &str, address: &str| {
            let pattern: AddressMatch = pattern.parse().unwrap();
            assert!(pattern.matches(&address.parse().unwrap()), "{address}");
        };
        never("/ip4/198.51.100.1", "/ip6/::ffff:198.51.100.1/tcp/5001");
        never("/ip6/::ffff:198.51.100.1", "/ip4/198.51.100.1/tcp/5001");
        never("/ip6/2001:DB8:0:0::1/tcp", "/ip6/2001:db8::1/tcp/4077");
        never("/dns4/Relay.Example.", "/dns4/relay.example/tcp/4077");
        never(
            "/dns4/relay.example/tcp/04077",
            "/dns4/RELAY.example./tcp/4077",
        );
        never("::ffff:10.0.0.0/104", "/ip4/10.1.2.3/tcp/1");
        never("::ffff:192.0.2.1", "/ip4/192.0.2.1/tcp/1");
    }

    #[test]
    fn a_text_that_begins_no_address_is_refused_with_its_name() {
        for text in [
            "10.0.0.0/33",
            "all",
            "",
            "/",
            "/nothing",
            "/ip4/1.2.3",
            "/ip4/192.0.2.1/tcp/x",
        ] {
            let error = text.parse::<AddressMatch>().unwrap_err();
            assert!(error.to_string().contains(&format!("'{text}'")), "{error}");
        }
    }

    #[test]
    fn an_address_that_no_peer_can_use_has_its_problem_named() {
        let config = AnnounceConfig::default().with_never(["10.0.0.0/8".parse().unwrap()]);
        let problem = |text: &str| config.problem(&text.parse().unwrap()).unwrap_or_default();
        let id = "12D3KooWJRSrypvnpHgc6ZAgyCni4KcSmbV7uGRaMw5LgMKT18fq";
        assert_eq!(problem("/ip4/192.0.2.1/tcp/4077"), "");
        assert_eq!(problem("/dns4/relay.example/udp/4077/quic-v1"), "");
        assert!(problem(&format!("/ip4/192.0.2.1/tcp/4077/p2p/{id}")).contains("/p2p/ID"));
        assert!(problem("/ip4/192.0.2.1").contains("listener"));
        assert!(problem("/ip4/0.0.0.0/tcp/4077").contains("wildcard"));
        assert!(problem("/ip6/::ffff:0.0.0.0/tcp/4077").contains("wildcard"));
        assert!(problem("/ip4/224.0.0.1/tcp/4077").contains("multicast"));
        assert!(problem("/ip4/255.255.255.255/tcp/4077").contains("broadcast"));
        assert!(problem("/ip4/192.0.2.1/udp/0/quic-v1").contains("port 0"));
        assert!(problem("/ip6zone/1/ip6/fe80::1/tcp/4077").contains("link-local"));
        assert!(problem("/ip6/fe80::1/udp/4077/quic-v1").contains("link-local"));
        assert!(problem("/ip4/10.0.0.1/tcp/4077").contains("never"));
    }
}
