//! What a tracker must make of what it is told, written down as plainly as can be: a list of connections, and all that
//! ever came about.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use conn_state::{
    Action, Closing, ConnectionId, Contest, Direction, Event, Path, Phase, Policy, Reason,
    Recommended, Remote, Route, State, TrackError, Verdict,
};

/// Who is there.
pub(crate) const PEERS: [u8; 6] = [10, 30, 50, 70, 90, 110];

/// Whom they are connected to: lower than some, higher than others.
pub(crate) const LOCAL: u8 = 55;

/// The rules of one run, with small numbers so that a run meets all of them.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    /// Instead of the recommended verdict.
    pub(crate) verdict: Option<Verdict>,
    /// Whether a relay's connection is limited even if the relay does not say so.
    pub(crate) is_strict: bool,
    recommended: Recommended,
}

impl Rules {
    pub(crate) fn new(verdict: Option<Verdict>, is_strict: bool) -> Self {
        let ms = Duration::from_millis;
        let recommended = Recommended::default()
            .with_max_ages(ms(3_000), Some(ms(5_000)))
            .with_max_transient(9, 3)
            .with_probe(ms(500), ms(600))
            .with_drain(ms(500), ms(2_000));
        Self {
            verdict,
            is_strict,
            recommended,
        }
    }
}

impl Policy<u8> for Rules {
    fn phase(&self, route: Route) -> Phase {
        match route {
            Route::Relayed(None) if self.is_strict => Phase::Limited,
            _ => Policy::<u8>::phase(&self.recommended, route),
        }
    }

    fn max_age(&self, reason: Reason) -> Option<Duration> {
        Policy::<u8>::max_age(&self.recommended, reason)
    }

    fn max_transient(&self) -> usize {
        self.recommended.max_transient
    }

    fn max_transient_per_peer(&self) -> usize {
        self.recommended.max_transient_per_peer
    }

    fn arbitrate(&self, contest: &Contest<'_, u8>) -> Verdict {
        self.verdict
            .unwrap_or_else(|| self.recommended.arbitrate(contest))
    }

    fn probe(&self) -> Duration {
        self.recommended.probe
    }

    fn patience(&self) -> Duration {
        self.recommended.patience
    }

    fn quiet(&self) -> Duration {
        self.recommended.quiet
    }

    fn drain(&self) -> Duration {
        self.recommended.drain
    }
}

/// One connection.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    pub(crate) peer: Option<u8>,
    pub(crate) phase: Phase,
    pub(crate) direction: Direction,
    pub(crate) route: Route,
    pub(crate) opened: Instant,
    pub(crate) since: Instant,
    /// When its handshake ended.
    up: Option<Instant>,
    remote: Option<Remote>,
    pub(crate) streams: u32,
    /// When its phase is over.
    pub(crate) due: Option<Instant>,
    /// The host was told to close it.
    pub(crate) closing: Option<Closing>,
    /// How often it got streams again while it was drained.
    reopened: u8,
    probed: Option<Instant>,
}

impl Link {
    fn new(now: Instant, direction: Direction, peer: Option<u8>, rules: &Rules) -> Self {
        let mut link = Self {
            peer,
            phase: Phase::Handshaking,
            direction,
            route: Route::Direct,
            opened: now,
            since: now,
            up: None,
            remote: None,
            streams: 0,
            due: None,
            closing: None,
            reopened: 0,
            probed: None,
        };
        link.enter(now, Phase::Handshaking, rules);
        link
    }

    fn enter(&mut self, now: Instant, phase: Phase, rules: &Rules) {
        (self.phase, self.since) = (phase, now);
        self.due = match phase {
            Phase::Handshaking => rules.max_age(Reason::Handshaking).map(|age| now + age),
            Phase::Limited => rules.max_age(Reason::Limited).map(|age| now + age),
            _ => None,
        };
    }

    fn is_transient(&self) -> bool {
        matches!(self.phase, Phase::Handshaking | Phase::Limited)
    }

