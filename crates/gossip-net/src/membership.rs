//! HyParView: a few neighbours, and some further peers that can replace them.
//!
//! This core makes all decisions about neighbours. It knows peers only as handles, which are numbers, and does not know their
//! addresses, links and protocols.

mod healing;
#[cfg(test)]
mod tests;
mod views;
mod walks;

use std::time::{Duration, Instant};

use crate::{
    MembershipConfig,
    event::DownCause,
    message::{Goodbye, Out, Swarm},
    rng::Rng,
};
use views::{Kind, Neighbour, Rate, Request, Root, Views};

/// The highest number of steps of a walk. A higher number from the wire is lowered.
const MAX_TTL: u16 = 16;
/// How many requests to become a neighbour are in flight.
const MAX_REQUESTS: usize = 3;
/// How many of the oldest neighbours strangers cannot evict.
const PROTECTED: usize = 2;
/// How many peers the ShuffleReply before a Disconnect names: as many as a Shuffle without its origin.
const MAX_GOODBYE_NODES: usize = 7;
/// How many walks per second a node starts for peers that join.
const MAX_WALKS: u32 = 1024;
/// How many Shuffles of others per second a node answers. Each answer may need a dial to a peer that the sender chooses.
const MAX_REPLIES: u32 = 8;
/// How long a ShuffleReply may take.
const REPLY_TIMEOUT: Duration = Duration::from_secs(5);

/// The membership of one node in one topic.
#[derive(Debug)]
pub(crate) struct Membership {
    me: u32,
    config: MembershipConfig,
    rng: Rng,
    views: Views,
    last_eviction: Option<Instant>,
    walks: Rate,
    replies: Rate,
    next_shuffle: Instant,
    next_contact: Instant,
    /// When the next refill may ask, after a refusal.
    next_refill: Instant,
    /// How many requests in a row were refused.
    refusals: u32,
    /// Until when a ShuffleReply of a peer that is not a neighbour is expected.
    expects_reply: Option<Instant>,
    /// The peer that was contacted last, and until when its answer counts.
    contacted: Option<(u32, Instant)>,
    last_step: Instant,
}

impl Membership {
    pub(crate) fn new(now: Instant, me: u32, seed: u64, config: MembershipConfig) -> Self {
        let mut rng = Rng::new(seed);
        Self {
            me,
            views: Views::default(),
            last_eviction: None,
            walks: Rate::default(),
            replies: Rate::default(),
            next_shuffle: now + rng.jittered(config.shuffle_interval),
            next_contact: now + rng.jittered(config.contact_interval),
            next_refill: now,
            refusals: 0,
            expects_reply: None,
            contacted: None,
            last_step: now,
            rng,
            config,
        }
    }

    pub(crate) fn is_neighbour(&self, peer: u32) -> bool {
        self.views.neighbour(peer).is_some()
    }

    pub(crate) fn neighbours(&self) -> impl Iterator<Item = u32> {
        self.views.active.iter().map(|neighbour| neighbour.peer)
    }

    /// The peers that are remembered but not neighbours.
    pub(crate) fn remembered(&self) -> usize {
        self.views.passive.len() + self.views.aside.len()
    }

    /// All handles that this core holds.
    pub(crate) fn handles(&self) -> impl Iterator<Item = u32> {
        self.views
            .handles()
            .chain(self.contacted.map(|(peer, _)| peer))
    }

    /// The user names peers of the topic. Without a neighbour they are asked at once, and a pending request is renewed. With a
    /// neighbour they become candidates.
    pub(crate) fn handle_join(&mut self, now: Instant, peers: &[u32], out: &mut Vec<Out>) {
        for &peer in peers.iter().filter(|peer| **peer != self.me) {
            self.views.put_root(Root::new(now, peer));
        }
        self.join_roots(now, out);
    }

    /// The host names peers that may be members of the topic, such as connected peers. While there is room, the node remembers them
    /// as replacements for lost neighbours. They displace no remembered peer.
    pub(crate) fn handle_offer(&mut self, now: Instant, peers: &[u32], out: &mut Vec<Out>) {
        for &peer in peers {
            if self.views.passive.len() >= self.config.max_passive {
                break;
            }
            // A peer that is connected can be asked again, even if it did not answer a short time ago.
            self.views.recall(peer);
            self.remember(peer);
        }
        self.refill(now, out);
    }

