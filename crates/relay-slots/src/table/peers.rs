//! The peers that have a connection or a slot.

use std::hash::{BuildHasher, Hash};

use hashbrown::HashTable;

use super::{
    counts::Keyed,
    slab::{NONE, Slab},
};

/// A peer is remembered while it has a connection or a slot.
#[derive(Debug)]
pub(super) struct Peer<Id> {
    pub(super) id: Id,
    /// The newest of its connections, each of which knows the one before.
    pub(super) connection: u32,
    /// The latest of its slots, each of which knows the one before.
    pub(super) slot: u32,
    pub(super) slots: u32,
    /// Circuits of which it is the source, and the destination.
    pub(super) circuits: [u32; 2],
    /// What ended circuits to this peer carried since its first slot was granted, less what open ones had carried by then.
    pub(super) carried: u64,
    /// Leaves room for "none".
    known: bool,
}

/// Peers by their ids.
#[derive(Debug)]
pub(super) struct Peers<Id> {
    slab: Slab<Peer<Id>>,
    index: HashTable<u32>,
    hasher: Keyed,
}

impl<Id: Eq + Hash + Clone> Peers<Id> {
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

    pub(super) fn find(&self, id: &Id) -> Option<u32> {
        let is_it = |at: &u32| self.slab[*at].id == *id;
        self.index.find(self.hasher.hash_one(id), is_it).copied()
    }

    pub(super) fn find_or_insert(&mut self, id: &Id) -> u32 {
        if let Some(at) = self.find(id) {
            return at;
        }
        let at = self.slab.insert(Peer {
            id: id.clone(),
            connection: NONE,
            slot: NONE,
            slots: 0,
            circuits: [0; 2],
            carried: 0,
            known: true,
        });
        let (slab, hasher) = (&self.slab, self.hasher);
        let hash_of = |at: &u32| hasher.hash_one(&slab[*at].id);
        self.index.insert_unique(hasher.hash_one(id), at, hash_of);
        at
    }

    /// Forgets a peer of whom there is nothing left.
    pub(super) fn forget_if_gone(&mut self, at: u32) {
        let peer = &self.slab[at];
        debug_assert!(peer.known);
        if peer.connection != NONE || peer.slot != NONE {
            return;
        }
        debug_assert_eq!(peer.circuits, [0; 2], "circuits end with their connections");
        let hash = self.hasher.hash_one(&peer.id);
        if let Ok(entry) = self.index.find_entry(hash, |found| *found == at) {
            entry.remove();
        }
        if self.index.is_empty() {
            self.index = HashTable::new();
        }
        self.slab.remove(at);
    }
}

impl<Id> std::ops::Index<u32> for Peers<Id> {
    type Output = Peer<Id>;

    fn index(&self, at: u32) -> &Peer<Id> {
        &self.slab[at]
    }
}

impl<Id> std::ops::IndexMut<u32> for Peers<Id> {
    fn index_mut(&mut self, at: u32) -> &mut Peer<Id> {
        &mut self.slab[at]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_takes_memory_for_itself_and_the_index_until_nothing_is_left_of_it() {
        let mut peers: Peers<u64> = Peers::new(Keyed(1));
        let each = size_of::<Option<Peer<u64>>>() + size_of::<u32>();
        let found = [5, 6, 7, 8].map(|id| peers.find_or_insert(&id));
        assert_eq!(peers.len(), 4);
        assert!((4 * each..16 * each).contains(&peers.bytes()));
        assert_eq!(peers.find_or_insert(&6), found[1]);
        assert_eq!((peers.find(&7), peers.find(&9)), (Some(found[2]), None));
        // A connection or a slot keeps it.
        peers[found[0]].connection = 0;
        peers[found[1]].slot = 0;
        for at in found {
            peers.forget_if_gone(at);
        }
        let left = [5, 6, 7, 8].map(|id| peers.find(&id).is_some());
        assert_eq!(left, [true, true, false, false]);
        (peers[found[0]].connection, peers[found[1]].slot) = (NONE, NONE);
        peers.forget_if_gone(found[0]);
        peers.forget_if_gone(found[1]);
        assert_eq!((peers.len(), peers.bytes()), (0, 0));
    }
}