    /// Whether this may be asked of the host now.
    fn may(&self, now: Instant, action: Action, longest: Option<Duration>, rules: &Rules) -> bool {
        let is_used = matches!(self.phase, Phase::Limited | Phase::Established);
        let is_over = self.due.is_some_and(|due| due <= now);
        let silent_for = |time| self.probed.is_some_and(|at| at + time <= now);
        let is_draining = self.phase == Phase::Draining;
        self.closing.is_none()
            && match action {
                Action::Probe(_) => is_used && (self.probed.is_none() || silent_for(rules.probe())),
                Action::Drain(_) => is_used,
                Action::Resume(_) => is_draining,
                Action::Close(_, Closing::TooLongTransient) => self.is_transient() && is_over,
                Action::Close(_, Closing::Superseded) => is_draining && is_over,
                Action::Close(_, Closing::Unresponsive) => {
                    let patient = rules.probe() + rules.patience();
                    let longest = longest.unwrap_or(patient);
                    is_draining && silent_for(longest.clamp(rules.probe(), patient))
                }
                _ => false,
            }
    }
}

#[derive(Debug)]
pub(crate) struct Reference {
    pub(crate) rules: Rules,
    pub(crate) links: BTreeMap<ConnectionId, Link>,
    /// Every event ever.
    pub(crate) log: Vec<Event<u8>>,
}

impl Reference {
    pub(crate) fn new(rules: Rules) -> Self {
        Self {
            rules,
            links: BTreeMap::new(),
            log: Vec::new(),
        }
    }

    pub(crate) fn of_peer(&self, peer: u8) -> impl Iterator<Item = (&ConnectionId, &Link)> {
        self.links
            .iter()
            .filter(move |(_, link)| link.peer == Some(peer))
    }

    /// How well the peer is connected: as well as the best of its connections.
    pub(crate) fn state(&self, peer: u8) -> State {
        let states = self.of_peer(peer).map(|(_, link)| match link.phase {
            Phase::Established => State::Connected,
            Phase::Limited => State::Transient(Reason::Limited),
            Phase::Handshaking => State::Transient(Reason::Handshaking),
            Phase::Draining | Phase::Closed => State::NotConnected,
        });
        states.max().unwrap_or(State::NotConnected)
    }

    /// Which of its connections is best for streams.
    pub(crate) fn best(&self, peer: u8) -> Option<ConnectionId> {
        let usable = self.of_peer(peer);
        let usable = usable.filter(|(_, link)| link.phase.is_up() && link.closing.is_none());
        let best = usable.max_by_key(|(id, link)| {
            let is_kept = link.phase != Phase::Draining;
            let is_full = self.rules.phase(link.route) == Phase::Established;
            (is_kept, is_full, link.route == Route::Direct, link.up, **id)
        });
        best.map(|(id, _)| *id)
    }

    pub(crate) fn latest(&self, peer: u8) -> Option<(usize, &Event<u8>)> {
        let mut log = self.log.iter().enumerate().rev();
        log.find(|(_, event)| event.peer == peer)
    }

    /// Whether one more may be opened, and if not, why.
    pub(crate) fn room(&self, peer: Option<u8>) -> Result<(), TrackError> {
        let transient = |link: &&Link| link.is_transient();
        let limit = self.rules.max_transient();
        let all = self.links.values().filter(transient).count();
        // Limited ones take no more than their share.
        let beyond = self.limited().saturating_sub(self.rules.max_limited());
        if all - beyond >= limit {
            return Err(TrackError::TooManyTransient { limit });
        }
        let limit = self.rules.max_transient_per_peer();
        let of_peer = self.links.values().filter(|link| link.peer == peer);
        match peer.is_some() && of_peer.filter(transient).count() >= limit {
            true => Err(TrackError::TooManyTransientOfPeer { limit }),
            false => Ok(()),
        }
    }

    fn limited(&self) -> usize {
        let limited = |link: &&Link| link.phase == Phase::Limited;
        self.links.values().filter(limited).count()
    }

    pub(crate) fn open(
        &mut self,
        now: Instant,
        id: ConnectionId,
        way: Direction,
        peer: Option<u8>,
    ) {
        let link = Link::new(now, way, peer, &self.rules);
        let taken = self.links.insert(id, link);
        assert!(taken.is_none(), "{id} is used twice");
    }

    fn link(&mut self, id: ConnectionId) -> Result<&mut Link, TrackError> {
        self.links.get_mut(&id).ok_or(TrackError::Unknown { id })
    }

    /// One that the host was not told to close.
    fn open_link(&mut self, id: ConnectionId) -> Result<&mut Link, TrackError> {
        let link = self.link(id)?;
        match link.closing {
            Some(_) => Err(TrackError::Closing { id }),
            None => Ok(link),
        }
    }

