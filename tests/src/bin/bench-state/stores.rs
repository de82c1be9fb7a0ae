//! Those who keep the states.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Instant;

use conn_state::{Closing, Recommended, Route, SharedTracker, State, Tracker, TrackerConfig};
use libp2p_identity::PeerId;
use tokio::sync::{broadcast, watch};

/// Far more than connections are in their handshake here at a time.
const MAX_TRANSIENT: usize = 1_000;

/// As many events as a tracker keeps by default.
const QUEUE: usize = 65_536;

/// Where transitions go.
pub(crate) trait Store: Send {
    /// The peer is dialed, and connected.
    fn come(&mut self, now: Instant, place: usize, peer: &PeerId);
    /// It is gone.
    fn go(&mut self, now: Instant, place: usize, peer: &PeerId);
}

/// What a user would write about a change himself.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub(crate) peer: PeerId,
    pub(crate) from: State,
    pub(crate) to: State,
    pub(crate) at: Instant,
}

pub(crate) struct Core {
    tracker: Tracker<PeerId>,
    connections: Vec<Option<conn_state::ConnectionId>>,
}

pub(crate) struct Shared {
    pub(crate) tracker: SharedTracker<PeerId>,
    connections: Vec<Option<conn_state::ConnectionId>>,
}

/// One channel a peer. Who comes in between two looks at it sees one change of two.
#[derive(Clone, Default)]
pub(crate) struct Watches {
    pub(crate) peers: Arc<RwLock<HashMap<PeerId, watch::Sender<State>>>>,
}

/// One map and one channel.
#[derive(Clone)]
pub(crate) struct Broadcast {
    pub(crate) states: Arc<Mutex<HashMap<PeerId, State>>>,
    pub(crate) changes: broadcast::Sender<Change>,
}

fn policy() -> Recommended {
    Recommended::default().with_max_transient(MAX_TRANSIENT, 8)
}

impl Core {
    pub(crate) fn new(now: Instant, peers: usize) -> Self {
        let config = TrackerConfig::default();
        Self {
            tracker: Tracker::new(now, PeerId::random(), policy(), config),
            connections: vec![None; peers],
        }
    }
}

impl Store for Core {
    fn come(&mut self, now: Instant, place: usize, peer: &PeerId) {
        let id = self.tracker.handle_dialing(now, Some(peer)).expect("room");
        let up = self
            .tracker
            .handle_authenticated(now, id, peer, Route::Direct);
        up.expect("it is in its handshake");
        assert!(self.tracker.poll_action().is_none());
        if let Some(kept) = self.connections.get_mut(place) {
            *kept = Some(id);
        }
    }

    fn go(&mut self, now: Instant, place: usize, _: &PeerId) {
        let id = self.connections[place].take().expect("it is there");
        let closed = self
            .tracker
            .handle_closed(now, id, Closing::Remote { code: None }, None);
        closed.expect("it is there");
    }
}

impl Shared {
    pub(crate) fn new(now: Instant, peers: usize) -> Self {
        let config = TrackerConfig::default();
        Self {
            tracker: SharedTracker::new(now, PeerId::random(), policy(), config),
            connections: vec![None; peers],
        }
    }
}

impl Store for Shared {
    fn come(&mut self, now: Instant, place: usize, peer: &PeerId) {
        let id = self.tracker.handle_dialing(now, Some(peer)).expect("room");
        let up = self
            .tracker
            .handle_authenticated(now, id, peer, Route::Direct);
        up.expect("it is in its handshake");
        if let Some(kept) = self.connections.get_mut(place) {
            *kept = Some(id);
        }
    }

    fn go(&mut self, now: Instant, place: usize, _: &PeerId) {
        let id = self.connections[place].take().expect("it is there");
        let closed = self
            .tracker
            .handle_closed(now, id, Closing::Remote { code: None }, None);
        closed.expect("it is there");
    }
}

impl Watches {
    /// Where readers are to find a channel, it must be there before them.
    pub(crate) fn of(peers: &[PeerId]) -> Self {
        let this = Self::default();
        let channels = peers
            .iter()
            .map(|peer| (*peer, watch::Sender::new(State::NotConnected)));
        this.peers
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(channels);
        this
    }

    fn set(&self, peer: &PeerId, state: State) {
        let peers = self.peers.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(channel) = peers.get(peer) {
            channel.send_replace(state);
            return;
        }
        drop(peers);
        let mut peers = self.peers.write().unwrap_or_else(PoisonError::into_inner);
        peers.insert(*peer, watch::Sender::new(state));
    }

    pub(crate) fn state(&self, peer: &PeerId) -> State {
        let peers = self.peers.read().unwrap_or_else(PoisonError::into_inner);
        peers
            .get(peer)
            .map_or(State::NotConnected, |channel| *channel.borrow())
    }
}

impl Store for Watches {
    fn come(&mut self, _: Instant, _: usize, peer: &PeerId) {
        self.set(peer, HANDSHAKING);
        self.set(peer, State::Connected);
    }

    fn go(&mut self, _: Instant, _: usize, peer: &PeerId) {
        self.set(peer, State::NotConnected);
    }
}

const HANDSHAKING: State = State::Transient(conn_state::Reason::Handshaking);

impl Broadcast {
    pub(crate) fn new() -> Self {
        Self {
            states: Arc::default(),
            changes: broadcast::Sender::new(QUEUE),
        }
    }

    /// Under the lock, or changes would be told in another order than they came about in.
    fn set(&self, at: Instant, peer: &PeerId, to: State) {
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        let from = match to {
            State::NotConnected => states.remove(peer),
            to => states.insert(*peer, to),
        };
        let change = Change {
            peer: *peer,
            from: from.unwrap_or(State::NotConnected),
            to,
            at,
        };
        // Nobody need listen.
        let _ = self.changes.send(change);
    }

    pub(crate) fn state(&self, peer: &PeerId) -> State {
        let states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        states.get(peer).copied().unwrap_or(State::NotConnected)
    }
}

impl Store for Broadcast {
    fn come(&mut self, now: Instant, _: usize, peer: &PeerId) {
        self.set(now, peer, HANDSHAKING);
        self.set(now, peer, State::Connected);
    }

    fn go(&mut self, now: Instant, _: usize, peer: &PeerId) {
        self.set(now, peer, State::NotConnected);
    }
}
