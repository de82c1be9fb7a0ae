//! The bounded table of candidates.

use std::{
    cmp::Reverse,
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::entry::Entry;
use crate::{Candidate, Origin};

/// The number of a candidate. Numbers are never reused.
pub(super) type Key = u64;

#[derive(Debug)]
pub(super) struct Book<Id, A> {
    entries: BTreeMap<Key, Entry<Id, A>>,
    by_peer: BTreeMap<Id, Key>,
    next: Key,
}

/// What became of a candidate that was put into the book.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Put {
    New(Key),
    /// The candidate has an address more.
    Extended(Key),
    Known,
    /// There is no room, or the candidate has no address.
    Refused,
}

impl<Id: Clone + Ord, A: Clone + PartialEq> Book<Id, A> {
    pub(super) fn new() -> Self {
        Self {
            entries: BTreeMap::new(),
            by_peer: BTreeMap::new(),
            next: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn get(&self, key: Key) -> Option<&Entry<Id, A>> {
        self.entries.get(&key)
    }

    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut Entry<Id, A>> {
        self.entries.get_mut(&key)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Key, &Entry<Id, A>)> {
        self.entries.iter().map(|(key, entry)| (*key, entry))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (Key, &mut Entry<Id, A>)> {
        self.entries.iter_mut().map(|(key, entry)| (*key, entry))
    }

    /// The entries that stand for `peer`: the one of its name, and those of addresses at which it answered.
    pub(super) fn of_mut(&mut self, peer: &Id) -> impl Iterator<Item = (Key, &mut Entry<Id, A>)> {
        self.iter_mut()
            .filter(move |(_, entry)| entry.identity() == Some(peer))
    }

    /// The entry of the candidate's peer, or the one without a peer that has one of its addresses.
    fn find(&self, candidate: &Candidate<Id, A>) -> Option<Key> {
        if let Some(peer) = &candidate.peer {
            return self.by_peer.get(peer).copied();
        }
        let shares = |entry: &Entry<Id, A>| {
            let mut known = entry.addresses.iter().map(|known| &known.at);
            entry.peer.is_none() && known.any(|address| candidate.addresses.contains(address))
        };
        self.iter()
            .find(|(_, entry)| shares(entry))
            .map(|(key, _)| key)
    }

    /// Adds a candidate. If the book is full, the least useful candidate for which `may_go` makes place, unless the new one is
    /// less trusted.
    pub(super) fn put(
        &mut self,
        now: Instant,
        candidate: Candidate<Id, A>,
        base: Duration,
        (candidates, addresses): (usize, usize),
        may_go: impl Fn(Key, &Entry<Id, A>) -> bool,
    ) -> Put {
        if candidate.addresses.is_empty() || candidates == 0 || addresses == 0 {
            return Put::Refused;
        }
        if let Some(key) = self.find(&candidate) {
            let entry = self.entries.get_mut(&key);
            return match entry.is_some_and(|entry| entry.merge(&candidate, addresses)) {
                true => Put::Extended(key),
                false => Put::Known,
            };
        }
        if self.entries.len() >= candidates {
            let Some(victim) = self.least_useful(&candidate, may_go) else {
                return Put::Refused;
            };
            self.remove(victim);
        }
        let key = self.next;
        self.next += 1;
        if let Some(peer) = &candidate.peer {
            self.by_peer.insert(peer.clone(), key);
        }
        let mut entry = Entry::new(now, candidate.peer.clone(), base);
        entry.merge(&candidate, addresses);
        self.entries.insert(key, entry);
        Put::New(key)
    }

    /// The candidate that makes place: of a less trusted origin, or of the same one if it is a visitor that never lasted,
    /// or was dialed in vain since it was last connected. Those that stayed longest go last. The peers to keep and the bootstrap
    /// list stay.
    fn least_useful(
        &self,
        candidate: &Candidate<Id, A>,
        may_go: impl Fn(Key, &Entry<Id, A>) -> bool,
    ) -> Option<Key> {
        let usefulness = |entry: &Entry<Id, A>| {
            let never = entry.last_connected.is_none();
            let stay = Reverse(entry.longest);
            (entry.origin(), never, stay, entry.backoff.steps())
        };
        let (key, entry) = self
            .iter()
            .filter(|(key, entry)| !entry.is_kept() && !entry.is_shared() && may_go(*key, entry))
            .max_by_key(|(key, entry)| (usefulness(entry), *key))?;
        let (origin, never, _, dials) = usefulness(entry);
        let is_visitor = !never && entry.longest.is_none();
        (origin > candidate.origin || origin == candidate.origin && (is_visitor || dials > 0))
            .then_some(key)
    }

    /// Removes addresses. Returns the key of the candidate if that was all that was known of it.
    pub(super) fn withdraw(&mut self, candidate: &Candidate<Id, A>) -> Option<Key> {
        let key = self.find(candidate)?;
        let entry = self.entries.get_mut(&key)?;
        entry.withdraw(&candidate.addresses, candidate.origin);
        if !entry.addresses.is_empty() {
            return None;
        }
        self.remove(key);
        Some(key)
    }

    /// `origin` no longer names any address of a peer. Returns the key of the candidate if that was all that was known of it.
    pub(super) fn withdraw_all(&mut self, peer: &Id, origin: Origin) -> Option<Key> {
        let key = self.by_peer.get(peer).copied()?;
        let entry = self.entries.get(&key)?;
        let all = Candidate::new(Some(peer.clone()), entry.all(), origin);
        self.withdraw(&all)
    }

    /// Forgets the candidates that were only claimed and are gone for long. Returns their keys.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<Key> {
        let old = self.iter().filter(|(_, entry)| entry.is_outdated(now));
        let old: Vec<Key> = old.map(|(key, _)| key).collect();
        old.iter().for_each(|key| self.remove(*key));
        old
    }

    fn remove(&mut self, key: Key) {
        if let Some(peer) = self.entries.remove(&key).and_then(|entry| entry.peer) {
            self.by_peer.remove(&peer);
        }
    }
}
