//! Messages that a neighbour has announced and that have not arrived.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use crate::MessageId;

/// How many times the delay between attempts doubles at the most.
const MAX_DOUBLINGS: u32 = 4;

#[derive(Debug, Default)]
pub(super) struct Missing {
    messages: BTreeMap<MessageId, Entry>,
    due: BTreeSet<(Instant, MessageId)>,
}

#[derive(Debug)]
struct Entry {
    since: Instant,
    due: Instant,
    /// The neighbours that have the message, with the round in which they received it.
    sources: Vec<(u32, u16)>,
    attempts: u32,
}

impl Missing {
    /// Notes that a neighbour has a message. Returns false if the neighbour has announced the message before.
    pub(super) fn note(
        &mut self,
        now: Instant,
        id: MessageId,
        peer: u32,
        round: u16,
        delay: Duration,
    ) -> bool {
        let due = &mut self.due;
        let entry = self.messages.entry(id).or_insert_with(|| {
            due.insert((now + delay, id));
            Entry {
                since: now,
                due: now + delay,
                sources: Vec::new(),
                attempts: 0,
            }
        });
        let is_new = entry.sources.iter().all(|(source, _)| *source != peer);
        if is_new {
            entry.sources.push((peer, round));
        }
        is_new
    }

    /// Removes a message that has arrived or was missing for too long. Returns the neighbours that announced it.
    pub(super) fn take(&mut self, id: &MessageId) -> Option<Vec<(u32, u16)>> {
        let entry = self.messages.remove(id)?;
        self.due.remove(&(entry.due, *id));
        self.release();
        Some(entry.sources)
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(due, _)| *due)
    }

    /// Takes a message that must be asked for. [`Self::next_source`] puts it back.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<MessageId> {
        let first = self.due.first().copied().filter(|(due, _)| now >= *due)?;
        self.due.remove(&first);
        Some(first.1)
    }

    pub(super) fn is_over(&self, id: &MessageId, now: Instant, timeout: Duration) -> bool {
        self.messages
            .get(id)
            .is_none_or(|entry| now >= entry.since + timeout)
    }

    /// The neighbour to ask now. The sources take turns.
    pub(super) fn next_source(
        &mut self,
        id: &MessageId,
        now: Instant,
        retry_delay: Duration,
        timeout: Duration,
    ) -> Option<(u32, u16)> {
        let entry = self.messages.get_mut(id)?;
        let round = entry.attempts as usize / entry.sources.len().max(1);
        let doublings = u32::try_from(round)
            .unwrap_or(MAX_DOUBLINGS)
            .min(MAX_DOUBLINGS);
        let source = entry
            .sources
            .get(entry.attempts as usize % entry.sources.len().max(1))
            .copied();
        entry.attempts = entry.attempts.saturating_add(1);
        entry.due = (now + retry_delay * 2_u32.pow(doublings)).min(entry.since + timeout);
        self.due.insert((entry.due, *id));
        source
    }

    /// A neighbour is not asked for a message any more. Returns whether it had announced the message.
    pub(super) fn forget(&mut self, id: &MessageId, peer: u32) -> bool {
        let Some(entry) = self.messages.get_mut(id) else {
            return false;
        };
        let before = entry.sources.len();
        entry.sources.retain(|(source, _)| *source != peer);
        let had_announced = entry.sources.len() < before;
        if entry.sources.is_empty() {
            self.take(id);
        }
        had_announced
    }

    /// A neighbour is gone. Messages that nobody else has are forgotten.
    pub(super) fn forget_source(&mut self, peer: u32) {
        let due = &mut self.due;
        self.messages.retain(|id, entry| {
            entry.sources.retain(|(source, _)| *source != peer);
            let keep = !entry.sources.is_empty();
            if !keep {
                due.remove(&(entry.due, *id));
            }
            keep
        });
        self.release();
    }

    /// An empty map keeps its last node, which is large.
    fn release(&mut self) {
        if self.messages.is_empty() {
            *self = Self::default();
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }
}
