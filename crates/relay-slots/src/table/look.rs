//! Reads a table without changing it.

use std::hash::Hash;

use super::{
    Table,
    circuits::DESTINATION,
    slab::NONE,
    view::{Event, SlotView, Usage},
};
use crate::Admission;

impl<Id: Eq + Hash + Clone, A: Admission<Id>> Table<Id, A> {
    /// The slots, in an arbitrary order that is the same in every run.
    pub fn slots(&self) -> impl Iterator<Item = SlotView<'_, Id>> {
        self.slots.iter().map(|(_, slot)| {
            let (peer, kept) = (&self.peers[slot.peer], slot.connection);
            SlotView {
                peer: &peer.id,
                state: slot.state,
                origin: slot.place().origin(),
                connection: (kept != NONE).then(|| self.connections[kept].id),
                expires: self.instant(slot.expires).unwrap_or(self.start),
                circuits: peer.circuits[DESTINATION] as usize,
                bytes: peer.carried.wrapping_add(self.carried_live(slot.peer)),
            }
        })
    }

    /// How many slots a peer has.
    pub fn held_by(&self, peer: &Id) -> usize {
        let found = self.peers.find(peer);
        found.map_or(0, |peer| self.peers[peer].slots as usize)
    }

    /// How many of each thing the table holds.
    pub fn usage(&self) -> Usage {
        Usage {
            peers: self.peers.len(),
            connections: self.connections.len(),
            slots: self.slots.len(),
            circuits: self.circuits.len(),
            scopes: self.slots_at.len(),
            pairs: self.pairs.len(),
            buckets: self.buckets.len(),
            timers: self.timers.len(),
            events: self.events.len(),
        }
    }

    /// The number of bytes of memory that the table holds, including spare capacity, but without the memory to which an `Id`
    /// points. 0 if the table holds nothing.
    pub fn bytes(&self) -> usize {
        let kept = [
            self.peers.bytes(),
            self.connections.bytes(),
            self.slots.bytes(),
            self.circuits.bytes(),
            self.slots_at.bytes(),
            self.pairs.bytes(),
            self.buckets.bytes(),
            self.timers.bytes(),
            self.events.capacity() * size_of::<Event<Id>>(),
        ];
        kept.into_iter().sum()
    }
}
