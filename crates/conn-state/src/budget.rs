//! Token buckets that limit how often each peer may cause costly work.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

/// The rate of a token bucket: a burst at once, and then one more per interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rate {
    /// The number that is allowed at once. At least 1.
    pub burst: u32,
    /// The time until one more token is available.
    pub interval: Duration,
}

impl Rate {
    /// A rate of one per `interval`, and `burst` at once.
    pub fn new(burst: u32, interval: Duration) -> Self {
        Self { burst, interval }
    }

    /// No limit.
    pub fn unlimited() -> Self {
        Self::new(u32::MAX, Duration::ZERO)
    }

    /// When the next token is available, if the bucket is full again at `full_at`.
    fn next(&self, full_at: Instant) -> Instant {
        let ahead = self.interval.saturating_mul(self.burst.saturating_sub(1));
        full_at.checked_sub(ahead).unwrap_or(full_at)
    }
}

/// Token buckets: one for each key, and one for all keys together.
///
/// A key is usually a peer id. The bucket of a peer outlives its connections, so a peer gains nothing when it connects again.
/// The budget forgets a bucket when the bucket is full again. While `max_keys` buckets are not full, further keys get no token.
///
/// ```
/// use std::time::{Duration, Instant};
/// use conn_state::{Budget, Rate};
///
/// let (now, second) = (Instant::now(), Duration::from_secs(1));
/// let mut budget = Budget::new(Rate::new(2, second), Rate::new(100, second), 4_096);
/// assert!(budget.take(now, "bob").is_ok() && budget.take(now, "bob").is_ok());
/// assert_eq!(budget.take(now, "bob"), Err(now + second));
/// assert!(budget.take(now, "carol").is_ok());
/// assert!(budget.take(now + second, "bob").is_ok());
/// ```
#[derive(Debug)]
pub struct Budget<Key> {
    per_key: Rate,
    in_all: Rate,
    max_keys: usize,
    /// When each bucket is full again.
    full_at: BTreeMap<Key, Instant>,
    /// The same times, the earliest first.
    by_time: BTreeSet<(Instant, Key)>,
    all_full_at: Option<Instant>,
}

impl<Key: Ord + Clone> Budget<Key> {
    /// A budget with full buckets.
    pub fn new(per_key: Rate, in_all: Rate, max_keys: usize) -> Self {
        Self {
            per_key,
            in_all,
            max_keys,
            full_at: BTreeMap::new(),
            by_time: BTreeSet::new(),
            all_full_at: None,
        }
    }

    /// Spends one token of `key`.
    ///
    /// # Errors
    ///
    /// The bucket of `key` or the common bucket is empty, and no token was spent. The error is the time at which to ask again.
    pub fn take(&mut self, now: Instant, key: Key) -> Result<(), Instant> {
        self.forget_full(now);
        let known = self.full_at.get(&key).copied();
        if known.is_none() && self.full_at.len() >= self.max_keys {
            let soonest = self.by_time.first();
            return Err(soonest.map_or(now + self.per_key.interval, |(at, _)| *at));
        }
        let full_at = known.unwrap_or(now);
        let all_full_at = self.all_full_at.map_or(now, |at| at.max(now));
        let next = self
            .per_key
            .next(full_at)
            .max(self.in_all.next(all_full_at));
        if next > now {
            return Err(next);
        }
        self.all_full_at = Some(all_full_at + self.in_all.interval);
        let later = full_at + self.per_key.interval;
        self.by_time.remove(&(full_at, key.clone()));
        self.by_time.insert((later, key.clone()));
        self.full_at.insert(key, later);
        Ok(())
    }

    /// The number of keys whose bucket is not full.
    pub fn tracked(&self) -> usize {
        self.full_at.len()
    }

    fn forget_full(&mut self, now: Instant) {
        while let Some((at, _)) = self.by_time.first()
            && *at <= now
        {
            if let Some((_, key)) = self.by_time.pop_first() {
                self.full_at.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn after_a_burst_one_is_allowed_per_interval_and_a_rest_earns_another_burst() {
        let begun = Instant::now();
        let mut budget = Budget::new(Rate::new(3, SECOND), Rate::unlimited(), 10);
        for _ in 0..3 {
            assert_eq!(budget.take(begun, 1), Ok(()));
        }
        assert_eq!(budget.take(begun, 1), Err(begun + SECOND));
        let almost = begun + SECOND - Duration::from_nanos(1);
        assert_eq!(budget.take(almost, 1), Err(begun + SECOND));
        assert_eq!(budget.take(begun + SECOND, 1), Ok(()));
        assert_eq!(budget.take(begun + SECOND, 1), Err(begun + 2 * SECOND));
        let rested = begun + 4 * SECOND;
        for _ in 0..3 {
            assert_eq!(budget.take(rested, 1), Ok(()));
        }
        assert_eq!(budget.take(rested, 1), Err(rested + SECOND));
    }

    #[test]
    fn the_common_bucket_bounds_all_keys_together_and_a_refusal_spends_nothing() {
        let begun = Instant::now();
        let mut budget = Budget::new(Rate::new(3, SECOND), Rate::new(2, 10 * SECOND), 10);
        assert_eq!(budget.take(begun, 1), Ok(()));
        assert_eq!(budget.take(begun, 2), Ok(()));
        assert_eq!(budget.take(begun, 3), Err(begun + 10 * SECOND));
        assert_eq!(budget.tracked(), 2);
        assert_eq!(budget.take(begun + 10 * SECOND, 3), Ok(()));
    }

    #[test]
    fn no_more_keys_are_tracked_than_allowed_and_a_full_bucket_makes_room() {
        let begun = Instant::now();
        let mut budget = Budget::new(Rate::new(3, SECOND), Rate::unlimited(), 2);
        assert_eq!(budget.take(begun, 1), Ok(()));
        assert_eq!(budget.take(begun, 1), Ok(()));
        assert_eq!(budget.take(begun, 2), Ok(()));
        assert_eq!(budget.take(begun, 3), Err(begun + SECOND));
        assert_eq!(budget.take(begun, 1), Ok(()));
        assert_eq!(budget.take(begun + SECOND, 3), Ok(()));
        assert_eq!(budget.tracked(), 2);
    }

    proptest! {
        #[test]
        fn in_any_time_a_key_gets_its_burst_and_one_per_interval_at_most(
            asked in proptest::collection::vec((0_u64..2_000, 0_u8..4), 1..200),
        ) {
            let begun = Instant::now();
            let mut budget = Budget::new(Rate::new(3, SECOND), Rate::new(5, SECOND / 2), 3);
            let (mut now, mut given) = (begun, Vec::new());
            for (millis, key) in asked {
                now += Duration::from_millis(millis);
                match budget.take(now, key) {
                    Ok(()) => given.push((now, key)),
                    Err(next) => prop_assert!(next > now),
                }
                prop_assert!(budget.tracked() <= 3);
            }
            for (n, (from, key)) in given.iter().enumerate() {
                let after: Vec<_> = given[n..].iter().filter(|(_, other)| other == key).collect();
                for (count, (until, _)) in after.iter().enumerate() {
                    let earned = (*until - *from).as_secs() + 3;
                    prop_assert!((count as u64) < earned);
                }
            }
        }
    }
}
