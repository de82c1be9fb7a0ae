//! The model's circuits.

use relay_slots::{CircuitId, ConnectionId, Origin};

use super::{Circuit, Model, Slot, State, millis};
use crate::place::subnet;

impl Model {
    fn peer_of(&self, id: ConnectionId) -> u8 {
        self.conn(id).expect("it is open").peer
    }

    /// Over which connection the destination is reached.
    pub(crate) fn connect(&mut self, id: ConnectionId, to: u8) -> Result<ConnectionId, String> {
        let conn = self.conn(id).cloned();
        let conn = conn.ok_or(format!("there is no connection {id}"))?;
        let present = self.conns.iter().any(|conn| conn.peer == to) || self.slots_of(to) > 0;
        if conn.origin == Origin::Relayed {
            return Err("the request came over a relayed connection".into());
        } else if present && to == conn.peer {
            return Err("a circuit from a peer to itself".into());
        } else if self.slots_of(to) == 0 {
            return Err("the destination holds no slot".into());
        }
        let there = |slot: &&Slot| slot.peer == to && slot.state != State::Grace;
        let slots = self.slots.iter().rev().filter(there);
        let way = slots
            .max_by_key(|slot| slot.since)
            .and_then(|slot| slot.conn);
        let way = way.ok_or("the destination holds a slot but is not connected")?;
        let to_it: Vec<_> = (self.circuits.iter())
            .filter(|circuit| self.peer_of(circuit.to) == to)
            .collect();
        let from_it = |circuit: &&Circuit| self.peer_of(circuit.from) == conn.peer;
        let net = subnet(conn.origin);
        let from_net = to_it.iter().filter(|circuit| {
            net.is_some() && subnet(self.conn(circuit.from).expect("it is open").origin) == net
        });
        let (all, per_net) = (self.circuits.len(), self.caps.circuits_from_subnet_to_peer);
        if all >= self.caps.circuits {
            return Err(format!(
                "{} circuits are open, which is the limit",
                self.caps.circuits
            ));
        } else if to_it.len() >= self.caps.circuits_to_peer {
            let limit = self.caps.circuits_to_peer;
            return Err(format!(
                "{limit} circuits to this peer are open, which is the limit"
            ));
        } else if self.circuits.iter().filter(from_it).count() >= self.caps.circuits_from_peer {
            let limit = self.caps.circuits_from_peer;
            return Err(format!(
                "{limit} circuits from this peer are open, which is the limit"
            ));
        } else if from_net.count() >= per_net && net.is_some() && !self.exempt(conn.origin) {
            let net = net.expect("checked above");
            return Err(format!(
                "{per_net} circuits from {net} to this peer are open, which is the limit"
            ));
        }
        self.take(&conn, true)?;
        Ok(way)
    }

    pub(crate) fn circuit_added(&mut self, id: CircuitId, from: ConnectionId, to: ConnectionId) {
        let due = Some(self.ms() + millis(self.config.opening));
        self.circuits.push(Circuit {
            id,
            from,
            to,
            open: false,
            due,
        });
    }

    pub(crate) fn opened(&mut self, id: CircuitId) -> bool {
        let due = self.config.circuit_duration;
        let due = due.map(|duration| self.ms() + millis(duration));
        let found = self.circuits.iter_mut().find(|circuit| circuit.id == id);
        let Some(circuit) = found else {
            return false;
        };
        if !circuit.open {
            (circuit.open, circuit.due) = (true, due);
        }
        true
    }

    pub(crate) fn circuit_closed(&mut self, id: CircuitId) {
        self.circuits.retain(|circuit| circuit.id != id);
    }
}
