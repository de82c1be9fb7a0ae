//! The shares of a store. A peer can have any number of ids, so the places of a full store are shared among the senders' sites.

use std::collections::{BTreeMap, BTreeSet};

use crate::kad::{key::Distance, place::Site};

/// How many entries each sender and each site has.
#[derive(Debug)]
pub(crate) struct Shares<Id> {
    pub(super) senders: BTreeMap<Id, usize>,
    sites: BTreeMap<Site, Entries>,
    /// The sites in the order of their numbers of entries.
    pub(super) sizes: BTreeSet<(usize, Site)>,
}

/// The entries of a site.
#[derive(Debug, Default)]
struct Entries {
    count: usize,
    /// How many of them are at each distance from this node.
    distances: BTreeMap<Distance, usize>,
}

impl<Id: Clone + Ord> Shares<Id> {
    pub(super) fn new() -> Self {
        Self {
            senders: BTreeMap::new(),
            sites: BTreeMap::new(),
            sizes: BTreeSet::new(),
        }
    }

    /// How many entries a sender has.
    pub(super) fn of_sender(&self, sender: &Id) -> usize {
        self.senders.get(sender).copied().unwrap_or(0)
    }

    pub(super) fn add(&mut self, sender: &Id, site: Site, distance: Distance) {
        *self.senders.entry(sender.clone()).or_default() += 1;
        let entries = self.sites.entry(site).or_default();
        self.sizes.remove(&(entries.count, site));
        entries.count += 1;
        *entries.distances.entry(distance).or_default() += 1;
        self.sizes.insert((entries.count, site));
    }

    pub(super) fn remove(&mut self, sender: &Id, site: Site, distance: Distance) {
        decrease(&mut self.senders, sender);
        let Some(entries) = self.sites.get_mut(&site) else {
            return;
        };
        self.sizes.remove(&(entries.count, site));
        entries.count = entries.count.saturating_sub(1);
        decrease(&mut entries.distances, &distance);
        match entries.count {
            0 => {
                self.sites.remove(&site);
            }
            count => {
                self.sizes.insert((count, site));
            }
        }
    }

    /// The entry of a full store that makes room for a new entry of this site: the farthest entry of the site that has most
    /// entries. `None`: the new entry would give its site more entries than any other site has, and it is not nearer.
    pub(super) fn displaced(&self, site: Site, distance: Distance) -> Option<(Site, Distance)> {
        let own = self.sites.get(&site).map_or(0, |entries| entries.count);
        let (most, largest) = *self.sizes.last()?;
        let from = if most == own { site } else { largest };
        let (farthest, _) = self.sites.get(&from)?.distances.last_key_value()?;
        (most > own + 1 || *farthest > distance).then_some((from, *farthest))
    }
}

fn decrease<K: Ord>(counts: &mut BTreeMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            counts.remove(key);
        }
    }
}
