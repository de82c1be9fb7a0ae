//! Two trackers, and the network between them.

mod checks;
mod sockets;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use conn_state::{Action, Closing, ConnectionId, Path, Recommended, Route, Tracker, TrackerConfig};
use sockets::Owed;

/// Which of the two.
pub(crate) type Side = usize;

/// One dial of a [`Script`].
#[derive(Debug, Clone)]
pub(crate) struct Dial {
    pub(crate) from: Side,
    pub(crate) at: u64,
    /// The other end will not have it once it knows who dialed.
    pub(crate) refused: bool,
    /// A relay limits it.
    pub(crate) limited: bool,
    /// It goes between the one UDP socket that each of them has, also after a restart.
    pub(crate) by_socket: bool,
    /// For how long either end has a stream open on it.
    pub(crate) busy: [u64; 2],
}

/// All that happens to the two from outside, in milliseconds.
#[derive(Debug, Clone, Default)]
pub(crate) struct Script {
    /// Whether the first has the lower id.
    pub(crate) lower_first: bool,
    /// How long each message takes, in turn.
    pub(crate) delays: Vec<u64>,
    pub(crate) dials: Vec<Dial>,
    /// Who forgets everything, when, and for how long it is away.
    pub(crate) restarts: Vec<(Side, u64, u64)>,
    /// Which dial's connection breaks, seen by whom first, and when.
    pub(crate) breaks: Vec<(usize, Side, u64)>,
    /// An answer may take longer than a probe's patience. Then only the end counts.
    pub(crate) is_slow: bool,
    /// [`TrackerConfig::max_per_peer`] is one.
    pub(crate) is_single: bool,
}

#[derive(Debug, Clone, Copy)]
enum Message {
    Syn,
    Accept,
    Finish,
    Ping,
    Pong,
    Close,
}

#[derive(Debug, Clone, Copy)]
enum Occurrence {
    Dial(usize),
    Arrive(usize, Side, Message),
    Idle(usize, Side),
    /// Nothing, but what must hold is looked at.
    Look,
    Break(usize, Side),
    Stop(Side, u64),
    Start(Side),
}

/// One end of a link.
#[derive(Debug, Clone, Copy)]
struct End {
    id: ConnectionId,
    /// In which life of the host it was made.
    life: u32,
}

/// A dial and what became of it.
#[derive(Debug, Clone)]
struct Link {
    ends: [Option<End>; 2],
    /// When the latest message to this side arrives: none overtakes another.
    latest: [u64; 2],
}

struct Host {
    tracker: Tracker<u8>,
    life: u32,
    is_running: bool,
}

pub(crate) struct World {
    script: Script,
    epoch: Instant,
    now: u64,
    hosts: [Host; 2],
    links: Vec<Link>,
    due: BTreeMap<(u64, u64), Occurrence>,
    sent: u64,
    /// A connection of these lives was up at both ends.
    has_met: bool,
    /// Connections broke, seen by one end before the other: until the end they may be apart.
    is_broken: bool,
    /// How often one of them began to drain a connection.
    drained: usize,
    /// Which dead connections have to be gone by when.
    owed: Vec<Owed>,
    /// How many of them were gone in time.
    gone_in_time: usize,
    /// What happened, for one who reads of a failure.
    story: Option<Vec<String>>,
}

impl World {
    /// Plays the script until nothing is left to happen. `Err` tells what went wrong first, and how it came to that.
    pub(crate) fn play(script: &Script) -> Result<Self, String> {
        Self::play_and(script, None).or_else(|_| Self::play_and(script, Some(Vec::new())))
    }

    fn play_and(script: &Script, story: Option<Vec<String>>) -> Result<Self, String> {
        let epoch = Instant::now();
        let ids = if script.lower_first { [1, 2] } else { [2, 1] };
        let mut world = Self {
            script: script.clone(),
            epoch,
            now: 0,
            hosts: ids.map(|id| Host::new(epoch, id, script.is_single)),
            links: Vec::new(),
            due: BTreeMap::new(),
            sent: 0,
            has_met: false,
            is_broken: false,
            drained: 0,
            owed: Vec::new(),
            gone_in_time: 0,
            story,
        };
        let blank = Link {
            ends: [None; 2],
            latest: [0; 2],
        };
        world.links = vec![blank; script.dials.len()];
        for (link, dial) in script.dials.iter().enumerate() {
            world.plan(dial.at, Occurrence::Dial(link));
        }
        for (side, at, away) in &script.restarts {
            world.plan(*at, Occurrence::Stop(*side, *away));
        }
        for (link, side, at) in &script.breaks {
            if *link < script.dials.len() {
                world.plan(*at, Occurrence::Break(*link, *side));
            }
        }
        while let Some(at) = world.next() {
            world.now = at;
            world.step().map_err(|wrong| world.tell(wrong))?;
        }
        world.settled().map_err(|wrong| world.tell(wrong))?;
        Ok(world)
    }

