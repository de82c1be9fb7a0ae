//! The values of other peers.

use std::{
    cmp::Ordering,
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::{Refusal, Shares, share};
use crate::kad::{
    key::{Distance, Key},
    keys_where,
    message::Record,
    place::Site,
    validate::Namespaces,
};

#[derive(Debug)]
struct Stored<Id> {
    record: Record,
    sender: Id,
    site: Site,
    expires: Instant,
}

/// At most `most` values, each of at most 10 KiB, and at most an eighth of them by one sender. If the store is full, the site with
/// the most values makes room with its farthest value.
#[derive(Debug)]
pub(crate) struct Values<Id> {
    local: Key,
    most: usize,
    expiry: Duration,
    /// By distance from this node, so that the farthest is last.
    values: BTreeMap<Distance, Stored<Id>>,
    pub(super) shares: Shares<Id>,
}

impl<Id: Clone + Ord> Values<Id> {
    pub(crate) fn new(local: Key, most: usize, expiry: Duration) -> Self {
        Self {
            local,
            most,
            expiry,
            values: BTreeMap::new(),
            shares: Shares::new(),
        }
    }

    pub(crate) fn put(
        &mut self,
        now: Instant,
        sender: &Id,
        site: Site,
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
        let lifetime = record.ttl.map_or(self.expiry, |ttl| ttl.min(self.expiry));
        let expires = now + lifetime;
        let known = self.values.get_mut(&distance);
        if let Some(stored) = known.filter(|stored| stored.expires > now) {
            if stored.record.value == record.value {
                // Anyone can read the value and send it again with a short time to live.
                if expires > stored.expires {
                    (stored.expires, stored.record.ttl) = (expires, record.ttl);
                }
                return Ok(());
            }
            let order = names.compare(&record.key, &stored.record.value, &record.value);
            if order == Ordering::Greater {
                return Err(Refusal::Worse);
            }
        }
        self.make_room(sender, site, distance)?;
        self.remove(&distance);
        self.shares.add(sender, site, distance);
        let stored = Stored {
            record,
            sender: sender.clone(),
            site,
            expires,
        };
        self.values.insert(distance, stored);
        Ok(())
    }

    fn make_room(&mut self, sender: &Id, site: Site, distance: Distance) -> Result<(), Refusal> {
        let known = self.values.get(&distance);
        let is_own = known.is_some_and(|stored| stored.sender == *sender);
        if !is_own && self.shares.of_sender(sender) >= share(self.most) {
            return Err(Refusal::Full);
        }
        if known.is_none() && self.values.len() >= self.most {
            let displaced = self.shares.displaced(site, distance);
            let (_, displaced) = displaced.ok_or(Refusal::Full)?;
            self.remove(&displaced);
        }
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
        if let Some(stored) = self.values.remove(distance) {
            self.shares.remove(&stored.sender, stored.site, *distance);
        }
    }
}
