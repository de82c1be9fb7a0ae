//! The dials that show whether a relay is where it says.
//!
//! One dial runs at a time, and a relay causes at most 8 dials at once and then one per minute. An address beyond that
//! rate is not announced. The next renewal names it again.

use std::{ops::Bound, time::Instant};

use libp2p_identity::PeerId;
use multiaddr::{Multiaddr, Protocol};

use super::{
    Client, ClientEvent,
    relay::Relay,
    vetting::{MAX_ANNOUNCED, Vetted, is_same_place, vet},
};
use crate::wire::Reservation;

/// The probe that runs.
#[derive(Debug)]
pub(super) struct Probe {
    relay: PeerId,
    address: Multiaddr,
    pub(super) until: Instant,
}

impl Client {
    /// The host reached this relay at `address`, and the relay proved its identity there. A host tells it before
    /// [`Self::handle_answer`]. Of an inbound connection, it tells only the IP address, because no peer can dial the port.
    pub fn handle_reached(&mut self, relay: &PeerId, address: &Multiaddr) {
        if let Some(relay) = self.relays.get_mut(relay) {
            relay.reached = Some(address.clone());
        }
    }

    /// The outcome of [`ClientEvent::Probe`]: whether a dial of `address` reached the relay. An outcome that was not asked
    /// for is ignored.
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

    /// Gives a probe up that is late, and starts the next one.
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
        // In turn, so that no relay keeps another one waiting.
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
    /// Takes in the addresses of its reservation.
    pub(super) fn announce(&mut self, now: Instant, id: PeerId, reservation: &Reservation) {
        let Vetted { proven, unproven } = vet(reservation, id, self.reached.as_ref(), &self.found);
        let circuits = proven.into_iter().map(|at| at.with(Protocol::P2pCircuit));
        let circuits: Vec<Multiaddr> = circuits.collect();
        let is_known = |circuit: &Multiaddr| self.circuits.contains(circuit);
        // A relay that only shuffles its addresses changes nothing that is announced.
        if circuits.len() != self.circuits.len() || !circuits.iter().all(is_known) {
            self.circuits = circuits;
        }
        let allowed = unproven.iter().take_while(|_| self.probes.take(now));
        let count = allowed.count();
        self.unproven = unproven;
        self.unproven.truncate(count);
    }

    /// The relay was found at `address`, and so at every address of the same IP.
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
