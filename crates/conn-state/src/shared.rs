//! A tracker that many threads can use at the same time.

use std::{
    fmt,
    hash::Hash,
    task::{Context, Poll},
    time::Instant,
};

use crate::{
    Action, Closing, ConnectionId, ConnectionInfo, Detail, Event, Path, Policy, State, StreamCount,
    Subscription, TrackError, Tracker, TrackerConfig, locked::Shared, snapshot::Snapshot,
    sync::Arc,
};

/// A [`Tracker`] behind a lock. Clones are handles to the same tracker.
///
/// A reader never delays a report. Subscribers read events from the tracker's own bounded history. An event costs one wake-up per
/// subscriber that waits, and a subscriber that does not read costs nothing.
pub struct SharedTracker<Id> {
    shared: Arc<Shared<Id>>,
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

impl<Id: Eq + Hash + Clone> SharedTracker<Id> {
    /// A tracker of the host `local` that begins at `now`.
    pub fn new(
        now: Instant,
        local: Id,
        policy: impl Policy<Id> + 'static,
        config: TrackerConfig,
    ) -> Self {
        let tracker = Tracker::new(now, local, policy, config);
        Self {
            shared: Arc::new(Shared::new(tracker)),
        }
    }

    fn change<T>(&self, change: impl FnOnce(&mut Tracker<Id>) -> T) -> T {
        self.shared.change(change)
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
        path: impl Into<Path>,
    ) -> Result<(), TrackError> {
        self.change(|tracker| tracker.handle_authenticated(now, id, peer, path))
    }

    /// See [`Tracker::handle_path`].
    pub fn handle_path(
        &self,
        now: Instant,
        id: ConnectionId,
        path: impl Into<Path>,
    ) -> Result<(), TrackError> {
        self.change(|tracker| tracker.handle_path(now, id, path))
    }

    /// A handle that counts the streams of a connection; `None` if the connection is gone. Take it once per connection.
    pub fn stream_count(&self, id: ConnectionId) -> Option<StreamCount<Id>> {
        let count = self.shared.ask().tracker.count(id)?.clone();
        Some(StreamCount::new(Arc::clone(&self.shared), id, count))
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
        detail: Option<Detail>,
    ) -> Result<(), TrackError> {
        self.change(|tracker| tracker.handle_closed(now, id, closing, detail))
    }

    /// See [`Tracker::handle_timeout`].
    pub fn handle_timeout(&self, now: Instant) {
        self.change(|tracker| tracker.handle_timeout(now));
    }

    /// The next action for the host. If there is none, the task is woken when there is one, or when the time of
    /// [`Self::poll_timeout`] becomes earlier. Only one task at a time may poll.
    pub fn poll_action(&self, cx: &mut Context<'_>) -> Poll<Action> {
        let mut core = self.shared.ask();
        if let Some(action) = core.tracker.poll_action() {
            return Poll::Ready(action);
        }
        let replaced = core.driver.replace(cx.waker().clone());
        drop(core);
        // The waker may be the last handle of a task that owns subscriptions, whose drop takes the lock.
        drop(replaced);
        Poll::Pending
    }

    /// See [`Tracker::poll_timeout`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.shared.ask().tracker.poll_timeout()
    }

    /// The state of `peer`.
    pub fn state(&self, peer: &Id) -> State {
        self.shared.ask().tracker.state(peer)
    }

    /// Whether `peer` is [`State::Transient`].
    pub fn is_transient(&self, peer: &Id) -> bool {
        self.state(peer).is_transient()
    }

    /// The connections to `peer`, including those that are being drained.
    pub fn connections(&self, now: Instant, peer: &Id) -> Vec<ConnectionInfo> {
        self.shared.ask().tracker.connections(now, peer)
    }

    /// One connection. `None`: the connection is gone.
    pub fn connection(&self, now: Instant, id: ConnectionId) -> Option<ConnectionInfo> {
        self.shared.ask().tracker.connection(now, id)
    }

    /// See [`Tracker::best`].
    pub fn best(&self, peer: &Id) -> Option<ConnectionId> {
        self.shared.ask().tracker.best(peer)
    }

    /// See [`Tracker::best_unlimited`].
    pub fn best_unlimited(&self, peer: &Id) -> Option<ConnectionId> {
        self.shared.ask().tracker.best_unlimited(peer)
    }

    /// The latest events of `peer`, oldest first.
    pub fn history(&self, peer: &Id) -> Vec<Event<Id>> {
        self.shared.ask().tracker.history(peer)
    }

    /// The number of events so far, of all peers.
    pub fn position(&self) -> u64 {
        self.shared.ask().tracker.history.end()
    }

    /// All peers that are not [`State::NotConnected`], and every later event of every peer.
    pub fn subscribe(&self) -> (Snapshot<Id>, Subscription<Id>) {
        Subscription::new(Arc::clone(&self.shared), None)
    }

    /// Like [`Self::subscribe`], but only for `peer`.
    pub fn subscribe_to(&self, peer: &Id) -> (Snapshot<Id>, Subscription<Id>) {
        Subscription::new(Arc::clone(&self.shared), Some(peer.clone()))
    }
}

#[cfg(test)]
mod tests;
