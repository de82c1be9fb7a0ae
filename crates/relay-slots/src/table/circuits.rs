//! The life of a circuit.

use std::{hash::Hash, sync::Arc};

use super::{
    Table,
    slab::NONE,
    slots::{Due, Kind, Slot, millis},
    view::{EndCause, Event, SlotState},
    wheel::Timer,
};
use crate::{
    Admission,
    admission::{Connect, Held},
    error::Refusal,
    meter::Meter,
    scope::PlaceKind,
};

/// Which end of a circuit.
pub(super) const SOURCE: usize = 0;
pub(super) const DESTINATION: usize = 1;

#[derive(Debug)]
pub(super) struct Circuit {
    pub(super) serial: u32,
    /// The connections of its source and its destination.
    pub(super) ends: [u32; 2],
    /// Its neighbours among what begins, and what ends, at the same connections.
    next: [u32; 2],
    previous: [u32; 2],
    timer: u32,
    pub(super) open: bool,
    pub(super) meter: Arc<Meter>,
}

impl<Id: Eq + Hash + Clone, A: Admission<Id>> Table<Id, A> {
    /// The connection that leads to a peer's slot: of several, the one that was heard last.
    pub(super) fn way_to(&self, destination: u32) -> Result<u32, Refusal> {
        if self.peers[destination].slot == NONE {
            return Err(Refusal::NoReservation);
        }
        let there = |slot: &&Slot| slot.state != SlotState::Grace && slot.connection != NONE;
        let slots = self.slots_of(destination).map(|slot| &self.slots[slot]);
        let best = slots.filter(there).max_by_key(|slot| slot.since);
        best.map_or(Err(Refusal::Unreachable), |slot| Ok(slot.connection))
    }

    /// Whether a circuit is opened, over which connection, and what it takes from the rates.
    pub(super) fn admit_circuit(
        &self,
        source: u32,
        destination: &Id,
    ) -> Result<(u32, Due), Refusal> {
        let from = &self.connections[source];
        let (peer, place) = (from.peer, from.place());
        if place.kind == PlaceKind::Relayed {
            return Err(Refusal::Relayed);
        }
        let to = self.peers.find(destination);
        let to = to.ok_or(Refusal::NoReservation)?;
        if to == peer {
            return Err(Refusal::ToItself);
        }
        let way = self.way_to(to)?;
        let from_subnet = place.subnet().map(|at| Held {
            at,
            count: self.pairs.of((at.subnet_key(), to)),
        });
        self.admission.connect(&Connect {
            source: &self.peers[peer].id,
            origin: place.origin(),
            destination,
            circuits: self.circuits.len(),
            to_destination: self.peers[to].circuits[DESTINATION] as usize,
            from_source: self.peers[peer].circuits[SOURCE] as usize,
            from_subnet,
        })?;
        let rates = self.admission.rates(&self.peers[peer].id, place.origin());
        let rates = [rates.connect_of_peer, rates.connect_of_subnet];
        let due = self.buckets_of(Kind::Connect, peer, place, rates);
        self.check_rates(&due, place, |of| Refusal::ConnectRate { of })?;
        Ok((way, due))
    }

    pub(super) fn add_circuit(&mut self, ends: [u32; 2]) -> u32 {
        self.serial = self.serial.wrapping_add(1);
        let serial = self.serial;
        let next = [SOURCE, DESTINATION].map(|end| self.connections[ends[end]].circuits[end]);
        let circuit = self.circuits.insert(Circuit {
            serial,
            ends,
            next,
            previous: [NONE; 2],
            timer: NONE,
            open: false,
            meter: Arc::default(),
        });
        for end in [SOURCE, DESTINATION] {
            if next[end] != NONE {
                self.circuits[next[end]].previous[end] = circuit;
            }
            let connection = &mut self.connections[ends[end]];
            connection.circuits[end] = circuit;
            self.peers[connection.peer].circuits[end] += 1;
        }
        if let Some(key) = self.pair_of(ends) {
            self.pairs.add(key);
        }
        let due = self.millis().saturating_add(millis(self.config.opening));
        self.circuits[circuit].timer = self.timers.set(due, Timer::Circuit(circuit));
        circuit
    }

    /// It carries bytes now, for as long as it may.
    pub(super) fn open_circuit(&mut self, circuit: u32) {
        let now = self.millis();
        let entry = &mut self.circuits[circuit];
        entry.open = true;
        self.timers.cancel(entry.timer);
        entry.timer = match self.config.circuit_duration {
            None => NONE,
            Some(duration) => {
                let due = now.saturating_add(millis(duration));
                self.timers.set(due, Timer::Circuit(circuit))
            }
        };
    }

    pub(super) fn end_circuit(&mut self, circuit: u32) {
        let Some(ended) = self.circuits.remove(circuit) else {
            return;
        };
        self.timers.cancel(ended.timer);
        if let Some(key) = self.pair_of(ended.ends) {
            self.pairs.subtract(key);
        }
        let destination = self.connections[ended.ends[DESTINATION]].peer;
        let carried = &mut self.peers[destination].carried;
        *carried = carried.wrapping_add(ended.meter.total());
        for end in [SOURCE, DESTINATION] {
            let (next, previous) = (ended.next[end], ended.previous[end]);
            if next != NONE {
                self.circuits[next].previous[end] = previous;
            }
            let connection = &mut self.connections[ended.ends[end]];
            self.peers[connection.peer].circuits[end] -= 1;
            match previous {
                NONE => connection.circuits[end] = next,
                _ => self.circuits[previous].next[end] = next,
            }
        }
    }

    /// Ends all circuits over a connection that is gone.
    pub(super) fn end_circuits_over(&mut self, connection: u32) {
        for end in [SOURCE, DESTINATION] {
            loop {
                let circuit = self.connections[connection].circuits[end];
                if circuit == NONE {
                    break;
                }
                self.tell_end(circuit, EndCause::Gone);
                self.end_circuit(circuit);
            }
        }
    }

    pub(super) fn handle_circuit_due(&mut self, circuit: u32) {
        let entry = &mut self.circuits[circuit];
        entry.timer = NONE;
        let cause = match entry.open {
            true => EndCause::Expired,
            false => EndCause::Unanswered,
        };
        self.tell_end(circuit, cause);
        self.end_circuit(circuit);
    }

    /// What the open circuits to a peer have carried.
    pub(super) fn carried_live(&self, destination: u32) -> u64 {
        let mut carried = 0_u64;
        for connection in self.connections_of(destination) {
            let mut circuit = self.connections[connection].circuits[DESTINATION];
            while circuit != NONE {
                let entry = &self.circuits[circuit];
                carried = carried.wrapping_add(entry.meter.total());
                circuit = entry.next[DESTINATION];
            }
        }
        carried
    }

    fn tell_end(&mut self, circuit: u32, cause: EndCause) {
        let circuit = self.circuit_id(circuit);
        self.events
            .push_back(Event::CircuitEnded { circuit, cause });
    }

    /// How the source's subnet and the destination are counted together.
    fn pair_of(&self, ends: [u32; 2]) -> Option<(u64, u32)> {
        let subnet = self.connections[ends[SOURCE]].place().subnet()?;
        let destination = self.connections[ends[DESTINATION]].peer;
        Some((subnet.subnet_key(), destination))
    }
}
