//! One run: a tracker, its shared twin and the reference are told the same, and compared after every step.

mod compare;

use std::{
    ops::Add,
    time::{Duration, Instant},
};

use conn_state::{
    Cause, Closing, ConnectionId, Detail, Direction, Limit, Path, Phase, Remote, Route,
    SharedTracker, State, Subscription, TrackError, Tracker, TrackerConfig,
};

use compare::alike;

use crate::{
    readers::Reader,
    reference::{LOCAL, PEERS, Reference, Rules},
};

/// What happens next. A `u16` picks one of the connections there are, and now and then one that is gone.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Inbound,
    Dial(Option<usize>),
    /// As the peer that was dialed, unless told otherwise.
    Authenticated(u16, usize, bool, Way),
    Route(u16, Way),
    /// One more stream, or one less.
    Stream(u16, bool),
    Alive(u16),
    Closed(u16, Closing),
    /// The host closes what it was told to close.
    Obey,
    Timeout,
    Subscribe(Option<usize>),
    Read(usize),
    /// Everyone goes, and is forgotten.
    Forget,
}

/// A route, in few words.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Way {
    Direct,
    /// From the peer's one UDP socket.
    Socket,
    Relayed,
    Limited,
}

impl Way {
    fn path(self, peer: u8) -> Path {
        let socket = Remote::new("quic", ([127, 0, 0, 1], peer.into()).into());
        match self {
            Self::Socket => Path::new(Route::Direct).with_remote(socket),
            _ => self.route().into(),
        }
    }

    fn route(self) -> Route {
        let limit = Limit {
            until: None,
            bytes: Some(1 << 17),
        };
        match self {
            Self::Direct | Self::Socket => Route::Direct,
            Self::Relayed => Route::Relayed(None),
            Self::Limited => Route::Relayed(Some(limit)),
        }
    }
}

/// How often what was met.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Met {
    events: u64,
    drains: u64,
    resumes: u64,
    probes: u64,
    reaped: u64,
    unresponsive: u64,
    refused: u64,
    lags: u64,
    forgotten: u64,
}

impl Met {
    fn all(&mut self) -> [&mut u64; 9] {
        [
            &mut self.events,
            &mut self.drains,
            &mut self.resumes,
            &mut self.probes,
            &mut self.reaped,
            &mut self.unresponsive,
            &mut self.refused,
            &mut self.lags,
            &mut self.forgotten,
        ]
    }

    /// Of what was met least often, how often.
    pub(crate) fn least(mut self) -> u64 {
        self.all()
            .map(|count| *count)
            .into_iter()
            .min()
            .unwrap_or_default()
    }
}

impl Add for Met {
    type Output = Self;

    fn add(mut self, mut other: Self) -> Self {
        for (ours, theirs) in self.all().into_iter().zip(other.all()) {
            *ours += *theirs;
        }
        self
    }
}

pub(crate) struct Run {
    met: Met,
    now: Instant,
    config: TrackerConfig,
    tracker: Tracker<u8>,
    shared: SharedTracker<u8>,
    reference: Reference,
    /// Reads at once.
    keen: Subscription<u8>,
    /// Reads when it likes.
    lazy: Reader,
    gone: Vec<ConnectionId>,
}

impl Run {
    pub(crate) fn new(rules: Rules, config: TrackerConfig) -> Result<Self, String> {
        let now = Instant::now();
        let shared = SharedTracker::new(now, LOCAL, rules.clone(), config);
        let reference = Reference::new(rules.clone());
        Ok(Self {
            met: Met::default(),
            now,
            config,
            tracker: Tracker::new(now, LOCAL, rules, config),
            keen: shared.subscribe().1,
            lazy: Reader::new(&shared, None, &reference)?,
            shared,
            reference,
            gone: Vec::new(),
        })
    }

    pub(crate) fn met(&self) -> Met {
        let lags = self.met.lags + u64::from(self.lazy.lags);
        Met { lags, ..self.met }
    }

