//! Counts by key. A key whose count is zero has no entry.

use std::hash::{BuildHasher, DefaultHasher, Hash, Hasher};

use hashbrown::HashTable;

/// Hashes with a secret, so that no stranger can choose what collides.
#[derive(Debug, Clone, Copy)]
pub(super) struct Keyed(pub(super) u64);

impl BuildHasher for Keyed {
    type Hasher = DefaultHasher;

    fn build_hasher(&self) -> DefaultHasher {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.0);
        hasher
    }
}

/// 16 bytes.
#[derive(Debug)]
struct Entry {
    what: u64,
    which: u32,
    count: u32,
}

#[derive(Debug)]
pub(super) struct Counts {
    entries: HashTable<Entry>,
    hasher: Keyed,
}

impl Counts {
    pub(super) fn new(hasher: Keyed) -> Self {
        let entries = HashTable::new();
        Self { entries, hasher }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.entries.allocation_size()
    }

    pub(super) fn of(&self, key: (u64, u32)) -> usize {
        let found = self.entries.find(self.hash(key), |entry| entry.is(key));
        found.map_or(0, |entry| entry.count as usize)
    }

    pub(super) fn add(&mut self, key: (u64, u32)) {
        let hash = self.hash(key);
        if let Some(entry) = self.entries.find_mut(hash, |entry| entry.is(key)) {
            entry.count += 1;
            return;
        }
        let hasher = self.hasher;
        let (what, which) = key;
        let entry = Entry {
            what,
            which,
            count: 1,
        };
        let rehash = |entry: &Entry| hasher.hash_one((entry.what, entry.which));
        self.entries.insert_unique(hash, entry, rehash);
    }

    pub(super) fn subtract(&mut self, key: (u64, u32)) {
        let hash = self.hash(key);
        let Ok(mut entry) = self.entries.find_entry(hash, |entry| entry.is(key)) else {
            return;
        };
        if entry.get().count > 1 {
            entry.get_mut().count -= 1;
            return;
        }
        entry.remove();
        if self.entries.is_empty() {
            self.entries = HashTable::new();
        }
    }

    fn hash(&self, key: (u64, u32)) -> u64 {
        self.hasher.hash_one(key)
    }
}

impl Entry {
    fn is(&self, key: (u64, u32)) -> bool {
        (self.what, self.which) == key
    }
}

/// What a value is remembered by where it need not be found again: 64 bits that only who knows the secret can foresee.
pub(super) fn fingerprint(hasher: Keyed, what: u8, value: &impl Hash) -> u64 {
    hasher.hash_one((what, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_zero_times_takes_no_memory() {
        let mut counts = Counts::new(Keyed(1));
        let keys = [(1, 1), (1, 2), (2, 1), (2, 2)];
        for (times, key) in (1..).zip(keys) {
            for _ in 0..times {
                counts.add(key);
            }
        }
        assert_eq!(keys.map(|key| counts.of(key)), [1, 2, 3, 4]);
        assert_eq!((counts.of((3, 1)), counts.len()), (0, 4));
        assert!((4 * 16..16 * 16).contains(&counts.bytes()));
        counts.subtract((3, 1));
        for (times, key) in (1..).zip(keys) {
            for left in (0..times).rev() {
                counts.subtract(key);
                assert_eq!(counts.of(key), left);
            }
            counts.subtract(key);
        }
        assert_eq!((counts.len(), counts.bytes()), (0, 0));
    }

    #[test]
    fn a_fingerprint_depends_on_the_secret_the_kind_and_the_value() {
        let print = |secret, kind, value: u64| fingerprint(Keyed(secret), kind, &value);
        let prints = [
            print(1, 1, 1),
            print(2, 1, 1),
            print(1, 2, 1),
            print(1, 1, 2),
        ];
        let different: std::collections::BTreeSet<u64> = prints.into_iter().collect();
        assert_eq!(different.len(), 4);
        assert_eq!(print(1, 1, 1), prints[0]);
    }
}
