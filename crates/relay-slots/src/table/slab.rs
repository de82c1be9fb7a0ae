//! A slab: values under small numbers, which are reused.

use std::ops::{Index, IndexMut};

/// No number.
pub(super) const NONE: u32 = u32::MAX;

#[derive(Debug)]
pub(super) struct Slab<T> {
    entries: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            free: Vec::new(),
        }
    }
}

impl<T> Slab<T> {
    pub(super) fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    /// What it takes up, used or not.
    pub(super) fn bytes(&self) -> usize {
        self.entries.capacity() * size_of::<Option<T>>() + self.free.capacity() * size_of::<u32>()
    }

    pub(super) fn insert(&mut self, value: T) -> u32 {
        if let Some(at) = self.free.pop() {
            self.entries[at as usize] = Some(value);
            return at;
        }
        if self.entries.len() == self.entries.capacity() {
            // A sixteenth at a time: doubling would leave up to half of it empty.
            let more = (self.entries.len() / 16).max(4);
            self.entries.reserve_exact(more);
        }
        let at = u32::try_from(self.entries.len()).unwrap_or(NONE);
        assert!(at != NONE, "more entries than numbers");
        self.entries.push(Some(value));
        at
    }

    pub(super) fn remove(&mut self, at: u32) -> Option<T> {
        let removed = self.entries.get_mut(at as usize)?.take()?;
        self.free.push(at);
        if self.len() == 0 {
            *self = Self::default();
        }
        Some(removed)
    }

    pub(super) fn get(&self, at: u32) -> Option<&T> {
        self.entries.get(at as usize)?.as_ref()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        let numbered = (0..).zip(&self.entries);
        numbered.filter_map(|(at, entry)| Some((at, entry.as_ref()?)))
    }
}

impl<T> Index<u32> for Slab<T> {
    type Output = T;

    fn index(&self, at: u32) -> &T {
        self.get(at).expect("a number names an entry")
    }
}

impl<T> IndexMut<u32> for Slab<T> {
    fn index_mut(&mut self, at: u32) -> &mut T {
        let entry = self.entries.get_mut(at as usize);
        entry
            .and_then(Option::as_mut)
            .expect("a number names an entry")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_slab_grows_by_a_sixteenth_and_therefore_seldom() {
        let (mut slab, mut growths) = (Slab::default(), 0);
        for n in 0..10_000_u64 {
            let before = slab.entries.capacity();
            assert_eq!(u64::from(slab.insert(n)), n);
            let capacity = slab.entries.capacity();
            assert!(capacity <= slab.len() + slab.len() / 16 + 4, "{capacity}");
            growths += usize::from(capacity != before);
        }
        assert!((80..110).contains(&growths), "{growths}");
    }

    #[test]
    fn a_number_is_used_again_and_an_empty_slab_has_no_memory() {
        let mut slab: Slab<u64> = Slab::default();
        let numbers = [10, 11, 12, 13].map(|value| slab.insert(value));
        assert_eq!((slab.len(), slab.bytes()), (4, 4 * 16));
        assert_eq!(slab.remove(numbers[1]), Some(11));
        assert_eq!((slab.remove(numbers[1]), slab.len()), (None, 3));
        assert_eq!(slab.get(numbers[1]), None);
        // The number that is free takes memory, too.
        assert!((4 * 16 + 4..4 * 16 + 64).contains(&slab.bytes()));
        let left: Vec<_> = slab.iter().map(|(at, value)| (at, *value)).collect();
        assert_eq!(left, [(0, 10), (2, 12), (3, 13)]);
        assert_eq!(slab.insert(14), numbers[1]);
        assert_eq!((slab[numbers[1]], slab.len()), (14, 4));
        for number in numbers {
            slab.remove(number);
        }
        assert_eq!((slab.len(), slab.bytes()), (0, 0));
    }
}
