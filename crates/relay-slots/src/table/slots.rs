//! The life of a slot.

use std::hash::Hash;

use super::{
    Table,
    buckets::full_after,
    counts::fingerprint,
    slab::NONE,
    view::{Event, FreeCause, SlotState},
    wheel::Timer,
};
use crate::{
    Admission,
    admission::{Held, Rate, Reserve},
    error::{RateOf, Refusal},
    scope::{Place, PlaceKind, Scope},
};

/// 56 bytes.
#[derive(Debug)]
pub(super) struct Slot {
    /// In milliseconds, here and below.
    pub(super) expires: u64,
    /// When its peer was last heard, when it was probed, or when it went.
    pub(super) since: u64,
    /// When all renewals at once are allowed again, in microseconds.
    renewable: u64,
    /// Where it is counted.
    bits: u64,
    asn: u32,
    pub(super) peer: u32,
    pub(super) connection: u32,
    /// The peer's next.
    pub(super) next: u32,
    /// Out no later than something is due.
    timer: u32,
    kind: PlaceKind,
    pub(super) state: SlotState,
}

impl Slot {
    pub(super) fn place(&self) -> Place {
        Place {
            bits: self.bits,
            asn: self.asn,
            kind: self.kind,
        }
    }

    fn set_place(&mut self, place: Place) {
        (self.bits, self.asn, self.kind) = (place.bits, place.asn, place.kind);
    }
}

/// Which requests a bucket is for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Reserve,
    Connect,
}

/// The buckets that a request takes a token from.
pub(super) type Due = [Option<(u64, Rate)>; 2];

impl<Id: Eq + Hash + Clone, A: Admission<Id>> Table<Id, A> {
    /// The slot that a RESERVE over `connection` renews, whatever else there is.
    pub(super) fn own_slot(&self, connection: u32) -> Option<u32> {
        let connection = &self.connections[connection];
        let own = Some(connection.slot).filter(|slot| *slot != NONE);
        own.or_else(|| {
            let mut slots = self.slots_of(connection.peer);
            slots.find(|slot| self.slots[*slot].state == SlotState::Grace)
        })
    }

    /// The one of a peer's slots that ends first.
    pub(super) fn first_to_expire(&self, peer: u32) -> Option<u32> {
        let slots = self.slots_of(peer);
        slots.min_by_key(|slot| self.slots[*slot].expires)
    }

    pub(super) fn slots_of(&self, peer: u32) -> impl Iterator<Item = u32> {
        let some = |slot: u32| Some(slot).filter(|slot| *slot != NONE);
        let first = some(self.peers[peer].slot);
        std::iter::successors(first, move |slot| some(self.slots[*slot].next))
    }

    /// Whether a new slot is granted over `connection`, and what it takes from the rates.
    pub(super) fn admit_slot(&self, connection: u32) -> Result<Due, Refusal> {
        let connection = &self.connections[connection];
        self.ask(connection.peer, connection.place(), |_| true, 0)?;
        let peer = &self.peers[connection.peer].id;
        let rates = self.admission.rates(peer, connection.place().origin());
        let rates = [rates.reserve_of_peer, rates.reserve_of_subnet];
        let due = self.buckets_of(Kind::Reserve, connection.peer, connection.place(), rates);
        let refused = |of| Refusal::ReserveRate { of };
        self.check_rates(&due, connection.place(), refused)?;
        Ok(due)
    }

    /// Asks about a slot at `place`, of whose scopes only some count, with so many of the peer's slots left out.
    fn ask(
        &self,
        peer: u32,
        place: Place,
        counts: impl Fn(&Scope) -> bool,
        without: usize,
    ) -> Result<(), Refusal> {
        let mut nearby = [None; 4];
        for (held, at) in nearby.iter_mut().zip(place.scopes().filter(counts)) {
            let count = self.slots_at.of(at.key());
            *held = Some(Held { at, count });
        }
        let peer = &self.peers[peer];
        let ask = |nearby: &[Held]| {
            self.admission.reserve(&Reserve {
                peer: &peer.id,
                origin: place.origin(),
                slots: self.slots.len() - without,
                slots_of_peer: peer.slots as usize - without,
                nearby,
            })
        };
        match nearby {
            [None, ..] => ask(&[]),
            [Some(a), None, ..] => ask(&[a]),
            [Some(a), Some(b), None, _] => ask(&[a, b]),
            [Some(a), Some(b), Some(c), None] => ask(&[a, b, c]),
            [Some(a), Some(b), Some(c), Some(d)] => ask(&[a, b, c, d]),
        }
    }

