//! The order and the start times of dial attempts.

use std::time::Duration;

use multiaddr::Multiaddr;

use crate::address::{self, Kind};

/// The delay of TCP after QUIC, and of IPv4 after IPv6, on public addresses.
const PUBLIC_DELAY: Duration = Duration::from_millis(250);
/// The delay of circuits after the last direct address, if a direct address is public. A private address often belongs
/// to another host.
const CIRCUIT_DELAY: Duration = Duration::from_millis(500);
/// The delay on loopback and private addresses, whose hosts answer at once.
const PRIVATE_DELAY: Duration = Duration::from_millis(30);

/// Addresses whose attempts start at the same time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The start of the attempts, counted from the start of the dial. If all earlier attempts have failed, they start
    /// at once.
    pub at: Duration,
    /// The addresses.
    pub addresses: Vec<Multiaddr>,
}

/// Plans the order of `addresses`: QUIC before TCP, and IPv6 before IPv4. Each step starts 250 ms after the previous
/// step, or 30 ms on private addresses. Private and public addresses have independent steps. Circuits come last: 500 ms
/// after the last direct address, or 30 ms if all direct addresses are private.
pub fn plan(addresses: &[Multiaddr]) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for (private, delay) in [(true, PRIVATE_DELAY), (false, PUBLIC_DELAY)] {
        let mut at = Duration::ZERO;
        for (kind, ipv4) in [
            (Kind::Quic, false),
            (Kind::Quic, true),
            (Kind::Tcp, false),
            (Kind::Tcp, true),
        ] {
            let mut group: Vec<Multiaddr> = Vec::new();
            for candidate in addresses {
                let fits = address::is_private(candidate) == private
                    && address::kind(candidate) == kind
                    && is_ipv4(candidate) == ipv4;
                if fits && !group.contains(candidate) {
                    group.push(candidate.clone());
                }
            }
            if !group.is_empty() {
                let addresses = group;
                steps.push(Step { at, addresses });
                at += delay;
            }
        }
    }
    steps.sort_by_key(|step| step.at);
    let is_private = |step: &Step| step.addresses.iter().all(address::is_private);
    let delay = match steps.iter().all(is_private) {
        true => PRIVATE_DELAY,
        false => CIRCUIT_DELAY,
    };
    let last = steps.last().map(|step| step.at + delay);
    let is_circuit = |address: &&Multiaddr| address::kind(address) == Kind::Circuit;
    let mut circuits: Vec<Multiaddr> = Vec::new();
    for candidate in addresses.iter().filter(is_circuit) {
        if !circuits.contains(candidate) {
            circuits.push(candidate.clone());
        }
    }
    if !circuits.is_empty() {
        steps.push(Step {
            at: last.unwrap_or_default(),
            addresses: circuits,
        });
    }
    steps
}

/// Host names count as IPv4, because their IP addresses are unknown here and a proxy may resolve them.
fn is_ipv4(address: &Multiaddr) -> bool {
    !matches!(address::ip(address), Some(std::net::IpAddr::V6(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<Multiaddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn step(millis: u64, texts: &[&str]) -> Step {
        Step {
            at: Duration::from_millis(millis),
            addresses: addresses(texts),
        }
    }

    #[test]
    fn quic_goes_first_and_tcp_250_ms_later() {
        let quic = "/ip4/192.0.2.1/udp/1/quic-v1";
        let tcp = "/ip4/192.0.2.1/tcp/1";
        assert_eq!(
            plan(&addresses(&[tcp, quic])),
            [step(0, &[quic]), step(250, &[tcp])]
        );
    }

    #[test]
    fn without_quic_tcp_does_not_wait() {
        let tcp = "/ip4/192.0.2.1/tcp/1";
        let named = "/dns4/a.example/tcp/2";
        assert_eq!(
            plan(&addresses(&[tcp, named, tcp])),
            [step(0, &[tcp, named])]
        );
    }

    #[test]
    fn ipv6_goes_before_ipv4_and_private_addresses_wait_30_ms_beside_public_ones() {
        let plan = plan(&addresses(&[
            "/ip4/10.0.0.1/tcp/1",
            "/ip4/10.0.0.1/udp/1/quic-v1",
            "/ip4/192.0.2.1/udp/1/quic-v1",
            "/ip6/2001:db8::1/udp/1/quic-v1",
            "/ip6/2001:db8::1/tcp/1",
        ]));
        assert_eq!(
            plan,
            [
                step(0, &["/ip4/10.0.0.1/udp/1/quic-v1"]),
                step(0, &["/ip6/2001:db8::1/udp/1/quic-v1"]),
                step(30, &["/ip4/10.0.0.1/tcp/1"]),
                step(250, &["/ip4/192.0.2.1/udp/1/quic-v1"]),
                step(500, &["/ip6/2001:db8::1/tcp/1"]),
            ]
        );
    }

    #[test]
    fn relays_wait_500_ms_for_public_addresses_and_30_for_private_ones_and_for_nobody_else() {
        let relay = "/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";
        let circuit = format!("/ip4/192.0.2.9/tcp/1{relay}/p2p-circuit");
        let (public, private) = ("/ip4/192.0.2.1/tcp/1", "/ip4/10.0.0.1/tcp/1");
        for (direct, millis) in [(public, 500), (private, 30)] {
            assert_eq!(
                plan(&addresses(&[&circuit, direct, &circuit])),
                [step(0, &[direct]), step(millis, &[&circuit])]
            );
        }
        let known = format!("{relay}/p2p-circuit");
        assert_eq!(
            plan(&addresses(&[&circuit, &known])),
            [step(0, &[&circuit, &known])]
        );
    }
}
