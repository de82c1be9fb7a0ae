//! The ids of the messages that the node has seen, and the contents of the latest messages.

use std::{
    collections::VecDeque,
    hash::{DefaultHasher, Hasher},
    time::{Duration, Instant},
};

use bytes::Bytes;
use hashbrown::HashTable;

use crate::{BroadcastConfig, MessageId, wire::IHave};

/// Ids in the order of their arrival. Each has a number, which counts from 0 and wraps.
#[derive(Debug)]
pub(super) struct History {
    start: Instant,
    /// Makes the hash secret, so that nobody can choose ids that collide.
    seed: u64,
    table: HashTable<u32>,
    seen: VecDeque<Seen>,
    /// The number of the first id in `seen`.
    first: u32,
    /// The contents of the last ids.
    contents: VecDeque<Content>,
    bytes: usize,
    forgotten_early: u64,
}

#[derive(Debug)]
struct Seen {
    id: MessageId,
    /// In milliseconds since the start.
    at: u64,
}

/// A message without its id.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) bytes: Bytes,
    pub(super) round: u16,
    /// The neighbour that delivered the message. Own messages have none.
    pub(super) from: Option<u32>,
}

impl History {
    pub(super) fn new(start: Instant, seed: u64) -> Self {
        Self {
            start,
            seed,
            table: HashTable::new(),
            seen: VecDeque::new(),
            first: 0,
            contents: VecDeque::new(),
            bytes: 0,
            forgotten_early: 0,
        }
    }

    pub(super) fn forgotten_early(&self) -> u64 {
        self.forgotten_early
    }

    pub(super) fn contains(&self, id: &MessageId) -> bool {
        self.position(id).is_some()
    }

    /// The content and the round of a message, if the content is still there.
    pub(super) fn content(&self, id: &MessageId) -> Option<(Bytes, u16)> {
        let without = self.seen.len() - self.contents.len();
        let content = &self.contents[self.position(id)?.checked_sub(without)?];
        Some((content.bytes.clone(), content.round))
    }

    /// The round of a message that a neighbour delivered, and the neighbour.
    pub(super) fn delivery(&self, id: &MessageId) -> Option<(u16, u32)> {
        let without = self.seen.len() - self.contents.len();
        let content = &self.contents[self.position(id)?.checked_sub(without)?];
        Some((content.round, content.from?))
    }

    /// Messages since a time whose content is there, at most `count`, the newest first.
    pub(super) fn recent(&self, since: Instant, count: usize) -> Vec<IHave> {
        let since = self.millis(since);
        let newest = self.seen.iter().rev().zip(self.contents.iter().rev());
        let recent = newest.take_while(|(seen, _)| seen.at >= since).take(count);
        let recent = recent.map(|(seen, content)| IHave {
            id: seen.id,
            round: content.round,
        });
        recent.collect()
    }

    /// Adds a message that is not in the history.
    pub(super) fn insert(
        &mut self,
        now: Instant,
        id: MessageId,
        content: Content,
        config: &BroadcastConfig,
    ) {
        while self.seen.len() >= config.max_ids.max(1) {
            self.forget_first();
            self.forgotten_early += 1;
        }
        let number = self
            .first
            .wrapping_add(u32::try_from(self.seen.len()).unwrap_or(0));
        self.seen.push_back(Seen {
            id,
            at: self.millis(now),
        });
        let (seed, first, seen) = (self.seed, self.first, &self.seen);
        let rehash = |number: &u32| hash(seed, &seen[number.wrapping_sub(first) as usize].id);
        self.table.insert_unique(hash(seed, &id), number, rehash);
        self.bytes += content.bytes.len();
        self.contents.push_back(content);
        while self.bytes > config.max_content_bytes && self.drop_content() {}
    }

    pub(super) fn next_expiry(&self, config: &BroadcastConfig) -> Option<Instant> {
        let without = self.seen.len() - self.contents.len();
        let content = self
            .seen
            .get(without)
            .map(|seen| self.instant(seen.at) + config.content_retention);
        let id = self
            .seen
            .front()
            .map(|seen| self.instant(seen.at) + config.id_retention);
        // Once per second is often enough.
        let due = id.into_iter().chain(content).min()?;
        Some(due + Duration::from_secs(1))
    }

    pub(super) fn expire(&mut self, now: Instant, config: &BroadcastConfig) {
        let now = self.millis(now);
        let is_over =
            |seen: &Seen, keep: Duration| u128::from(now) >= u128::from(seen.at) + keep.as_millis();
        while let Some(seen) = self.seen.get(self.seen.len() - self.contents.len()) {
            if !is_over(seen, config.content_retention) || !self.drop_content() {
                break;
            }
        }
        while self
            .seen
            .front()
            .is_some_and(|seen| is_over(seen, config.id_retention))
        {
            self.forget_first();
        }
        if self.seen.is_empty() {
            self.seen.shrink_to_fit();
            self.contents.shrink_to_fit();
            self.table.shrink_to(0, |_| 0);
        }
    }

    fn drop_content(&mut self) -> bool {
        let dropped = self.contents.pop_front();
        self.bytes -= dropped.as_ref().map_or(0, |content| content.bytes.len());
        dropped.is_some()
    }

    fn forget_first(&mut self) {
        if self.contents.len() == self.seen.len() {
            self.drop_content();
        }
        let Some(seen) = self.seen.pop_front() else {
            return;
        };
        let first = self.first;
        if let Ok(entry) = self
            .table
            .find_entry(hash(self.seed, &seen.id), |number| *number == first)
        {
            entry.remove();
        }
        self.first = first.wrapping_add(1);
    }

    fn position(&self, id: &MessageId) -> Option<usize> {
        let at = |number: &u32| number.wrapping_sub(self.first) as usize;
        let found = self.table.find(hash(self.seed, id), |number| {
            self.seen[at(number)].id == *id
        });
        found.map(at)
    }

    fn millis(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.start).as_millis()).unwrap_or(u64::MAX)
    }

    fn instant(&self, millis: u64) -> Instant {
        self.start + Duration::from_millis(millis)
    }
}

fn hash(seed: u64, id: &MessageId) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write_u64(seed);
    hasher.write(id.as_bytes());
    hasher.finish()
}