    pub(super) fn buckets_of(
        &self,
        kind: Kind,
        peer: u32,
        place: Place,
        [of_peer, of_subnet]: [Option<Rate>; 2],
    ) -> Due {
        let hasher = self.buckets.hasher();
        let tag = kind as u8 * 2;
        let of_peer = of_peer.map(|rate| {
            let key = fingerprint(hasher, tag, &self.peers[peer].id);
            (key, rate)
        });
        let of_subnet = place.subnet().zip(of_subnet).map(|(subnet, rate)| {
            let key = fingerprint(hasher, tag + 1, &subnet);
            (key, rate)
        });
        [of_peer, of_subnet]
    }

    pub(super) fn check_rates(
        &self,
        due: &Due,
        place: Place,
        refused: impl Fn(RateOf) -> Refusal,
    ) -> Result<(), Refusal> {
        let of = [Some(RateOf::Peer), place.subnet().map(RateOf::Subnet)];
        let mut unknown = 0;
        for ((key, rate), of) in due.iter().zip(of).filter_map(|(due, of)| (*due).zip(of)) {
            if !self.buckets.allows(self.now, key, rate) {
                return Err(refused(of));
            }
            unknown += usize::from(!self.buckets.knows(key));
        }
        let limit = self.config.max_buckets;
        match unknown > 0 && self.buckets.len() + unknown > limit {
            true => Err(Refusal::Buckets { limit }),
            false => Ok(()),
        }
    }

    pub(super) fn take_tokens(&mut self, due: Due) {
        for (key, rate) in due.into_iter().flatten() {
            let timers = &mut self.timers;
            self.buckets.take(self.now, key, rate, timers);
        }
    }

    pub(super) fn add_slot(&mut self, connection: u32) -> u32 {
        let (peer, place) = {
            let connection = &self.connections[connection];
            (connection.peer, connection.place())
        };
        let now = self.millis();
        let slot = self.slots.insert(Slot {
            expires: now.saturating_add(millis(self.config.ttl)),
            since: now,
            renewable: 0,
            bits: place.bits,
            asn: place.asn,
            peer,
            connection,
            next: self.peers[peer].slot,
            timer: NONE,
            kind: place.kind,
            state: SlotState::Active,
        });
        let before = (self.peers[peer].slots == 0).then(|| self.carried_live(peer));
        let holder = &mut self.peers[peer];
        if let Some(before) = before {
            holder.carried = 0_u64.wrapping_sub(before);
        }
        holder.slot = slot;
        holder.slots += 1;
        self.connections[connection].slot = slot;
        for scope in place.scopes() {
            self.slots_at.add(scope.key());
        }
        self.schedule(slot);
        slot
    }

    /// Takes a token for a renewal of `slot` by the peer of `connection`. The slot contains the token bucket, so that renewals
    /// do not depend on [`crate::TableConfig::max_buckets`].
    pub(super) fn take_renewal(&mut self, slot: u32, connection: u32) -> Result<(), Refusal> {
        let connection = &self.connections[connection];
        let peer = &self.peers[connection.peer].id;
        let rates = self.admission.rates(peer, connection.place().origin());
        let Some(rate) = rates.renew_of_peer else {
            return Ok(());
        };
        // A holder that renews in time stays below this rate, even if its slot is short.
        let rate = Rate::new(rate.burst, rate.every.min(self.config.ttl / 4));
        let full = full_after(self.now, self.slots[slot].renewable, rate);
        self.slots[slot].renewable = full.ok_or(Refusal::RenewRate)?;
        Ok(())
    }

    /// From now on `connection` keeps the slot, and it is counted there if there is room.
    pub(super) fn attach(&mut self, slot: u32, connection: u32) {
        let before = std::mem::replace(&mut self.slots[slot].connection, connection);
        if before != NONE {
            self.connections[before].slot = NONE;
        }
        self.connections[connection].slot = slot;
        self.relocate(slot, self.connections[connection].place());
    }

    fn relocate(&mut self, slot: u32, to: Place) {
        let from = self.slots[slot].place();
        if from == to {
            return;
        }
        let stays = |scope: &Scope| from.scopes().any(|other| other == *scope);
        let peer = self.slots[slot].peer;
        if self.ask(peer, to, |scope| !stays(scope), 1).is_err() {
            return;
        }
        for scope in from.scopes() {
            self.slots_at.subtract(scope.key());
        }
        for scope in to.scopes() {
            self.slots_at.add(scope.key());
        }
        self.slots[slot].set_place(to);
    }

