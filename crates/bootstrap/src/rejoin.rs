//! The core. It derives the next dial from candidates and connections, and reads no clock and opens no socket.
//!
//! The host reports what happens with the `handle_*` methods, takes all events with [`Rejoin::poll_event`], and calls
//! [`Rejoin::handle_timeout`] at [`Rejoin::poll_timeout`].

mod book;
mod dials;
mod entry;
mod pace;
mod peers;
mod report;
mod state;
mod view;
mod wishes;

use std::{
    collections::{BTreeMap, VecDeque},
    time::Instant,
};

use book::{Book, Key, Put};
use dials::{Attempt, after};
use entry::Entry;
use pace::Pace;
use peers::{Mark, Peers};
pub use state::{Reason, State, Status};
pub use view::{AttemptId, CandidateView, Purpose, RejoinEvent};
use wishes::Wishes;

use crate::{Candidate, Jitter, Origin, RejoinConfig};

/// Decides which peers to dial, and when, so that the node joins its network and rejoins it after a loss.
///
/// `Id` names a peer and `A` is an address. Memory is bounded by [`RejoinConfig::max_candidates`],
/// [`RejoinConfig::max_in_flight`] and the number of connected peers, which the host limits.
#[derive(Debug)]
pub struct Rejoin<Id, A> {
    config: RejoinConfig,
    jitter: Jitter,
    local: Option<Id>,
    book: Book<Id, A>,
    attempts: BTreeMap<AttemptId, Attempt<A>>,
    next_attempt: u64,
    pace: Pace,
    peers: Peers<Id, A>,
    wishes: Wishes,
    /// Whether the node has been joined since it was isolated.
    was_joined: bool,
    state: State,
    /// The last redial for a change of the network.
    changed: Option<Instant>,
    /// When to redial because the network has changed again.
    redial: Option<Instant>,
    events: VecDeque<RejoinEvent<Id, A>>,
}

impl<Id: Clone + Ord, A: Clone + PartialEq> Rejoin<Id, A> {
    /// A core for the peer `local`, which is never dialed. Draw the seed at random, because nodes with equal seeds dial in
    /// step. `std::hash::RandomState::new().hash_one(0)` is random enough.
    pub fn new(local: Option<Id>, seed: u64, config: RejoinConfig) -> Self {
        Self {
            pace: Pace::new(config.dial_burst),
            config,
            jitter: Jitter::new(seed),
            local,
            book: Book::new(),
            attempts: BTreeMap::new(),
            next_attempt: 0,
            peers: Peers::new(),
            wishes: Wishes::default(),
            was_joined: false,
            state: State::Isolated,
            changed: None,
            redial: None,
            events: VecDeque::new(),
        }
    }

    /// A source names a candidate, or further addresses of a known candidate. Returns whether the candidate is in the book now. A
    /// candidate is not taken if the book is full of equally good candidates, or if the candidate has no address or is this node.
    pub fn handle_candidate(&mut self, now: Instant, candidate: Candidate<Id, A>) -> bool {
        if candidate.peer.is_some() && candidate.peer == self.local {
            return false;
        }
        let shared = candidate.origin.is_shared();
        let room = (self.config.max_candidates, self.config.max_addresses);
        let may_go = may_go(&self.peers, &self.attempts);
        let put = self
            .book
            .put(now, candidate, self.config.base, room, may_go);
        match put {
            Put::New(key) => {
                let others = self.book.iter().any(|(_, entry)| !entry.is_shared());
                let wait = shared && others && self.peers.len() < self.config.target;
                let due = if wait {
                    after(now, self.config.list_delay)
                } else {
                    now
                };
                let peers = &self.peers;
                if let Some(entry) = self.book.get_mut(key) {
                    let connected = entry.peer.as_ref().is_some_and(|peer| peers.contains(peer));
                    entry.due = (!connected).then_some(due);
                    entry.last_connected = connected.then_some(now);
                }
            }
            // A new address may work where the others did not.
            Put::Extended(key) => self.hasten(now, key),
            Put::Known => {}
            Put::Refused => return false,
        }
        self.advance(now);
        true
    }

    /// The origin of the candidate no longer names these addresses. If no other origin does either, the candidate is forgotten
    /// and its dials are abandoned. A connection to the peer is not affected.
    pub fn handle_withdrawn(&mut self, now: Instant, candidate: &Candidate<Id, A>) {
        if let Some(key) = self.book.withdraw(candidate) {
            self.abandon_all(key);
        }
        self.advance(now);
    }

    /// A peer is connected, for any purpose and by anyone's dial. `address` is the address at which this node reached the peer,
    /// if this node dialed. Report only unlimited connections, because a circuit that its relay soon ends does not connect the
    /// node to the network.
    ///
    /// `address` has the form that the candidates have. The core counts peers, not connections: a report of a connected peer says
    /// only that the peer is not quiet.
    pub fn handle_connected(&mut self, now: Instant, peer: &Id, address: Option<A>) {
        let (settled, lasted) = (self.config.settled, self.config.lasted);
        let new = self
            .peers
            .insert(now, peer, address.clone(), settled, lasted);
        let was_quiet = self.peers.set_quiet(peer, false).is_some();
        let mut keys = Vec::new();
        for (key, entry) in self.book.of_mut(peer) {
            entry.due = None;
            if was_quiet {
                entry.lost_until = None;
            }
            if new {
                entry.last_connected = Some(now);
            }
            if let Some(address) = &address {
                entry.prefer(address);
            }
            keys.push(key);
        }
        for key in keys {
            self.abandon_all(key);
        }
        self.advance(now);
    }

