//! The routing table: servers that have answered, in one bucket per number of leading bits that they share with this node.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::{
    key::{Distance, Key},
    message::PeerInfo,
    place::Subnet,
};

/// How many entries of a bucket may be in one subnet.
pub(crate) const MAX_PER_BUCKET: usize = 2;

/// How many entries of the table may be in one subnet.
pub(crate) const MAX_PER_TABLE: usize = 3;

/// How many peers wait to replace a failed entry of a bucket.
const SPARES: usize = 5;

/// An entry leaves the table after this many failures in succession, even if no other peer replaces it.
const MAX_FAILURES: u8 = 3;

/// A server that has answered.
#[derive(Debug, Clone)]
pub(crate) struct Entry<Id, A> {
    pub(crate) info: PeerInfo<Id, A>,
    pub(crate) key: Key,
    subnet: Option<Subnet>,
    /// When it last answered.
    heard: Instant,
    /// How many requests have failed since then.
    failures: u8,
}

impl<Id, A> Entry<Id, A> {
    /// Whether the last request to this peer failed. Other peers are not told of such an entry.
    pub(crate) fn is_failing(&self) -> bool {
        self.failures > 0
    }
}

#[derive(Debug)]
struct Bucket<Id, A> {
    entries: Vec<Entry<Id, A>>,
    /// Peers that answered while the bucket was full, the latest at the end.
    spares: Vec<Entry<Id, A>>,
    /// The last lookup of a key in this bucket.
    looked: Option<Instant>,
}

/// What an answer or a failure has changed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Changed<Id> {
    pub(crate) entered: Option<Id>,
    pub(crate) left: Option<Id>,
}

#[derive(Debug)]
pub(crate) struct Table<Id, A> {
    local: Key,
    k: usize,
    buckets: BTreeMap<u32, Bucket<Id, A>>,
    /// How many entries each subnet has.
    subnets: BTreeMap<Subnet, usize>,
    len: usize,
}

