//! Things by small numbers, which are used again.

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
            // An eighth at a time: doubling would leave up to half of it empty.
            let more = (self.entries.len() / 8).max(4);
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
