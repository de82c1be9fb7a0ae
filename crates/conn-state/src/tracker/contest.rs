//! Several connections to one peer: the choice of the connection that stays, and the end of the others.

use std::{hash::Hash, time::Duration};

use super::{Happening, Probe, Timer, Tracker, between, later};
use crate::{Action, Cause, Closing, Contender, Contest, Phase, Verdict};

/// How many times the newer connection's handshake a probe of the older one may take. An answer is one packet of the peer's,
/// a handshake several of both ends; the rest is for a busy machine and for a lost packet.
const ANSWER_HANDSHAKES: u32 = 8;

/// How often a drained connection may get streams again until it no longer waits for [`Policy::quiet`](crate::Policy::quiet).
const MAX_REOPENED: u8 = 3;
/// How many times [`Policy::quiet`](crate::Policy::quiet) such a connection drains at least.
const REOPENED_QUIETS: u32 = 3;

impl<Id: Eq + Hash + Clone> Tracker<Id> {
    /// Whether a connection could stay. What the host was told to close takes nobody's place.
    fn contends(&self, slot: u32) -> bool {
        let connection = &self.connections[slot];
        let stays = matches!(connection.phase, Phase::Limited | Phase::Established);
        stays && !connection.closing
    }

    /// Those of the same peer that could stay as well as this one.
    fn rivals(&self, slot: u32) -> Vec<u32> {
        let of_peer = self.of_peer(self.connections[slot].peer);
        of_peer
            .filter(|other| *other != slot && self.contends(*other))
            .collect()
    }

    /// A connection has come up: it is held against each of the others.
    pub(super) fn contend(&mut self, new: u32, now: u64) {
        for old in self.rivals(new) {
            if !self.contends(new) {
                return;
            }
            self.judge(old, new, None, now);
        }
    }

    /// Drains the oldest connections above [`crate::TrackerConfig::max_per_peer`], limited ones first. First waits until no
    /// probe is open and the time of a whole drain is over. An end that dialed several connections drains all but one, and only
    /// that end knows which one it keeps. If both ends chose at once, each could close the connection that the other keeps.
    pub(super) fn enforce_limit(&mut self, place: u32, now: u64) {
        let Some(limit) = self.config.max_per_peer else {
            return;
        };
        let limit = limit.max(1);
        let kept = self.of_peer(place).filter(|slot| self.contends(*slot));
        let mut kept: Vec<u32> = kept.collect();
        let is_contested = kept.iter().any(|slot| self.probes.contains_key(slot));
        if kept.len() <= limit || is_contested {
            return;
        }
        kept.sort_by_key(|slot| (self.connections[*slot].up, self.connections.id(*slot)));
        let grace = self.policy.drain().saturating_add(self.policy.patience());
        let due = later(self.connections[kept[limit]].up, grace);
        if due > now {
            if self.crowded.insert(place) {
                self.timers.insert((due, place, Timer::Crowd));
            }
            return;
        }
        kept.sort_by_key(|slot| self.connections[*slot].phase == Phase::Established);
        for slot in &kept[..kept.len() - limit] {
            self.drain(*slot, now);
        }
    }

    /// It is known whether a probed connection answers: it is held against each that came after it. It may have lost to
    /// another one meanwhile, which ends no probe: a dead connection need not drain for as long as a live one.
    pub(super) fn contend_again(&mut self, old: u32, now: u64, answers: bool) {
        let connection = &self.connections[old];
        if connection.phase == Phase::Draining && !connection.closing && !answers {
            return self.give_up(old, now, now);
        }
        for new in self.rivals(old) {
            let came_later = self.connections[new].up >= self.connections[old].up;
            if came_later && self.contends(old) {
                self.judge(old, new, Some(answers), now);
            }
        }
    }

