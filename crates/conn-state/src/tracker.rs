//! All connections of a host, and what they make of its peers.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
    hash::Hash,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    Action, Cause, Closing, ConnectionId, ConnectionInfo, Contender, Contest, Direction, Event,
    Phase, Policy, Reason, Route, State, TrackError, Verdict,
    history::{History, Record},
    table::{Connection, Connections, NEVER, NONE, Peers},
};

/// How many events a tracker keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct TrackerConfig {
    /// Events of all peers together: those subscribers may still be behind by, and all that is known of the past.
    /// Default 65,536, some 5 MiB.
    pub history: usize,
    /// Events of one peer that [`Tracker::history`] gives. Default 64.
    pub history_per_peer: usize,
}

impl Default for TrackerConfig {
    fn default() -> Self {
        Self {
            history: 65_536,
            history_per_peer: 64,
        }
    }
}

impl TrackerConfig {
    /// Sets [`Self::history`] and [`Self::history_per_peer`].
    pub fn with_history(mut self, in_all: usize, per_peer: usize) -> Self {
        (self.history, self.history_per_peer) = (in_all, per_peer);
        self
    }
}

/// Knows every connection's phase and every peer's state. It reads no clock, opens no socket and closes nothing: it is
/// told what happened, and says what that means and what is to be done.
///
/// `Id` names a peer and is the host's.
pub struct Tracker<Id> {
    local: Id,
    policy: Box<dyn Policy<Id>>,
    config: TrackerConfig,
    epoch: Instant,
    pub(crate) peers: Peers<Id>,
    connections: Connections,
    /// When phases and probes are over, the soonest first.
    timers: BTreeSet<(u64, u32, Timer)>,
    /// When the probe of each connection that is probed is over.
    probes: BTreeMap<u32, u64>,
    pub(crate) history: History,
    actions: VecDeque<Action>,
    transient: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Phase,
    Probe,
}

impl<Id: fmt::Debug> fmt::Debug for Tracker<Id> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tracker")
            .field("local", &self.local)
            .field("connections", &self.connections.len())
            .finish_non_exhaustive()
    }
}

/// What happened, and what is to be said about it.
struct Happening {
    now: u64,
    cause: Cause,
    detail: Option<Arc<str>>,
}

impl<Id: Eq + Hash + Clone> Tracker<Id> {
    /// A tracker of the host `local` that begins at `now`.
    pub fn new(
        now: Instant,
        local: Id,
        policy: impl Policy<Id> + 'static,
        config: TrackerConfig,
    ) -> Self {
        Self {
            local,
            policy: Box::new(policy),
            history: History::new(config.history),
            config,
            epoch: now,
            peers: Peers::default(),
            connections: Connections::default(),
            timers: BTreeSet::new(),
            probes: BTreeMap::new(),
            actions: VecDeque::new(),
            transient: 0,
        }
    }

