//! The connected peers, and how long each has been connected.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

/// The shortest age at which a connection can have lasted, so that its next mark is later.
const SHORTEST: Duration = Duration::from_millis(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Mark {
    /// The connection ends the isolation of the node: half of the time to settle is over.
    Stayed,
    /// The connection counts for the state.
    Settled,
    /// The connection resets the backoff of its peer.
    Lasted,
}

#[derive(Debug)]
pub(super) struct Connected<A> {
    pub(super) since: Instant,
    /// Where the peer was reached, if this node dialed.
    pub(super) address: Option<A>,
    stayed: bool,
    settled: bool,
    pub(super) lasted: bool,
    quiet: bool,
}

/// One entry per connected peer: as many as the host's limits of connections permit.
#[derive(Debug)]
pub(super) struct Peers<Id, A> {
    connected: BTreeMap<Id, Connected<A>>,
    marks: BTreeSet<(Instant, Mark, Id)>,
    stayed: usize,
    settled: usize,
    quiet: usize,
}

impl<Id: Clone + Ord, A> Peers<Id, A> {
    pub(super) fn new() -> Self {
        Self {
            connected: BTreeMap::new(),
            marks: BTreeSet::new(),
            stayed: 0,
            settled: 0,
            quiet: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.connected.len()
    }

    /// The number of connected peers that are not quiet.
    pub(super) fn heard(&self) -> usize {
        self.connected.len() - self.quiet
    }

    /// Notes that a peer has become quiet, or was heard again. Returns the connection if this is a change.
    pub(super) fn set_quiet(&mut self, peer: &Id, quiet: bool) -> Option<&Connected<A>> {
        let connected = self.connected.get_mut(peer)?;
        if connected.quiet == quiet {
            return None;
        }
        connected.quiet = quiet;
        match quiet {
            true => self.quiet += 1,
            false => self.quiet -= 1,
        }
        Some(connected)
    }

    /// The number of peers whose connections are no longer young.
    pub(super) fn stayed(&self) -> usize {
        self.stayed
    }

    pub(super) fn settled(&self) -> usize {
        self.settled
    }

    pub(super) fn contains(&self, peer: &Id) -> bool {
        self.connected.contains_key(peer)
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = &Id> {
        self.connected.keys()
    }

    /// A peer is connected. Returns whether it was not before.
    pub(super) fn insert(
        &mut self,
        now: Instant,
        peer: &Id,
        address: Option<A>,
        settled: Duration,
        lasted: Duration,
    ) -> bool {
        if let Some(known) = self.connected.get_mut(peer) {
            known.address = address.or(known.address.take());
            return false;
        }
        let marks = [
            (Mark::Stayed, settled / 2),
            (Mark::Settled, settled),
            (Mark::Lasted, lasted),
        ];
        for (mark, after) in marks {
            // A time that no clock can reach never comes.
            if let Some(at) = now.checked_add(after) {
                self.marks.insert((at, mark, peer.clone()));
            }
        }
        let connected = Connected {
            since: now,
            address,
            stayed: false,
            settled: false,
            lasted: false,
            quiet: false,
        };
        self.connected.insert(peer.clone(), connected);
        true
    }

    pub(super) fn remove(&mut self, peer: &Id) -> Option<Connected<A>> {
        let connected = self.connected.remove(peer)?;
        self.stayed -= usize::from(connected.stayed);
        self.settled -= usize::from(connected.settled);
        self.quiet -= usize::from(connected.quiet);
        self.marks.retain(|(.., id)| id != peer);
        Some(connected)
    }

    /// When the next connection reaches a mark.
    pub(super) fn next_mark(&self) -> Option<Instant> {
        self.marks.first().map(|(at, ..)| *at)
    }

    /// A connection that has reached a mark by now.
    pub(super) fn poll_mark(&mut self, now: Instant) -> Option<(Id, Mark, &Connected<A>)> {
        self.marks.first().filter(|(at, ..)| *at <= now)?;
        let (at, mark, peer) = self.marks.pop_first()?;
        let connected = self.connected.get_mut(&peer)?;
        match mark {
            Mark::Stayed => {
                connected.stayed = true;
                self.stayed += 1;
            }
            Mark::Settled => {
                connected.settled = true;
                self.settled += 1;
            }
            Mark::Lasted => {
                connected.lasted = true;
                // A peer that is told again and again as its stay grows is saved with it even if this process is killed.
                let age = at.saturating_duration_since(connected.since).max(SHORTEST);
                if let Some(next) = connected.since.checked_add(age.saturating_mul(4)) {
                    self.marks.insert((next, Mark::Lasted, peer.clone()));
                }
            }
        }
        Some((peer, mark, connected))
    }
}
