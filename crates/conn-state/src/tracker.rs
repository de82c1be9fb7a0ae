//! All connections of a host, and the states of its peers that follow from them.

mod ask;
mod changes;
mod contest;
mod streams;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
    hash::Hash,
    time::{Duration, Instant},
};

use crate::{
    Action, Cause, Closing, ConnectionId, Detail, Direction, Path, Phase, Policy, Reason, Route,
    TrackError, TrackerConfig,
    history::History,
    table::{Connections, NEVER, NONE, Peers},
};

/// Knows the phase of every connection and the state of every peer. The host reports what happens, and the tracker returns events
/// and actions. It reads no clock, opens no socket and closes nothing.
///
/// `Id` names a peer; its type is the host's choice.
pub struct Tracker<Id> {
    local: Id,
    policy: Box<dyn Policy<Id>>,
    config: TrackerConfig,
    epoch: Instant,
    pub(crate) peers: Peers<Id>,
    connections: Connections,
    /// When phases and probes are over, the soonest first.
    timers: BTreeSet<(u64, u32, Timer)>,
    /// Peers with more connections than [`TrackerConfig::max_per_peer`], each of which has a timer.
    crowded: BTreeSet<u32>,
    /// When the probe of each connection that is probed is over.
    probes: BTreeMap<u32, Probe>,
    pub(crate) history: History,
    actions: VecDeque<Action>,
    transient: usize,
    /// The limited connections among the transient ones.
    limited: usize,
}

