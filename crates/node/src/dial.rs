//! Dialing: expands and ranks the addresses, starts the attempts one after another, and keeps the first connection.

mod plan;
mod race;

use std::sync::Arc;

use crate::{
    address::{self, Kind},
    connection::Connection,
    core::Core,
    error::DialError,
    part::{Circuits, DialRequest, Existing},
};
use libp2p_identity::PeerId;

pub use plan::{Step, plan};

/// Connects to the peer at the addresses of `request`. Dropping the future cancels every attempt.
pub(crate) async fn dial(core: &Arc<Core>, request: DialRequest) -> Result<Connection, DialError> {
    if core.stopping.is_cancelled() {
        return Err(DialError::ShutDown);
    }
    let expected = expected_peer(&request)?;
    if expected == Some(core.peer_id) {
        let peer = core.peer_id;
        return Err(DialError::Oneself { peer });
    }
    if let Some(connection) = expected.and_then(|peer| existing(core, &request, &peer)) {
        return Ok(connection);
    }
    let race = race::run(core, request, expected);
    tokio::select! {
        outcome = race => outcome.map_err(DialError::AllFailed),
        () = core.stopping.cancelled() => Err(DialError::ShutDown),
    }
}

/// The peer that the request names. Fails if the request names two peers.
fn expected_peer(request: &DialRequest) -> Result<Option<PeerId>, DialError> {
    if request.addresses.is_empty() && request.expected.is_none() {
        return Err(DialError::NoAddress);
    }
    let named = request.addresses.iter().filter_map(address::peer);
    let mut peers = request.expected.into_iter().chain(named);
    let first = peers.next();
    match peers.find(|peer| Some(*peer) != first) {
        Some(second) => Err(DialError::DifferentPeers {
            first: first.unwrap_or(second),
            second,
        }),
        None => Ok(first),
    }
}

/// The existing connection, if the request accepts it.
fn existing(core: &Core, request: &DialRequest, peer: &PeerId) -> Option<Connection> {
    let best = core.connections.best(peer)?;
    let is_circuit = |address| address::kind(address) == Kind::Circuit;
    let only_circuits =
        request.circuits == Circuits::Allowed && request.addresses.iter().all(is_circuit);
    match request.existing {
        Existing::Use => Some(best),
        // If the existing connection is limited, a direct connection is worth a dial.
        Existing::Ignore => None,
        Existing::PreferUnlimited => (!best.is_limited() || only_circuits).then_some(best),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        dial_budget::DialBudget,
        part::{Circuits, Origin},
    };
    use multiaddr::{Multiaddr, Protocol};

    fn request(addresses: &[Multiaddr], expected: Option<PeerId>) -> DialRequest {
        DialRequest {
            addresses: addresses.to_vec(),
            expected,
            origin: Origin::User,
            existing: Existing::PreferUnlimited,
            circuits: Circuits::Allowed,
            until: None,
            budget: DialBudget::default(),
        }
    }

    #[test]
    fn addresses_of_two_peers_are_refused_and_unnamed_ones_belong_to_the_named_peer() {
        let one = PeerId::random();
        let two = PeerId::random();
        let plain: Multiaddr = "/ip4/192.0.2.1/tcp/2".parse().unwrap();
        let named = |peer| plain.clone().with(Protocol::P2p(peer));
        let peer = |addresses: &[Multiaddr], expected| expected_peer(&request(addresses, expected));
        assert_eq!(peer(&[plain.clone(), named(one)], None).unwrap(), Some(one));
        assert_eq!(peer(std::slice::from_ref(&plain), None).unwrap(), None);
        assert_eq!(
            peer(std::slice::from_ref(&plain), Some(two)).unwrap(),
            Some(two)
        );
        for addresses in [vec![named(one), named(two)], vec![named(one)]] {
            let expected = (addresses.len() == 1).then_some(two);
            let refused = peer(&addresses, expected);
            assert!(matches!(refused, Err(DialError::DifferentPeers { .. })));
        }
    }
}
