//! The table as one would write it who never has more than a dozen slots: lists, and a look at all of them each time.

mod circuits;

use std::collections::{BTreeMap, BTreeSet};

use relay_slots::{Caps, CircuitId, ConnectionId, Origin, Rate, TableConfig};

use crate::place::{canonical, scopes, subnet};

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Conn {
    pub(crate) id: ConnectionId,
    pub(crate) peer: u8,
    pub(crate) origin: Origin,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum State {
    Active,
    Probing,
    Grace,
}

#[derive(Debug, Clone)]
pub(crate) struct Slot {
    pub(crate) peer: u8,
    pub(crate) origin: Origin,
    pub(crate) conn: Option<ConnectionId>,
    pub(crate) state: State,
    pub(crate) since: u64,
    pub(crate) expires: u64,
    /// When its meter of renewals is full, in microseconds.
    pub(crate) renewable: u64,
}

#[derive(Debug, Clone)]
pub(crate) struct Circuit {
    pub(crate) id: CircuitId,
    pub(crate) from: ConnectionId,
    pub(crate) to: ConnectionId,
    pub(crate) open: bool,
    pub(crate) due: Option<u64>,
}

/// Whose rate: the request's kind, and the peer or subnet.
type BucketKey = (bool, String);

#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) config: TableConfig,
    pub(crate) caps: Caps,
    /// Microseconds.
    pub(crate) now: u64,
    pub(crate) conns: Vec<Conn>,
    pub(crate) slots: Vec<Slot>,
    pub(crate) circuits: Vec<Circuit>,
    pub(crate) buckets: BTreeMap<BucketKey, u64>,
    pub(crate) events: Vec<String>,
    /// Of slots that fell silent, and where they may be counted since: who of several that are due in the same millisecond
    /// comes first is left open, and with it who finds room.
    pub(crate) unsettled: Vec<(ConnectionId, [Origin; 2])>,
}

fn millis(duration: std::time::Duration) -> u64 {
    duration.as_millis() as u64
}

impl Model {
    pub(crate) fn conn(&self, id: ConnectionId) -> Option<&Conn> {
        self.conns.iter().find(|conn| conn.id == id)
    }

    pub(crate) fn ms(&self) -> u64 {
        self.now / 1000
    }

    fn exempt(&self, origin: Origin) -> bool {
        self.caps.exempt_private && origin.is_private()
    }

    pub(crate) fn held(&self, name: &str) -> usize {
        let here = |slot: &&Slot| scopes(slot.origin).iter().any(|(scope, _)| scope == name);
        self.slots.iter().filter(here).count()
    }

    pub(crate) fn slots_of(&self, peer: u8) -> usize {
        self.slots.iter().filter(|slot| slot.peer == peer).count()
    }

    /// The peer's slots, the latest first, that pass.
    fn position(&self, peer: u8, test: impl Fn(&Slot) -> bool) -> Option<usize> {
        let passes = |slot: &Slot| slot.peer == peer && test(slot);
        self.slots.iter().rposition(passes)
    }

    fn own(&self, conn: &Conn) -> Option<usize> {
        let kept = self.position(conn.peer, |slot| slot.conn == Some(conn.id));
        kept.or_else(|| self.position(conn.peer, |slot| slot.state == State::Grace))
    }

    fn soonest(&self, peer: u8) -> Option<usize> {
        let of_peer = (0..self.slots.len()).filter(|at| self.slots[*at].peer == peer);
        of_peer.rev().min_by_key(|at| self.slots[*at].expires)
    }

    fn due(&self, slot: &Slot) -> u64 {
        let after = match slot.state {
            State::Active => match self.config.heartbeat {
                None => return slot.expires,
                Some(heartbeat) => millis(heartbeat),
            },
            State::Probing => millis(self.config.answer),
            State::Grace => millis(self.config.grace),
        };
        slot.expires.min(slot.since + after.max(1))
    }

