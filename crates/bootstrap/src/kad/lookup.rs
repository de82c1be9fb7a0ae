//! One iterative lookup. It decides which peer to ask next, and when the nearest peers are found.
//!
//! A lookup asks at most α peers at a time, the nearest first, until the nearest β peers have answered. It then asks all other
//! peers among the nearest k at once. It ends when the nearest k peers that did not fail have answered. A lookup may have a
//! *reach*, which is a distance from the target. It then also asks all other peers within the reach, at most 4 · k peers in all,
//! so that an attacker who has put peers around the target cannot take all places.
//!
//! An answer names at most k peers, and many of them may be gone. If fewer than k peers have answered at the end, the lookup
//! continues with further entries of the routing table.
//!
//! If far more peers are within the reach than the size of the network suggests, the lookup *scouts*: it asks the peers around
//! the target for their own neighbours, because their answers about the target would name only the attacker's peers.
//!
//! A peer may be named with addresses at which it is not. If further peers name it with other addresses, the lookup asks it again.

mod candidate;

use std::collections::BTreeMap;

pub(crate) use self::candidate::Ask;
use self::candidate::{Candidate, State};
use super::{
    key::{Distance, Key},
    message::PeerInfo,
};

/// How many candidates are kept, in units of k.
const MAX_CANDIDATES: usize = 16;

/// How many requests a lookup sends, in units of k.
const MAX_REQUESTS: usize = 12;

/// How many peers within the reach are asked, in units of k.
const MAX_WITHIN: usize = 4;

/// The figures of a lookup.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) k: usize,
    pub(crate) alpha: usize,
    pub(crate) beta: usize,
    /// Up to which distance peers are asked beyond the nearest k.
    pub(crate) reach: Option<Distance>,
}

/// A peer that has answered.
#[derive(Debug)]
pub(crate) struct Answerer<'a, Id, A> {
    pub(crate) distance: Distance,
    pub(crate) info: &'a PeerInfo<Id, A>,
    pub(crate) hops: u32,
}

#[derive(Debug)]
pub(crate) struct Lookup<Id, A> {
    target: Key,
    /// The distance of this node.
    local: Distance,
    limits: Limits,
    candidates: BTreeMap<Distance, Candidate<Id, A>>,
    requests: usize,
    /// How many requests the lookup waits for.
    waiting: usize,
    scouting: bool,
}

impl<Id: Clone + Into<Vec<u8>>, A: Clone + PartialEq> Lookup<Id, A> {
    pub(crate) fn new(
        target: Key,
        local: Key,
        limits: Limits,
        seeds: impl IntoIterator<Item = PeerInfo<Id, A>>,
    ) -> Self {
        let mut lookup = Self {
            target,
            local: local.distance(&target),
            limits,
            candidates: BTreeMap::new(),
            requests: 0,
            waiting: 0,
            scouting: false,
        };
        lookup.seed(seeds);
        lookup
    }

    /// Adds peers that this node knows. Returns whether the lookup did not know one of them.
    pub(crate) fn seed(&mut self, seeds: impl IntoIterator<Item = PeerInfo<Id, A>>) -> bool {
        let before = self.candidates.len();
        for seed in seeds {
            let distance = Key::of(seed.id.clone().into()).distance(&self.target);
            self.add(distance, seed, None, 1);
        }
        self.candidates.len() > before
    }

    /// Whether the lookup needs more seeds: fewer than k peers have answered. If nobody has answered among 2 k peers, this node
    /// may be offline, and more requests would only remove its entries.
    pub(crate) fn is_short(&self) -> bool {
        let k = self.limits.k;
        let answered = self.answerers().take(k).count();
        let most = if answered > 0 {
            MAX_REQUESTS * k
        } else {
            2 * k
        };
        answered < k && self.requests < most
    }

    pub(crate) fn target(&self) -> Key {
        self.target
    }

    /// Whether a peer with this key was named already.
    pub(crate) fn knows(&self, key: &Key) -> bool {
        self.candidates.contains_key(&key.distance(&self.target))
    }

