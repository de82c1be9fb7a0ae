//! Counts by key. A key whose count is zero has no entry.

use std::collections::{BTreeMap, btree_map::Entry};

pub(super) fn decrease<Key: Ord>(counts: &mut BTreeMap<Key, usize>, key: Key) {
    if let Entry::Occupied(mut count) = counts.entry(key) {
        *count.get_mut() -= 1;
        if *count.get() == 0 {
            count.remove();
        }
    }
}
