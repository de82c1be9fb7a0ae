//! Contents and ids for the neighbours.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::{Broadcast, Neighbour, history::Content};
use crate::{
    MessageId,
    message::{Gossip, Out},
    wire::{IHave, MAX_IHAVES, Scope},
};

/// How many ids a neighbour gets at once. A neighbour notes a bounded number of missing messages.
const MAX_BATCH: usize = 2 * MAX_IHAVES;
/// How long the next ids wait.
const BATCH_GAP: Duration = Duration::from_millis(40);
/// How many ids wait for a neighbour. Further ids are dropped and counted.
const MAX_LAZY: usize = 8192;
/// When the link of a neighbour is replaced, the ids from this time are announced again.
const ANNOUNCE_AGAIN_WINDOW: Duration = Duration::from_secs(5);

impl Neighbour {
    /// Whether the next ids for the neighbour would wait for a long time, although its queue has room.
    pub(super) fn has_many_ids(&self) -> bool {
        !self.congested && self.lazy.len() >= 2 * MAX_BATCH
    }
}

impl Broadcast {
    /// Publishes a message. Returns the number of neighbours to which the message or its id goes, or `None` if it was seen before.
    pub(crate) fn publish(
        &mut self,
        now: Instant,
        id: MessageId,
        content: Bytes,
        everywhere: bool,
        out: &mut Vec<Out>,
    ) -> Option<usize> {
        if self.history.contains(&id) {
            return None;
        }
        self.counters.published += 1;
        self.delayed = None;
        if !everywhere {
            return Some(self.push_once(id, &content, out));
        }
        let content = Content {
            bytes: content,
            round: 0,
            from: None,
        };
        let count = self.push(now, id, &content, out);
        self.history.insert(now, id, content, &self.config);
        Some(count)
    }

    /// Pushes a message to the neighbours, which do not forward it. A neighbour with a full queue does not get it.
    fn push_once(&mut self, id: MessageId, content: &Bytes, out: &mut Vec<Out>) -> usize {
        let scope = Scope::Neighbors;
        let mut count = 0;
        for neighbour in self.neighbours.iter().filter(|to| !to.congested) {
            let content = content.clone();
            let message = Gossip::Content { id, content, scope };
            out.push(Out::Gossip(neighbour.peer, message));
            count += 1;
        }
        count
    }

    /// Pushes a message to the eager neighbours, and queues its id for the others. Returns the number of neighbours for which there
    /// was room.
    pub(super) fn push(
        &mut self,
        now: Instant,
        id: MessageId,
        message: &Content,
        out: &mut Vec<Out>,
    ) -> usize {
        let chosen = self.chosen(message);
        let Content { bytes, round, from } = message;
        let flood = self.config.flood && from.is_none();
        let mut count = 0;
        for neighbour in &mut self.neighbours {
            if Some(neighbour.peer) == *from {
                continue;
            }
            let is_eager = neighbour.eager || flood || chosen == Some(neighbour.peer);
            if is_eager && !neighbour.congested {
                let (content, scope) = (bytes.clone(), Scope::Swarm(*round));
                let message = Gossip::Content { id, content, scope };
                out.push(Out::Gossip(neighbour.peer, message));
                count += 1;
                continue;
            }
            self.counters.deferred += u64::from(neighbour.congested && neighbour.eager);
            if neighbour.lazy.len() >= MAX_LAZY {
                self.counters.not_announced += 1;
                continue;
            }
            neighbour.lazy.push(IHave { id, round: *round });
            count += 1;
            self.dispatch
                .get_or_insert(now + self.config.dispatch_delay);
        }
        count
    }

    /// An own message goes to at least one neighbour at once, even if all neighbours have pruned this node.
    fn chosen(&self, message: &Content) -> Option<u32> {
        let mut with_room = self.neighbours.iter().filter(|to| !to.congested);
        if message.from.is_some() || with_room.clone().any(|to| to.eager) {
            return None;
        }
        with_room.next().map(|to| to.peer)
    }

    /// Announces what was received lately to a neighbour whose link was replaced, because the last messages may be lost.
    pub(crate) fn handle_replaced(&mut self, now: Instant, peer: u32) {
        let since = now.checked_sub(ANNOUNCE_AGAIN_WINDOW).unwrap_or(now);
        self.handle_returned(now, since, peer);
    }

    /// Announces what was received since then, at most 232 messages, to a neighbour that may have missed it.
    pub(crate) fn handle_returned(&mut self, now: Instant, since: Instant, peer: u32) {
        let recent = self.history.recent(since, 2 * MAX_IHAVES);
        let Some(neighbour) = self.neighbour(peer) else {
            return;
        };
        let waiting = neighbour.lazy.iter().map(|ihave| ihave.id);
        let waiting = waiting.collect::<BTreeSet<_>>();
        let new = recent
            .into_iter()
            .filter(|ihave| !waiting.contains(&ihave.id));
        let room = MAX_LAZY.saturating_sub(neighbour.lazy.len());
        neighbour.lazy.extend(new.take(room));
        self.dispatch.get_or_insert(now);
    }

    /// Sends the queued ids. The ids for a neighbour with a full queue wait until the queue has room.
    pub(super) fn announce(&mut self, now: Instant, out: &mut Vec<Out>) {
        for neighbour in &mut self.neighbours {
            if neighbour.congested {
                continue;
            }
            let rest = neighbour
                .lazy
                .split_off(neighbour.lazy.len().min(MAX_BATCH));
            for part in std::mem::replace(&mut neighbour.lazy, rest).chunks(MAX_IHAVES) {
                out.push(Out::Gossip(neighbour.peer, Gossip::IHave(part.to_vec())));
            }
            if !neighbour.lazy.is_empty() {
                self.dispatch = Some(now + BATCH_GAP);
            }
        }
    }
}