/// A connection that is expected to answer.
#[derive(Debug, Clone, Copy)]
struct Probe {
    /// By when.
    at: u64,
    /// The time since which it has been late, if another connection replaced it then.
    overdue: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Phase,
    Probe,
    /// The timer of a peer with too many connections. The other timers belong to connections.
    Crowd,
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
    detail: Option<Detail>,
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
            crowded: BTreeSet::new(),
            probes: BTreeMap::new(),
            actions: VecDeque::new(),
            transient: 0,
            limited: 0,
        }
    }

    fn nanos(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.epoch).as_nanos();
        u64::try_from(since).unwrap_or(NEVER - 1)
    }

    fn instant(&self, nanos: u64) -> Instant {
        self.epoch + Duration::from_nanos(nanos)
    }

    /// A connection was accepted; its handshake begins.
    ///
    /// # Errors
    ///
    /// [`TrackError::TooManyTransient`].
    pub fn handle_inbound(&mut self, now: Instant) -> Result<ConnectionId, TrackError> {
        self.check_transient(None)?;
        let now = self.nanos(now);
        let slot = self.open(now, Direction::Inbound);
        Ok(self.connections.id(slot))
    }

    /// This host begins to dial. `peer` is the expected peer, if it is known.
    ///
    /// # Errors
    ///
    /// [`TrackError::TooManyTransient`] and [`TrackError::TooManyTransientOfPeer`].
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
        // A policy may limit connections that were not, so that there are more of them than it allows.
        let limited = self.limited.min(self.policy.max_limited());
        if self.transient - self.limited + limited >= limit {
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

    /// A handshake has succeeded, and `peer` is at the other end. If there are other connections to the peer, the following
    /// actions decide which of them stay.
    ///
    /// # Errors
    ///
    /// The connection is unknown, is not handshaking, or is about to be closed, or [`TrackError::TooManyLimited`]. Nothing
    /// changes then.
    pub fn handle_authenticated(
        &mut self,
        now: Instant,
        id: ConnectionId,
        peer: &Id,
        path: impl Into<Path>,
    ) -> Result<(), TrackError> {
        let (slot, path) = (self.find_open(id)?, path.into());
        let phase = self.connections[slot].phase;
        if phase != Phase::Handshaking {
            return Err(TrackError::WrongPhase { id, phase });
        }
        let next = self.up_phase(path.route);
        let limit = self.policy.max_limited();
        if next == Phase::Limited && self.limited >= limit {
            return Err(TrackError::TooManyLimited { limit });
        }
        let now = self.nanos(now);
        self.connections[slot].up = now;
        self.connections[slot].set_path(path);
        let dialed = self.connections[slot].peer;
        let wanted = self
            .peers
            .get(dialed)
            .is_some_and(|dialed| dialed.id == *peer);
        if dialed != NONE && !wanted {
            self.leave(slot, Happening::new(now, Cause::OtherPeer));
        }
        let happening = Happening::new(now, Cause::Authenticated);
        if self.connections[slot].peer == NONE {
            // It joins in its new phase: the peer was never seen handshaking.
            self.shift(slot, next, now);
            self.join(slot, peer, happening);
        } else {
            self.enter(slot, next, happening);
        }
        self.contend(slot, now);
        self.enforce_limit(self.connections[slot].peer, now);
        Ok(())
    }

    /// Limited or established, whatever a policy says.
    pub(super) fn up_phase(&self, route: Route) -> Phase {
        match self.policy.phase(route) {
            Phase::Limited => Phase::Limited,
            _ => Phase::Established,
        }
    }

    /// The path of a connection that is up has changed: its route, the limit of its relay, or the address of the other end. If
    /// `path` has no remote address, the tracker forgets the address.
    ///
    /// # Errors
    ///
    /// The connection is unknown, is handshaking, or is about to be closed. Nothing changes then.
    pub fn handle_path(
        &mut self,
        now: Instant,
        id: ConnectionId,
        path: impl Into<Path>,
    ) -> Result<(), TrackError> {
        let (slot, path) = (self.find_open(id)?, path.into());
        let phase = self.connections[slot].phase;
        if !phase.is_up() {
            return Err(TrackError::WrongPhase { id, phase });
        }
        self.connections[slot].set_path(path);
        let (next, now) = (self.up_phase(path.route), self.nanos(now));
        if phase != Phase::Draining && phase != next {
            let cause = match next {
                Phase::Limited => Cause::LimitImposed,
                _ => Cause::LimitLifted,
            };
            self.enter(slot, next, Happening::new(now, cause));
            self.contend(slot, now);
            self.enforce_limit(self.connections[slot].peer, now);
        }
        Ok(())
    }

    /// Something was received on a connection. Report this for each connection that [`Action::Probe`] has named. Any byte shows
    /// that the other end is alive. For other connections the call is cheap and changes nothing.
    pub fn handle_alive(&mut self, now: Instant, id: ConnectionId) {
        let Some(slot) = self.connections.find(id) else {
            return;
        };
        let Some(probe) = self.end_probe(slot) else {
            return;
        };
        let now = self.nanos(now);
        match probe.overdue.is_some() {
            true => self.revive(slot, now),
            false => self.contend_again(slot, now, true),
        }
        self.enforce_limit(self.connections[slot].peer, now);
    }

    /// A connection is gone, for the reason `closing`. `detail` is optional text for the event.
    ///
    /// # Errors
    ///
    /// The connection is unknown, for example because its end was already reported.
    pub fn handle_closed(
        &mut self,
        now: Instant,
        id: ConnectionId,
        closing: Closing,
        detail: Option<Detail>,
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
        self.enforce_limit(peer, now);
        self.shift(slot, Phase::Closed, now);
        self.connections.remove(slot);
        self.forget_if_idle(peer);
        Ok(())
    }

    fn find(&self, id: ConnectionId) -> Result<u32, TrackError> {
        self.connections.find(id).ok_or(TrackError::Unknown { id })
    }

    /// A connection that the host was not told to close.
    fn find_open(&self, id: ConnectionId) -> Result<u32, TrackError> {
        let slot = self.find(id)?;
        match self.connections[slot].closing {
            true => Err(TrackError::Closing { id }),
            false => Ok(slot),
        }
    }

    /// When to call [`Self::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        let (at, _, _) = self.timers.first()?;
        Some(self.instant(*at))
    }

    /// Does what is due: closes connections that were transient for too long, ends probes, and ends drains.
    pub fn handle_timeout(&mut self, now: Instant) {
        let now = self.nanos(now);
        while let Some((at, slot, timer)) = self.timers.first().copied() {
            if at > now {
                return;
            }
            match timer {
                Timer::Crowd => {
                    self.timers.remove(&(at, slot, timer));
                    self.crowded.remove(&slot);
                    // If the slot belongs to another peer by now, the call has no effect.
                    self.enforce_limit(slot, now);
                }
                Timer::Probe => match self.end_probe(slot) {
                    Some(Probe {
                        overdue: Some(since),
                        ..
                    }) => self.give_up(slot, since, now),
                    _ => {
                        self.contend_again(slot, now, false);
                        self.enforce_limit(self.connections[slot].peer, now);
                    }
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

    /// The next action for the host. Call this until it returns `None` after each `handle_*`.
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
