//! Token buckets. An entry stores only the time at which its bucket will be full (the generic cell rate algorithm, ITU-T
//! I.371). A full bucket has no entry.

use hashbrown::HashTable;

use super::{
    counts::Keyed,
    slab::Slab,
    wheel::{Timer, Wheel},
};
use crate::Rate;

#[derive(Debug)]
struct Bucket {
    /// A keyed fingerprint of the peer or subnet.
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

    /// The timer of a bucket has expired: a full bucket is forgotten.
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

/// The time at which a bucket is full again if a token is taken now. Without the token it is full at `full`. `None`: it has no
/// token.
pub(super) fn full_after(now: u64, full: u64, rate: Rate) -> Option<u64> {
    let (full, every) = (full.max(now), micros(rate));
    let is_allowed = (full - now).saturating_add(every) <= every.saturating_mul(rate.burst.into());
    (is_allowed && rate.burst > 0).then(|| full.saturating_add(every))
}

fn micros(rate: Rate) -> u64 {
    u64::try_from(rate.every.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// In microseconds.
    const SECOND: u64 = 1_000_000;

    fn rate(burst: u32) -> Rate {
        Rate::new(burst, Duration::from_secs(1))
    }

    #[test]
    fn a_bucket_takes_memory_for_itself_and_the_index_until_it_is_full() {
        let (mut buckets, mut timers) = (Buckets::new(Keyed(1)), Wheel::new());
        let each = size_of::<Option<Bucket>>() + size_of::<u32>();
        for key in 1..=4 {
            buckets.take(0, key, rate(2), &mut timers);
        }
        assert_eq!((buckets.len(), timers.len()), (4, 4));
        assert!((4 * each..16 * each).contains(&buckets.bytes()));
        assert!(buckets.knows(4) && !buckets.knows(5));
        // The fourth is full a second later than the others.
        buckets.take(0, 4, rate(2), &mut timers);
        assert_eq!(timers.pop(999), None);
        while let Some(Timer::Bucket(at)) = timers.pop(1000) {
            buckets.handle_due(SECOND, at, &mut timers);
        }
        assert_eq!(
            (buckets.len(), timers.len(), buckets.knows(4)),
            (1, 1, true)
        );
        assert_eq!(timers.pop(1999), None);
        while let Some(Timer::Bucket(at)) = timers.pop(2000) {
            buckets.handle_due(2 * SECOND, at, &mut timers);
        }
        assert_eq!((buckets.len(), buckets.bytes(), timers.len()), (0, 0, 0));
    }

    #[test]
    fn a_burst_is_granted_at_once_and_one_more_whenever_the_time_for_one_has_passed() {
        for burst in [0, 1, 3] {
            let (mut buckets, mut timers) = (Buckets::new(Keyed(1)), Wheel::new());
            let mut take = |now| {
                let allowed = buckets.allows(now, 7, rate(burst));
                if allowed {
                    buckets.take(now, 7, rate(burst), &mut timers);
                }
                allowed
            };
            let granted = (0..10).filter(|_| take(5)).count();
            assert_eq!(granted, burst as usize);
            assert!(!take(SECOND + 4));
            assert_eq!([take(SECOND + 5), take(SECOND + 5)], [burst > 0, false]);
            // Long after, a whole burst again and no more.
            let granted = (0..10).filter(|_| take(100 * SECOND)).count();
            assert_eq!(granted, burst as usize);
        }
    }

    #[test]
    fn a_rate_without_a_pause_between_requests_is_no_limit_and_is_not_remembered() {
        let (mut buckets, mut timers) = (Buckets::new(Keyed(1)), Wheel::new());
        let free = Rate::new(1, Duration::ZERO);
        for _ in 0..100 {
            assert!(buckets.allows(0, 7, free));
            buckets.take(0, 7, free, &mut timers);
        }
        assert_eq!((buckets.len(), timers.len()), (0, 0));
        assert!(!buckets.allows(0, 7, Rate::new(0, Duration::ZERO)));
    }
}
