//! The dials that show whether a relay is at the addresses that it claims.
//!
//! One dial runs at a time. A relay causes at most 8 dials at once, and then one per minute. An address beyond this rate is not
//! announced. It can be probed after a later renewal.

use std::{ops::Bound, time::Instant};

use libp2p_identity::PeerId;
use multiaddr::{Multiaddr, Protocol};

use super::{
    Client, ClientEvent,
    relay::Relay,
    vetting::{MAX_ANNOUNCED, Vetted, is_same_place, vet},
};
use crate::wire::Reservation;

/// The running probe.
#[derive(Debug)]
pub(super) struct Probe {
    relay: PeerId,
    address: Multiaddr,
    pub(super) until: Instant,
}

impl Client {
    /// The host has reached this relay at `address`, and the relay has proved its identity there. Report this before
    /// [`Self::handle_answer`]. For an inbound connection, report only the IP address, because no peer can dial its port.
    pub fn handle_reached(&mut self, relay: &PeerId, address: &Multiaddr) {
        if let Some(relay) = self.relays.get_mut(relay) {
            relay.reached = Some(address.clone());
        }
    }

    /// The outcome of [`ClientEvent::Probe`]: whether a dial of `address` reached the relay. The client ignores an outcome for
    /// which it has no running probe.
    pub fn handle_probed(
        &mut self,
        now: Instant,
        relay: &PeerId,
        address: &Multiaddr,
        is_found: bool,
    ) {
        let asked = |probe: &Probe| probe.relay == *relay && probe.address == *address;
        if !self.probing.as_ref().is_some_and(asked) {
            return;
        }
        self.probing = None;
        let known = self.relays.get_mut(relay);
        if let Some(known) = known.filter(|known| known.is_held() && is_found) {
            known.prove(address);
            self.events.push_back(ClientEvent::Proved {
                relay: *relay,
                addresses: known.circuits.clone(),
            });
        }
        self.probe_next(now);
    }

    /// Gives up a probe that is late, and starts the next probe.
    pub(super) fn probe_next(&mut self, now: Instant) {
        let asked = self.probing.as_ref();
        if asked.is_some_and(|probe| probe.until > now) || self.closed {
            return;
        }
        let last = self.probing.take().map(|probe| probe.relay).or(self.probed);
        let start = last.map_or(Bound::Unbounded, Bound::Excluded);
        let after = self.relays.range((start, Bound::Unbounded));
        let waiting =
            |(_, relay): &(&PeerId, &Relay)| relay.is_held() && !relay.unproven.is_empty();
        // Relays take turns, so that no relay delays the probes of another.
        let next = after.chain(&self.relays).find(waiting).map(|(id, _)| *id);
        let Some(relay) = next else { return };
        let known = self.relays.get_mut(&relay);
        let Some(address) = known.and_then(|known| known.unproven.pop_front()) else {
            return;
        };
        self.probed = Some(relay);
        self.probing = Some(Probe {
            relay,
            address: address.clone(),
            until: now + self.config.answer,
        });
        self.events.push_back(ClientEvent::Probe { relay, address });
    }
}

impl Relay {
    /// Updates the addresses to announce and to probe from a reservation of this relay.
    pub(super) fn announce(&mut self, now: Instant, id: PeerId, reservation: &Reservation) {
        let Vetted { proven, unproven } = vet(reservation, id, self.reached.as_ref(), &self.found);
        let circuits = proven.into_iter().map(|at| at.with(Protocol::P2pCircuit));
        let circuits: Vec<Multiaddr> = circuits.collect();
        let is_known = |circuit: &Multiaddr| self.circuits.contains(circuit);
        // If a relay only changes the order of its addresses, the announced addresses stay the same.
        if circuits.len() != self.circuits.len() || !circuits.iter().all(is_known) {
            self.circuits = circuits;
        }
        let allowed = unproven.iter().take_while(|_| self.probes.take(now));
        let count = allowed.count();
        self.unproven = unproven;
        self.unproven.truncate(count);
    }

    /// A dial has reached the relay at `address`. This also proves every address with the same IP.
    fn prove(&mut self, address: &Multiaddr) {
        if self.found.len() == MAX_ANNOUNCED {
            self.found.remove(0);
        }
        self.found.push(address.clone());
        let there = |told: &Multiaddr| is_same_place(address, told);
        let (proven, unproven): (Vec<_>, Vec<_>) = std::mem::take(&mut self.unproven)
            .into_iter()
            .partition(there);
        self.unproven = unproven.into();
        for at in std::iter::once(address.clone()).chain(proven) {
            let circuit = at.with(Protocol::P2pCircuit);
            if self.circuits.len() < MAX_ANNOUNCED && !self.circuits.contains(&circuit) {
                self.circuits.push(circuit);
            }
        }
    }
}
