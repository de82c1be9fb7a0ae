//! A node's lists of the other members of a topic. Each list is bounded.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::rng::Rng;

/// How many peers the user may name.
const MAX_ROOTS: usize = 16;
/// How many strangers get an answer within a second.
const MAX_ANSWERED: usize = 16_384;
/// How long a peer that refused is not asked again: longer than the second in which the peer answers only once.
const REFUSAL_PAUSE: Duration = Duration::from_millis(1500);
/// How many peers that refused are remembered.
const MAX_COOLING: usize = 32;
/// How many peers are owed an answer.
const MAX_OWED: usize = 32;
/// How many requests and answers may be pending. The oldest gives way.
const MAX_PENDING: usize = 16;

/// A neighbour.
#[derive(Debug, Clone)]
pub(super) struct Neighbour {
    pub(super) peer: u32,
    pub(super) heard: Instant,
    pub(super) probed: Option<Instant>,
    /// When walks were last started for a Join of the neighbour.
    joined: Instant,
}

impl Neighbour {
    pub(super) fn new(now: Instant, peer: u32) -> Self {
        Self {
            peer,
            heard: now,
            probed: None,
            joined: now,
        }
    }

    /// Whether walks are started for another Join of the neighbour: once per second.
    pub(super) fn joins_again(&mut self, now: Instant) -> bool {
        let is_due = now >= self.joined + Duration::from_secs(1);
        if is_due {
            self.joined = now;
        }
        is_due
    }
}

/// A Neighbor that was sent.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) peer: u32,
    pub(super) until: Instant,
    pub(super) kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Request,
    /// The receiver has asked. Its next Neighbor is no new request.
    Answer,
}

/// A peer that the user named.
#[derive(Debug, Clone)]
pub(super) struct Root {
    pub(super) peer: u32,
    pub(super) due: Instant,
    delay: Duration,
}

impl Root {
    const FIRST: Duration = Duration::from_secs(1);
    const LONGEST: Duration = Duration::from_secs(10);

    pub(super) fn new(now: Instant, peer: u32) -> Self {
        Self {
            peer,
            due: now,
            delay: Self::FIRST,
        }
    }

    pub(super) fn asked(&mut self, now: Instant, rng: &mut Rng) {
        self.due = now + rng.jittered(self.delay);
        self.delay = (self.delay * 2).min(Self::LONGEST);
    }
}

/// Counts what is done within a second.
#[derive(Debug, Default)]
pub(super) struct Rate {
    start: Option<Instant>,
    count: u32,
}

impl Rate {
    /// Whether one more is allowed now.
    pub(super) fn allows(&mut self, now: Instant, per_second: u32) -> bool {
        if self
            .start
            .is_none_or(|start| now >= start + Duration::from_secs(1))
        {
            (self.start, self.count) = (Some(now), 0);
        }
        self.count = self.count.saturating_add(1);
        self.count <= per_second
    }
}

#[derive(Debug, Default)]
pub(super) struct Views {
    /// Neighbours, the oldest first.
    pub(super) active: Vec<Neighbour>,
    /// Peers that can replace a neighbour.
    pub(super) passive: Vec<u32>,
    /// Peers that did not answer, and until when they are not asked.
    pub(super) aside: Vec<(u32, Instant)>,
    pub(super) pending: Vec<Request>,
    pub(super) roots: Vec<Root>,
    answered: BTreeMap<u32, Instant>,
    swept: Option<Instant>,
    cooling: Vec<(u32, Instant)>,
    /// Peers that may count this node as a neighbour, and when they are told that it is none.
    pub(super) owed: Vec<(u32, Instant)>,
}

impl Views {
    pub(super) fn neighbour(&self, peer: u32) -> Option<&Neighbour> {
        self.active.iter().find(|neighbour| neighbour.peer == peer)
    }

    pub(super) fn neighbour_mut(&mut self, peer: u32) -> Option<&mut Neighbour> {
        let mut active = self.active.iter_mut();
        active.find(|neighbour| neighbour.peer == peer)
    }

    pub(super) fn is_pending(&self, peer: u32) -> bool {
        self.pending.iter().any(|request| request.peer == peer)
    }

    pub(super) fn take_pending(&mut self, peer: u32) -> bool {
        let before = self.pending.len();
        self.pending.retain(|request| request.peer != peer);
        before != self.pending.len()
    }

    pub(super) fn requests(&self) -> usize {
        let requests = self
            .pending
            .iter()
            .filter(|request| request.kind == Kind::Request);
        requests.count()
    }

