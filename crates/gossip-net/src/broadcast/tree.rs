//! Which neighbours push contents to this node.

use std::time::Instant;

use super::{Broadcast, Neighbour, PRUNE_GAP};
use crate::{
    MessageId,
    message::{Gossip, Out},
    wire::IHave,
};

impl Broadcast {
    /// A neighbour has pushed a message that had already come from another one, or from this node.
    ///
    /// The neighbour is pruned only if the other one is not. So one neighbour always pushes, even if many messages from many
    /// publishers arrive over different paths at once.
    pub(super) fn on_duplicate(
        &mut self,
        now: Instant,
        id: &MessageId,
        from: u32,
        out: &mut Vec<Out>,
    ) {
        let is_source =
            |neighbour: &Neighbour| neighbour.pruned.is_none() && neighbour.peer != from;
        let other = match self.history.delivery(id) {
            Some((_, first)) => self
                .neighbours
                .iter()
                .any(|neighbour| neighbour.peer == first && is_source(neighbour)),
            None => self.neighbours.iter().any(is_source),
        };
        if other {
            self.prune(now, from, out);
        }
    }

    fn prune(&mut self, now: Instant, peer: u32, out: &mut Vec<Out>) {
        if let Some(neighbour) = self.neighbour(peer)
            && neighbour.pruned.is_none_or(|last| now >= last + PRUNE_GAP)
        {
            (neighbour.eager, neighbour.pruned) = (false, Some(now));
            out.push(Out::Gossip(peer, Gossip::Prune));
        }
    }

    /// The neighbour is about to be asked for contents.
    pub(super) fn make_source(&mut self, peer: u32) {
        if let Some(neighbour) = self.neighbour(peer) {
            (neighbour.eager, neighbour.pruned) = (true, None);
        }
    }

    /// Uses the edge over which an id came, if the content took a much longer path.
    pub(super) fn optimize(
        &mut self,
        now: Instant,
        from: u32,
        round: u16,
        sources: &[(u32, u16)],
        out: &mut Vec<Out>,
    ) {
        let Some(&(peer, best)) = sources.iter().min_by_key(|(_, round)| *round) else {
            return;
        };
        if peer == from || round < best.saturating_add(self.config.optimization_threshold) {
            return;
        }
        self.make_source(peer);
        out.push(Out::Gossip(
            peer,
            Gossip::Graft {
                id: None,
                round: best,
            },
        ));
        self.prune(now, from, out);
    }

    /// Uses the edge over which an id came, if the content has come over a path with more hops.
    pub(super) fn optimize_late(
        &mut self,
        now: Instant,
        from: u32,
        ihave: &IHave,
        out: &mut Vec<Out>,
    ) {
        let Some((round, parent)) = self.history.delivery(&ihave.id) else {
            return;
        };
        let is_shorter = round
            > ihave
                .round
                .saturating_add(self.config.late_optimization_threshold);
        if is_shorter && parent != from && !self.is_pruned(parent) {
            self.make_source(from);
            out.push(Out::Gossip(
                from,
                Gossip::Graft {
                    id: None,
                    round: ihave.round,
                },
            ));
            self.prune(now, parent, out);
        }
    }

    fn is_pruned(&self, peer: u32) -> bool {
        self.neighbours
            .iter()
            .any(|neighbour| neighbour.peer == peer && neighbour.pruned.is_some())
    }
}