    /// What the policy says of two connections to the same peer.
    fn verdict(&self, old: u32, new: u32, old_answers: Option<bool>, now: u64) -> Verdict {
        let Some(peer) = self.peers.get(self.connections[new].peer) else {
            return Verdict::Both;
        };
        let contender = |slot: u32| {
            let connection = &self.connections[slot];
            Contender {
                direction: connection.direction,
                phase: self.up_phase(connection.route()),
                age: between(connection.opened, now),
                up_for: between(connection.up, now),
            }
        };
        self.policy.arbitrate(&Contest {
            local: &self.local,
            remote: &peer.id,
            old: contender(old),
            new: contender(new),
            old_answers,
            same_remote: self.have_same_remote(old, new),
        })
    }

    fn have_same_remote(&self, old: u32, new: u32) -> bool {
        let remote = |slot: u32| self.connections[slot].remote;
        remote(old).is_some() && remote(old) == remote(new)
    }

    /// How long a connection may leave a probe unanswered if a newer one comes from the same socket. The packets of both take
    /// the same path to the same peer, so that the newer one's handshake, which takes at least one round trip and the peer's
    /// attention, shows how long an answer takes.
    fn longest_answer(&self, old: u32) -> Option<Duration> {
        let handshake = |new: u32| {
            let connection = &self.connections[new];
            let is_newer = connection.up >= self.connections[old].up;
            let counts = is_newer && self.have_same_remote(old, new);
            counts.then(|| between(connection.opened, connection.up))
        };
        let quickest = self.rivals(old).into_iter().filter_map(handshake).min()?;
        Some(quickest.saturating_mul(ANSWER_HANDSHAKES))
    }

    fn judge(&mut self, old: u32, new: u32, old_answers: Option<bool>, now: u64) {
        match self.verdict(old, new, old_answers, now) {
            Verdict::Both => {}
            Verdict::Probe => self.probe(old, now),
            Verdict::Old => self.drain(new, now),
            Verdict::New => {
                self.drain(old, now);
                if old_answers == Some(false) {
                    self.give_up(old, now, now);
                }
            }
        }
    }

    pub(super) fn probe(&mut self, slot: u32, now: u64) {
        if self.probes.contains_key(&slot) {
            return;
        }
        // With no time at all, a policy that always probes would be asked again within the same instant, for ever.
        let at = later(now, self.policy.probe().max(Duration::from_nanos(1)));
        self.await_answer(slot, Probe { at, overdue: None });
        let id = self.connections.id(slot);
        self.actions.push_back(Action::Probe(id));
    }

    /// A draining connection left a probe unanswered, and has been late since then. If this does not prove that the connection is
    /// dead, it may be slow and have open streams. The check is repeated when the time is over, because the paths of the
    /// connections may have changed.
    pub(super) fn give_up(&mut self, slot: u32, late_since: u64, now: u64) {
        let mut patience = self.policy.patience();
        if let Some(longest) = self.longest_answer(slot) {
            patience = patience.min(longest.saturating_sub(self.policy.probe()));
        }
        let at = later(late_since, patience);
        if at <= now {
            return self.close(slot, Closing::Unresponsive);
        }
        let overdue = Some(late_since);
        self.await_answer(slot, Probe { at, overdue });
    }

    fn await_answer(&mut self, slot: u32, probe: Probe) {
        self.probes.insert(slot, probe);
        self.timers.insert((probe.at, slot, Timer::Probe));
    }

    /// The probe that there was.
    pub(super) fn end_probe(&mut self, slot: u32) -> Option<Probe> {
        let ended = self.probes.remove(&slot)?;
        self.timers.remove(&(ended.at, slot, Timer::Probe));
        Some(ended)
    }

    /// A connection that was given up for silent answers after all: it is held against the others once more, as one that
    /// lives. The other end, which did hear of both, decided so too.
    pub(super) fn revive(&mut self, slot: u32, now: u64) {
        let connection = &self.connections[slot];
        if connection.phase != Phase::Draining || connection.closing {
            return;
        }
        let (mut losers, rivals) = (Vec::new(), self.rivals(slot));
        for new in rivals {
            match self.verdict(slot, new, Some(true), now) {
                Verdict::New => return,
                Verdict::Old => losers.push(new),
                Verdict::Both | Verdict::Probe => {}
            }
        }
        self.resume(slot, now);
        for loser in losers {
            self.drain(loser, now);
        }
    }

