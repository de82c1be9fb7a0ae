//! Plumtree: nodes push messages along a tree of neighbours, and send the ids of messages to all other neighbours. A node notices
//! a gap in the tree because an id arrives without its message.

mod history;
mod missing;
mod push;
mod refused;
mod repair;
#[cfg(test)]
mod tests;
mod tree;

use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::{
    BroadcastConfig, MessageId,
    message::{Gossip, Out},
    wire::{IHave, MAX_ROUND, Scope},
};
use history::{Content, History};
use missing::Missing;
use refused::Refused;

/// A neighbour gets at most one Prune in this time, because the messages that it sent before the Prune still arrive.
const PRUNE_GAP: Duration = Duration::from_millis(100);
/// A neighbour that has announced this many missing messages is ahead of this node.
const MANY_MISSING: usize = 64;
/// How long publishers wait at the most for a neighbour that takes nothing, or for missing messages that do not arrive.
pub(crate) const MAX_PUBLISH_DELAY: Duration = Duration::from_millis(250);

/// The counters of a topic.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Messages that arrived for the first time.
    pub received: u64,
    /// Messages that arrived again.
    pub duplicates: u64,
    /// Messages that were published by this node.
    pub published: u64,
    /// Requests for missing messages.
    pub grafts: u64,
    /// Missing messages that did not arrive in time.
    pub never_arrived: u64,
    /// Announced messages that were ignored, because too many messages were missing.
    pub not_noted: u64,
    /// Ids that were forgotten early, because there were too many.
    pub forgotten_early: u64,
    /// Contents that a neighbour asked for too late.
    pub asked_too_late: u64,
    /// Announcements to a neighbour that were dropped because too many waited.
    pub not_announced: u64,
    /// Announcements instead of contents, because the queue of a neighbour was full.
    pub deferred: u64,
    /// The highest number of hops of a message.
    pub max_hops: u16,
}

impl Counters {
    /// Adds the counters of another topic.
    pub(crate) fn add(&mut self, other: &Self) {
        self.received += other.received;
        self.duplicates += other.duplicates;
        self.published += other.published;
        self.grafts += other.grafts;
        self.never_arrived += other.never_arrived;
        self.not_noted += other.not_noted;
        self.forgotten_early += other.forgotten_early;
        self.asked_too_late += other.asked_too_late;
        self.not_announced += other.not_announced;
        self.deferred += other.deferred;
        self.max_hops = self.max_hops.max(other.max_hops);
    }
}

#[derive(Debug)]
struct Neighbour {
    peer: u32,
    /// Whether contents are pushed to the neighbour.
    eager: bool,
    /// Whether its queue is too full for contents.
    congested: bool,
    /// The ids that wait for the neighbour.
    lazy: Vec<IHave>,
    /// How many of the messages that the neighbour has announced are missing.
    missing: usize,
    /// When one of these messages arrived, or when the first of them was announced.
    progress: Option<Instant>,
    /// When the neighbour was last asked to push ids only, unless it was asked for contents since.
    pruned: Option<Instant>,
}

impl Neighbour {
    /// Whether many of the messages that the neighbour has announced are missing, although they keep arriving. What was announced
    /// and does not arrive may not exist.
    fn is_ahead(&self, now: Instant) -> bool {
        let arrives = self.progress.is_some_and(|at| now < at + MAX_PUBLISH_DELAY);
        arrives && self.missing >= MANY_MISSING
    }
}

/// The broadcasts of one node in one topic.
#[derive(Debug)]
pub(crate) struct Broadcast {
    config: BroadcastConfig,
    neighbours: Vec<Neighbour>,
    history: History,
    missing: Missing,
    refused: Refused,
    /// When the ids that wait are sent.
    dispatch: Option<Instant>,
    /// Since when publishers wait for missing messages.
    delayed: Option<Instant>,
    counters: Counters,
}

impl Broadcast {
    pub(crate) fn new(now: Instant, seed: u64, config: BroadcastConfig) -> Self {
        Self {
            neighbours: Vec::new(),
            history: History::new(now, seed),
            missing: Missing::default(),
            refused: Refused::default(),
            dispatch: None,
            delayed: None,
            counters: Counters::default(),
            config,
        }
    }

    pub(crate) fn counters(&self) -> Counters {
        let forgotten_early = self.history.forgotten_early();
        Counters {
            forgotten_early,
            ..self.counters
        }
    }

    pub(crate) fn has_seen(&self, id: &MessageId) -> bool {
        self.history.contains(id)
    }

