//! A tracker that many threads tell and ask.

use std::{
    fmt,
    hash::Hash,
    sync::PoisonError,
    task::{Context, Poll, Waker},
    time::Instant,
};

use crate::{
    Action, Closing, ConnectionId, ConnectionInfo, Event, Policy, Route, State, Subscription,
    TrackError, Tracker, TrackerConfig,
    snapshot::Snapshot,
    sync::{Arc, AtomicUsize, Mutex, MutexGuard, Ordering, bound, spin_loop},
};

/// How long somebody who changes things lets those who ask go first, in turns of a spinning wait. It is some hundred
/// nanoseconds, in which several questions are answered.
const COURTESY: usize = bound(64, 1) as usize;

/// A [`Tracker`] behind a lock. Clones are handles of one tracker.
///
/// Whoever waits for news never holds up whoever brings them: events are read from the tracker's own bounded history, so
/// a subscriber costs nothing but its wake-up, and one that does not read costs nothing at all.
pub struct SharedTracker<Id> {
    shared: Arc<Shared<Id>>,
}

pub(crate) struct Shared<Id> {
    core: Mutex<Core<Id>>,
    asking: AtomicUsize,
}

pub(crate) struct Core<Id> {
    pub(crate) tracker: Tracker<Id>,
    /// Subscribers that have read everything, each once.
    pub(crate) waiting: Vec<(u64, Waker)>,
    /// Subscribers so far.
    pub(crate) subscribers: u64,
    /// Who does what the tracker wants done.
    driver: Option<Waker>,
}

/// Whether there is something to do before what was known of.
pub(crate) fn is_sooner(now: Option<Instant>, known: Option<Instant>) -> bool {
    now.is_some_and(|now| known.is_none_or(|known| now < known))
}

impl<Id> Clone for SharedTracker<Id> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<Id: fmt::Debug> fmt::Debug for SharedTracker<Id> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedTracker")
    }
}

