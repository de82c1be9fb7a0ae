//! The connections, by the host's numbers.

use std::hash::BuildHasher;

use hashbrown::HashTable;

use super::{
    counts::Keyed,
    slab::{NONE, Slab},
};
use crate::{
    id::ConnectionId,
    scope::{Place, PlaceKind},
};

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) id: ConnectionId,
    bits: u64,
    asn: u32,
    pub(super) peer: u32,
    /// The peer's next connection.
    pub(super) next: u32,
    /// The slot that this connection keeps.
    pub(super) slot: u32,
    /// The first of the circuits that begin here, and that end here.
    pub(super) circuits: [u32; 2],
    kind: PlaceKind,
}

impl Connection {
    pub(super) fn new(id: ConnectionId, peer: u32, next: u32, place: Place) -> Self {
        Self {
            id,
            bits: place.bits,
            asn: place.asn,
            peer,
            next,
            slot: NONE,
            circuits: [NONE; 2],
            kind: place.kind,
        }
    }

    pub(super) fn place(&self) -> Place {
        Place {
            bits: self.bits,
            asn: self.asn,
            kind: self.kind,
        }
    }
}

#[derive(Debug)]
pub(super) struct Connections {
    slab: Slab<Connection>,
    index: HashTable<u32>,
    hasher: Keyed,
}

impl Connections {
    pub(super) fn new(hasher: Keyed) -> Self {
        Self {
            slab: Slab::default(),
            index: HashTable::new(),
            hasher,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.slab.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.slab.bytes() + self.index.allocation_size()
    }

    pub(super) fn find(&self, id: ConnectionId) -> Option<u32> {
        let is_it = |at: &u32| self.slab[*at].id == id;
        self.index.find(self.hasher.hash_one(id), is_it).copied()
    }

    /// The caller has removed an older connection of this number.
    pub(super) fn insert(&mut self, connection: Connection) -> u32 {
        let hash = self.hasher.hash_one(connection.id);
        let at = self.slab.insert(connection);
        let (slab, hasher) = (&self.slab, self.hasher);
        let hash_of = |at: &u32| hasher.hash_one(slab[*at].id);
        self.index.insert_unique(hash, at, hash_of);
        at
    }

    pub(super) fn remove(&mut self, at: u32) {
        let hash = self.hasher.hash_one(self.slab[at].id);
        if let Ok(entry) = self.index.find_entry(hash, |found| *found == at) {
            entry.remove();
        }
        if self.index.is_empty() {
            self.index = HashTable::new();
        }
        self.slab.remove(at);
    }
}

impl std::ops::Index<u32> for Connections {
    type Output = Connection;

    fn index(&self, at: u32) -> &Connection {
        &self.slab[at]
    }
}

impl std::ops::IndexMut<u32> for Connections {
    fn index_mut(&mut self, at: u32) -> &mut Connection {
        &mut self.slab[at]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scope::Origin;

    #[test]
    fn a_connection_takes_memory_for_itself_and_the_index_until_it_is_removed() {
        let mut connections = Connections::new(Keyed(1));
        let each = size_of::<Option<Connection>>() + size_of::<u32>();
        let numbers = [7, 8, 9, u64::MAX].map(ConnectionId);
        let found = numbers.map(|id| {
            let place = Place::new(Origin::Local, None);
            connections.insert(Connection::new(id, 3, NONE, place))
        });
        assert_eq!(connections.len(), 4);
        assert!((4 * each..16 * each).contains(&connections.bytes()));
        assert_eq!(numbers.map(|id| connections.find(id)), found.map(Some));
        assert_eq!(connections.find(ConnectionId(1)), None);
        connections.remove(found[1]);
        assert_eq!(connections.find(numbers[1]), None);
        assert_eq!(
            (connections.find(numbers[2]), connections.len()),
            (Some(found[2]), 3)
        );
        for at in [found[0], found[2], found[3]] {
            connections.remove(at);
        }
        assert_eq!((connections.len(), connections.bytes()), (0, 0));
    }
}
