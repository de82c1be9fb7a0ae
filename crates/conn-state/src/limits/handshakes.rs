//! The pool of inbound handshakes: which handshake a newcomer displaces, and how long a handshake may take.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::ranked::Ranked;
use crate::LimitsConfig;

/// Inbound connections whose peer is not known yet.
#[derive(Debug)]
pub(super) struct Handshakes<Id, Group> {
    /// Within a group, silent handshakes come first, and then older ones.
    ranked: Ranked<Group, (IsAdvanced, Turn, Id)>,
    known: BTreeMap<Id, Known<Group>>,
    /// When each handshake began, the oldest first.
    begun: BTreeMap<Turn, (Instant, Id)>,
    turns: Turn,
}

/// Whether a message of the other end has advanced the handshake. If not, the handshake is silent.
type IsAdvanced = bool;

/// Numbers the handshakes in the order in which they began.
type Turn = u64;

#[derive(Debug)]
struct Known<Group> {
    group: Group,
    turn: Turn,
    is_advanced: IsAdvanced,
}

impl<Id, Group> Default for Handshakes<Id, Group> {
    fn default() -> Self {
        Self {
            ranked: Ranked::default(),
            known: BTreeMap::new(),
            begun: BTreeMap::new(),
            turns: 0,
        }
    }
}

impl<Id: Ord + Copy, Group: Ord + Clone> Handshakes<Id, Group> {
    pub(super) fn len(&self) -> usize {
        self.ranked.len()
    }

    pub(super) fn len_of(&self, group: &Group) -> usize {
        self.ranked.len_of(group)
    }

    pub(super) fn insert(&mut self, now: Instant, id: Id, group: Group) {
        let turn = self.turns;
        self.turns += 1;
        self.ranked.insert(&group, (false, turn, id));
        self.begun.insert(turn, (now, id));
        let known = Known {
            group,
            turn,
            is_advanced: false,
        };
        self.known.insert(id, known);
    }

    pub(super) fn advance(&mut self, id: Id) {
        let Some(known) = self.known.get_mut(&id) else {
            return;
        };
        if !std::mem::replace(&mut known.is_advanced, true) {
            self.ranked.remove(&known.group, &(false, known.turn, id));
            self.ranked.insert(&known.group, (true, known.turn, id));
        }
    }

    pub(super) fn remove(&mut self, id: Id) -> bool {
        let Some(known) = self.known.remove(&id) else {
            return false;
        };
        let item = (known.is_advanced, known.turn, id);
        self.ranked.remove(&known.group, &item);
        self.begun.remove(&known.turn);
        true
    }

    /// The handshake of `group` that a newcomer of the same group displaces.
    pub(super) fn head_of(&self, group: &Group) -> Option<Id> {
        let (_, _, id) = self.ranked.head_of(group)?;
        Some(id)
    }

    /// The handshake that a newcomer of `group` displaces. It belongs to the largest group, and the newcomer counts in its own
    /// group. A group therefore never displaces a handshake of a smaller group.
    pub(super) fn head_for(&self, group: &Group) -> Option<Id> {
        let (largest, (_, _, head)) = self.ranked.largest()?;
        match self.ranked.len_of(group) + 1 > largest {
            true => self.head_of(group).or(Some(head)),
            false => Some(head),
        }
    }

    /// The oldest handshake, if it has taken longer than the pool allows now.
    pub(super) fn overdue(&self, now: Instant, config: &LimitsConfig) -> Option<Id> {
        let (_, (begun, id)) = self.begun.first_key_value()?;
        let age = now.saturating_duration_since(*begun);
        (age >= allowed(self.len(), config)).then_some(*id)
    }
}

/// How long a handshake may take while the pool has `len` handshakes. Up to a half-full pool, this is the full time. Above, the
/// time falls with each handshake, down to the shortest time in a full pool.
fn allowed(len: usize, config: &LimitsConfig) -> Duration {
    let (full, shortest) = (config.handshake, config.handshake_under_load);
    let half = config.max_handshaking / 2;
    let above = len.saturating_sub(half);
    let range = (config.max_handshaking - half).max(1);
    let share = above.min(range) as f64 / range as f64;
    full.saturating_sub(full.saturating_sub(shortest).mul_f64(share))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handshake_may_take_its_full_time_up_to_a_half_full_pool_and_two_seconds_in_a_full_one() {
        let config = LimitsConfig::default();
        let at = |len| allowed(len, &config).as_secs();
        assert_eq!([at(0), at(32), at(48), at(64), at(65)], [30, 30, 16, 2, 2]);
        let none = LimitsConfig::default().with_max_handshaking(0);
        assert_eq!(allowed(1, &none).as_secs(), 2);
    }
}
