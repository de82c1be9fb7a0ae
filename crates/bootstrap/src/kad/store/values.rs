//! The values of other peers.

use std::{
    cmp::Ordering,
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::{Refusal, share};
use crate::kad::{
    key::{Distance, Key},
    keys_where,
    message::Record,
    validate::Namespaces,
};

#[derive(Debug)]
struct Stored<Id> {
    record: Record,
    sender: Id,
    expires: Instant,
}

/// At most `most` values, each of at most 10 KiB, and at most an eighth of them by one sender. If the store is full, a value
/// that is nearer to this node displaces the farthest one.
#[derive(Debug)]
pub(crate) struct Values<Id> {
    local: Key,
    most: usize,
    expiry: Duration,
    /// By distance from this node, so that the farthest is last.
    values: BTreeMap<Distance, Stored<Id>>,
    pub(super) senders: BTreeMap<Id, usize>,
}

impl<Id: Clone + Ord> Values<Id> {
    pub(crate) fn new(local: Key, most: usize, expiry: Duration) -> Self {
        Self {
            local,
            most,
            expiry,
            values: BTreeMap::new(),
            senders: BTreeMap::new(),
        }
    }

    pub(crate) fn put(
        &mut self,
        now: Instant,
        sender: &Id,
        record: Record,
        names: &Namespaces,
    ) -> Result<(), Refusal> {
        if !record.fits() {
            return Err(Refusal::Length);
        }
        if !names.is_valid(&record.key, &record.value) {
            return Err(Refusal::Invalid);
        }
        let distance = Key::of(&record.key).distance(&self.local);
        if let Some(stored) = self
            .values
            .get(&distance)
            .filter(|stored| stored.expires > now)
            && names.compare(&record.key, &stored.record.value, &record.value) == Ordering::Greater
        {
            return Err(Refusal::Worse);
        }
        let before = self
            .values
            .get(&distance)
            .map(|stored| stored.sender.clone());
        let of_sender = self.senders.get(sender).copied().unwrap_or(0);
        if before.as_ref() != Some(sender) && of_sender >= share(self.most) {
            return Err(Refusal::Full);
        }
        if before.is_none() && self.values.len() >= self.most {
            let farthest = self.values.last_key_value().map(|(farthest, _)| *farthest);
            match farthest.filter(|farthest| *farthest > distance) {
                Some(farthest) => self.remove(&farthest),
                None => return Err(Refusal::Full),
            }
        }
        self.remove(&distance);
        let lifetime = record.ttl.map_or(self.expiry, |ttl| ttl.min(self.expiry));
        let stored = Stored {
            record,
            sender: sender.clone(),
            expires: now + lifetime,
        };
        *self.senders.entry(sender.clone()).or_default() += 1;
        self.values.insert(distance, stored);
        Ok(())
    }

    pub(crate) fn get(&self, now: Instant, key: &[u8]) -> Option<Record> {
        let stored = self.values.get(&Key::of(key).distance(&self.local))?;
        let left = stored.expires.checked_duration_since(now)?;
        let mut record = stored.record.clone();
        record.ttl = record.ttl.map(|_| left);
        (left > Duration::ZERO).then_some(record)
    }

    pub(crate) fn expire(&mut self, now: Instant) {
        for distance in keys_where(&self.values, |stored| stored.expires <= now) {
            self.remove(&distance);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }

    fn remove(&mut self, distance: &Distance) {
        let Some(stored) = self.values.remove(distance) else {
            return;
        };
        if let Some(count) = self.senders.get_mut(&stored.sender) {
            *count -= 1;
            if *count == 0 {
                self.senders.remove(&stored.sender);
            }
        }
    }
}
