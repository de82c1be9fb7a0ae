//! Token buckets. What is kept of one is when it will be full (the generic cell rate algorithm, ITU-T I.371), and once it
//! is, nothing.

use hashbrown::HashTable;

use super::{
    counts::Keyed,
    slab::Slab,
    wheel::{Timer, Wheel},
};
use crate::Rate;

#[derive(Debug)]
struct Bucket {
    /// A keyed fingerprint of whose it is.
    key: u64,
    /// In microseconds.
    full: u64,
    /// Leaves room for "none".
    taken: bool,
}

#[derive(Debug)]
pub(super) struct Buckets {
    slab: Slab<Bucket>,
    index: HashTable<u32>,
    hasher: Keyed,
}

impl Buckets {
    pub(super) fn new(hasher: Keyed) -> Self {
        Self {
            slab: Slab::default(),
            index: HashTable::new(),
            hasher,
        }
    }

    /// For fingerprints.
    pub(super) fn hasher(&self) -> Keyed {
        self.hasher
    }

    pub(super) fn len(&self) -> usize {
        self.slab.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.slab.bytes() + self.index.allocation_size()
    }

    pub(super) fn knows(&self, key: u64) -> bool {
        self.find(key).is_some()
    }

    /// Whether there is a token.
    pub(super) fn allows(&self, now: u64, key: u64, rate: Rate) -> bool {
        let full = self.find(key).map_or(now, |at| self.slab[at].full);
        full_after(now, full, rate).is_some()
    }

    /// Takes one.
    pub(super) fn take(&mut self, now: u64, key: u64, rate: Rate, timers: &mut Wheel) {
        let every = micros(rate);
        if let Some(at) = self.find(key) {
            let bucket = &mut self.slab[at];
            bucket.full = bucket.full.max(now).saturating_add(every);
            return;
        }
        if every == 0 {
            return;
        }
        let bucket = Bucket {
            key,
            full: now.saturating_add(every),
            taken: true,
        };
        let due = bucket.full.div_ceil(1000);
        let at = self.slab.insert(bucket);
        timers.set(due, Timer::Bucket(at));
        let slab = &self.slab;
        self.index.insert_unique(key, at, |at| slab[*at].key);
    }

    /// A bucket's timer is out: it is forgotten if it is full.
    pub(super) fn handle_due(&mut self, now: u64, at: u32, timers: &mut Wheel) {
        let Bucket { key, full, taken } = self.slab[at];
        debug_assert!(taken);
        let due = full.div_ceil(1000);
        if due > now / 1000 {
            timers.set(due, Timer::Bucket(at));
            return;
        }
        self.slab.remove(at);
        if let Ok(entry) = self.index.find_entry(key, |found| *found == at) {
            entry.remove();
        }
        if self.index.is_empty() {
            self.index = HashTable::new();
        }
    }

    fn find(&self, key: u64) -> Option<u32> {
        let is_it = |at: &u32| self.slab[*at].key == key;
        self.index.find(key, is_it).copied()
    }
}

/// When a bucket that is full at `full` is full again once a token is taken. `None`: it has no token.
pub(super) fn full_after(now: u64, full: u64, rate: Rate) -> Option<u64> {
    let (full, every) = (full.max(now), micros(rate));
    let is_allowed = (full - now).saturating_add(every) <= every.saturating_mul(rate.burst.into());
    (is_allowed && rate.burst > 0).then(|| full.saturating_add(every))
}

fn micros(rate: Rate) -> u64 {
    u64::try_from(rate.every.as_micros()).unwrap_or(u64::MAX)
}
