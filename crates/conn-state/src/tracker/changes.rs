//! The effects of a change of a connection on the state of its peer, the counts, the timers and the
//! history.

use std::hash::Hash;

use super::{Happening, Timer, Tracker, later};
use crate::{
    Action, Closing, Phase, Reason,
    history::{NO_PLACE, Record},
    table::{Connection, NEVER, NONE},
};

/// From the outermost to the innermost.
impl<Id: Eq + Hash + Clone> Tracker<Id> {
    /// The connection becomes one of `peer`'s.
    pub(super) fn join(&mut self, slot: u32, peer: &Id, happening: Happening) {
        let place = self.peers.find_or_insert(peer);
        let phase = self.connections[slot].phase;
        let Some(peer) = self.peers.get_mut(place) else {
            return;
        };
        if let Some(count) = peer.count(phase) {
            *count += 1;
        }
        self.connections[slot].peer = place;
        self.connections[slot].next = std::mem::replace(&mut peer.first, slot);
        self.settle(place, slot, happening);
    }

    /// The connection is no longer its peer's.
    pub(super) fn leave(&mut self, slot: u32, happening: Happening) {
        let Connection {
            peer: place,
            next,
            phase,
            ..
        } = self.connections[slot];
        let Some(peer) = self.peers.get_mut(place) else {
            return;
        };
        if let Some(count) = peer.count(phase) {
            *count -= 1;
        }
        if peer.first == slot {
            peer.first = next;
        } else {
            let before = self
                .of_peer(place)
                .find(|other| self.connections[*other].next == slot);
            if let Some(before) = before {
                self.connections[before].next = next;
            }
        }
        self.settle(place, slot, happening);
        let connection = &mut self.connections[slot];
        (connection.peer, connection.next) = (NONE, NONE);
    }

    /// The connection, of a known peer, goes into another phase.
    pub(super) fn enter(&mut self, slot: u32, next: Phase, happening: Happening) {
        let Connection {
            peer: place, phase, ..
        } = self.connections[slot];
        if let Some(peer) = self.peers.get_mut(place) {
            if let Some(count) = peer.count(phase) {
                *count -= 1;
            }
            if let Some(count) = peer.count(next) {
                *count += 1;
            }
        }
        self.shift(slot, next, happening.now);
        self.settle(place, slot, happening);
    }

    /// The phase itself, its clock, and the count of what is transient in all.
    pub(super) fn shift(&mut self, slot: u32, next: Phase, now: u64) {
        let phase = self.connections[slot].phase;
        debug_assert!(phase.may_become(next), "{phase} to {next}");
        let is_transient = |phase| matches!(phase, Phase::Handshaking | Phase::Limited);
        self.transient -= usize::from(is_transient(phase));
        self.transient += usize::from(is_transient(next));
        self.limited -= usize::from(phase == Phase::Limited);
        self.limited += usize::from(next == Phase::Limited);
        let connection = &mut self.connections[slot];
        connection.set_phase(next);
        connection.since = now;
        let max_age = match next {
            Phase::Limited => self.policy.max_age(Reason::Limited),
            _ => None,
        };
        self.expire(slot, max_age.map_or(NEVER, |age| later(now, age)));
    }

    /// The peer's state is what its connections make it; if that is new, it is an event.
    pub(super) fn settle(&mut self, place: u32, slot: u32, happening: Happening) {
        let end = self.history.end();
        let Some(peer) = self.peers.get_mut(place) else {
            return;
        };
        let (from, to) = (peer.state, peer.derived());
        if from == to {
            return;
        }
        peer.state = to;
        peer.number += 1;
        let record = Record {
            slot: place,
            from,
            to,
            cause: happening.cause,
            number: peer.number,
            connection: self.connections.id(slot),
            at: happening.now,
            previous: peer.latest.replace(end).unwrap_or(NO_PLACE),
            detail: happening.detail,
        };
        if let Some((other, driven_out)) = self.history.push(record) {
            let last = self
                .peers
                .get(other)
                .is_some_and(|o| o.latest == Some(driven_out));
            if last {
                self.forget_if_idle(other);
            }
        }
    }

    /// A peer without connections is forgotten once its last event is.
    pub(super) fn forget_if_idle(&mut self, place: u32) {
        let Some(peer) = self.peers.get(place) else {
            return;
        };
        let known = peer.latest.and_then(|latest| self.history.get(latest));
        if peer.first == NONE && known.is_none() {
            self.peers.forget(place);
        }
    }

    pub(super) fn of_peer(&self, place: u32) -> impl Iterator<Item = u32> {
        let first = self.peers.get(place).map_or(NONE, |peer| peer.first);
        let present = |slot: u32| (slot != NONE).then_some(slot);
        std::iter::successors(present(first), move |slot| {
            present(self.connections[*slot].next)
        })
    }

    pub(super) fn expire(&mut self, slot: u32, at: u64) {
        let before = std::mem::replace(&mut self.connections[slot].expires, at);
        if before != NEVER {
            self.timers.remove(&(before, slot, Timer::Phase));
        }
        if at != NEVER {
            self.timers.insert((at, slot, Timer::Phase));
        }
    }

    pub(super) fn close(&mut self, slot: u32, closing: Closing) {
        if !std::mem::replace(&mut self.connections[slot].closing, true) {
            let id = self.connections.id(slot);
            self.actions.push_back(Action::Close(id, closing));
        }
    }
}