    /// The last connection to a peer is closed. While another connection to the peer is open, report nothing.
    pub fn handle_disconnected(&mut self, now: Instant, peer: &Id) {
        let Some(connected) = self.peers.remove(peer) else {
            return;
        };
        let stayed = now.saturating_duration_since(connected.since);
        self.reschedule_gone(now, peer, stayed, connected.lasted);
        if connected.lasted {
            self.events.push_back(RejoinEvent::Lost {
                peer: peer.clone(),
                stayed,
            });
        }
        if self.peers.heard() == 0 {
            self.reschedule_isolated(now);
        }
        self.advance(now);
    }

    /// A connected peer owes an answer and sends nothing. The core dials it like a lost peer, although a connection exists. A
    /// transport that has backed off may notice late that the path works again. The dial must open a new connection.
    /// Report this connection with [`Self::handle_connected`]: then the peer is no longer quiet.
    pub fn handle_quiet(&mut self, now: Instant, peer: &Id) {
        let Some(connected) = self.peers.set_quiet(peer, true) else {
            return;
        };
        let (since, lasted) = (connected.since, connected.lasted);
        let stayed = now.saturating_duration_since(since);
        self.reschedule_gone(now, peer, stayed, lasted);
        if self.peers.heard() == 0 {
            self.reschedule_isolated(now);
        }
        self.advance(now);
    }

    /// A quiet peer has sent something over its connection. The core abandons its dials of the peer.
    pub fn handle_heard(&mut self, now: Instant, peer: &Id) {
        if self.peers.set_quiet(peer, false).is_none() {
            return;
        }
        let mut keys = Vec::new();
        for (key, entry) in self.book.of_mut(peer) {
            (entry.due, entry.lost_until) = (None, None);
            keys.push(key);
        }
        for key in keys {
            self.abandon_all(key);
        }
        self.advance(now);
    }

    /// This host closes its last connection to a peer by its own choice. The core forgets the addresses that only the peer itself
    /// has announced, so that the host does not dial the peer again at once. A candidate of another origin stays. Call this
    /// before [`Self::handle_disconnected`].
    pub fn handle_dismissed(&mut self, now: Instant, peer: &Id) {
        for origin in [Origin::Peer, Origin::Claimed] {
            if let Some(key) = self.book.withdraw_all(peer, origin) {
                self.abandon_all(key);
            }
        }
        self.advance(now);
    }

    /// A dial has reached a peer. If no peer was named for the dial's addresses, the core learns who is there.
    /// [`Self::handle_connected`] reports the connection itself: call it afterwards. It abandons the dials of the peer that have
    /// not been reported yet. If another peer than [`RejoinEvent::Dial`]`::peer` answers, the dial has failed.
    pub fn handle_answered(&mut self, now: Instant, attempt: AttemptId, peer: &Id) {
        if let Some(attempt) = self.attempts.remove(&attempt) {
            let connected = self.peers.contains(peer);
            if let Some(entry) = self.book.get_mut(attempt.key)
                && entry.peer.is_none()
            {
                entry.answered = Some(peer.clone());
                if self.local.as_ref() == Some(peer) {
                    // The address is this node's own.
                    entry.due = None;
                } else if connected {
                    (entry.due, entry.last_connected) = (None, Some(now));
                }
            }
        }
        self.advance(now);
    }

    /// A dial has failed, or was stopped. A report about a dial that the core has abandoned, or whose time is over, is not
    /// necessary and changes nothing.
    pub fn handle_failed(&mut self, now: Instant, attempt: AttemptId) {
        self.give_up(attempt);
        self.advance(now);
    }

    /// The addresses, the carrier or the routes of this host have changed, or the host was asleep ([`crate::Resume`]). The core
    /// dials all needed candidates at once and restarts their backoff. Further changes within [`RejoinConfig::change_gap`]
    /// together cause one more round of dials, at the end of the gap.
    ///
    /// Connected peers are not dialed, although their connections may be dead. Probe the connections, and report the peers that
    /// do not answer with [`Self::handle_quiet`]. With a `Driver`, call `Handle::changed` instead, which also tells the sources.
    pub fn handle_changed(&mut self, now: Instant) {
        let gap = self
            .changed
            .and_then(|last| last.checked_add(self.config.change_gap));
        self.redial = Some(gap.map_or(now, |gap| gap.max(now)));
        self.advance(now);
    }

