//! Several connections to one peer: which of them stays, and what becomes of the others.

use std::hash::Hash;

use super::{Happening, Timer, Tracker, between, later};
use crate::{Action, Cause, Closing, Contender, Contest, Phase, Verdict, table::NEVER};

impl<Id: Eq + Hash + Clone> Tracker<Id> {
    /// Those of the same peer that could stay as well as this one.
    pub(super) fn rivals(&self, slot: u32) -> Vec<u32> {
        let stays = |slot: &u32| {
            let phase = self.connections[*slot].phase;
            matches!(phase, Phase::Limited | Phase::Established)
        };
        let of_peer = self.of_peer(self.connections[slot].peer);
        of_peer
            .filter(|other| *other != slot && stays(other))
            .collect()
    }

    /// A connection has come up: it is held against each of the others.
    pub(super) fn contend(&mut self, new: u32, now: u64) {
        for old in self.rivals(new) {
            self.judge(old, new, None, now);
            if self.connections[new].phase == Phase::Draining {
                return;
            }
        }
    }

    /// It is known whether a probed connection answers: it is held against each that came after it.
    pub(super) fn contend_again(&mut self, old: u32, now: u64, answers: bool) {
        for new in self.rivals(old) {
            let came_later = self.connections[new].up >= self.connections[old].up;
            let old_stays = matches!(
                self.connections[old].phase,
                Phase::Limited | Phase::Established
            );
            if came_later && old_stays {
                self.judge(old, new, Some(answers), now);
            }
        }
    }

    pub(super) fn judge(&mut self, old: u32, new: u32, old_answers: Option<bool>, now: u64) {
        let Some(peer) = self.peers.get(self.connections[new].peer) else {
            return;
        };
        let contender = |slot: u32| {
            let connection = &self.connections[slot];
            Contender {
                direction: connection.direction,
                phase: connection.phase,
                age: between(connection.opened, now),
                up_for: between(connection.up, now),
            }
        };
        let contest = Contest {
            local: &self.local,
            remote: &peer.id,
            old: contender(old),
            new: contender(new),
            old_answers,
        };
        match self.policy.arbitrate(&contest) {
            Verdict::Both => {}
            Verdict::Probe => self.probe(old, now),
            Verdict::Old => self.drain(new, now),
            Verdict::New => {
                self.drain(old, now);
                if old_answers == Some(false) {
                    self.expire(old, NEVER);
                    self.close(old, Closing::Unresponsive);
                }
            }
        }
    }

    pub(super) fn probe(&mut self, slot: u32, now: u64) {
        if self.probes.contains_key(&slot) {
            return;
        }
        let at = later(now, self.policy.probe());
        self.probes.insert(slot, at);
        self.timers.insert((at, slot, Timer::Probe));
        let id = self.connections.id(slot);
        self.actions.push_back(Action::Probe(id));
    }

    /// Whether there was one.
    pub(super) fn end_probe(&mut self, slot: u32) -> bool {
        let ended = self.probes.remove(&slot);
        if let Some(at) = ended {
            self.timers.remove(&(at, slot, Timer::Probe));
        }
        ended.is_some()
    }

    pub(super) fn drain(&mut self, slot: u32, now: u64) {
        self.end_probe(slot);
        let id = self.connections.id(slot);
        self.actions.push_back(Action::Drain(id));
        self.enter(
            slot,
            Phase::Draining,
            Happening::new(now, Cause::Superseded),
        );
        self.plan_end_of_drain(slot, now);
    }

    /// Closed once it was quiet for long enough, or its time is over.
    pub(super) fn plan_end_of_drain(&mut self, slot: u32, now: u64) {
        let connection = &self.connections[slot];
        if connection.closing {
            return;
        }
        let last = later(connection.since, self.policy.drain());
        let at = match connection.streams {
            0 => later(now, self.policy.quiet()).min(last),
            _ => last,
        };
        self.expire(slot, at);
    }

    /// If `going` is the last of its peer's that is up, the latest of those that are being drained stays after all.
    pub(super) fn resume(&mut self, going: u32, now: u64) {
        if !matches!(
            self.connections[going].phase,
            Phase::Limited | Phase::Established
        ) || !self.rivals(going).is_empty()
        {
            return;
        }
        let of_peer = self.of_peer(self.connections[going].peer);
        let drained = of_peer.filter(|slot| {
            let connection = &self.connections[*slot];
            connection.phase == Phase::Draining && !connection.closing
        });
        let Some(slot) = drained.max_by_key(|slot| self.connections[*slot].up) else {
            return;
        };
        let id = self.connections.id(slot);
        self.actions.push_back(Action::Resume(id));
        let next = self.up_phase(self.connections[slot].route());
        self.enter(slot, next, Happening::new(now, Cause::Resumed));
    }
}
