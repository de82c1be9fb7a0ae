//! One topic of one node: its membership and its broadcasts. Peers are handles.

mod former;

use std::time::Instant;

use self::former::Former;
use crate::{
    broadcast::Broadcast,
    config::Config,
    membership::Membership,
    message::{Gossip, Out, Swarm},
};

#[derive(Debug)]
pub(crate) struct Topic {
    membership: Membership,
    broadcast: Broadcast,
    former: Former,
}

impl Topic {
    pub(crate) fn new(now: Instant, me: u32, seed: u64, config: &Config) -> Self {
        Self {
            membership: Membership::new(now, me, seed, config.membership.clone()),
            broadcast: Broadcast::new(now, seed ^ 0x5bd1_e995, config.broadcast.clone()),
            former: Former::default(),
        }
    }

    pub(crate) fn membership(&self) -> &Membership {
        &self.membership
    }

    pub(crate) fn broadcast(&self) -> &Broadcast {
        &self.broadcast
    }

    pub(crate) fn broadcast_mut(&mut self) -> &mut Broadcast {
        &mut self.broadcast
    }

    pub(crate) fn handle_swarm(
        &mut self,
        now: Instant,
        from: u32,
        message: Swarm,
        out: &mut Vec<Out>,
    ) {
        self.with_membership(now, out, |membership, out| {
            membership.handle_message(now, from, message, out)
        });
    }

    /// Whether contents of a peer count: of a neighbour, and of a peer that was one a moment ago. What a neighbour sent before it
    /// heard of its eviction still counts.
    pub(crate) fn accepts_contents(&self, now: Instant, from: u32) -> bool {
        self.membership.is_neighbour(from) || self.former.is_accepted(now, from)
    }

    pub(crate) fn handle_gossip(
        &mut self,
        now: Instant,
        from: u32,
        message: Gossip,
        out: &mut Vec<Out>,
    ) {
        if self.membership.is_neighbour(from) {
            self.membership.handle_heard(now, from, out);
            self.broadcast.handle_message(now, from, message, out);
            return;
        }
        // The sender gets no broadcast message.
        if matches!(message, Gossip::Content { .. }) && self.accepts_contents(now, from) {
            self.broadcast.handle_message(now, from, message, out);
        }
        self.with_membership(now, out, |membership, out| {
            membership.handle_heard(now, from, out);
            membership.handle_stranger(now, from, out);
        });
    }

    /// Calls the membership, and tells the broadcasts which neighbours have come and gone.
    pub(crate) fn with_membership(
        &mut self,
        now: Instant,
        out: &mut Vec<Out>,
        call: impl FnOnce(&mut Membership, &mut Vec<Out>),
    ) {
        let before = out.len();
        call(&mut self.membership, out);
        for effect in &out[before..] {
            match effect {
                Out::Up(peer) => {
                    self.broadcast.handle_up(*peer);
                    if let Some(since) = self.former.handle_up(now, *peer) {
                        self.broadcast.handle_returned(now, since, *peer);
                    }
                }
                Out::Down(peer, _) => {
                    self.broadcast.handle_down(*peer);
                    self.former.handle_down(now, *peer);
                }
                _ => {}
            }
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let due = [
            self.membership.poll_timeout(),
            self.broadcast.poll_timeout(),
        ];
        due.into_iter().flatten().min()
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant, out: &mut Vec<Out>) {
        if self.membership.poll_timeout().is_some_and(|due| now >= due) {
            self.with_membership(now, out, |membership, out| {
                membership.handle_timeout(now, out)
            });
        }
        if self.broadcast.poll_timeout().is_some_and(|due| now >= due) {
            self.broadcast.handle_timeout(now, out);
        }
    }
}