    /// The next peer to ask, by its distance from the target. It counts as asked from then on.
    pub(crate) fn next(&mut self) -> Option<(Distance, Ask, PeerInfo<Id, A>)> {
        if self.requests >= MAX_REQUESTS * self.limits.k || self.waiting >= self.concurrency() {
            return None;
        }
        let wanted = self
            .wanted()
            .find(|(_, candidate)| candidate.state == State::New);
        let (distance, ask) = match wanted {
            Some((distance, _)) => (*distance, Ask::Target),
            None => (self.next_scout()?, Ask::Itself),
        };
        let candidate = self.candidates.get_mut(&distance)?;
        candidate.ask(ask);
        (self.requests, self.waiting) = (self.requests + 1, self.waiting + 1);
        Some((distance, ask, candidate.info.clone()))
    }

    /// The farthest peer in the neighbourhood that was not asked for its neighbours: the crowd around the target is last.
    fn next_scout(&self) -> Option<Distance> {
        let reach = self.limits.reach.filter(|_| self.scouting)?;
        let around = self
            .candidates
            .range(..=Distance::from_fraction(reach.fraction() * 2.0));
        let mut unscouted = around.rev().filter(|(_, candidate)| {
            candidate.state == State::Answered && candidate.scouted == State::New
        });
        unscouted.next().map(|(distance, _)| *distance)
    }

    /// Asks the peers around the target for their neighbours, if the peers nearest to it are too many to be there by chance:
    /// k within half of the reach, where k/2 are expected. Returns whether it does.
    pub(crate) fn scout(&mut self) -> bool {
        let Some(reach) = self.limits.reach.filter(|_| !self.scouting) else {
            return false;
        };
        let half = Distance::from_fraction(reach.fraction() / 2.0);
        let near = self.candidates.range(..=half);
        let near = near.filter(|(_, candidate)| candidate.state == State::Answered);
        self.scouting = near.count() >= self.limits.k;
        self.scouting
    }

    /// A peer has answered. `named` are the peers in its answer.
    pub(crate) fn answered(&mut self, distance: Distance, ask: Ask, named: Vec<PeerInfo<Id, A>>) {
        let Some(candidate) = self.candidates.get_mut(&distance) else {
            return;
        };
        let before = std::mem::replace(candidate.state_of(ask), State::Answered);
        self.waiting -= usize::from(before == State::Waiting);
        let (hops, named_by) = (candidate.hops.saturating_add(1), candidate.named_by);
        if ask == Ask::Target && before != State::Answered {
            self.credit(named_by, true);
        }
        if self.candidates.get(&distance).is_some_and(Candidate::lies) {
            return;
        }
        let target = self.target;
        let mut named: Vec<_> = named
            .into_iter()
            .map(|info| (Key::of(info.id.clone().into()).distance(&target), info))
            .collect();
        named.sort_by_key(|(distance, _)| *distance);
        for (of_peer, info) in named.into_iter().take(self.limits.k) {
            self.add(of_peer, info, Some(distance), hops);
        }
        self.trim();
    }

    /// A request to this peer has failed.
    pub(crate) fn failed(&mut self, distance: Distance, ask: Ask) {
        let namer = self.candidates.get(&distance).map(|known| known.named_by);
        self.skip(distance, ask);
        if let Some(namer) = namer.filter(|_| ask == Ask::Target) {
            self.credit(namer, false);
        }
    }

    /// This peer cannot be asked, for a reason that says nothing about those who named it.
    pub(crate) fn skip(&mut self, distance: Distance, ask: Ask) {
        self.end(distance, ask, |peer| peer.give_up(ask, State::Failed));
    }

    /// A request to this peer did not leave this node in time. The lookup tries it again.
    pub(crate) fn unsent(&mut self, distance: Distance, ask: Ask) {
        self.end(distance, ask, |peer| peer.unsent(ask));
    }

    /// A peer takes longer than others: the lookup does not wait for it any more, but takes a late answer.
    pub(crate) fn slow(&mut self, distance: Distance, ask: Ask) {
        let peer = self.candidates.get_mut(&distance);
        if peer.is_some_and(|peer| *peer.state_of(ask) == State::Waiting) {
            self.end(distance, ask, |peer| peer.give_up(ask, State::Slow));
        }
    }