    fn pick(&self, pick: u16) -> Option<ConnectionId> {
        let pick = usize::from(pick);
        if pick.is_multiple_of(23) && !self.gone.is_empty() {
            return Some(self.gone[pick % self.gone.len()]);
        }
        let mut ids: Vec<_> = self.reference.links.keys().copied().collect();
        // Who is still in the handshake is what most can happen to.
        if pick.is_multiple_of(2) {
            let links = &self.reference.links;
            ids.sort_by_key(|id| links[id].phase != Phase::Handshaking);
            ids.truncate(3);
        }
        let left = ids.get(pick / 2 % ids.len().max(1)).copied();
        left.or(self.gone.last().copied())
    }

    pub(crate) fn step(&mut self, after: Duration, step: &Step) -> Result<(), String> {
        self.now += after;
        match *step {
            Step::Subscribe(filter) => {
                let filter = filter.map(|peer| PEERS[peer]);
                self.met.lags += u64::from(self.lazy.lags);
                self.lazy = Reader::new(&self.shared, filter, &self.reference)?;
                Ok(())
            }
            Step::Read(updates) => {
                let history = self.config.history;
                self.lazy.read(updates, history, &self.reference)
            }
            Step::Forget => self.end(),
            Step::Obey => self.obey(),
            Step::Inbound => self.open(Direction::Inbound, None),
            Step::Dial(peer) => self.open(Direction::Outbound, peer.map(|peer| PEERS[peer])),
            Step::Timeout => self.timeout(),
            Step::Authenticated(pick, ..)
            | Step::Route(pick, _)
            | Step::Stream(pick, _)
            | Step::Alive(pick)
            | Step::Closed(pick, _) => match self.pick(pick) {
                Some(id) => self.happen(id, step),
                None => Ok(()),
            },
        }
    }

    fn open(&mut self, way: Direction, peer: Option<u8>) -> Result<(), String> {
        let (now, peer) = (self.now, peer.as_ref());
        let outcomes = match way {
            Direction::Inbound => [
                self.tracker.handle_inbound(now),
                self.shared.handle_inbound(now),
            ],
            Direction::Outbound => [
                self.tracker.handle_dialing(now, peer),
                self.shared.handle_dialing(now, peer),
            ],
        };
        let [outcome, twin] = outcomes;
        alike("outcome", &outcome, &twin)?;
        let room = self.reference.room(peer.copied());
        alike("room", &outcome.clone().map(drop), &room)?;
        let before = self.states();
        match outcome {
            Ok(id) => self.reference.open(now, id, way, peer.copied()),
            Err(_) => self.met.refused += 1,
        }
        self.compare(before, outcome.ok(), None, |cause| cause == Cause::Dialing)
    }

    /// What happens to one connection.
    fn happen(&mut self, id: ConnectionId, step: &Step) -> Result<(), String> {
        let (now, before) = (self.now, self.states());
        let (tracker, shared, reference) = (&mut self.tracker, &self.shared, &mut self.reference);
        let mut detail = None;
        let outcomes = match *step {
            Step::Authenticated(_, stranger, is_stranger, way) => {
                let dialed = reference.links.get(&id).and_then(|link| link.peer);
                let peer = dialed.filter(|_| !is_stranger).unwrap_or(PEERS[stranger]);
                let path = way.path(peer);
                [
                    tracker.handle_authenticated(now, id, &peer, path),
                    shared.handle_authenticated(now, id, &peer, path),
                    reference.authenticate(now, id, peer, path),
                ]
            }
            Step::Route(_, way) => [
                tracker.handle_path(now, id, way.route()),
                shared.handle_path(now, id, way.route()),
                reference.reroute(now, id, way.route().into()),
            ],
            Step::Stream(_, is_opened) => {
                let streams = shared.stream_count(id);
                let streams = streams.ok_or(TrackError::Unknown { id });
                [
                    match is_opened {
                        true => tracker.handle_stream_opened(now, id),
                        false => tracker.handle_stream_closed(now, id),
                    },
                    streams.map(|streams| match is_opened {
                        true => streams.handle_opened(now),
                        false => streams.handle_closed(now),
                    }),
                    reference.stream(now, id, is_opened),
                ]
            }
            Step::Closed(_, closing) => {
                detail = Some(Detail::from("so it was"));
                let outcomes = [
                    tracker.handle_closed(now, id, closing, detail.clone()),
                    shared.handle_closed(now, id, closing, detail.clone()),
                    reference.close(id),
                ];
                self.gone.extend(outcomes[2].is_ok().then_some(id));
                outcomes
            }
            _ => {
                tracker.handle_alive(now, id);
                shared.handle_alive(now, id);
                reference.alive(id);
                [Ok(()), Ok(()), Ok(())]
            }
        };
        let [outcome, twin, expected] = outcomes;
        alike("outcome", &outcome, &twin)?;
        alike("outcome", &outcome, &expected)?;
        self.compare(before, Some(id), detail, |cause| may_follow(step, cause))
    }