    pub(crate) fn advance(&mut self, by: u64) {
        self.now += by;
        let now = self.ms();
        let mut at = 0;
        while at < self.slots.len() {
            let slot = self.slots[at].clone();
            let peer = slot.peer;
            if slot.expires <= now {
                self.events.push(format!("freed {peer} Expired"));
                self.slots.remove(at);
                continue;
            }
            if self.due(&slot) <= now {
                match slot.state {
                    State::Active => {
                        (self.slots[at].state, self.slots[at].since) = (State::Probing, now);
                        self.events
                            .push(format!("probe {}", slot.conn.expect("somebody keeps it")));
                    }
                    State::Probing => {
                        let conn = slot.conn.expect("somebody keeps it");
                        self.events.push(format!("silent {peer} {conn}"));
                        self.bereave(at, conn);
                        let heir = self.slots[at].conn.and_then(|id| self.conn(id));
                        if let Some(heir) = heir {
                            let origins = [slot.origin, canonical(heir.origin)];
                            self.unsettled.push((heir.id, origins));
                        }
                    }
                    State::Grace => {
                        self.events.push(format!("freed {peer} Abandoned"));
                        self.slots.remove(at);
                        continue;
                    }
                }
            }
            at += 1;
        }
        let (over, left) = std::mem::take(&mut self.circuits)
            .into_iter()
            .partition(|circuit| circuit.due.is_some_and(|due| due <= now));
        self.circuits = left;
        let _: &Vec<Circuit> = &over;
        for circuit in over {
            let cause = if circuit.open {
                "Expired"
            } else {
                "Unanswered"
            };
            self.events.push(format!("ended {} {cause}", circuit.id));
        }
        self.buckets.retain(|_, full| full.div_ceil(1000) > now);
    }

    fn bereave(&mut self, at: usize, lost: ConnectionId) {
        let (peer, now) = (self.slots[at].peer, self.ms());
        let kept = |id| self.slots.iter().any(|slot| slot.conn == Some(id));
        let heir = self.conns.iter().rev().find(|conn| {
            conn.peer == peer && conn.id != lost && !kept(conn.id) && conn.origin != Origin::Relayed
        });
        if let Some(heir) = heir.cloned() {
            self.attach(at, &heir);
            (self.slots[at].state, self.slots[at].since) = (State::Probing, now);
            self.events.push(format!("probe {}", heir.id));
        } else if self.slots[at].state != State::Grace {
            (self.slots[at].state, self.slots[at].since) = (State::Grace, now);
        }
    }

    fn attach(&mut self, at: usize, conn: &Conn) {
        self.slots[at].conn = Some(conn.id);
        let from = self.slots[at].origin;
        let before: BTreeSet<String> = scopes(from).into_iter().map(|scope| scope.0).collect();
        if self.admits(conn, 1, &before).is_ok() {
            self.slots[at].origin = canonical(conn.origin);
        }
    }

    fn admits(&self, conn: &Conn, less: usize, not: &BTreeSet<String>) -> Result<(), String> {
        let caps = &self.caps;
        if self.slots.len() - less >= caps.slots {
            return Err(format!("{} slots are held, which is the limit", caps.slots));
        }
        let limit = caps.slots_per_peer;
        if self.slots_of(conn.peer) - less >= limit {
            return Err(format!(
                "{limit} slots are held by this peer, which is the limit"
            ));
        }
        for (name, kind) in scopes(conn.origin) {
            let limit = caps.slots_per(kind);
            if !self.exempt(conn.origin) && !not.contains(&name) && self.held(&name) >= limit {
                return Err(format!(
                    "{limit} slots are held from {name}, which is the limit"
                ));
            }
        }
        Ok(())
    }

    /// Takes the tokens if there are enough.
    fn take(&mut self, conn: &Conn, connect: bool) -> Result<(), String> {
        let rates = self.caps.rates;
        let (of_peer, of_subnet) = match connect {
            false => (rates.reserve_of_peer, rates.reserve_of_subnet),
            true => (rates.connect_of_peer, rates.connect_of_subnet),
        };
        let what = if connect { "circuits" } else { "reservations" };
        let subnet = subnet(conn.origin).filter(|_| !self.exempt(conn.origin));
        let mut wanted: Vec<(BucketKey, Rate)> = Vec::new();
        wanted.extend(of_peer.map(|rate| ((connect, format!("peer {}", conn.peer)), rate)));
        wanted.extend(
            subnet
                .zip(of_subnet)
                .map(|(net, rate)| ((connect, net), rate)),
        );
        let mut unknown = 0;
        for (key, rate) in &wanted {
            let every = rate.every.as_micros() as u64;
            let known = self.buckets.get(key);
            let full = known.map_or(self.now, |full| *full.max(&self.now));
            if full - self.now + every > every * u64::from(rate.burst) || rate.burst == 0 {
                let of = key.1.strip_prefix("peer ").map_or(&*key.1, |_| "this peer");
                return Err(format!(
                    "{what} of {of} follow each other faster than the limit"
                ));
            }
            unknown += usize::from(known.is_none());
        }
        let limit = self.config.max_buckets;
        if unknown > 0 && self.buckets.len() + unknown > limit {
            return Err(format!(
                "the rates of {limit} peers and subnets are remembered, which is the limit"
            ));
        }
        for (key, rate) in wanted {
            let full = self.buckets.entry(key).or_insert(self.now);
            *full = (*full).max(self.now) + rate.every.as_micros() as u64;
        }
        Ok(())
    }