    pub(crate) fn handle_message(
        &mut self,
        now: Instant,
        from: u32,
        message: Swarm,
        out: &mut Vec<Out>,
    ) {
        if from == self.me {
            return;
        }
        self.handle_heard(now, from, out);
        let is_neighbour = self.is_neighbour(from);
        match message {
            Swarm::Join => self.on_join(now, from, out),
            Swarm::Neighbor { high } => self.on_neighbor(now, from, high, out),
            Swarm::Disconnect { alive } => self.on_disconnect(now, from, alive, out),
            Swarm::ShuffleReply { nodes } => self.on_shuffle_reply(now, from, &nodes, out),
            Swarm::Shuffle { origin, nodes, ttl } if is_neighbour => {
                self.on_shuffle(now, from, origin, &nodes, ttl, out)
            }
            Swarm::ForwardJoin { peer, ttl } if is_neighbour => {
                self.on_forward_join(now, from, peer, ttl, out)
            }
            // A contact names its sender, which may be remembered.
            Swarm::Shuffle { origin, .. } => {
                if origin == from {
                    self.remember(from);
                }
                self.handle_stranger(now, from, out);
            }
            Swarm::ForwardJoin { .. } => self.handle_stranger(now, from, out),
        }
    }

    /// A peer that is not a neighbour has sent a message that only neighbours send.
    pub(crate) fn handle_stranger(&mut self, now: Instant, from: u32, out: &mut Vec<Out>) {
        // A peer that was asked a moment ago may have become a neighbour on its side.
        if !self.views.is_pending(from) && self.views.may_answer(now, from) {
            self.dismiss(now, from, true, out);
        }
    }

    /// The last link to the peer is gone, or its dial failed.
    pub(crate) fn handle_unreachable(&mut self, now: Instant, peer: u32, out: &mut Vec<Out>) {
        self.views.take_pending(peer);
        self.views.root_failed(now, peer, &mut self.rng);
        if self.is_neighbour(peer) {
            self.drop_neighbour(peer, DownCause::Transport, out);
            // The peer may be back at once: it is asked like any other, and set aside if that fails.
            self.remember(peer);
        } else {
            self.set_aside(now, peer);
        }
        self.refill(now, out);
    }

    /// A link to the peer has closed, and no message waits for the peer. Only a neighbour is lost with its link.
    pub(crate) fn handle_link_gone(&mut self, now: Instant, peer: u32, out: &mut Vec<Out>) {
        if self.is_neighbour(peer) || self.views.is_pending(peer) {
            self.handle_unreachable(now, peer, out);
        }
    }

    /// The host evicts a neighbour.
    pub(crate) fn handle_evicted(
        &mut self,
        now: Instant,
        peer: u32,
        cause: DownCause,
        out: &mut Vec<Out>,
    ) {
        if self.is_neighbour(peer) {
            self.drop_neighbour(peer, cause, out);
            self.dismiss(now, peer, true, out);
            self.views.forget(peer);
            self.refill(now, out);
        }
    }

    /// A peer that may not be a neighbour for some time asks to be one, or counts as one on its side.
    pub(crate) fn handle_barred(&mut self, now: Instant, from: u32, out: &mut Vec<Out>) {
        self.views.forget(from);
        if self.views.may_answer(now, from) {
            self.dismiss(now, from, true, out);
        } else {
            self.views.owe(now, from);
        }
    }

    /// The node leaves the topic.
    pub(crate) fn handle_leave(&mut self, now: Instant, out: &mut Vec<Out>) {
        for neighbour in std::mem::take(&mut self.views.active) {
            out.push(Out::Down(neighbour.peer, DownCause::Left));
            self.dismiss(now, neighbour.peer, false, out);
        }
    }

    fn on_neighbor(&mut self, now: Instant, from: u32, high: bool, out: &mut Vec<Out>) {
        let answers = self.views.take_pending(from);
        if self.is_neighbour(from) || self.has_room() || high && self.make_room(now, out) {
            self.add(now, from, out);
            if !answers {
                self.ask(now, from, high, Kind::Answer, out);
            }
            return;
        }
        self.remember(from);
        // The sender of an answer already counts this node as a neighbour, so it must hear of the refusal.
        if answers || self.views.may_answer(now, from) {
            self.dismiss(now, from, true, out);
        } else {
            self.views.owe(now, from);
        }
    }