    /// The host gets to it late, or not at all.
    fn timeout(&mut self) -> Result<(), String> {
        let before = self.states();
        self.tracker.handle_timeout(self.now);
        self.shared.handle_timeout(self.now);
        let may_follow = |cause| matches!(cause, Cause::Superseded | Cause::Resumed);
        self.compare(before, None, None, may_follow)?;
        let mut open = self.reference.links.iter();
        let is_over = |due: Instant| due <= self.now;
        if let Some(link) =
            open.find(|(_, link)| link.closing.is_none() && link.due.is_some_and(is_over))
        {
            return Err(format!("{link:?} should have been closed"));
        }
        match self.tracker.poll_timeout() {
            Some(at) if at <= self.now => Err("a timeout was not handled".to_owned()),
            _ => Ok(()),
        }
    }

    fn obey(&mut self) -> Result<(), String> {
        let links = self.reference.links.iter();
        let told: Vec<_> = links
            .filter_map(|(id, link)| Some((*id, link.closing?)))
            .collect();
        for (id, closing) in told {
            self.happen(id, &Step::Closed(0, closing))?;
        }
        Ok(())
    }

    fn states(&self) -> [State; PEERS.len()] {
        PEERS.map(|peer| self.reference.state(peer))
    }

    /// Everyone leaves: each peer's last word is that it is not connected, and nothing but the history is left.
    pub(crate) fn end(&mut self) -> Result<(), String> {
        let ids: Vec<_> = self.reference.links.keys().copied().collect();
        for id in ids {
            self.happen(id, &Step::Closed(0, Closing::Remote { code: None }))?;
        }
        for peer in PEERS {
            let latest = self.reference.latest(peer);
            if latest.is_some_and(|(_, event)| event.to != State::NotConnected) {
                return Err(format!("the last word of {peer} is {latest:?}"));
            }
        }
        alike("timeout", &self.tracker.poll_timeout(), &None)?;
        self.tracker
            .handle_timeout(self.now + Duration::from_secs(3_600));
        alike("action", &self.tracker.poll_action(), &None)?;
        let (history, updates) = (self.config.history, usize::MAX);
        self.lazy.read(updates, history, &self.reference)?;
        // Whoever was last drives out all others.
        for _ in 0..self.config.history.div_ceil(2) {
            self.open(Direction::Outbound, Some(PEERS[0]))?;
            let id = self.reference.links.keys().next().copied();
            let id = id.ok_or("there is no room, and nobody")?;
            self.happen(id, &Step::Closed(0, Closing::Lost))?;
        }
        alike("remembered", &self.tracker.remembered(), &1)
    }
}

/// What may come of what.
fn may_follow(step: &Step, cause: Cause) -> bool {
    match (step, cause) {
        (Step::Authenticated(..), Cause::Authenticated | Cause::OtherPeer)
        | (Step::Route(..), Cause::LimitLifted | Cause::LimitImposed)
        | (Step::Alive(_) | Step::Closed(..), Cause::Resumed)
        | (
            Step::Authenticated(..) | Step::Route(..) | Step::Alive(_) | Step::Closed(..),
            Cause::Superseded,
        ) => true,
        (Step::Closed(_, closing), Cause::Closed(why)) => *closing == why,
        _ => false,
    }
}