    /// The slot's connection is closed or silent: another one of its peer takes it over and must prove that it lives, or
    /// the grace begins.
    pub(super) fn bereave(&mut self, slot: u32, lost: u32) {
        let peer = self.slots[slot].peer;
        let heir = self.connections_of(peer).find(|at| {
            let connection = &self.connections[*at];
            *at != lost && connection.slot == NONE && connection.place().kind != PlaceKind::Relayed
        });
        let now = self.millis();
        if let Some(heir) = heir {
            self.attach(slot, heir);
            self.set_state(slot, SlotState::Probing, now);
            self.probe(heir);
        } else if self.slots[slot].state != SlotState::Grace {
            self.set_state(slot, SlotState::Grace, now);
        }
    }

    pub(super) fn set_state(&mut self, slot: u32, state: SlotState, since: u64) {
        let entry = &mut self.slots[slot];
        (entry.state, entry.since) = (state, since);
        self.schedule(slot);
    }

    pub(super) fn free(&mut self, slot: u32) {
        let Some(freed) = self.slots.remove(slot) else {
            return;
        };
        self.timers.cancel(freed.timer);
        for scope in freed.place().scopes() {
            self.slots_at.subtract(scope.key());
        }
        if freed.connection != NONE {
            self.connections[freed.connection].slot = NONE;
        }
        let peer = &mut self.peers[freed.peer];
        peer.slots -= 1;
        if peer.slot == slot {
            peer.slot = freed.next;
        } else {
            let mut at = peer.slot;
            while self.slots[at].next != slot {
                at = self.slots[at].next;
            }
            self.slots[at].next = freed.next;
        }
        self.peers.forget_if_gone(freed.peer);
    }

    /// A slot's timer is out: perhaps something is due.
    pub(super) fn handle_slot_due(&mut self, slot: u32) {
        self.slots[slot].timer = NONE;
        let (now, entry) = (self.millis(), &self.slots[slot]);
        let (peer, connection) = (entry.peer, entry.connection);
        let cause = match entry.state {
            _ if entry.expires <= now => Some(FreeCause::Expired),
            _ if self.slot_due(slot) > now => None,
            SlotState::Active => {
                self.set_state(slot, SlotState::Probing, now);
                self.probe(connection);
                return;
            }
            SlotState::Probing => {
                let peer = self.peers[peer].id.clone();
                let connection = self.connections[connection].id;
                self.events.push_back(Event::Silent { peer, connection });
                self.bereave(slot, self.slots[slot].connection);
                return;
            }
            SlotState::Grace => Some(FreeCause::Abandoned),
        };
        match cause {
            None => self.schedule(slot),
            Some(cause) => {
                let peer = self.peers[peer].id.clone();
                self.events.push_back(Event::Freed { peer, cause });
                self.free(slot);
            }
        }
    }

    fn probe(&mut self, connection: u32) {
        let connection = self.connections[connection].id;
        let within = self.config.answer;
        self.events.push_back(Event::Probe { connection, within });
    }

    /// When the next thing happens to a slot by itself.
    fn slot_due(&self, slot: u32) -> u64 {
        let entry = &self.slots[slot];
        let after = match entry.state {
            SlotState::Active => match self.config.heartbeat {
                Some(heartbeat) => self.sooner(slot, millis(heartbeat)),
                None => u64::MAX,
            },
            SlotState::Probing => millis(self.config.answer),
            SlotState::Grace => millis(self.config.grace),
        };
        entry.expires.min(entry.since.saturating_add(after.max(1)))
    }

    /// Up to a quarter of the heartbeat sooner, each slot otherwise.
    fn sooner(&self, slot: u32, heartbeat: u64) -> u64 {
        let spread = u64::from(slot)
            .wrapping_add(self.seed)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15);
        heartbeat - heartbeat / 4 * (spread >> 48) / (1 << 16)
    }

    /// Sets the slot's timer, unless it is out early enough.
    pub(super) fn schedule(&mut self, slot: u32) {
        let due = self.slot_due(slot);
        let timer = self.slots[slot].timer;
        if timer != NONE {
            if self.timers.due(timer) <= due {
                return;
            }
            self.timers.cancel(timer);
        }
        self.slots[slot].timer = self.timers.set(due, Timer::Slot(slot));
    }
}

pub(super) fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