    fn tell(&self, wrong: String) -> String {
        let mut story = self.story.clone().unwrap_or_default();
        story.push(wrong);
        story.join("\n")
    }

    fn instant(&self) -> Instant {
        self.epoch + Duration::from_millis(self.now)
    }

    fn peer(&self, side: Side) -> u8 {
        if self.script.lower_first == (side == 0) {
            2
        } else {
            1
        }
    }

    fn plan(&mut self, at: u64, occurrence: Occurrence) {
        self.sent += 1;
        self.due.insert((at, self.sent), occurrence);
    }

    fn send(&mut self, link: usize, to: Side, message: Message) {
        let delays = &self.script.delays;
        let delay = delays[self.sent as usize % delays.len()];
        let at = (self.now + delay).max(self.links[link].latest[to]);
        self.links[link].latest[to] = at;
        self.plan(at, Occurrence::Arrive(link, to, message));
    }

    /// When something is due, rounded up to the network's milliseconds.
    fn next(&self) -> Option<u64> {
        let timers = self.hosts.iter().filter(|host| host.is_running);
        let timers = timers.filter_map(|host| host.tracker.poll_timeout());
        let since = |at: Instant| at.saturating_duration_since(self.epoch).as_millis() as u64;
        let timer = timers.map(since).min();
        let due = self.due.keys().next().map(|(at, _)| *at);
        let next = [timer, due].into_iter().flatten().min()?;
        Some(next.max(self.now))
    }

    fn step(&mut self) -> Result<(), String> {
        match self
            .due
            .first_entry()
            .filter(|entry| entry.key().0 <= self.now)
        {
            Some(entry) => {
                let occurrence = entry.remove();
                self.note(|| format!("{occurrence:?}"));
                self.occur(occurrence);
            }
            None => {
                let now = self.instant();
                for host in self.hosts.iter_mut().filter(|host| host.is_running) {
                    host.tracker.handle_timeout(now);
                }
            }
        }
        self.obey(0);
        self.obey(1);
        self.never_apart()?;
        self.none_lingers()
    }

    fn occur(&mut self, occurrence: Occurrence) {
        let now = self.instant();
        match occurrence {
            Occurrence::Dial(link) => {
                let from = self.script.dials[link].from;
                let peer = self.peer(from);
                let host = &mut self.hosts[from];
                if host.is_running {
                    let id = host.tracker.handle_dialing(now, Some(&peer)).expect("room");
                    let life = host.life;
                    self.links[link].ends[from] = Some(End { id, life });
                    self.send(link, 1 - from, Message::Syn);
                }
            }
            Occurrence::Arrive(link, side, message) => self.arrive(link, side, message),
            Occurrence::Idle(link, side) => {
                if let Some(id) = self.end(link, side) {
                    let tracker = &mut self.hosts[side].tracker;
                    tracker.handle_stream_closed(now, id).expect("known");
                }
            }
            Occurrence::Look => {}
            Occurrence::Break(link, side) => {
                self.is_broken = true;
                self.close(link, side, Closing::Lost);
            }
            Occurrence::Stop(side, _) if !self.hosts[side].is_running => {}
            Occurrence::Stop(side, away) => {
                self.has_met = false;
                self.hosts[side].is_running = false;
                self.hosts[side].life += 1;
                self.plan(self.now + away, Occurrence::Start(side));
            }
            Occurrence::Start(side) => {
                let id = self.peer(1 - side);
                let tracker = Host::new(now, id, self.script.is_single).tracker;
                (self.hosts[side].tracker, self.hosts[side].is_running) = (tracker, true);
            }
        }
    }

