//! The choice of the addresses that this relay lists in its answer to the holder of a slot.
//!
//! Other peers reach the holder through these addresses, and some holders announce exactly this list. The first address is
//! therefore the address at which the holder reached the relay. If the relay is behind a NAT or a forwarder, only the holder
//! knows this address, and its identify message contains it. A false address harms only the holder, because no other peer
//! receives this answer.

use multiaddr::Multiaddr;

use crate::{
    address::{self, Kind},
    address::{audience::Reach, zone},
};

/// The addresses for a holder. `seen` is the address at which the holder sees this relay, and `local` is the local address of its
/// connection. Both are `None` if the holder did not connect to a listener. The relay's id at the end of an address is left out.
pub(super) fn list(
    holder: Reach,
    seen: Option<&Multiaddr>,
    local: Option<&Multiaddr>,
    announced: Vec<Multiaddr>,
) -> Vec<Multiaddr> {
    let seen = seen.filter(|seen| is_dialable(seen));
    // If the holder has not reported an address, the local address is the best guess.
    let reached = seen.or(local.filter(|local| is_dialable(local)));
    let mut listed: Vec<Multiaddr> = Vec::new();
    let announced = announced.iter().map(address::without_peer);
    for address in reached.cloned().into_iter().chain(announced) {
        // A public holder cannot reach a private address itself: it has come through a NAT.
        let is_told = holder.is_told(&address) && !zone::is_bound_to_machine(&address);
        if is_told && !listed.contains(&address) {
            listed.push(address);
        }
    }
    listed
}

/// Whether other peers can dial the address: it has a host and a port, and names no peer.
fn is_dialable(address: &Multiaddr) -> bool {
    let is_host = matches!(address::kind(address), Kind::Tcp | Kind::Quic);
    let is_wildcard = address::ip(address).is_some_and(|ip| ip.is_unspecified());
    let is_bound = zone::is_bound_to_machine(address);
    is_host && !is_wildcard && !is_bound && address::peer(address).is_none()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is a test's verdict")]

    use super::*;

    const PUBLIC: &str = "/ip4/192.0.2.1/tcp/5000";
    const LOCAL: &str = "/ip4/10.0.0.2/tcp/4077";
    const ANNOUNCED: [&str; 2] = [LOCAL, "/ip4/127.0.0.1/tcp/4077"];
    const ID: &str = "/p2p/12D3KooWJRSrypvnpHgc6ZAgyCni4KcSmbV7uGRaMw5LgMKT18fq";

    fn listed(holder: Reach, seen: Option<&str>, local: Option<&str>) -> Vec<String> {
        let parse = |text: &str| text.parse::<Multiaddr>().unwrap();
        let (seen, local) = (seen.map(parse), local.map(parse));
        let announced = ANNOUNCED.map(|at| parse(&format!("{at}{ID}"))).to_vec();
        let listed = list(holder, seen.as_ref(), local.as_ref(), announced);
        listed.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_address_at_which_the_holder_sees_the_relay_comes_first() {
        let (far, near) = (Reach::Internet, Reach::Network);
        assert_eq!(listed(far, Some(PUBLIC), Some(LOCAL)), [PUBLIC]);
        // Through a forwarder in the private network, which hides the holder's address.
        assert_eq!(listed(near, Some(PUBLIC), Some(LOCAL)), [PUBLIC, LOCAL]);
        assert_eq!(listed(near, Some(LOCAL), Some(LOCAL)), [LOCAL]);
        let forwarder = "/ip4/127.0.0.1/tcp/5000";
        let all = [forwarder, ANNOUNCED[0], ANNOUNCED[1]];
        let local = "/ip4/127.0.0.2/tcp/4077";
        assert_eq!(listed(Reach::Machine, Some(forwarder), Some(local)), all);
    }

    #[test]
    fn the_local_address_comes_first_if_the_holder_says_nothing_and_can_use_it() {
        let other = "/ip4/10.0.0.3/tcp/4077";
        assert_eq!(listed(Reach::Network, None, Some(other)), [other, LOCAL]);
        assert_eq!(listed(Reach::Internet, None, Some(other)), [""; 0]);
        assert_eq!(listed(Reach::Network, None, None), [LOCAL]);
        let wildcard = "/ip4/0.0.0.0/udp/4077/quic-v1";
        assert_eq!(listed(Reach::Network, None, Some(wildcard)), [LOCAL]);
    }

    #[test]
    fn a_link_local_address_is_never_listed() {
        let zoned = "/ip6zone/eth0/ip6/fe80::1/tcp/4077";
        let bare = "/ip6/fe80::1/tcp/4077";
        for reach in [Reach::Network, Reach::Machine] {
            for address in [zoned, bare] {
                let address: Multiaddr = address.parse().unwrap();
                let announced = vec![address.clone()];
                let listed = list(reach, Some(&address), Some(&address), announced);
                assert_eq!(listed, []);
            }
        }
    }

    #[test]
    fn an_address_that_nobody_can_dial_is_not_listed_on_the_word_of_the_holder() {
        let relayed = format!("{PUBLIC}{ID}/p2p-circuit");
        let named = format!("{PUBLIC}{ID}");
        for seen in [
            "/ip4/192.0.2.1",
            "/ip4/0.0.0.0/tcp/1",
            "/ip4/10.0.0.9/tcp/1",
            &relayed,
            &named,
        ] {
            assert_eq!(listed(Reach::Internet, Some(seen), None), [""; 0], "{seen}");
        }
    }
}
