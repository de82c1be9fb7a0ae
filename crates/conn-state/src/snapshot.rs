//! How all peers stood at one moment, without a stop.

use std::{hash::Hash, ops::Range};

use crate::{State, Tracker, shared::Shared};

/// Slots that are read while the lock is held: some ten microseconds.
const CHUNK: usize = 256;

/// How often a snapshot begins again because more came about meanwhile than the history holds; then it is taken with
/// the lock held all along.
const ATTEMPTS: usize = 3;

/// One peer in a [`Snapshot`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeerSnapshot<Id> {
    /// Who.
    pub peer: Id,
    /// How well it is connected.
    pub state: State,
    /// The number of its latest event: the next one's is one more.
    pub number: u64,
}

/// Every peer that is not [`State::NotConnected`], at one moment, in no particular order.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot<Id> {
    /// The peers.
    pub peers: Vec<PeerSnapshot<Id>>,
}

impl<Id: Eq> Snapshot<Id> {
    /// How well `peer` was connected. Takes a walk over all peers.
    pub fn state(&self, peer: &Id) -> State {
        let found = self.peers.iter().find(|entry| entry.peer == *peer);
        found.map_or(State::NotConnected, |entry| entry.state)
    }
}

/// A peer read at some moment since the snapshot began.
struct Seen {
    slot: u32,
    state: State,
    number: u64,
}

/// All peers, and the place of the first event after that.
pub(crate) fn of_all<Id: Eq + Hash + Clone>(shared: &Shared<Id>) -> (Snapshot<Id>, u64) {
    for _ in 0..ATTEMPTS {
        if let Some(found) = in_chunks(shared) {
            return found;
        }
    }
    let core = shared.ask();
    let tracker = &core.tracker;
    let seen = see(tracker, 0..tracker.peers.slots());
    (finish(tracker, &seen), tracker.history.end())
}

/// Reads the peers some at a time. What came about between the first and the last is then replayed from the history, so
/// that all of them stand as they did when the last ones were read. `None` if the history does not hold it any more.
fn in_chunks<Id: Eq + Hash + Clone>(shared: &Shared<Id>) -> Option<(Snapshot<Id>, u64)> {
    let (mut seen, mut next, mut begin) = (Vec::new(), 0, None);
    loop {
        let core = shared.ask();
        let tracker = &core.tracker;
        let begin = *begin.get_or_insert(tracker.history.end());
        let end = tracker.peers.slots().min(next + CHUNK);
        seen.extend(see(tracker, next..end));
        next = end;
        if next == tracker.peers.slots() {
            if begin < tracker.history.begin() {
                return None;
            }
            replay(tracker, &mut seen, begin);
            return Some((finish(tracker, &seen), tracker.history.end()));
        }
    }
}

fn see<Id: Eq + Hash + Clone>(tracker: &Tracker<Id>, slots: Range<usize>) -> Vec<Seen> {
    let peers = slots.filter_map(|slot| {
        let slot = slot as u32;
        let peer = tracker.peers.get(slot)?;
        let (state, number) = (peer.state, peer.number);
        Some(Seen {
            slot,
            state,
            number,
        })
    });
    peers
        .filter(|seen| seen.state != State::NotConnected)
        .collect()
}

/// A slot belongs to one peer for as long as the history has an event of it, so it names the peer here.
fn replay<Id: Eq + Hash + Clone>(tracker: &Tracker<Id>, seen: &mut Vec<Seen>, begin: u64) {
    let records = (begin..tracker.history.end()).filter_map(|place| tracker.history.get(place));
    for record in records {
        let (slot, state, number) = (record.slot, record.to, record.number);
        match seen.binary_search_by_key(&slot, |seen| seen.slot) {
            Ok(at) => {
                seen[at] = Seen {
                    slot,
                    state,
                    number,
                }
            }
            Err(at) => seen.insert(
                at,
                Seen {
                    slot,
                    state,
                    number,
                },
            ),
        }
    }
}

fn finish<Id: Eq + Hash + Clone>(tracker: &Tracker<Id>, seen: &[Seen]) -> Snapshot<Id> {
    let present = seen.iter().filter(|seen| seen.state != State::NotConnected);
    let peers = present.filter_map(|seen| {
        Some(PeerSnapshot {
            peer: tracker.peers.get(seen.slot)?.id.clone(),
            state: seen.state,
            number: seen.number,
        })
    });
    Snapshot {
        peers: peers.collect(),
    }
}

/// The one peer, under one lock.
pub(crate) fn of_one<Id: Eq + Hash + Clone>(tracker: &Tracker<Id>, peer: &Id) -> Snapshot<Id> {
    let slot = tracker.peers.find(peer).map(|slot| slot as usize);
    let seen = slot.map(|slot| see(tracker, slot..slot + 1));
    finish(tracker, &seen.unwrap_or_default())
}