    pub(super) fn drain(&mut self, slot: u32, now: u64) {
        let id = self.connections.id(slot);
        self.actions.push_back(Action::Drain(id));
        self.connections[slot].reopened = 0;
        self.enter(
            slot,
            Phase::Draining,
            Happening::new(now, Cause::Superseded),
        );
        self.plan_end_of_drain(slot, now);
    }

    /// Closed once it was quiet for long enough, or its time is over. The other end may use this connection all the time, if it
    /// has seen the handshakes end in another order and considers it the best one. Then it is never quiet for long, and is closed
    /// in the first moment without a stream, after the other end had time to learn of the connection that is kept.
    pub(super) fn plan_end_of_drain(&mut self, slot: u32, now: u64) {
        let connection = &self.connections[slot];
        if connection.closing {
            return;
        }
        let last = later(connection.since, self.policy.drain());
        let quiet = self.policy.quiet();
        let quiet_at = later(now, quiet);
        let at = match connection.streams() {
            0 if connection.reopened >= MAX_REOPENED => {
                let least = later(connection.since, quiet.saturating_mul(REOPENED_QUIETS));
                quiet_at.min(least.max(now))
            }
            0 => quiet_at,
            _ => last,
        };
        self.expire(slot, at.min(last));
    }

    /// A connection that was up is about to go. Those that are left contend anew, drained ones included: one that had lost
    /// to nothing but this one is resumed.
    pub(super) fn reconsider(&mut self, going: u32, now: u64) {
        let is_draining = |tracker: &Self, slot| tracker.connections[slot].phase == Phase::Draining;
        if is_draining(self, going) || !self.connections[going].phase.is_up() {
            return;
        }
        let stays = |slot: &u32| {
            let connection = &self.connections[*slot];
            *slot != going && connection.phase.is_up() && !connection.closing
        };
        let of_peer = self.of_peer(self.connections[going].peer);
        let mut left: Vec<u32> = of_peer.filter(stays).collect();
        if !left.iter().any(|slot| is_draining(self, *slot)) {
            return;
        }
        // Those that joined first are the last in the peer's list.
        left.reverse();
        left.sort_by_key(|slot| self.connections[*slot].up);
        let (best, unsure) = self.best_of(&left, now);
        // None is drained before its successor is there.
        for slot in &best {
            if is_draining(self, *slot) {
                self.resume(*slot, now);
            }
        }
        for slot in left {
            if !best.contains(&slot) && !is_draining(self, slot) {
                self.drain(slot, now);
            }
        }
        for slot in unsure {
            self.probe(slot, now);
        }
    }

    /// Which would be left had they come in this order, and which of those would be probed.
    fn best_of(&self, candidates: &[u32], now: u64) -> (Vec<u32>, Vec<u32>) {
        let (mut best, mut unsure) = (Vec::new(), Vec::new());
        for new in candidates {
            let verdict = |old: &u32| self.verdict(*old, *new, None, now);
            if best.iter().any(|old| verdict(old) == Verdict::Old) {
                continue;
            }
            best.retain(|old| verdict(old) != Verdict::New);
            unsure.extend(best.iter().filter(|old| verdict(old) == Verdict::Probe));
            best.push(*new);
        }
        unsure.retain(|slot| best.contains(slot));
        (best, unsure)
    }

    fn resume(&mut self, slot: u32, now: u64) {
        // That it did not answer is not held against it any more: whether it does is asked anew, if it is in doubt.
        self.end_probe(slot);
        let id = self.connections.id(slot);
        self.actions.push_back(Action::Resume(id));
        let next = self.up_phase(self.connections[slot].route());
        self.enter(slot, next, Happening::new(now, Cause::Resumed));
    }
}
