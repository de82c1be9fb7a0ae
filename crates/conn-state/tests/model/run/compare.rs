//! What must be alike after every step.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    task::{Context, Poll, Waker},
};

use conn_state::{Action, Cause, Closing, ConnectionId, Detail, Event, State, Update};

use super::Run;
use crate::reference::PEERS;

impl Run {
    /// The two trackers are alike, do what may be done and are as the reference says; and what they tell about it is what
    /// happened.
    pub(super) fn compare(
        &mut self,
        before: [State; PEERS.len()],
        connection: Option<ConnectionId>,
        detail: Option<Detail>,
        may_follow: impl Fn(Cause) -> bool,
    ) -> Result<(), String> {
        self.act()?;
        let events = self.news()?;
        for event in &events {
            let is_its_own = Some(event.connection) == connection;
            let is_about_another = matches!(event.cause, Cause::Superseded | Cause::Resumed);
            let is_closing = matches!(event.cause, Cause::Closed(_));
            let told = detail.clone().filter(|_| is_closing);
            if !may_follow(event.cause)
                || event.at != self.now
                || !is_its_own && !is_about_another
                || event.detail != told
            {
                return Err(format!("{event:?} came of it"));
            }
        }
        self.follow(before, events, connection.is_some())?;
        self.stand()
    }

    fn act(&mut self) -> Result<(), String> {
        loop {
            let action = self.tracker.poll_action();
            let twin = self
                .shared
                .poll_action(&mut Context::from_waker(Waker::noop()));
            alike("action", &action.map_or(Poll::Pending, Poll::Ready), &twin)?;
            let Some(action) = action else {
                return Ok(());
            };
            match action {
                Action::Probe(_) => self.met.probes += 1,
                Action::Drain(_) => self.met.drains += 1,
                Action::Resume(_) => self.met.resumes += 1,
                Action::Close(_, Closing::Unresponsive) => self.met.unresponsive += 1,
                _ => self.met.reaped += 1,
            }
            self.reference.obey(self.now, action)?;
        }
    }

    fn news(&mut self) -> Result<Vec<Event<u8>>, String> {
        let mut events = Vec::new();
        while let Some(update) = self.keen.try_next() {
            match update {
                Update::Event(event) => events.push(event),
                lagged => return Err(format!("who reads at once is told of {lagged:?}")),
            }
        }
        Ok(events)
    }

    /// Of each peer: no gap, no duplicate, each begins where the one before ended, the last ends where the peer is; and
    /// no change that is none in the end, unless time brought several at once or the rules ask for it.
    fn follow(
        &mut self,
        mut states: [State; PEERS.len()],
        events: Vec<Event<u8>>,
        is_one_thing: bool,
    ) -> Result<(), String> {
        let mut seen = BTreeSet::new();
        for event in events {
            let place = PEERS.iter().position(|peer| *peer == event.peer);
            let state = &mut states[place.ok_or("a stranger's event")?];
            let number = match self.reference.latest(event.peer) {
                Some((place, latest)) if event.number != latest.number + 1 => {
                    let is_forgotten = self.reference.log.len() - place > self.config.history;
                    self.met.forgotten += 1;
                    is_forgotten && event.number > latest.number
                }
                _ => true,
            };
            if *state != event.from || event.from == event.to || !number {
                return Err(format!("{event:?} does not follow {state}"));
            }
            *state = event.to;
            let is_first = seen.insert(event.peer);
            if is_one_thing && !is_first && self.reference.rules.verdict.is_none() {
                return Err(format!("{event:?} is one too many"));
            }
            self.met.events += 1;
            self.reference.log.push(event);
        }
        alike("states", &states, &self.states())
    }

    /// Everything that can be asked.
    fn stand(&self) -> Result<(), String> {
        let (now, log) = (self.now, &self.reference.log);
        let oldest = log.len().saturating_sub(self.config.history);
        let mut remembered = 0;
        for peer in PEERS {
            let state = self.reference.state(peer);
            alike("state", &self.tracker.state(&peer), &state)?;
            alike("state", &self.shared.state(&peer), &state)?;
            let best = self.tracker.best_unlimited(&peer);
            alike("best", &best.is_some(), &(state == State::Connected))?;
            alike("best", &self.shared.best_unlimited(&peer), &best)?;
            let best = self.tracker.best(&peer);
            alike("best", &self.reference.best(peer), &best)?;
            let of_peer = self.reference.of_peer(peer).map(|(id, link)| {
                let (age, phase_age) = (now - link.opened, now - link.since);
                let way = (link.direction, link.route, link.streams);
                (*id, (link.phase, way, age, phase_age))
            });
            let expected: BTreeMap<_, _> = of_peer.collect();
            let connections = self.shared.connections(now, &peer);
            let connections = connections.into_iter().map(|info| {
                let way = (info.direction, info.route, info.streams);
                (info.id, (info.phase, way, info.age, info.phase_age))
            });
            let connections: BTreeMap<_, _> = connections.collect();
            alike("connections", &connections, &expected)?;
            let known: Vec<_> = log[oldest..]
                .iter()
                .filter(|event| event.peer == peer)
                .collect();
            let told = &known[known.len().saturating_sub(self.config.history_per_peer)..];
            let history = self.tracker.history(&peer);
            alike(
                "history",
                &history.iter().collect::<Vec<_>>().as_slice(),
                &told,
            )?;
            remembered += usize::from(!known.is_empty() || !expected.is_empty());
        }
        let present: BTreeSet<_> = self
            .tracker
            .peers()
            .map(|(peer, state)| (*peer, state))
            .collect();
        let expected = PEERS.map(|peer| (peer, self.reference.state(peer)));
        let expected: BTreeSet<_> = expected
            .into_iter()
            .filter(|(_, state)| *state != State::NotConnected)
            .collect();
        alike("peers", &present, &expected)?;
        alike(
            "connections",
            &self.tracker.len(),
            &self.reference.links.len(),
        )?;
        alike("remembered", &self.tracker.remembered(), &remembered)
    }
}

pub(super) fn alike<T: PartialEq + Debug>(what: &str, one: &T, other: &T) -> Result<(), String> {
    match one == other {
        true => Ok(()),
        false => Err(format!("{what}: {one:?}, and by the other {other:?}")),
    }
}