    fn nanos(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.epoch).as_nanos();
        u64::try_from(since).unwrap_or(NEVER - 1)
    }

    fn instant(&self, nanos: u64) -> Instant {
        self.epoch + Duration::from_nanos(nanos)
    }

    /// A connection from somebody begins.
    ///
    /// # Errors
    ///
    /// There are as many transient connections as the policy allows.
    pub fn handle_inbound(&mut self, now: Instant) -> Result<ConnectionId, TrackError> {
        self.check_transient(None)?;
        let now = self.nanos(now);
        let slot = self.open(now, Direction::Inbound);
        Ok(self.connections.id(slot))
    }

    /// We begin to dial, `peer` if it is known whom.
    ///
    /// # Errors
    ///
    /// There are as many transient connections as the policy allows, in all or to this peer.
    pub fn handle_dialing(
        &mut self,
        now: Instant,
        peer: Option<&Id>,
    ) -> Result<ConnectionId, TrackError> {
        self.check_transient(peer.and_then(|peer| self.peers.find(peer)))?;
        let now = self.nanos(now);
        let slot = self.open(now, Direction::Outbound);
        if let Some(peer) = peer {
            let cause = Cause::Dialing;
            self.join(
                slot,
                peer,
                Happening {
                    now,
                    cause,
                    detail: None,
                },
            );
        }
        Ok(self.connections.id(slot))
    }

    fn check_transient(&self, peer: Option<u32>) -> Result<(), TrackError> {
        let limit = self.policy.max_transient();
        if self.transient >= limit {
            return Err(TrackError::TooManyTransient { limit });
        }
        let limit = self.policy.max_transient_per_peer();
        let peer = peer.and_then(|slot| self.peers.get(slot));
        let has = peer.map_or(0, |peer| peer.handshaking as usize + peer.limited as usize);
        match has < limit {
            true => Ok(()),
            false => Err(TrackError::TooManyTransientOfPeer { limit }),
        }
    }

    fn open(&mut self, now: u64, direction: Direction) -> u32 {
        let slot = self.connections.insert(now, direction);
        self.transient += 1;
        let max_age = self.policy.max_age(Reason::Handshaking);
        self.expire(slot, max_age.map_or(NEVER, |age| later(now, age)));
        slot
    }

    /// A handshake ended well: `peer` is at the other end. Whether another connection to it is in the way, and which of
    /// them stays, comes out as actions.
    ///
    /// # Errors
    ///
    /// The connection is not there or not in its handshake. Nothing changes then.
    pub fn handle_authenticated(
        &mut self,
        now: Instant,
        id: ConnectionId,
        peer: &Id,
        route: Route,
    ) -> Result<(), TrackError> {
        let slot = self.find(id)?;
        let phase = self.connections[slot].phase;
        if phase != Phase::Handshaking {
            return Err(TrackError::WrongPhase { id, phase });
        }
        let now = self.nanos(now);
        self.connections[slot].up = now;
        self.connections[slot].set_route(route);
        let dialed = self.connections[slot].peer;
        let wanted = self
            .peers
            .get(dialed)
            .is_some_and(|dialed| dialed.id == *peer);
        if dialed != NONE && !wanted {
            let cause = Cause::OtherPeer;
            self.leave(
                slot,
                Happening {
                    now,
                    cause,
                    detail: None,
                },
            );
        }
        let next = self.up_phase(route);
        let cause = Cause::Authenticated;
        let happening = Happening {
            now,
            cause,
            detail: None,
        };
        if self.connections[slot].peer == NONE {
            // It joins in its new phase: the peer was never seen handshaking.
            self.shift(slot, next, now);
            self.join(slot, peer, happening);
        } else {
            self.enter(slot, next, happening);
        }
        self.contend(slot, now);
        Ok(())
    }

    /// Limited or established, whatever a policy says.
    fn up_phase(&self, route: Route) -> Phase {
        match self.policy.phase(route) {
            Phase::Limited => Phase::Limited,
            _ => Phase::Established,
        }
    }

    /// A connection that is up goes another way, or its relay grants it something else.
    ///
    /// # Errors
    ///
    /// It is not there, or in its handshake. Nothing changes then.
    pub fn handle_route(
        &mut self,
        now: Instant,
        id: ConnectionId,
        route: Route,
    ) -> Result<(), TrackError> {
        let slot = self.find(id)?;
        let phase = self.connections[slot].phase;
        if !phase.is_up() {
            return Err(TrackError::WrongPhase { id, phase });
        }
        self.connections[slot].set_route(route);
        let (next, now) = (self.up_phase(route), self.nanos(now));
        if phase != Phase::Draining && phase != next {
            let cause = match next {
                Phase::Limited => Cause::LimitImposed,
                _ => Cause::LimitLifted,
            };
            self.enter(
                slot,
                next,
                Happening {
                    now,
                    cause,
                    detail: None,
                },
            );
            self.contend(slot, now);
        }
        Ok(())
    }

    /// So many streams are open on a connection.
    ///
    /// # Errors
    ///
    /// It is not there.
    pub fn handle_streams(
        &mut self,
        now: Instant,
        id: ConnectionId,
        open: u32,
    ) -> Result<(), TrackError> {
        let slot = self.find(id)?;
        self.connections[slot].streams = open;
        if self.connections[slot].phase == Phase::Draining {
            let now = self.nanos(now);
            self.plan_end_of_drain(slot, now);
        }
        Ok(())
    }

    /// A connection has just shown that the other end answers. Cheap where nobody asked.
    pub fn handle_alive(&mut self, now: Instant, id: ConnectionId) {
        let Some(slot) = self.connections.find(id) else {
            return;
        };
        if self.end_probe(slot) {
            let now = self.nanos(now);
            self.contend_again(slot, now, true);
        }
    }

    /// A connection is gone.
    ///
    /// # Errors
    ///
    /// It was gone before.
    pub fn handle_closed(
        &mut self,
        now: Instant,
        id: ConnectionId,
        closing: Closing,
        detail: Option<Arc<str>>,
    ) -> Result<(), TrackError> {
        let slot = self.find(id)?;
        let now = self.nanos(now);
        self.end_probe(slot);
        let peer = self.connections[slot].peer;
        self.expire(slot, NEVER);
        // What is being drained takes over before the peer is seen without a connection.
        self.resume(slot, now);
        let cause = Cause::Closed(closing);
        self.leave(slot, Happening { now, cause, detail });
        self.shift(slot, Phase::Closed, now);
        self.connections.remove(slot);
        self.forget_if_idle(peer);
        Ok(())
    }

    fn find(&self, id: ConnectionId) -> Result<u32, TrackError> {
        self.connections.find(id).ok_or(TrackError::Unknown { id })
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let (at, _, _) = self.timers.first()?;
        Some(self.instant(*at))
    }

    /// Does what is due: asks for the close of what was transient for too long, ends probes and drains.
    pub fn handle_timeout(&mut self, now: Instant) {
        let now = self.nanos(now);
        while let Some((at, slot, timer)) = self.timers.first().copied() {
            if at > now {
                return;
            }
            match timer {
                Timer::Probe => {
                    self.end_probe(slot);
                    self.contend_again(slot, now, false);
                }
                Timer::Phase => {
                    self.expire(slot, NEVER);
                    let closing = match self.connections[slot].phase {
                        Phase::Draining => Closing::Superseded,
                        _ => Closing::TooLongTransient,
                    };
                    self.close(slot, closing);
                }
            }
        }
    }

    /// What the host is to do next. Drain it to `None` after each `handle_*`.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    pub(crate) fn has_actions(&self) -> bool {
        !self.actions.is_empty()
    }

    /// How well `peer` is connected.
    pub fn state(&self, peer: &Id) -> State {
        let slot = self.peers.find(peer);
        let peer = slot.and_then(|slot| self.peers.get(slot));
        peer.map_or(State::NotConnected, |peer| peer.state)
    }

    /// The connections to `peer`, drained ones included.
    pub fn connections(&self, now: Instant, peer: &Id) -> Vec<ConnectionInfo> {
        let now = self.nanos(now);
        let slot = self.peers.find(peer);
        let of_peer = slot.into_iter().flat_map(|slot| self.of_peer(slot));
        of_peer.map(|slot| self.info(now, slot)).collect()
    }

    /// One connection, as long as it is not gone.
    pub fn connection(&self, now: Instant, id: ConnectionId) -> Option<ConnectionInfo> {
        let slot = self.connections.find(id)?;
        Some(self.info(self.nanos(now), slot))
    }

    fn info(&self, now: u64, slot: u32) -> ConnectionInfo {
        let connection = &self.connections[slot];
        ConnectionInfo {
            id: self.connections.id(slot),
            phase: connection.phase,
            direction: connection.direction,
            route: connection.route(),
            age: between(connection.opened, now),
            phase_age: between(connection.since, now),
            streams: connection.streams,
        }
    }

    /// Every peer that is not [`State::NotConnected`], with its state.
    pub fn peers(&self) -> impl Iterator<Item = (&Id, State)> {
        let peers = (0..self.peers.slots()).filter_map(|slot| self.peers.get(slot as u32));
        let present = peers.filter(|peer| peer.state != State::NotConnected);
        present.map(|peer| (&peer.id, peer.state))
    }

    /// How many connections there are, those included whose peer is not known.
    pub fn len(&self) -> usize {
        self.connections.len()
    }

    /// Whether there is no connection.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many peers are remembered: those with a connection, and those with an event in the history.
    pub fn remembered(&self) -> usize {
        self.peers.len()
    }

    /// The latest events of `peer`, the oldest first, at most [`TrackerConfig::history_per_peer`].
    pub fn history(&self, peer: &Id) -> Vec<Event<Id>> {
        let slot = self.peers.find(peer);
        let mut place = slot.and_then(|slot| self.peers.get(slot)?.latest);
        let mut events = Vec::new();
        while let Some(record) = place.and_then(|place| self.history.get(place)) {
            if events.len() >= self.config.history_per_peer {
                break;
            }
            events.extend(self.event(record));
            place = record.previous;
        }
        events.reverse();
        events
    }

    pub(crate) fn event(&self, record: &Record) -> Option<Event<Id>> {
        Some(Event {
            peer: self.peers.get(record.slot)?.id.clone(),
            number: record.number,
            from: record.from,
            to: record.to,
            cause: record.cause,
            detail: record.detail.clone(),
            connection: record.connection,
            at: self.instant(record.at),
        })
    }
}

