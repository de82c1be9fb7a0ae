//! What relays grant the circuits that connections go over.

use std::{collections::VecDeque, time::Instant};

use conn_state::{Limit, Route};
use libp2p::{Multiaddr, PeerId, core::ConnectedPoint, multiaddr::Protocol, relay::client::Event};

/// Grants that are remembered until their connections are up. Those that never come up must not pile up.
const MAX_GRANTS: usize = 64;

/// A limit of which nothing is known.
const UNKNOWN: Limit = Limit {
    until: None,
    bytes: None,
};

/// A circuit, as far as both the relay client's event and the connection over it name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Circuit {
    /// One of ours, through this relay.
    Through(PeerId),
    /// One from this peer.
    From(PeerId),
}

impl Circuit {
    /// The one that a connection to `peer` goes over, if its relay can be told.
    fn of(peer: PeerId, endpoint: &ConnectedPoint) -> Option<Self> {
        match endpoint {
            ConnectedPoint::Dialer { address, .. } => relay(address).map(Self::Through),
            ConnectedPoint::Listener { .. } => Some(Self::From(peer)),
        }
    }
}

/// The relay in an address with a circuit.
fn relay(address: &Multiaddr) -> Option<PeerId> {
    let before = address
        .iter()
        .take_while(|part| *part != Protocol::P2pCircuit);
    match before.last()? {
        Protocol::P2p(relay) => Some(relay),
        _ => None,
    }
}

/// A circuit, and what is granted to it.
pub fn granted(now: Instant, event: &Event) -> Option<(Circuit, Route)> {
    let (circuit, limit) = match event {
        Event::OutboundCircuitEstablished {
            relay_peer_id,
            limit,
        } => (Circuit::Through(*relay_peer_id), limit),
        Event::InboundCircuitEstablished { src_peer_id, limit } => {
            (Circuit::From(*src_peer_id), limit)
        }
        Event::ReservationReqAccepted { .. } => return None,
    };
    // A zero is no limit, in both fields (circuit relay v2, "Limit").
    let limit = limit.as_ref().map(|limit| Limit {
        until: limit
            .duration()
            .filter(|time| !time.is_zero())
            .and_then(|time| now.checked_add(time)),
        bytes: limit.data_in_bytes().filter(|bytes| *bytes > 0),
    });
    let limit = limit.filter(|limit| *limit != UNKNOWN);
    Some((circuit, Route::Relayed(limit)))
}

/// Grants whose connections are not up yet.
#[derive(Debug, Default)]
pub struct Grants(VecDeque<(Circuit, Route)>);

impl Grants {
    /// Remembers one, and forgets the oldest if there are too many.
    pub fn insert(&mut self, circuit: Circuit, route: Route) {
        if self.0.len() == MAX_GRANTS {
            self.0.pop_front();
        }
        self.0.push_back((circuit, route));
    }

    /// The way a connection goes; and the circuit that it goes over, if what is granted to that is still to be learned.
    pub fn route(&mut self, peer: PeerId, endpoint: &ConnectedPoint) -> (Route, Option<Circuit>) {
        if !endpoint.is_relayed() {
            return (Route::Direct, None);
        }
        let circuit = Circuit::of(peer, endpoint);
        // The latest: one before it may be of a circuit over which no connection came up.
        let place = self
            .0
            .iter()
            .rposition(|(other, _)| Some(*other) == circuit);
        match place.and_then(|place| self.0.remove(place)) {
            Some((_, route)) => (route, None),
            None => (Route::Relayed(Some(UNKNOWN)), circuit),
        }
    }
}
