//! All connections of a host, and what they make of its peers.

mod ask;
mod changes;
mod contest;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
    hash::Hash,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    Action, Cause, Closing, ConnectionId, Direction, Phase, Policy, Reason, Route, TrackError,
    history::History,
    table::{Connections, NEVER, NONE, Peers},
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
    probes: BTreeMap<u32, Probe>,
    pub(crate) history: History,
    actions: VecDeque<Action>,
    transient: usize,
}

/// A connection that is expected to answer.
#[derive(Debug, Clone, Copy)]
struct Probe {
    /// By when.
    at: u64,
    /// It has not so far, and another one took its place.
    overdue: bool,
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

impl Happening {
    fn new(now: u64, cause: Cause) -> Self {
        Self {
            now,
            cause,
            detail: None,
        }
    }
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
            self.join(slot, peer, Happening::new(now, Cause::Dialing));
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
            self.leave(slot, Happening::new(now, Cause::OtherPeer));
        }
        let next = self.up_phase(route);
        let happening = Happening::new(now, Cause::Authenticated);
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
    pub(super) fn up_phase(&self, route: Route) -> Phase {
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
            self.enter(slot, next, Happening::new(now, cause));
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
        let Some(probe) = self.end_probe(slot) else {
            return;
        };
        let now = self.nanos(now);
        match probe.overdue {
            true => self.revive(slot, now),
            false => self.contend_again(slot, now, true),
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
        self.reconsider(slot, now);
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
                Timer::Probe => match self.end_probe(slot) {
                    Some(Probe { overdue: true, .. }) => self.close(slot, Closing::Unresponsive),
                    _ => self.contend_again(slot, now, false),
                },
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
}

fn later(now: u64, by: Duration) -> u64 {
    let by = u64::try_from(by.as_nanos()).unwrap_or(NEVER);
    now.saturating_add(by).min(NEVER - 1)
}

fn between(from: u64, to: u64) -> Duration {
    Duration::from_nanos(to.saturating_sub(from))
}