impl<Id> Shared<Id> {
    /// To ask something.
    pub(crate) fn ask(&self) -> MutexGuard<'_, Core<Id>> {
        self.asking.fetch_add(1, Ordering::Relaxed);
        let core = self.core.lock().unwrap_or_else(PoisonError::into_inner);
        self.asking.fetch_sub(1, Ordering::Relaxed);
        core
    }

    /// To change something. A lock is not fair: without this courtesy, one who changes things without a pause takes it
    /// again and again before one who asks is awake.
    fn change(&self) -> MutexGuard<'_, Core<Id>> {
        for _ in 0..COURTESY {
            if self.asking.load(Ordering::Relaxed) == 0 {
                break;
            }
            spin_loop();
        }
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<Id: Eq + Hash + Clone> SharedTracker<Id> {
    /// A tracker of the host `local` that begins at `now`.
    pub fn new(
        now: Instant,
        local: Id,
        policy: impl Policy<Id> + 'static,
        config: TrackerConfig,
    ) -> Self {
        let core = Core {
            tracker: Tracker::new(now, local, policy, config),
            waiting: Vec::new(),
            subscribers: 0,
            driver: None,
        };
        Self {
            shared: Arc::new(Shared {
                core: Mutex::new(core),
                asking: AtomicUsize::new(0),
            }),
        }
    }

    /// Runs a change, then wakes whom it concerns, without the lock.
    fn change<T>(&self, change: impl FnOnce(&mut Tracker<Id>) -> T) -> T {
        let mut core = self.shared.change();
        let (events, due) = (core.tracker.history.end(), core.tracker.poll_timeout());
        let outcome = change(&mut core.tracker);
        let woken = match core.tracker.history.end() == events {
            true => Vec::new(),
            false => std::mem::take(&mut core.waiting),
        };
        let wanted = core.tracker.has_actions() || is_sooner(core.tracker.poll_timeout(), due);
        let driver = match wanted {
            true => core.driver.take(),
            false => None,
        };
        drop(core);
        let woken = woken.into_iter().map(|(_, waker)| waker);
        woken.chain(driver).for_each(Waker::wake);
        outcome
    }

    /// See [`Tracker::handle_inbound`].
    pub fn handle_inbound(&self, now: Instant) -> Result<ConnectionId, TrackError> {
        self.change(|tracker| tracker.handle_inbound(now))
    }

    /// See [`Tracker::handle_dialing`].
    pub fn handle_dialing(
        &self,
        now: Instant,
        peer: Option<&Id>,
    ) -> Result<ConnectionId, TrackError> {
        self.change(|tracker| tracker.handle_dialing(now, peer))
    }

    /// See [`Tracker::handle_authenticated`].
    pub fn handle_authenticated(
        &self,
        now: Instant,
        id: ConnectionId,
        peer: &Id,
        route: Route,
    ) -> Result<(), TrackError> {
        self.change(|tracker| tracker.handle_authenticated(now, id, peer, route))
    }

    /// See [`Tracker::handle_route`].
    pub fn handle_route(
        &self,
        now: Instant,
        id: ConnectionId,
        route: Route,
    ) -> Result<(), TrackError> {
        self.change(|tracker| tracker.handle_route(now, id, route))
    }

    /// See [`Tracker::handle_streams`].
    pub fn handle_streams(
        &self,
        now: Instant,
        id: ConnectionId,
        open: u32,
    ) -> Result<(), TrackError> {
        self.change(|tracker| tracker.handle_streams(now, id, open))
    }

    /// See [`Tracker::handle_alive`].
    pub fn handle_alive(&self, now: Instant, id: ConnectionId) {
        self.change(|tracker| tracker.handle_alive(now, id));
    }

    /// See [`Tracker::handle_closed`].
    pub fn handle_closed(
        &self,
        now: Instant,
        id: ConnectionId,
        closing: Closing,
        detail: Option<std::sync::Arc<str>>,
    ) -> Result<(), TrackError> {
        self.change(|tracker| tracker.handle_closed(now, id, closing, detail))
    }

    /// See [`Tracker::handle_timeout`].
    pub fn handle_timeout(&self, now: Instant) {
        self.change(|tracker| tracker.handle_timeout(now));
    }

    /// What is to be done next. If that is nothing, the task is woken when there is something, or when
    /// [`Self::poll_timeout`] comes sooner. One task at a time.
    pub fn poll_action(&self, cx: &mut Context<'_>) -> Poll<Action> {
        let mut core = self.shared.ask();
        if let Some(action) = core.tracker.poll_action() {
            return Poll::Ready(action);
        }
        let replaced = core.driver.replace(cx.waker().clone());
        drop(core);
        // With the waker its task may be dropped, which may have subscriptions.
        drop(replaced);
        Poll::Pending
    }

    /// See [`Tracker::poll_timeout`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.shared.ask().tracker.poll_timeout()
    }

    /// How well `peer` is connected.
    pub fn state(&self, peer: &Id) -> State {
        self.shared.ask().tracker.state(peer)
    }

    /// Whether `peer` is connected, but not fully.
    pub fn is_transient(&self, peer: &Id) -> bool {
        self.state(peer).is_transient()
    }

    /// The connections to `peer`, drained ones included.
    pub fn connections(&self, now: Instant, peer: &Id) -> Vec<ConnectionInfo> {
        self.shared.ask().tracker.connections(now, peer)
    }

    /// One connection, as long as it is not gone.
    pub fn connection(&self, now: Instant, id: ConnectionId) -> Option<ConnectionInfo> {
        self.shared.ask().tracker.connection(now, id)
    }

    /// The latest events of `peer`, the oldest first.
    pub fn history(&self, peer: &Id) -> Vec<Event<Id>> {
        self.shared.ask().tracker.history(peer)
    }

    /// Every peer that is not [`State::NotConnected`], and from then on every event of every peer.
    pub fn subscribe(&self) -> (Snapshot<Id>, Subscription<Id>) {
        Subscription::new(Arc::clone(&self.shared), None)
    }

    /// The state of `peer`, and from then on every event of it.
    pub fn subscribe_to(&self, peer: &Id) -> (State, Subscription<Id>) {
        let filter = Some(peer.clone());
        let (snapshot, subscription) = Subscription::new(Arc::clone(&self.shared), filter);
        (snapshot.state(peer), subscription)
    }
}

#[cfg(test)]
mod tests;
