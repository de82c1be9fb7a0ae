//! Items in groups. The first item of the largest group is found without a search.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

/// The items of each group, in their order. No two groups contain the same item.
#[derive(Debug)]
pub(super) struct Ranked<Group, Item> {
    groups: BTreeMap<Group, BTreeSet<Item>>,
    /// The largest group first. Groups of one size are in the order of their heads.
    order: BTreeMap<(Reverse<usize>, Item), Group>,
    len: usize,
}

impl<Group, Item> Default for Ranked<Group, Item> {
    fn default() -> Self {
        Self {
            groups: BTreeMap::new(),
            order: BTreeMap::new(),
            len: 0,
        }
    }
}

impl<Group: Ord + Clone, Item: Ord + Copy> Ranked<Group, Item> {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn len_of(&self, group: &Group) -> usize {
        self.groups.get(group).map_or(0, BTreeSet::len)
    }

    /// The first item of `group`.
    pub(super) fn head_of(&self, group: &Group) -> Option<Item> {
        self.groups.get(group)?.first().copied()
    }

    /// The size and the first item of the largest group.
    pub(super) fn largest(&self) -> Option<(usize, Item)> {
        let ((Reverse(len), head), _) = self.order.first_key_value()?;
        Some((*len, *head))
    }

    pub(super) fn insert(&mut self, group: &Group, item: Item) {
        self.change(group, |items| items.insert(item));
        self.len += 1;
    }

    pub(super) fn remove(&mut self, group: &Group, item: &Item) {
        self.change(group, |items| items.remove(item));
        self.len -= 1;
    }

    fn change(&mut self, group: &Group, change: impl FnOnce(&mut BTreeSet<Item>) -> bool) {
        let items = self.groups.entry(group.clone()).or_default();
        let rank = |items: &BTreeSet<Item>| {
            let head = items.first().copied()?;
            Some((Reverse(items.len()), head))
        };
        let before = rank(items);
        let changed = change(items);
        debug_assert!(changed, "an item is in one group, once");
        let after = rank(items);
        if let Some(before) = before {
            self.order.remove(&before);
        }
        match after {
            Some(after) => {
                self.order.insert(after, group.clone());
            }
            None => {
                self.groups.remove(group);
            }
        }
    }
}
