//! The reason why no transport dials or listens on an address.

use multiaddr::{Multiaddr, Protocol};

use super::zone;

const NO_TRANSPORT: &str = "this build has no transport for this address";

/// What is wrong with an address that no transport supports, and what to write instead.
pub(crate) fn reason(address: &Multiaddr) -> String {
    let mut parts: Vec<Protocol<'_>> = zone::skip(address).collect();
    if parts.len() > 1 && matches!(parts.last(), Some(Protocol::P2p(_))) {
        parts.pop();
    }
    let mut parts = parts.iter();
    let host = match parts.next() {
        Some(first) if is_start(first) => first,
        Some(Protocol::P2pCircuit) => {
            return "an address and the /p2p/ID of a relay must precede /p2p-circuit".to_owned();
        }
        Some(first) => {
            return format!(
                "an address begins with /ip4, /ip6, /dns, /dns4, /dns6 or /dnsaddr, and not with {first}"
            );
        }
        None => return "the address is empty".to_owned(),
    };
    let complete = matches!(
        host,
        Protocol::Dnsaddr(_) | Protocol::Onion3(_) | Protocol::P2p(_)
    );
    if !complete {
        match (parts.next(), parts.next()) {
            (Some(Protocol::Tcp(_)), Some(next)) => return follows(next, parts.as_slice()),
            (Some(Protocol::Udp(port)), None) => {
                return format!("no protocol follows /udp/{port}: write /udp/{port}/quic-v1");
            }
            (Some(Protocol::Udp(port)), Some(Protocol::Quic)) => {
                return format!("/quic is an old draft of QUIC: write /udp/{port}/quic-v1");
            }
            (Some(Protocol::Udp(_)), Some(Protocol::QuicV1)) => {}
            (Some(Protocol::Tcp(_)), None) => return "this build does not support TCP".to_owned(),
            (Some(Protocol::Udp(_)), Some(next)) => return unsupported(next),
            (None, _) => {
                return format!(
                    "no port follows {host}: write {host}/tcp/PORT or {host}/udp/PORT/quic-v1"
                );
            }
            (Some(other), _) => return unsupported(other),
        }
    }
    match parts.next() {
        Some(next) => follows(next, parts.as_slice()),
        None => NO_TRANSPORT.to_owned(),
    }
}

/// The reason why an address cannot continue with `next`.
fn follows(next: &Protocol<'_>, rest: &[Protocol<'_>]) -> String {
    match next {
        Protocol::P2p(_) => match rest.first() {
            Some(next) => follows(next, &rest[1..]),
            None => NO_TRANSPORT.to_owned(),
        },
        Protocol::P2pCircuit => {
            "/p2p-circuit must follow the relay's /p2p/ID and may be followed by the peer's /p2p/ID only".to_owned()
        }
        other => unsupported(other),
    }
}

fn unsupported(component: &Protocol<'_>) -> String {
    format!("this node does not support {component}")
}

fn is_start(protocol: &Protocol<'_>) -> bool {
    use Protocol::{Dnsaddr, Onion3, P2p};
    super::is_host(protocol) || matches!(protocol, Dnsaddr(_) | Onion3(_) | P2p(_))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_names_the_component_and_what_to_write() {
        let id = "/p2p/12D3KooWJRSrypvnpHgc6ZAgyCni4KcSmbV7uGRaMw5LgMKT18fq";
        for (address, expected) in [
            ("/ip4/192.0.2.1/tcp/1/ws", "this node does not support /ws"),
            (
                "/ip4/192.0.2.1/tcp/1/tls/ws",
                "this node does not support /tls",
            ),
            (
                "/dns/a.example/tcp/1/tls",
                "this node does not support /tls",
            ),
            (
                "/ip4/192.0.2.1/udp/1/quic-v1/webtransport",
                "this node does not support /webtransport",
            ),
            (
                "/ip4/192.0.2.1/udp/1/webrtc-direct",
                "this node does not support /webrtc-direct",
            ),
            (
                "/ip4/192.0.2.1/udp/1",
                "no protocol follows /udp/1: write /udp/1/quic-v1",
            ),
            (
                "/ip4/192.0.2.1/udp/1/quic",
                "/quic is an old draft of QUIC: write /udp/1/quic-v1",
            ),
            (
                "/ip4/192.0.2.1",
                "no port follows /ip4/192.0.2.1: write /ip4/192.0.2.1/tcp/PORT or /ip4/192.0.2.1/udp/PORT/quic-v1",
            ),
            (
                "/tcp/1",
                "an address begins with /ip4, /ip6, /dns, /dns4, /dns6 or /dnsaddr, and not with /tcp/1",
            ),
            (
                "/ip4/192.0.2.1/sctp/1",
                "this node does not support /sctp/1",
            ),
            (
                "/dnsaddr/a.example/tcp/1",
                "this node does not support /tcp/1",
            ),
            (
                "/p2p-circuit",
                "an address and the /p2p/ID of a relay must precede /p2p-circuit",
            ),
            (
                "/ip4/192.0.2.1/tcp/1/p2p-circuit",
                "/p2p-circuit must follow the relay's /p2p/ID and may be followed by the peer's /p2p/ID only",
            ),
        ] {
            for ends in ["", id] {
                let address: Multiaddr = format!("{address}{ends}").parse().unwrap();
                assert_eq!(reason(&address), expected, "{address}");
            }
        }
        assert_eq!(reason(&Multiaddr::empty()), "the address is empty");
    }
}