    /// The neighbours that get contents, and those that get ids.
    pub(crate) fn eager_and_lazy(&self) -> (usize, usize) {
        let eager = self
            .neighbours
            .iter()
            .filter(|neighbour| neighbour.eager)
            .count();
        (eager, self.neighbours.len() - eager)
    }

    pub(crate) fn handle_up(&mut self, peer: u32) {
        if self.neighbour(peer).is_none() {
            let eager = self.eager_and_lazy().0 < self.config.max_eager;
            self.neighbours.push(Neighbour {
                peer,
                eager,
                congested: false,
                lazy: Vec::new(),
                missing: 0,
                progress: None,
                pruned: None,
            });
        }
    }

    pub(crate) fn handle_down(&mut self, peer: u32) {
        self.neighbours.retain(|neighbour| neighbour.peer != peer);
        self.missing.forget_source(peer);
        self.refused.forget_source(peer);
    }

    /// The queue of a neighbour has become too full for contents, or has room again.
    pub(crate) fn handle_congestion(&mut self, now: Instant, peer: u32, congested: bool) {
        if let Some(neighbour) = self.neighbour(peer) {
            neighbour.congested = congested;
            if !congested && !neighbour.lazy.is_empty() {
                self.dispatch = Some(now);
            }
        }
    }

    pub(crate) fn handle_message(
        &mut self,
        now: Instant,
        from: u32,
        message: Gossip,
        out: &mut Vec<Out>,
    ) {
        match message {
            Gossip::Content { id, content, scope } => {
                self.on_content(now, from, id, content, scope, out)
            }
            Gossip::Prune => self.set_eager(from, false),
            Gossip::Graft { id, .. } => self.on_graft(from, id, out),
            Gossip::IHave(found) => self.on_ihave(now, from, &found, out),
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let due = [
            self.dispatch,
            self.missing.next_due(),
            self.history.next_expiry(&self.config),
        ];
        due.into_iter().flatten().min()
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant, out: &mut Vec<Out>) {
        self.history.expire(now, &self.config);
        if self.dispatch.is_some_and(|due| now >= due) {
            self.dispatch = None;
            self.announce(now, out);
        }
        while let Some(id) = self.missing.pop_due(now) {
            self.graft(now, id, out);
        }
    }

    /// Whether own messages must wait, because the topic cannot keep up: many ids wait for a neighbour, or many messages that
    /// most neighbours have announced are still on their way. Neighbours that announce what does not arrive cause no longer wait
    /// than [`MAX_PUBLISH_DELAY`], and the others cause no longer one for each message.
    pub(crate) fn delays_publishers(&mut self, now: Instant) -> bool {
        if self.neighbours.iter().any(Neighbour::has_many_ids) {
            return true;
        }
        let ahead = self.neighbours.iter();
        let ahead = ahead.filter(|neighbour| neighbour.is_ahead(now)).count();
        if 2 * ahead <= self.neighbours.len() {
            self.delayed = None;
            return false;
        }
        let since = *self.delayed.get_or_insert(now);
        now < since + MAX_PUBLISH_DELAY
    }

    fn neighbour(&mut self, peer: u32) -> Option<&mut Neighbour> {
        self.neighbours
            .iter_mut()
            .find(|neighbour| neighbour.peer == peer)
    }

    fn set_eager(&mut self, peer: u32, eager: bool) {
        if let Some(neighbour) = self.neighbour(peer) {
            neighbour.eager = eager;
        }
    }

    fn on_content(
        &mut self,
        now: Instant,
        from: u32,
        id: MessageId,
        content: Bytes,
        scope: Scope,
        out: &mut Vec<Out>,
    ) {
        let Scope::Swarm(hops) = scope else {
            if !self.history.contains(&id) {
                self.counters.received += 1;
                out.push(Out::Received {
                    from,
                    content,
                    scope,
                });
            }
            return;
        };
        if self.history.contains(&id) {
            self.counters.duplicates += 1;
            self.on_duplicate(now, &id, from, out);
            return;
        }
        let round = hops.saturating_add(1).min(MAX_ROUND);
        self.counters.received += 1;
        self.counters.max_hops = self.counters.max_hops.max(hops);
        if let Some(sources) = self.missing.take(&id) {
            for (peer, _) in &sources {
                self.missing_ended(*peer);
                self.note_progress(now, *peer);
            }
            self.optimize(now, from, round, &sources, out);
        }
        let kept = Content {
            bytes: content.clone(),
            round,
            from: Some(from),
        };
        self.push(now, id, &kept, out);
        self.history.insert(now, id, kept, &self.config);
        out.push(Out::Received {
            from,
            content,
            scope,
        });
    }
}
