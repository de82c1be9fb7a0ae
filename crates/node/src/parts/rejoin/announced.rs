//! The addresses that a peer announces, as candidates for a dial.

use std::net::IpAddr;

use bootstrap::Candidate;
use conn_state::Route;
use libp2p_identity::PeerId;
use multiaddr::Multiaddr;

use crate::{
    address::{self, audience::Reach},
    connection::Connection,
};

/// The candidates of the peer. `relay` returns the address of a connected peer.
pub(super) fn candidates(
    connection: &Connection,
    listen: &[Multiaddr],
    relay: impl Fn(&PeerId) -> Option<Multiaddr>,
) -> [Candidate<PeerId, Multiaddr>; 2] {
    // The address of a circuit is that of the relay.
    let is_circuit = matches!(connection.route(), Route::Relayed(_));
    let at = address::ip(connection.address()).filter(|_| !is_circuit);
    of(connection.peer(), connection.audience(), at, listen, relay)
}

/// Addresses of a nearer network than that of the peer are left out, so that a peer on the Internet cannot aim dials at this
/// node's private network.
fn of(
    peer: PeerId,
    audience: Reach,
    at: Option<IpAddr>,
    listen: &[Multiaddr],
    relay: impl Fn(&PeerId) -> Option<Multiaddr>,
) -> [Candidate<PeerId, Multiaddr>; 2] {
    let usable = listen.iter().filter(|address| audience.is_told(address));
    let relay = |id: &PeerId| address::ip(&relay(id)?);
    bootstrap::announced(peer, at, usable, relay)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is a test's verdict")]

    use super::*;

    #[test]
    fn a_peer_on_the_internet_aims_no_dial_at_private_networks_and_no_peer_at_host_names() {
        let announced = [
            "/ip4/127.0.0.1/tcp/1",
            "/ip4/10.0.0.1/tcp/1",
            "/ip6/fd00::1/tcp/1",
            "/dns/a.example/tcp/1",
        ]
        .map(|text| text.parse::<Multiaddr>().unwrap());
        let of_peer_at = |at: &str| {
            let at: IpAddr = at.parse().unwrap();
            let both = of(
                PeerId::random(),
                Reach::of_ip(at),
                Some(at),
                &announced,
                |_| None,
            );
            both.map(|candidate| candidate.addresses)
        };
        assert_eq!(of_peer_at("44.1.2.3"), [vec![], vec![]]);
        assert_eq!(of_peer_at("10.0.0.9"), [vec![], announced[1..3].to_vec()]);
    }
}