    fn on_disconnect(&mut self, now: Instant, from: u32, alive: bool, out: &mut Vec<Out>) {
        let refused = self.views.take_pending(from);
        self.views.refused(now, from);
        if self.is_neighbour(from) {
            let cause = if alive {
                DownCause::EvictedByPeer
            } else {
                DownCause::Left
            };
            self.drop_neighbour(from, cause, out);
        } else if refused && !self.views.active.is_empty() {
            self.refusals = (self.refusals + 1).min(6);
            let pause = self.config.request_timeout * 2_u32.pow(self.refusals) / 4;
            self.next_refill = now + self.rng.jittered(pause);
        }
        match alive {
            true => self.remember(from),
            false => self.views.forget(from),
        }
        self.refill(now, out);
    }

    /// Sends a Neighbor, as a request or as an answer.
    fn ask(&mut self, now: Instant, peer: u32, high: bool, kind: Kind, out: &mut Vec<Out>) {
        if self.views.is_pending(peer) {
            return;
        }
        let until = now + self.config.request_timeout;
        self.views.put_pending(Request { peer, until, kind });
        self.expect_reply(now);
        out.push(Out::Swarm(peer, Swarm::Neighbor { high }));
    }

    /// A peer that this node asks may refuse, and then names other peers in a ShuffleReply.
    fn expect_reply(&mut self, now: Instant) {
        self.expects_reply = Some(now + REPLY_TIMEOUT);
    }

    fn has_room(&self) -> bool {
        self.views.active.len() < self.config.max_active
    }

    fn may_evict(&self, now: Instant) -> bool {
        let gap_is_over = self
            .last_eviction
            .is_none_or(|last| now >= last + self.config.eviction_gap);
        gap_is_over && self.views.active.len() > PROTECTED
    }

    /// Makes room for a peer that may not be refused, if a neighbour may be evicted.
    fn make_room(&mut self, now: Instant, out: &mut Vec<Out>) -> bool {
        if self.has_room() {
            return true;
        }
        if !self.may_evict(now) {
            return false;
        }
        self.last_eviction = Some(now);
        let victim = PROTECTED + self.rng.below(self.views.active.len() - PROTECTED);
        let victim = self.views.active[victim].peer;
        self.drop_neighbour(victim, DownCause::Evicted, out);
        self.dismiss(now, victim, true, out);
        self.remember(victim);
        true
    }

    fn add(&mut self, now: Instant, peer: u32, out: &mut Vec<Out>) {
        self.views.forget(peer);
        self.views.root_joined(peer);
        if self.is_neighbour(peer) {
            return;
        }
        self.refusals = 0;
        self.views.active.push(Neighbour::new(now, peer));
        out.push(Out::Up(peer));
    }

    fn drop_neighbour(&mut self, peer: u32, cause: DownCause, out: &mut Vec<Out>) {
        self.views.active.retain(|neighbour| neighbour.peer != peer);
        // A late answer of the peer is a new request.
        self.views.take_pending(peer);
        self.refusals = 0;
        self.next_refill = self.last_step;
        if self.views.active.is_empty() {
            self.next_contact = self.last_step;
        }
        out.push(Out::Down(peer, cause));
    }

    /// Sends a Disconnect, and before it other peers that the receiver can ask.
    fn dismiss(&mut self, now: Instant, peer: u32, alive: bool, out: &mut Vec<Out>) {
        self.views.take_pending(peer);
        self.views.answered(now, peer);
        let nodes = self.some_peers(peer, MAX_GOODBYE_NODES);
        out.push(Out::Goodbye(Goodbye {
            to: peer,
            nodes,
            alive,
        }));
    }

    fn some_peers(&mut self, except: u32, count: usize) -> Vec<u32> {
        let passive = self
            .views
            .passive
            .iter()
            .copied()
            .filter(|peer| *peer != except)
            .collect();
        let mut nodes = self.rng.sample(passive, count);
        let rest = self.neighbours().filter(|peer| *peer != except).collect();
        let missing = count - nodes.len();
        nodes.extend(self.rng.sample(rest, missing));
        nodes
    }

    fn other_neighbour(&mut self, except: &[u32]) -> Option<u32> {
        let others = self.neighbours().filter(|peer| !except.contains(peer));
        let others = others.collect::<Vec<_>>();
        self.rng.pick(&others)
    }

    fn remember(&mut self, peer: u32) {
        if peer != self.me {
            self.views
                .remember(peer, self.config.max_passive, &mut self.rng);
        }
    }
}