    fn arrive(&mut self, link: usize, side: Side, message: Message) {
        let now = self.instant();
        if let Message::Syn = message {
            self.syn(link, side);
            return;
        }
        // Who does not know a connection is silent.
        let Some(id) = self.end(link, side) else {
            return;
        };
        // Whatever was received shows that the other end is there.
        self.hosts[side].tracker.handle_alive(now, id);
        match message {
            Message::Syn | Message::Pong => {}
            Message::Accept => {
                self.authenticate(link, side, id);
                self.send(link, 1 - side, Message::Finish);
            }
            Message::Finish if self.script.dials[link].refused => {
                self.close(link, side, Closing::Refused);
            }
            Message::Finish => self.authenticate(link, side, id),
            Message::Ping => self.send(link, 1 - side, Message::Pong),
            Message::Close => {
                let tracker = &mut self.hosts[side].tracker;
                tracker
                    .handle_closed(now, id, Closing::Remote { code: None }, None)
                    .expect("known");
                self.links[link].ends[side] = None;
            }
        }
    }

    /// It is sent again until somebody is there.
    fn syn(&mut self, link: usize, side: Side) {
        if !self.hosts[side].is_running {
            let starts = self.due.iter().find_map(|((at, _), occurrence)| {
                matches!(occurrence, Occurrence::Start(who) if *who == side).then_some(*at)
            });
            if let Some(at) = starts {
                self.plan(at + 1, Occurrence::Arrive(link, side, Message::Syn));
            }
            return;
        }
        let now = self.instant();
        let host = &mut self.hosts[side];
        let id = host.tracker.handle_inbound(now).expect("room");
        let life = host.life;
        self.links[link].ends[side] = Some(End { id, life });
        self.send(link, 1 - side, Message::Accept);
    }

    fn authenticate(&mut self, link: usize, side: Side, id: ConnectionId) {
        let (now, peer) = (self.instant(), self.peer(side));
        let Dial { limited, busy, .. } = self.script.dials[link];
        let route = match limited {
            true => Route::Relayed(Some(conn_state::Limit {
                until: None,
                bytes: Some(1),
            })),
            false => Route::Direct,
        };
        let mut path = Path::new(route);
        if let Some(remote) = self.remote(link, side) {
            path = path.with_remote(remote);
        }
        let tracker = &mut self.hosts[side].tracker;
        tracker
            .handle_authenticated(now, id, &peer, path)
            .expect("known");
        self.owe(link, side);
        let tracker = &mut self.hosts[side].tracker;
        if busy[side] > 0 {
            tracker.handle_stream_opened(now, id).expect("known");
            self.plan(self.now + busy[side], Occurrence::Idle(link, side));
        }
    }

    /// The connection at this end, as long as the host that made it runs and has not closed it.
    fn end(&self, link: usize, side: Side) -> Option<ConnectionId> {
        let end = self.links[link].ends[side]?;
        let host = &self.hosts[side];
        (host.is_running && host.life == end.life).then_some(end.id)
    }

    fn close(&mut self, link: usize, side: Side, closing: Closing) {
        if let Some(id) = self.end(link, side) {
            let now = self.instant();
            let tracker = &mut self.hosts[side].tracker;
            tracker
                .handle_closed(now, id, closing, None)
                .expect("known");
            self.links[link].ends[side] = None;
            self.send(link, 1 - side, Message::Close);
        }
    }

    fn obey(&mut self, side: Side) {
        while let Some(action) = self.hosts[side].tracker.poll_action() {
            self.note(|| format!("    {side} is to {action:?}"));
            let link_of = |id| (0..self.links.len()).find(|link| self.end(*link, side) == Some(id));
            match action {
                Action::Drain(_) => self.drained += 1,
                Action::Probe(id) => {
                    if let Some(link) = link_of(id) {
                        self.send(link, 1 - side, Message::Ping);
                    }
                }
                Action::Close(id, closing) => {
                    if let Some(link) = link_of(id) {
                        self.close(link, side, closing);
                    }
                }
                _ => {}
            }
        }
    }
}

impl Host {
    fn new(now: Instant, id: u8, is_single: bool) -> Self {
        let config = TrackerConfig::default().with_max_per_peer(is_single.then_some(1));
        Self {
            tracker: Tracker::new(now, id, Recommended::default(), config),
            life: 0,
            is_running: true,
        }
    }
}