    pub(crate) fn authenticate(
        &mut self,
        now: Instant,
        id: ConnectionId,
        peer: u8,
        path: Path,
    ) -> Result<(), TrackError> {
        let (rules, limited) = (self.rules.clone(), self.limited());
        let link = self.open_link(id)?;
        if link.phase != Phase::Handshaking {
            let phase = link.phase;
            return Err(TrackError::WrongPhase { id, phase });
        }
        let limit = rules.max_limited();
        if rules.phase(path.route) == Phase::Limited && limited >= limit {
            return Err(TrackError::TooManyLimited { limit });
        }
        (link.peer, link.route, link.remote) = (Some(peer), path.route, path.remote);
        link.up = Some(now);
        link.enter(now, rules.phase(path.route), &rules);
        Ok(())
    }

    pub(crate) fn reroute(
        &mut self,
        now: Instant,
        id: ConnectionId,
        path: Path,
    ) -> Result<(), TrackError> {
        let rules = self.rules.clone();
        let link = self.open_link(id)?;
        let (phase, next) = (link.phase, rules.phase(path.route));
        if !phase.is_up() {
            return Err(TrackError::WrongPhase { id, phase });
        }
        (link.route, link.remote) = (path.route, path.remote);
        if phase != Phase::Draining && phase != next {
            link.enter(now, next, &rules);
        }
        Ok(())
    }

    pub(crate) fn stream(
        &mut self,
        now: Instant,
        id: ConnectionId,
        is_opened: bool,
    ) -> Result<(), TrackError> {
        let rules = self.rules.clone();
        let link = self.link(id)?;
        let before = link.streams;
        link.streams = match is_opened {
            true => before + 1,
            false => before.saturating_sub(1),
        };
        let is_turn = (before == 0) != (link.streams == 0);
        if link.phase == Phase::Draining && is_turn {
            link.reopened = link.reopened.saturating_add(u8::from(is_opened));
            link.due = Some(end_of_drain(now, link, &rules));
        }
        Ok(())
    }

    pub(crate) fn alive(&mut self, id: ConnectionId) {
        if let Some(link) = self.links.get_mut(&id) {
            link.probed = None;
        }
    }

    pub(crate) fn close(&mut self, id: ConnectionId) -> Result<(), TrackError> {
        let gone = self.links.remove(&id);
        gone.map(drop).ok_or(TrackError::Unknown { id })
    }

    /// How long it may be silent if a newer one comes from the same socket: eight times the quickest handshake of those.
    fn longest_answer(&self, id: ConnectionId) -> Option<Duration> {
        let old = self.links.get(&id).filter(|old| old.remote.is_some())?;
        let newer = self.links.iter().filter(|(other, new)| {
            let is_same = (new.peer, new.remote) == (old.peer, old.remote);
            **other != id && new.up >= old.up && is_same
        });
        let handshakes = newer.filter_map(|(_, new)| Some(new.up? - new.opened));
        handshakes.min().map(|quickest| 8 * quickest)
    }

    /// The tracker says what is to be done: it must be something that may be, and it counts as done.
    pub(crate) fn obey(&mut self, now: Instant, action: Action) -> Result<(), String> {
        let rules = self.rules.clone();
        let id = match action {
            Action::Probe(id) | Action::Drain(id) | Action::Resume(id) | Action::Close(id, _) => id,
            _ => return Err(format!("the unheard-of {action:?}")),
        };
        let longest = self.longest_answer(id);
        let link = self.links.get_mut(&id);
        let link = link.ok_or_else(|| format!("{action:?} of none"))?;
        if !link.may(now, action, longest, &rules) {
            return Err(format!("{action:?} of {link:?}"));
        }
        match action {
            Action::Probe(_) => link.probed = Some(now),
            Action::Drain(_) => {
                link.enter(now, Phase::Draining, &rules);
                link.reopened = 0;
                link.due = Some(end_of_drain(now, link, &rules));
            }
            Action::Resume(_) => {
                link.enter(now, rules.phase(link.route), &rules);
                link.probed = None;
            }
            Action::Close(_, closing) => link.closing = Some(closing),
            _ => {}
        }
        Ok(())
    }
}

fn end_of_drain(now: Instant, link: &Link, rules: &Rules) -> Instant {
    let last = link.since + rules.drain();
    let quiet = now + rules.quiet();
    match link.streams {
        0 if link.reopened >= 3 => last.min(quiet).min(now.max(link.since + 3 * rules.quiet())),
        0 => last.min(quiet),
        _ => last,
    }
}
