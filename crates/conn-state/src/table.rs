//! The table of peers and connections. Its slots are used again.

use std::hash::{BuildHasher, Hash, RandomState};

use hashbrown::{HashTable, hash_table::Entry};

use crate::{
    ConnectionId, Direction, Limit, Path, Phase, Reason, Remote, Route, State, count::Count,
};

/// No slot.
pub(crate) const NONE: u32 = u32::MAX;

/// A time that never comes.
pub(crate) const NEVER: u64 = u64::MAX;

#[derive(Debug)]
pub(crate) struct Peer<Id> {
    pub(crate) id: Id,
    /// Of its latest event.
    pub(crate) number: u64,
    /// Where its latest event is in the history.
    pub(crate) latest: Option<u64>,
    /// The first of its connections, each of which knows the next.
    pub(crate) first: u32,
    pub(crate) handshaking: u32,
    pub(crate) limited: u32,
    pub(crate) established: u32,
    pub(crate) state: State,
}

impl<Id> Peer<Id> {
    pub(crate) fn derived(&self) -> State {
        if self.established > 0 {
            State::Connected
        } else if self.limited > 0 {
            State::Transient(Reason::Limited)
        } else if self.handshaking > 0 {
            State::Transient(Reason::Handshaking)
        } else {
            State::NotConnected
        }
    }

    pub(crate) fn count(&mut self, phase: Phase) -> Option<&mut u32> {
        match phase {
            Phase::Handshaking => Some(&mut self.handshaking),
            Phase::Limited => Some(&mut self.limited),
            Phase::Established => Some(&mut self.established),
            Phase::Draining | Phase::Closed => None,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Connection {
    generation: u32,
    pub(crate) peer: u32,
    /// The peer's next one.
    pub(crate) next: u32,
    /// There is none until the first stream or the first handle.
    count: Option<Count>,
    pub(crate) remote: Option<Remote>,
    /// Nanoseconds since the tracker's beginning, here and below.
    pub(crate) opened: u64,
    pub(crate) up: u64,
    pub(crate) since: u64,
    /// When its phase is over at the latest.
    pub(crate) expires: u64,
    pub(crate) limit: Option<Box<Limit>>,
    pub(crate) relayed: bool,
    pub(crate) phase: Phase,
    pub(crate) direction: Direction,
    /// The host was told to close it.
    pub(crate) closing: bool,
    /// How often the first of some streams was opened since it is drained.
    pub(crate) reopened: u8,
}

impl Connection {
    pub(crate) fn route(&self) -> Route {
        match self.relayed {
            true => Route::Relayed(self.limit.as_deref().copied()),
            false => Route::Direct,
        }
    }

    pub(crate) fn set_path(&mut self, path: Path) {
        (self.relayed, self.limit) = match path.route {
            Route::Direct => (false, None),
            Route::Relayed(limit) => (true, limit.map(Box::new)),
        };
        self.remote = path.remote;
    }

    pub(crate) fn set_phase(&mut self, phase: Phase) {
        self.phase = phase;
        if let Some(count) = &self.count {
            count.set_draining(phase == Phase::Draining);
        }
    }

    pub(crate) fn count(&mut self) -> &Count {
        let is_draining = self.phase == Phase::Draining;
        self.count.get_or_insert_with(|| Count::new(is_draining))
    }

    pub(crate) fn streams(&self) -> u32 {
        self.count.as_ref().map_or(0, Count::get)
    }
}

/// Connections by their ids: a slot, and how often it was used before.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    slots: Vec<Connection>,
    free: Vec<u32>,
}

impl Connections {
    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(crate) fn insert(&mut self, now: u64, direction: Direction) -> u32 {
        let fresh = |generation| Connection {
            generation,
            peer: NONE,
            next: NONE,
            count: None,
            remote: None,
            opened: now,
            up: NEVER,
            since: now,
            expires: NEVER,
            limit: None,
            relayed: false,
            phase: Phase::Handshaking,
            direction,
            closing: false,
            reopened: 0,
        };
        match self.free.pop() {
            Some(slot) => {
                let place = &mut self.slots[slot as usize];
                *place = fresh(place.generation);
                slot
            }
            None => {
                self.slots.push(fresh(0));
                (self.slots.len() - 1) as u32
            }
        }
    }

    pub(crate) fn id(&self, slot: u32) -> ConnectionId {
        let generation = self.slots[slot as usize].generation;
        ConnectionId(u64::from(generation) << 32 | u64::from(slot))
    }

    /// The slot of a connection that is not gone.
    pub(crate) fn find(&self, id: ConnectionId) -> Option<u32> {
        let (slot, generation) = (id.0 as u32, (id.0 >> 32) as u32);
        let connection = self.slots.get(slot as usize)?;
        (connection.generation == generation && connection.phase != Phase::Closed).then_some(slot)
    }

    pub(crate) fn remove(&mut self, slot: u32) {
        let connection = &mut self.slots[slot as usize];
        connection.set_phase(Phase::Closed);
        (connection.limit, connection.count) = (None, None);
        // A slot whose generations are used up is not used again.
        if let Some(next) = connection.generation.checked_add(1) {
            connection.generation = next;
            self.free.push(slot);
        }
    }
}

impl std::ops::Index<u32> for Connections {
    type Output = Connection;

    fn index(&self, slot: u32) -> &Connection {
        &self.slots[slot as usize]
    }
}

impl std::ops::IndexMut<u32> for Connections {
    fn index_mut(&mut self, slot: u32) -> &mut Connection {
        &mut self.slots[slot as usize]
    }
}

/// Peers by their ids. Slots stay where they are, and are found by hash.
#[derive(Debug)]
pub(crate) struct Peers<Id> {
    slots: Vec<Option<Peer<Id>>>,
    free: Vec<u32>,
    index: HashTable<u32>,
    hasher: RandomState,
    /// The highest number of any event of a peer that was forgotten.
    floor: u64,
}

impl<Id> Default for Peers<Id> {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            index: HashTable::new(),
            hasher: RandomState::new(),
            floor: 0,
        }
    }
}