impl<Id: Clone + Ord, A: Clone> Table<Id, A> {
    pub(crate) fn new(local: Key, k: usize) -> Self {
        Self {
            local,
            k,
            buckets: BTreeMap::new(),
            subnets: BTreeMap::new(),
            len: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Entry<Id, A>> {
        self.buckets.values().flat_map(|bucket| &bucket.entries)
    }

    pub(crate) fn get(&self, key: &Key) -> Option<&Entry<Id, A>> {
        let bucket = self.buckets.get(&self.local.shared_bits(key))?;
        bucket.entries.iter().find(|entry| entry.key == *key)
    }

    /// Whether a server that has not answered yet should be asked, because the table has use for it.
    pub(crate) fn wants(&self, key: &Key) -> bool {
        let Some(bucket) = self.buckets.get(&self.local.shared_bits(key)) else {
            return *key != self.local;
        };
        let known = bucket
            .entries
            .iter()
            .chain(&bucket.spares)
            .any(|entry| entry.key == *key);
        let room = bucket.entries.len() < self.k || bucket.spares.len() < SPARES;
        !known && (room || bucket.entries.iter().any(Entry::is_failing))
    }

    /// A server has answered: it enters the table, or waits for a place.
    pub(crate) fn answered(
        &mut self,
        now: Instant,
        key: Key,
        info: PeerInfo<Id, A>,
        subnet: Option<Subnet>,
    ) -> Changed<Id> {
        let mut changed = Changed {
            entered: None,
            left: None,
        };
        if key == self.local {
            return changed;
        }
        let index = self.local.shared_bits(&key);
        let known = self.remove(index, &key);
        let id = info.id.clone();
        let entry = Entry {
            info,
            key,
            subnet,
            heard: now,
            failures: 0,
        };
        let was_entry = known.is_some();
        if self.admits(index, subnet) || self.make_room(index, subnet, &mut changed) {
            self.insert(index, entry);
            changed.entered = (!was_entry).then_some(id);
        } else if was_entry {
            // The peer has moved to a subnet that has its share.
            changed.left = Some(id);
        } else {
            self.keep_spare(index, entry);
        }
        changed
    }

    /// A subnet that has its share of entries has no spares, so that it pushes no other peer out.
    fn keep_spare(&mut self, index: u32, entry: Entry<Id, A>) {
        if let Some(subnet) = entry.subnet {
            let in_table = self.subnets.get(&subnet).copied().unwrap_or(0);
            let bucket = self.bucket(index);
            let all = bucket.entries.iter().chain(&bucket.spares);
            let in_bucket = all.filter(|other| other.subnet == Some(subnet)).count();
            if in_table >= MAX_PER_TABLE || in_bucket >= MAX_PER_BUCKET {
                return;
            }
        }
        let spares = &mut self.bucket(index).spares;
        if spares.len() >= SPARES {
            spares.remove(0);
        }
        spares.push(entry);
    }

    /// A request to this peer has failed: a spare replaces it. Without a spare it stays for a while, because the fault may be
    /// this node's.
    pub(crate) fn failed(&mut self, key: &Key) -> Changed<Id> {
        let mut changed = Changed {
            entered: None,
            left: None,
        };
        let index = self.local.shared_bits(key);
        let Some(bucket) = self.buckets.get_mut(&index) else {
            return changed;
        };
        bucket.spares.retain(|spare| spare.key != *key);
        let Some(entry) = bucket.entries.iter_mut().find(|entry| entry.key == *key) else {
            return changed;
        };
        entry.failures = entry.failures.saturating_add(1);
        let lost = entry.failures >= MAX_FAILURES;
        let Some(removed) = self.remove(index, key) else {
            return changed;
        };
        let spares = &self.bucket(index).spares;
        let subnets: Vec<Option<Subnet>> = spares.iter().map(|spare| spare.subnet).collect();
        let fits = subnets
            .iter()
            .rposition(|subnet| self.admits(index, *subnet));
        if let Some(spare) = fits {
            let spare = self.bucket(index).spares.remove(spare);
            changed.entered = Some(spare.info.id.clone());
            changed.left = Some(removed.info.id);
            self.insert(index, spare);
        } else if lost {
            changed.left = Some(removed.info.id);
        } else {
            self.insert(index, removed);
        }
        changed
    }

    /// A peer does not serve any more.
    pub(crate) fn forget(&mut self, key: &Key) -> Changed<Id> {
        let removed = self.remove(self.local.shared_bits(key), key);
        Changed {
            entered: None,
            left: removed.map(|entry| entry.info.id),
        }
    }

    /// Failing entries make room.
    fn make_room(&mut self, index: u32, subnet: Option<Subnet>, changed: &mut Changed<Id>) -> bool {
        let failing = self
            .bucket(index)
            .entries
            .iter()
            .filter(|entry| entry.is_failing());
        let Some(key) = failing
            .max_by_key(|entry| entry.failures)
            .map(|entry| entry.key)
        else {
            return false;
        };
        let Some(failing) = self.remove(index, &key) else {
            return false;
        };
        if self.admits(index, subnet) {
            changed.left = Some(failing.info.id);
            return true;
        }
        self.insert(index, failing);
        false
    }

    fn admits(&self, index: u32, subnet: Option<Subnet>) -> bool {
        let entries = self
            .buckets
            .get(&index)
            .map_or(&[][..], |bucket| &bucket.entries);
        if entries.len() >= self.k {
            return false;
        }
        subnet.is_none_or(|subnet| {
            let in_table = self.subnets.get(&subnet).copied().unwrap_or(0);
            let in_bucket = entries
                .iter()
                .filter(|entry| entry.subnet == Some(subnet))
                .count();
            in_table < MAX_PER_TABLE && in_bucket < MAX_PER_BUCKET
        })
    }

    fn insert(&mut self, index: u32, entry: Entry<Id, A>) {
        if let Some(subnet) = entry.subnet {
            *self.subnets.entry(subnet).or_default() += 1;
        }
        self.len += 1;
        self.bucket(index).entries.push(entry);
    }

    /// Takes an entry out, and forgets a spare with this key.
    fn remove(&mut self, index: u32, key: &Key) -> Option<Entry<Id, A>> {
        let bucket = self.buckets.get_mut(&index)?;
        bucket.spares.retain(|spare| spare.key != *key);
        let at = bucket.entries.iter().position(|entry| entry.key == *key)?;
        let entry = bucket.entries.remove(at);
        self.len -= 1;
        if let Some(subnet) = entry.subnet
            && let Some(count) = self.subnets.get_mut(&subnet)
        {
            *count -= 1;
            if *count == 0 {
                self.subnets.remove(&subnet);
            }
        }
        Some(entry)
    }

    fn bucket(&mut self, index: u32) -> &mut Bucket<Id, A> {
        let empty = || Bucket {
            entries: Vec::new(),
            spares: Vec::new(),
            looked: None,
        };
        self.buckets.entry(index).or_insert_with(empty)
    }

    /// The accepted entries nearest to a target, the nearest first.
    pub(crate) fn closest(
        &self,
        target: &Key,
        count: usize,
        accepts: impl Fn(&Entry<Id, A>) -> bool,
    ) -> Vec<&Entry<Id, A>> {
        let own = self.local.shared_bits(target);
        let mut found = Vec::new();
        // Peers in the target's bucket are nearest. All deeper buckets differ from the target in the same bit, and each
        // shallower bucket differs from it earlier.
        add(
            self.buckets.get(&own).into_iter(),
            target,
            &accepts,
            &mut found,
        );
        if found.len() < count {
            let deeper = self.buckets.range(own.saturating_add(1)..);
            add(
                deeper.map(|(_, bucket)| bucket),
                target,
                &accepts,
                &mut found,
            );
        }
        for (_, bucket) in self.buckets.range(..own).rev() {
            if found.len() >= count {
                break;
            }
            add(std::iter::once(bucket), target, &accepts, &mut found);
        }
        found.truncate(count);
        found.into_iter().map(|(_, entry)| entry).collect()
    }

    /// A lookup of this key begins.
    pub(crate) fn looked_up(&mut self, now: Instant, target: &Key) {
        let index = self.local.shared_bits(target);
        if let Some(bucket) = self.buckets.get_mut(&index) {
            bucket.looked = Some(now);
        }
    }

    /// The farthest bucket that no lookup has touched for `age`, up to the bucket of the k-th nearest entry: a lookup of this
    /// node itself finds all nearer peers. Full buckets need no lookup.
    pub(crate) fn untouched(&self, now: Instant, age: Duration) -> Option<u32> {
        let (mut left, mut last) = (self.k, 0);
        for (index, bucket) in self.buckets.iter().rev() {
            last = *index;
            left = left.saturating_sub(bucket.entries.len());
            if left == 0 {
                break;
            }
        }
        let is_old = |index: &u32| {
            let Some(bucket) = self.buckets.get(index) else {
                return true;
            };
            let looked = bucket.looked;
            let is_old = looked.is_none_or(|at| now.saturating_duration_since(at) >= age);
            is_old && bucket.entries.len() < self.k
        };
        (self.len > 0).then(|| (0..last).find(is_old)).flatten()
    }

    /// A lookup of this bucket begins, even if the bucket is empty.
    pub(crate) fn touch(&mut self, now: Instant, index: u32) {
        self.bucket(index).looked = Some(now);
    }

    /// The entry that has been silent for longest, if it has been for `age` or if a request to it has failed.
    pub(crate) fn quietest(
        &self,
        now: Instant,
        age: Duration,
        but: impl Fn(&Key) -> bool,
    ) -> Option<&Entry<Id, A>> {
        let quiet = self.iter().filter(|entry| {
            let is_old = now.saturating_duration_since(entry.heard) >= age;
            (is_old || entry.is_failing()) && !but(&entry.key)
        });
        quiet.min_by_key(|entry| entry.heard)
    }

    pub(crate) fn clear(&mut self) -> Vec<Id> {
        let ids = self.iter().map(|entry| entry.info.id.clone()).collect();
        self.buckets.clear();
        self.subnets.clear();
        self.len = 0;
        ids
    }
}

/// Appends the entries of these buckets in the order of their distance.
fn add<'a, Id, A>(
    buckets: impl Iterator<Item = &'a Bucket<Id, A>>,
    target: &Key,
    accepts: &impl Fn(&Entry<Id, A>) -> bool,
    found: &mut Vec<(Distance, &'a Entry<Id, A>)>,
) {
    let first = found.len();
    let entries = buckets.flat_map(|bucket| &bucket.entries);
    let entries = entries.filter(|entry| accepts(entry));
    found.extend(entries.map(|entry| (entry.key.distance(target), entry)));
    found[first..].sort_unstable_by_key(|(distance, _)| *distance);
}

#[cfg(test)]
mod tests;