    pub(super) fn remember(&mut self, peer: u32, capacity: usize, rng: &mut Rng) {
        let is_aside = self.aside.iter().any(|(aside, _)| *aside == peer);
        if is_aside
            || self.neighbour(peer).is_some()
            || self.passive.contains(&peer)
            || capacity == 0
        {
            return;
        }
        if self.passive.len() >= capacity {
            let at = rng.below(self.passive.len());
            self.passive.swap_remove(at);
        }
        self.passive.push(peer);
    }

    pub(super) fn forget(&mut self, peer: u32) {
        self.passive.retain(|passive| *passive != peer);
        self.aside.retain(|(aside, _)| *aside != peer);
    }

    /// Ends the time for which a peer is not asked.
    pub(super) fn recall(&mut self, peer: u32) {
        self.aside.retain(|(aside, _)| *aside != peer);
    }

    /// Moves a peer to those that are not asked.
    pub(super) fn put_aside(&mut self, peer: u32, until: Instant, capacity: usize) {
        self.forget(peer);
        self.aside.push((peer, until));
        if self.aside.len() > capacity {
            self.aside.remove(0);
        }
    }

    /// Adds a peer that the user named, or renews it.
    pub(super) fn put_root(&mut self, root: Root) {
        self.forget(root.peer);
        self.roots.retain(|other| other.peer != root.peer);
        self.roots.push(root);
        if self.roots.len() > MAX_ROOTS {
            self.roots.remove(0);
        }
    }

    pub(super) fn root_failed(&mut self, now: Instant, peer: u32, rng: &mut Rng) {
        if let Some(root) = self.roots.iter_mut().find(|root| root.peer == peer) {
            root.due = now + rng.jittered(root.delay);
        }
    }

    pub(super) fn root_joined(&mut self, peer: u32) {
        if let Some(root) = self.roots.iter_mut().find(|root| root.peer == peer) {
            root.delay = Root::FIRST;
        }
    }

    /// Whether a stranger may get an answer now: at most one per second, and a bounded number of strangers in all.
    pub(super) fn may_answer(&mut self, now: Instant, peer: u32) -> bool {
        let is_over = |at: Instant| now >= at + Duration::from_secs(1);
        if self.swept.is_none_or(is_over) {
            self.swept = Some(now);
            self.answered.retain(|_, at| !is_over(*at));
            if self.answered.is_empty() {
                // An empty map keeps its last node.
                self.answered = BTreeMap::new();
            }
        }
        let room = self.answered.len() < MAX_ANSWERED;
        self.answered.get(&peer).map_or(room, |at| is_over(*at))
    }

    /// Notes an answer to a stranger.
    pub(super) fn answered(&mut self, now: Instant, peer: u32) {
        if self.answered.len() < MAX_ANSWERED {
            self.answered.insert(peer, now);
        }
    }

    /// A refused peer got no answer, because it had one within this second. It gets one later.
    pub(super) fn owe(&mut self, now: Instant, peer: u32) {
        if self.owed.len() < MAX_OWED && self.owed.iter().all(|(other, _)| *other != peer) {
            self.owed.push((peer, now + Duration::from_secs(1)));
        }
    }

    /// A peer has refused, so it is not asked again at once.
    pub(super) fn refused(&mut self, now: Instant, peer: u32) {
        self.cooling
            .retain(|(other, until)| *other != peer && now < *until);
        if self.cooling.len() >= MAX_COOLING {
            self.cooling.remove(0);
        }
        self.cooling.push((peer, now + REFUSAL_PAUSE));
    }

    /// Remembered peers that may be asked now.
    pub(super) fn askable(&self, now: Instant) -> Vec<u32> {
        let cools = |peer: u32| {
            self.cooling
                .iter()
                .any(|(other, until)| *other == peer && now < *until)
        };
        let passive = self.passive.iter().copied();
        passive
            .filter(|peer| !self.is_pending(*peer) && !cools(*peer))
            .collect()
    }

    /// When the next peer that refused may be asked again.
    pub(super) fn next_askable(&self) -> Option<Instant> {
        self.cooling.first().map(|(_, until)| *until)
    }

    /// Adds a request or an answer. The oldest gives way.
    pub(super) fn put_pending(&mut self, request: Request) {
        self.pending.push(request);
        if self.pending.len() > MAX_PENDING {
            self.pending.remove(0);
        }
    }

    pub(super) fn handles(&self) -> impl Iterator<Item = u32> {
        let active = self.active.iter().map(|neighbour| neighbour.peer);
        let pending = self.pending.iter().map(|request| request.peer);
        let aside = self.aside.iter().chain(&self.owed).map(|(peer, _)| *peer);
        let roots = self.roots.iter().map(|root| root.peer);
        active
            .chain(pending)
            .chain(aside)
            .chain(roots)
            .chain(self.passive.iter().copied())
    }
}