    fn end(&mut self, distance: Distance, ask: Ask, end: impl FnOnce(&mut Candidate<Id, A>)) {
        if let Some(candidate) = self.candidates.get_mut(&distance) {
            self.waiting -= usize::from(*candidate.state_of(ask) == State::Waiting);
            end(candidate);
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        let exhausted = self.requests >= MAX_REQUESTS * self.limits.k;
        let open = self.wanted().any(|(_, candidate)| match candidate.state {
            State::New => !exhausted,
            State::Waiting => true,
            _ => false,
        });
        let scouting = self.scouting && {
            let waits = |candidate: &Candidate<Id, A>| candidate.scouted == State::Waiting;
            self.candidates.values().any(waits) || !exhausted && self.next_scout().is_some()
        };
        !open && !scouting
    }

    /// The peers that have answered, the nearest first.
    pub(crate) fn answerers(&self) -> impl Iterator<Item = Answerer<'_, Id, A>> {
        let answered = self
            .candidates
            .iter()
            .filter(|(_, candidate)| candidate.state == State::Answered);
        answered.map(|(distance, candidate)| Answerer {
            distance: *distance,
            info: &candidate.info,
            hops: candidate.hops,
        })
    }

    /// The peers at which a value is stored: the nearest `least`, and all within the reach, at most 4 k.
    pub(crate) fn nearest(&self, least: usize) -> Vec<PeerInfo<Id, A>> {
        let within = |distance: Distance| self.limits.reach.is_some_and(|reach| distance <= reach);
        let most = MAX_WITHIN * self.limits.k;
        let mut found = Vec::new();
        for answerer in self.answerers().take(most) {
            if found.len() >= least && !within(answerer.distance) {
                break;
            }
            found.push(answerer.info.clone());
        }
        found
    }

    /// How many requests were sent.
    pub(crate) fn requests(&self) -> usize {
        self.requests
    }

    /// The candidates that must answer before the lookup ends, the nearest first.
    fn wanted(&self) -> impl Iterator<Item = (&Distance, &Candidate<Id, A>)> {
        let Limits { k, reach, .. } = self.limits;
        let alive = self
            .candidates
            .iter()
            .filter(|(_, candidate)| !matches!(candidate.state, State::Failed | State::Slow));
        alive
            .enumerate()
            .take_while(move |(before, (distance, _))| {
                let within = reach.is_some_and(|reach| **distance <= reach);
                *before < k || within && *before < MAX_WITHIN * k
            })
            .map(|(_, candidate)| candidate)
    }

    fn concurrency(&self) -> usize {
        let mut nearest = self.wanted().take(self.limits.beta);
        match nearest.all(|(_, candidate)| candidate.state == State::Answered) {
            true => self.limits.k,
            false => self.limits.alpha,
        }
    }

    fn add(
        &mut self,
        distance: Distance,
        info: PeerInfo<Id, A>,
        named_by: Option<Distance>,
        hops: u32,
    ) {
        if distance == self.local {
            return;
        }
        match self.candidates.get_mut(&distance) {
            Some(known) => known.learn(info.addresses, named_by),
            None => {
                let candidate = Candidate::new(info, named_by, hops);
                self.candidates.insert(distance, candidate);
            }
        }
    }

    /// Forgets the farthest candidates that were not asked.
    fn trim(&mut self) {
        let surplus = self
            .candidates
            .len()
            .saturating_sub(MAX_CANDIDATES * self.limits.k);
        let unasked = self
            .candidates
            .iter()
            .rev()
            .filter(|(_, candidate)| candidate.state == State::New);
        let farthest: Vec<Distance> = unasked
            .take(surplus)
            .map(|(distance, _)| *distance)
            .collect();
        for distance in farthest {
            self.candidates.remove(&distance);
        }
    }

    /// A peer at an address of `namer` has answered or failed. The other peers that a liar named are forgotten.
    fn credit(&mut self, namer: Option<Distance>, answered: bool) {
        let Some(candidate) = namer.and_then(|namer| self.candidates.get_mut(&namer)) else {
            return;
        };
        candidate.credit(answered);
        if candidate.lies() {
            self.candidates
                .retain(|_, other| other.state != State::New || other.named_by != namer);
        }
    }
}

#[cfg(test)]
mod tests;