/// Changes, from the outermost to the innermost.
impl<Id: Eq + Hash + Clone> Tracker<Id> {
    /// The connection becomes one of `peer`'s.
    fn join(&mut self, slot: u32, peer: &Id, happening: Happening) {
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
    fn leave(&mut self, slot: u32, happening: Happening) {
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
    fn enter(&mut self, slot: u32, next: Phase, happening: Happening) {
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
    fn shift(&mut self, slot: u32, next: Phase, now: u64) {
        let phase = self.connections[slot].phase;
        debug_assert!(phase.may_become(next), "{phase} to {next}");
        let is_transient = |phase| matches!(phase, Phase::Handshaking | Phase::Limited);
        self.transient -= usize::from(is_transient(phase));
        self.transient += usize::from(is_transient(next));
        let connection = &mut self.connections[slot];
        (connection.phase, connection.since) = (next, now);
        let max_age = match next {
            Phase::Limited => self.policy.max_age(Reason::Limited),
            _ => None,
        };
        self.expire(slot, max_age.map_or(NEVER, |age| later(now, age)));
    }

    /// The peer's state is what its connections make it; if that is new, it is an event.
    fn settle(&mut self, place: u32, slot: u32, happening: Happening) {
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
            previous: peer.latest.replace(end),
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
    fn forget_if_idle(&mut self, place: u32) {
        let Some(peer) = self.peers.get(place) else {
            return;
        };
        let known = peer.latest.and_then(|latest| self.history.get(latest));
        if peer.first == NONE && known.is_none() {
            self.peers.forget(place);
        }
    }

    fn of_peer(&self, place: u32) -> impl Iterator<Item = u32> {
        let first = self.peers.get(place).map_or(NONE, |peer| peer.first);
        let present = |slot: u32| (slot != NONE).then_some(slot);
        std::iter::successors(present(first), move |slot| {
            present(self.connections[*slot].next)
        })
    }

    fn expire(&mut self, slot: u32, at: u64) {
        let before = std::mem::replace(&mut self.connections[slot].expires, at);
        if before != NEVER {
            self.timers.remove(&(before, slot, Timer::Phase));
        }
        if at != NEVER {
            self.timers.insert((at, slot, Timer::Phase));
        }
    }

    fn close(&mut self, slot: u32, closing: Closing) {
        if !std::mem::replace(&mut self.connections[slot].closing, true) {
            let id = self.connections.id(slot);
            self.actions.push_back(Action::Close(id, closing));
        }
    }
}

/// Several connections to one peer.
impl<Id: Eq + Hash + Clone> Tracker<Id> {
    /// Those of the same peer that could stay as well as this one.
    fn rivals(&self, slot: u32) -> Vec<u32> {
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
    fn contend(&mut self, new: u32, now: u64) {
        for old in self.rivals(new) {
            self.judge(old, new, None, now);
            if self.connections[new].phase == Phase::Draining {
                return;
            }
        }
    }

    /// It is known whether a probed connection answers: it is held against each that came after it.
    fn contend_again(&mut self, old: u32, now: u64, answers: bool) {
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

    fn judge(&mut self, old: u32, new: u32, old_answers: Option<bool>, now: u64) {
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

    fn probe(&mut self, slot: u32, now: u64) {
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
    fn end_probe(&mut self, slot: u32) -> bool {
        let ended = self.probes.remove(&slot);
        if let Some(at) = ended {
            self.timers.remove(&(at, slot, Timer::Probe));
        }
        ended.is_some()
    }

    fn drain(&mut self, slot: u32, now: u64) {
        self.end_probe(slot);
        let id = self.connections.id(slot);
        self.actions.push_back(Action::Drain(id));
        let cause = Cause::Superseded;
        self.enter(
            slot,
            Phase::Draining,
            Happening {
                now,
                cause,
                detail: None,
            },
        );
        self.plan_end_of_drain(slot, now);
    }

    /// Closed once it was quiet for long enough, or its time is over.
    fn plan_end_of_drain(&mut self, slot: u32, now: u64) {
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
    fn resume(&mut self, going: u32, now: u64) {
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
        let cause = Cause::Resumed;
        self.enter(
            slot,
            next,
            Happening {
                now,
                cause,
                detail: None,
            },
        );
    }
}

fn later(now: u64, by: Duration) -> u64 {
    let by = u64::try_from(by.as_nanos()).unwrap_or(NEVER);
    now.saturating_add(by).min(NEVER - 1)
}

fn between(from: u64, to: u64) -> Duration {
    Duration::from_nanos(to.saturating_sub(from))
}
