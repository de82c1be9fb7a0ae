//! The choice of the addresses of a reservation that the client announces.
//!
//! The relay chooses the addresses of a reservation, and other peers dial the addresses that the client announces. The client
//! therefore announces an address only if the relay has been reached there.

use std::{collections::VecDeque, net::IpAddr};

use libp2p_identity::PeerId;
use multiaddr::{Multiaddr, Protocol};

use crate::{scope::Origin, wire::Reservation};

/// The most addresses that the client announces for one relay.
pub(super) const MAX_ANNOUNCED: usize = 8;

/// The addresses of a reservation, divided into proven and unproven addresses. Addresses that must never be announced are
/// left out.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Vetted {
    /// The relay has been reached at these addresses.
    pub(super) proven: Vec<Multiaddr>,
    /// A dial must confirm these addresses first.
    pub(super) unproven: VecDeque<Multiaddr>,
}

/// Divides the addresses of `reservation`. `reached` is the address at which the host reached the relay, which becomes the first
/// proven address. `found` has the addresses that dials have confirmed. Both lists together have at most [`MAX_ANNOUNCED`] addresses.
pub(super) fn vet(
    reservation: &Reservation,
    relay: PeerId,
    reached: Option<&Multiaddr>,
    found: &[Multiaddr],
) -> Vetted {
    let mut vetted = Vetted::default();
    let mut told: Vec<Multiaddr> = Vec::new();
    for mut address in reservation.circuit_addresses(relay) {
        address.pop();
        if is_plain(&address) && !told.contains(&address) {
            told.push(address);
        }
    }
    let is_proven = |address: &Multiaddr| {
        let mut proofs = found.iter().chain(reached);
        proofs.any(|proof| is_same_place(proof, address))
    };
    let reached_ip = reached.and_then(ip);
    let (proven, others): (Vec<_>, Vec<_>) = told.into_iter().partition(is_proven);
    // A relay behind a NAT or a forwarder cannot know the address at which this client reached it.
    let reached = reachable(reached, relay);
    let others_there = proven.into_iter().filter(|at| Some(at) != reached.as_ref());
    vetted.proven = reached.iter().cloned().chain(others_there).collect();
    vetted.proven.truncate(MAX_ANNOUNCED);
    let mut others: Vec<_> = others
        .into_iter()
        .filter(|address| may_be_probed(address, reached_ip))
        .collect();
    // If a dial reaches the relay over TCP, the relay's QUIC address with the same IP needs no dial.
    others.sort_by_key(|address| !address.iter().any(|part| matches!(part, Protocol::Tcp(_))));
    others.truncate(MAX_ANNOUNCED - vetted.proven.len());
    vetted.unproven = others.into();
    vetted
}

/// Whether a relay that was reached at `proof` is at `address`, too: the IP addresses are the same, or both addresses are the
/// same. A host name proves nothing about another port, because it can have several hosts.
pub(super) fn is_same_place(proof: &Multiaddr, address: &Multiaddr) -> bool {
    match (ip(proof), ip(address)) {
        (Some(proof), Some(address)) => proof == address,
        _ => without_peer(proof) == without_peer(address),
    }
}

/// The address at which the relay was reached, if other peers can dial it.
fn reachable(reached: Option<&Multiaddr>, relay: PeerId) -> Option<Multiaddr> {
    let reached = reached.filter(|reached| reached.iter().count() > 1)?;
    let named = reached.clone().with_p2p(relay).ok()?;
    is_plain(&named).then_some(named)
}

/// Whether the address begins with a host, names no second host, and names a peer only at its end. `/dnsaddr` is not plain,
/// because it can lead to any number of addresses.
fn is_plain(address: &Multiaddr) -> bool {
    use Protocol::{Dns, Dns4, Dns6, Dnsaddr, Ip4, Ip6, Ip6zone, Onion, Onion3, P2p};
    let last = address.iter().count().saturating_sub(1);
    address.iter().enumerate().all(|(at, part)| match part {
        Ip4(_) | Ip6(_) | Dns(_) | Dns4(_) | Dns6(_) | Onion3(_) => at == 0,
        Dnsaddr(_) | Ip6zone(_) | Onion(..) => false,
        P2p(_) => at == last && at > 0,
        _ => at > 0,
    })
}

/// Whether the client may dial this address. A relay on a public address may name public addresses only, because it must not
/// cause dials in the networks of this machine.
fn may_be_probed(address: &Multiaddr, reached: Option<IpAddr>) -> bool {
    let Some(ip) = ip(address) else {
        return true;
    };
    match (is_public(ip), reached) {
        (true, _) => true,
        // The loopback addresses of another machine are useless to everyone.
        (false, Some(reached)) if ip.is_loopback() => reached.is_loopback(),
        (false, Some(reached)) => !is_public(reached) && is_unicast(ip),
        (false, None) => false,
    }
}

fn is_public(ip: IpAddr) -> bool {
    let shared = match ip {
        // RFC 6598: the network between a carrier and its customers, also used by overlay networks.
        IpAddr::V4(v4) => v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64,
        IpAddr::V6(_) => false,
    };
    !shared && is_unicast(ip) && !Origin::Address(ip).is_private()
}

fn is_unicast(ip: IpAddr) -> bool {
    let broadcast = matches!(ip, IpAddr::V4(v4) if v4.octets()[0] == 0 || v4.octets()[0] >= 240);
    !broadcast && !ip.is_unspecified() && !ip.is_multicast()
}

fn ip(address: &Multiaddr) -> Option<IpAddr> {
    let ip = match address.iter().next()? {
        Protocol::Ip4(v4) => IpAddr::V4(v4),
        Protocol::Ip6(v6) => IpAddr::V6(v6),
        _ => return None,
    };
    Some(ip.to_canonical())
}

fn without_peer(address: &Multiaddr) -> Multiaddr {
    let is_peer = |part: &Protocol<'_>| matches!(part, Protocol::P2p(_));
    address.iter().filter(|part| !is_peer(part)).collect()
}

/// For the fuzzer: whatever a relay sends, the client announces or probes at most 8 addresses, and each has one host.
#[cfg(any(fuzzing, test))]
pub(crate) fn check(reservation: &Reservation, relay: PeerId) {
    let reached = [
        "/ip4/192.0.2.1/tcp/9",
        "/dns4/a.example/tcp/1",
        "/ip4/127.0.0.1/tcp/1",
    ];
    for reached in reached {
        let reached: Multiaddr = reached.parse().expect("an address");
        let vetted = vet(reservation, relay, Some(&reached), &[]);
        let Vetted { proven, unproven } = vetted;
        assert!(!proven.is_empty() && proven.len() <= MAX_ANNOUNCED);
        assert!(unproven.len() <= MAX_ANNOUNCED);
        for address in proven.iter().chain(&unproven) {
            assert!(is_plain(address) && address.iter().last() == Some(Protocol::P2p(relay)));
        }
        assert!(
            proven
                .iter()
                .all(|address| is_same_place(&reached, address))
        );
        let is_local = |address: &Multiaddr| ip(address).is_some_and(|ip| !is_public(ip));
        assert!(is_local(&reached) || !unproven.iter().any(is_local));
    }
}
