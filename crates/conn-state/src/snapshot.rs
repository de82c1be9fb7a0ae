//! The states of all peers at one moment. The tracker continues while a snapshot is taken.

use std::hash::Hash;

use crate::{
    State, Tracker,
    locked::Shared,
    sync::{bound, yield_now},
};

/// Slots that are read while the lock is held: some ten microseconds.
const CHUNK: usize = bound(256, 2) as usize;

/// Events that are caught up with while it is.
const CATCH_UP: u64 = bound(512, 2);

/// How often a snapshot begins again because more came about meanwhile than the history holds; then it is taken with
/// the lock held all along.
const ATTEMPTS: usize = 3;

/// One peer in a [`Snapshot`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeerSnapshot<Id> {
    /// The peer.
    pub peer: Id,
    /// The peer's state.
    pub state: State,
    /// The number of the peer's latest event. The next event's number is one more.
    pub number: u64,
}

impl<Id> PeerSnapshot<Id> {
    /// A peer in `state` after its event `number`.
    pub fn new(peer: Id, state: State, number: u64) -> Self {
        Self {
            peer,
            state,
            number,
        }
    }
}

/// Every peer that is not [`State::NotConnected`], at one moment, in no particular order.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot<Id> {
    /// The peers.
    pub peers: Vec<PeerSnapshot<Id>>,
}

impl<Id> Snapshot<Id> {
    /// A snapshot of these peers.
    pub fn new(peers: Vec<PeerSnapshot<Id>>) -> Self {
        Self { peers }
    }
}

impl<Id: Eq> Snapshot<Id> {
    /// `peer`, if it is not [`State::NotConnected`]. The call walks over all peers.
    pub fn get(&self, peer: &Id) -> Option<&PeerSnapshot<Id>> {
        self.peers.iter().find(|entry| entry.peer == *peer)
    }

    /// The state of `peer`. The call walks over all peers.
    pub fn state(&self, peer: &Id) -> State {
        self.get(peer)
            .map_or(State::NotConnected, |entry| entry.state)
    }
}

/// All peers, and the place of the first event after that.
pub(crate) fn of_all<Id: Eq + Hash + Clone>(shared: &Shared<Id>) -> (Snapshot<Id>, u64) {
    for _ in 0..ATTEMPTS {
        let mut gathering = Gathering::default();
        loop {
            gathering.reserve(CHUNK);
            let step = gathering.step(&shared.ask().tracker, CHUNK, CATCH_UP);
            match step {
                // Who waits for the lock gets it; but whoever is behind must not fall further behind.
                Step::More => yield_now(),
                Step::Late => {}
                Step::Done(end) => return (gathering.finish(), end),
                Step::Behind => break,
            }
        }
    }
    let mut gathering = Gathering::default();
    let core = shared.ask();
    gathering.step(&core.tracker, usize::MAX, u64::MAX);
    let end = core.tracker.history.end();
    drop(core);
    (gathering.finish(), end)
}

/// A snapshot in the making: the peers are read some at a time, and those that were read are kept up with by their
/// events. When the last ones are read, all stand as they do then.
pub(crate) struct Gathering<Id> {
    /// By slot; a slot belongs to one peer at least until the event by which it is not connected is overwritten.
    seen: Vec<Option<PeerSnapshot<Id>>>,
    /// The place of the first event that those who were read do not know of.
    read: Option<u64>,
}

/// What came of one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// There are peers that were not read.
    More,
    /// There are events that were not caught up with.
    Late,
    /// The peers stand as they did before the event at this place.
    Done(u64),
    /// The history does not reach back far enough any more.
    Behind,
}

impl<Id> Default for Gathering<Id> {
    fn default() -> Self {
        Self {
            seen: Vec::new(),
            read: None,
        }
    }
}

impl<Id: Eq + Hash + Clone> Gathering<Id> {
    /// Makes room for `chunk` more, so that no step has to.
    fn reserve(&mut self, chunk: usize) {
        self.seen.reserve(chunk);
    }

    /// Catches up with at most `events`, then reads at most `chunk` peers.
    pub(crate) fn step(&mut self, tracker: &Tracker<Id>, chunk: usize, events: u64) -> Step {
        let (begin, end) = (tracker.history.begin(), tracker.history.end());
        let read = self.read.unwrap_or(end);
        if read < begin {
            return Step::Behind;
        }
        let until = end.min(read.saturating_add(events));
        for record in (read..until).filter_map(|place| tracker.history.get(place)) {
            // Slots that were not read yet will be read as they are then.
            if let Some(seen) = self.seen.get_mut(record.slot as usize) {
                match seen {
                    _ if record.to == State::NotConnected => *seen = None,
                    Some(seen) => (seen.state, seen.number) = (record.to, record.number),
                    None => {
                        *seen = tracker.peers.get(record.slot).map(|peer| PeerSnapshot {
                            peer: peer.id.clone(),
                            state: record.to,
                            number: record.number,
                        })
                    }
                }
            }
        }
        self.read = Some(until);
        if until < end {
            return Step::Late;
        }
        let slots = tracker.peers.slots();
        let next = self.seen.len();
        let last = slots.min(next.saturating_add(chunk));
        self.seen
            .extend((next..last).map(|slot| see(tracker, slot)));
        match last == slots {
            true => Step::Done(end),
            false => Step::More,
        }
    }

    pub(crate) fn finish(self) -> Snapshot<Id> {
        Snapshot {
            peers: self.seen.into_iter().flatten().collect(),
        }
    }
}

fn see<Id: Eq + Hash + Clone>(tracker: &Tracker<Id>, slot: usize) -> Option<PeerSnapshot<Id>> {
    let peer = tracker.peers.get(slot as u32)?;
    (peer.state != State::NotConnected).then(|| PeerSnapshot {
        peer: peer.id.clone(),
        state: peer.state,
        number: peer.number,
    })
}

/// The one peer, under one lock.
pub(crate) fn of_one<Id: Eq + Hash + Clone>(tracker: &Tracker<Id>, peer: &Id) -> Snapshot<Id> {
    let slot = tracker.peers.find(peer);
    let seen = slot.and_then(|slot| see(tracker, slot as usize));
    Snapshot {
        peers: seen.into_iter().collect(),
    }
}