impl<Id: Eq + Hash + Clone> Peers<Id> {
    pub(crate) fn find(&self, id: &Id) -> Option<u32> {
        let is_it = |slot: &u32| self.get(*slot).is_some_and(|peer| peer.id == *id);
        let hash = self.hasher.hash_one(id);
        self.index.find(hash, is_it).copied()
    }

    pub(crate) fn find_or_insert(&mut self, id: &Id) -> u32 {
        let (slots, hasher) = (&mut self.slots, &self.hasher);
        let is_it = |slot: &u32| {
            let peer = slots[*slot as usize].as_ref();
            peer.is_some_and(|peer| peer.id == *id)
        };
        let hash_of = |slot: &u32| match &slots[*slot as usize] {
            Some(peer) => hasher.hash_one(&peer.id),
            None => 0,
        };
        let vacant = match self.index.entry(hasher.hash_one(id), is_it, hash_of) {
            Entry::Occupied(found) => return *found.get(),
            Entry::Vacant(vacant) => vacant,
        };
        let slot = self.free.pop().unwrap_or(slots.len() as u32);
        vacant.insert(slot);
        let peer = Some(Peer {
            id: id.clone(),
            number: self.floor,
            latest: None,
            first: NONE,
            handshaking: 0,
            limited: 0,
            established: 0,
            state: State::NotConnected,
        });
        match slots.get_mut(slot as usize) {
            Some(place) => *place = peer,
            None => slots.push(peer),
        }
        slot
    }

    pub(crate) fn get(&self, slot: u32) -> Option<&Peer<Id>> {
        self.slots.get(slot as usize)?.as_ref()
    }

    pub(crate) fn get_mut(&mut self, slot: u32) -> Option<&mut Peer<Id>> {
        self.slots.get_mut(slot as usize)?.as_mut()
    }

    pub(crate) fn forget(&mut self, slot: u32) {
        let Some(peer) = self.slots.get_mut(slot as usize).and_then(Option::take) else {
            return;
        };
        self.floor = self.floor.max(peer.number);
        let hash = self.hasher.hash_one(&peer.id);
        if let Ok(entry) = self.index.find_entry(hash, |found| *found == slot) {
            entry.remove();
        }
        self.free.push(slot);
    }

    /// How many slots there are, used or not.
    pub(crate) fn slots(&self) -> usize {
        self.slots.len()
    }

    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }
}