    pub(crate) fn connected(&mut self, id: ConnectionId, peer: u8, origin: Origin) {
        let conn = Conn { id, peer, origin };
        self.conns.push(conn.clone());
        if origin != Origin::Relayed
            && let Some(at) = self.own(&conn)
        {
            self.attach(at, &conn);
            (self.slots[at].state, self.slots[at].since) = (State::Active, self.ms());
        }
    }

    pub(crate) fn disconnected(&mut self, id: ConnectionId) {
        let gone = |circuit: &Circuit| circuit.from == id || circuit.to == id;
        for circuit in self.circuits.iter().filter(|circuit| gone(circuit)) {
            self.events.push(format!("ended {} Gone", circuit.id));
        }
        self.circuits.retain(|circuit| !gone(circuit));
        if let Some(at) = self.slots.iter().position(|slot| slot.conn == Some(id)) {
            self.bereave(at, id);
            if self.slots[at].conn == Some(id) {
                self.slots[at].conn = None;
            }
        }
        self.conns.retain(|conn| conn.id != id);
    }

    pub(crate) fn alive(&mut self, id: ConnectionId) {
        let now = self.ms();
        for slot in self.slots.iter_mut().filter(|slot| slot.conn == Some(id)) {
            (slot.state, slot.since) = (State::Active, now);
        }
    }

    pub(crate) fn dead(&mut self, id: ConnectionId) {
        if let Some(at) = self.slots.iter().position(|slot| slot.conn == Some(id)) {
            self.bereave(at, id);
        }
    }

    /// Whether it was renewed.
    pub(crate) fn reserve(&mut self, id: ConnectionId) -> Result<bool, String> {
        let conn = self.conn(id).cloned();
        let conn = conn.ok_or(format!("there is no connection {id}"))?;
        if conn.origin == Origin::Relayed {
            return Err("the request came over a relayed connection".into());
        }
        let (now, expires) = (self.ms(), self.ms() + millis(self.config.ttl));
        let at = match self.own(&conn) {
            Some(at) => at,
            None => {
                let admitted = self.admits(&conn, 0, &BTreeSet::new());
                match admitted.and_then(|()| self.take(&conn, false)) {
                    Err(refusal) => self.soonest(conn.peer).ok_or(refusal)?,
                    Ok(()) => {
                        self.slots.push(Slot {
                            peer: conn.peer,
                            origin: canonical(conn.origin),
                            conn: Some(id),
                            state: State::Active,
                            since: now,
                            expires,
                            renewable: 0,
                        });
                        return Ok(false);
                    }
                }
            }
        };
        if let Some(rate) = self.caps.rates.renew_of_peer {
            let every = rate.every.min(self.config.ttl / 4).as_micros() as u64;
            let full = self.slots[at].renewable.max(self.now) + every;
            if full - self.now > every * u64::from(rate.burst) {
                return Err("renewals of this peer follow each other faster than the limit".into());
            }
            self.slots[at].renewable = full;
        }
        self.attach(at, &conn);
        let slot = &mut self.slots[at];
        (slot.state, slot.since, slot.expires) = (State::Active, now, expires);
        Ok(true)
    }

    pub(crate) fn release(&mut self, id: ConnectionId) -> bool {
        let conn = self.conn(id).cloned();
        let slot = conn.and_then(|conn| self.own(&conn).or_else(|| self.soonest(conn.peer)));
        slot.map(|at| self.slots.remove(at)).is_some()
    }
}