    /// The user wants this peer now. Unless the peer is connected, the core dials it at once, without waiting for its backoff.
    /// The core dials each candidate at which the peer was the last to answer, and returns whether there is such a candidate.
    /// Dials that the user makes outside of this core need no report.
    pub fn handle_user_dial(&mut self, now: Instant, peer: &Id) -> bool {
        let connected = self.peers.contains(peer);
        let mut keys = Vec::new();
        for (key, _) in self.book.of_mut(peer) {
            keys.push(key);
        }
        for key in keys.iter().filter(|_| !connected) {
            self.start(now, *key);
        }
        self.advance(now);
        !keys.is_empty()
    }

    /// A part of the host looks for `count` peers for a purpose. The core offers candidates with [`RejoinEvent::Offered`], now
    /// and whenever a source names new ones: connected peers first, and each peer once per call. A `count` of zero ends the
    /// offers.
    pub fn handle_wanted(&mut self, now: Instant, purpose: Purpose, count: usize) {
        self.wishes.set(purpose, count);
        self.advance(now);
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.advance(now);
    }

    /// When to call [`Self::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        let dial = self.next_dial().map(|next| next.at);
        let ends = self.attempts.values().map(|attempt| attempt.until);
        let times = [dial, self.redial, self.peers.next_mark()];
        ends.chain(times.into_iter().flatten()).min()
    }

    /// The next event. Take all of them after each call.
    pub fn poll_event(&mut self) -> Option<RejoinEvent<Id, A>> {
        self.events.pop_front()
    }

    /// Carries out what is due, in the order in which causes precede effects.
    fn advance(&mut self, now: Instant) {
        if self.redial.is_some_and(|at| at <= now) {
            self.redial_all(now);
        }
        while let Some((peer, mark, connected)) = self.peers.poll_mark(now) {
            if mark == Mark::Lasted {
                let (address, since) = (connected.address.clone(), connected.since);
                self.note_lasted(now, peer, since, address);
            }
        }
        let late = self.attempts.iter().filter(|(_, dial)| dial.until <= now);
        let late: Vec<AttemptId> = late.map(|(attempt, _)| *attempt).collect();
        late.into_iter().for_each(|attempt| self.give_up(attempt));
        for key in self.book.expire(now) {
            self.abandon_all(key);
        }
        self.start_due(now);
        while let Some((purpose, key)) = self
            .wishes
            .next(&mut self.book, |peer| self.peers.contains(peer))
        {
            if let Some(entry) = self.book.get(key)
                && let Some(peer) = entry.peer.clone()
            {
                let addresses = entry.all();
                self.events.push_back(RejoinEvent::Offered {
                    purpose,
                    peer,
                    addresses,
                });
            }
        }
        self.derive_state();
    }

    /// A connection has lasted: its peer's backoff starts again, and its address becomes a candidate of the peer's own.
    fn note_lasted(&mut self, now: Instant, peer: Id, since: Instant, address: Option<A>) {
        if let Some(address) = &address {
            let (config, local) = (&self.config, self.local.as_ref() != Some(&peer));
            let candidate = Candidate::new(Some(peer.clone()), vec![address.clone()], Origin::Peer);
            let room = (config.max_candidates, config.max_addresses);
            let may_go = may_go(&self.peers, &self.attempts);
            if local
                && let Put::New(key) = self.book.put(now, candidate, config.base, room, may_go)
                && let Some(entry) = self.book.get_mut(key)
            {
                entry.last_connected = Some(now);
            }
        }
        let mut addresses = Vec::new();
        for (_, entry) in self.book.of_mut(&peer) {
            entry.backoff.reset();
            (entry.failures, entry.lost_until) = (0, None);
            addresses.extend(entry.shown().cloned());
        }
        addresses.retain(|known| Some(known) != address.as_ref());
        let stayed = now.saturating_duration_since(since);
        self.events.push_back(RejoinEvent::Lasted {
            peer,
            stayed,
            address,
            addresses,
        });
    }

    fn derive_state(&mut self) {
        let (connected, settled) = (self.peers.len(), self.peers.settled());
        // A peer that comes only to ask something and leaves again is no change of the state.
        let is_young = self.peers.stayed() == 0 && self.state == State::Isolated;
        let to = match settled >= self.config.wanted {
            _ if connected == 0 => State::Isolated,
            true => State::Joined,
            false if self.was_joined => State::Degraded,
            false if is_young => State::Isolated,
            false => State::Joining,
        };
        self.was_joined = to == State::Joined || to == State::Degraded;
        let from = std::mem::replace(&mut self.state, to);
        if from != to {
            self.events.push_back(RejoinEvent::State { from, to });
        }
    }
}

/// Whether a candidate may make place for another one: its peer is not connected, and no dial of it is in flight.
fn may_go<Id: Clone + Ord, A: Clone + PartialEq>(
    peers: &Peers<Id, A>,
    attempts: &BTreeMap<AttemptId, Attempt<A>>,
) -> impl Fn(Key, &Entry<Id, A>) -> bool {
    move |key, entry| {
        let connected = entry.identity().is_some_and(|peer| peers.contains(peer));
        !connected && attempts.values().all(|attempt| attempt.key != key)
    }
}
