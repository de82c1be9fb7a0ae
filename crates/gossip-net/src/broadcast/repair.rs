//! Announcements of messages, and requests for missing messages.

use std::time::Instant;

use super::Broadcast;
use crate::{
    MessageId,
    message::{Gossip, Out},
    wire::{IHave, Scope},
};

impl Broadcast {
    pub(super) fn on_graft(&mut self, from: u32, id: Option<MessageId>, out: &mut Vec<Out>) {
        self.set_eager(from, true);
        let Some(id) = id else {
            return;
        };
        let Some((content, round)) = self.history.content(&id) else {
            self.counters.asked_too_late += 1;
            return;
        };
        let congested = self
            .neighbour(from)
            .is_none_or(|neighbour| neighbour.congested);
        if !congested {
            let scope = Scope::Swarm(round);
            out.push(Out::Gossip(from, Gossip::Content { id, content, scope }));
        }
    }

    pub(super) fn on_ihave(
        &mut self,
        now: Instant,
        from: u32,
        found: &[IHave],
        out: &mut Vec<Out>,
    ) {
        let Some(at) = self
            .neighbours
            .iter()
            .position(|neighbour| neighbour.peer == from)
        else {
            return;
        };
        for ihave in found {
            if self.history.contains(&ihave.id) {
                self.optimize_late(now, from, ihave, out);
                continue;
            }
            if self.refused.contains(from, &ihave.id) {
                continue;
            }
            if self.neighbours[at].missing >= self.config.max_missing {
                self.counters.not_noted += 1;
                continue;
            }
            if self
                .missing
                .note(now, ihave.id, from, ihave.round, self.config.graft_delay)
            {
                let neighbour = &mut self.neighbours[at];
                if neighbour.missing == 0 {
                    neighbour.progress = Some(now);
                }
                neighbour.missing += 1;
            }
        }
    }

    pub(super) fn missing_ended(&mut self, peer: u32) {
        if let Some(neighbour) = self.neighbour(peer) {
            neighbour.missing = neighbour.missing.saturating_sub(1);
        }
    }

    /// A message that the neighbour had announced has arrived.
    pub(super) fn note_progress(&mut self, now: Instant, peer: u32) {
        if let Some(neighbour) = self.neighbour(peer) {
            neighbour.progress = Some(now);
        }
    }

    /// Asks a neighbour for a missing message.
    pub(super) fn graft(&mut self, now: Instant, id: MessageId, out: &mut Vec<Out>) {
        if self.missing.is_over(&id, now, self.config.graft_timeout) {
            self.counters.never_arrived += 1;
            for (peer, _) in self.missing.take(&id).unwrap_or_default() {
                self.missing_ended(peer);
            }
            return;
        }
        if let Some((peer, round)) = self.missing.next_source(
            &id,
            now,
            self.config.graft_retry_delay,
            self.config.graft_timeout,
        ) {
            self.counters.grafts += 1;
            self.make_source(peer);
            out.push(Out::Gossip(
                peer,
                Gossip::Graft {
                    id: Some(id),
                    round,
                },
            ));
        }
    }
}
