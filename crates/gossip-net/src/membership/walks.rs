//! Joins and Shuffles, and their random walks through the topic.

use std::time::Instant;

use super::{Kind, MAX_REPLIES, MAX_REQUESTS, MAX_TTL, MAX_WALKS, Membership};
use crate::message::{Out, Swarm};

impl Membership {
    pub(super) fn on_join(&mut self, now: Instant, from: u32, out: &mut Vec<Out>) {
        if let Some(neighbour) = self.views.neighbour_mut(from) {
            let joins_again = neighbour.joins_again(now);
            self.add(now, from, out);
            self.ask(now, from, true, Kind::Answer, out);
            if !joins_again {
                return;
            }
        } else if self.make_room(now, out) {
            self.add(now, from, out);
            self.ask(now, from, true, Kind::Answer, out);
        } else {
            self.remember(from);
            if !self.views.may_answer(now, from) {
                return;
            }
            self.dismiss(now, from, true, out);
        }
        for neighbour in self.neighbours().collect::<Vec<_>>() {
            if neighbour != from && self.walks.allows(now, MAX_WALKS) {
                let ttl = self.config.active_walk;
                out.push(Out::Swarm(
                    neighbour,
                    Swarm::ForwardJoin { peer: from, ttl },
                ));
            }
        }
    }

    pub(super) fn on_forward_join(
        &mut self,
        now: Instant,
        from: u32,
        peer: u32,
        ttl: u16,
        out: &mut Vec<Out>,
    ) {
        if peer == self.me {
            return;
        }
        let ttl = ttl.min(MAX_TTL);
        let is_known = self.is_neighbour(peer) || self.views.is_pending(peer);
        if !is_known && (ttl == 0 || self.views.active.len() <= 1) {
            // The peer may not exist. Each request may cause a dial, so requests are bounded like those of a refill.
            let may_ask = self.views.requests() < MAX_REQUESTS;
            if may_ask && (self.has_room() || self.may_evict(now)) {
                self.ask(now, peer, true, Kind::Request, out);
            } else {
                self.remember(peer);
            }
            return;
        }
        if ttl == self.config.passive_walk {
            self.remember(peer);
        }
        if ttl > 0
            && let Some(next) = self.other_neighbour(&[from, peer])
        {
            out.push(Out::Swarm(next, Swarm::ForwardJoin { peer, ttl: ttl - 1 }));
        }
    }

    pub(super) fn on_shuffle(
        &mut self,
        now: Instant,
        from: u32,
        origin: u32,
        nodes: &[u32],
        ttl: u16,
        out: &mut Vec<Out>,
    ) {
        let ttl = ttl.min(MAX_TTL);
        if ttl > 0
            && let Some(next) = self.other_neighbour(&[from, origin])
        {
            let (nodes, ttl) = (nodes.to_vec(), ttl - 1);
            out.push(Out::Swarm(next, Swarm::Shuffle { origin, nodes, ttl }));
            return;
        }
        // An answer to another peer than the sender may need a dial, so its rate is limited.
        if origin != self.me && (self.is_neighbour(origin) || self.replies.allows(now, MAX_REPLIES))
        {
            let reply = self.some_peers(origin, nodes.len());
            out.push(Out::Swarm(origin, Swarm::ShuffleReply { nodes: reply }));
        }
        nodes.iter().for_each(|node| self.remember(*node));
    }

    pub(super) fn on_shuffle_reply(
        &mut self,
        now: Instant,
        from: u32,
        nodes: &[u32],
        out: &mut Vec<Out>,
    ) {
        if self.is_neighbour(from) || self.expects_reply.is_some_and(|until| now <= until) {
            nodes.iter().for_each(|node| self.remember(*node));
            self.refill(now, out);
        }
    }
}
