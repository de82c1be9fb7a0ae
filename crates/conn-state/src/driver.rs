//! Waiting, on tokio's clock. This file sleeps and forwards; the tracker decides.

use std::{
    future::{pending, poll_fn},
    hash::Hash,
    task::Poll,
    time::Duration,
};

use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use crate::{Action, SharedTracker, State, Update, WhenConnected, locked::is_sooner};

/// A host that wakes no later than this is not late. Timers and a busy scheduler take a few milliseconds.
const PUNCTUAL: Duration = Duration::from_millis(50);

/// The most time that a late host gets to read what has arrived.
const CATCH_UP: Duration = Duration::from_secs(1);

/// The peer was not in the wanted state by the deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("still {state} at the deadline")]
#[non_exhaustive]
pub struct WaitError {
    /// The peer's state at the deadline.
    pub state: State,
}

impl<Id: Eq + Hash + Clone> SharedTracker<Id> {
    /// Waits for the next thing that the host has to do, and handles timeouts meanwhile. Cancel-safe. One task must call this
    /// method in a loop: otherwise nothing is closed, probed or drained.
    pub async fn next_action(&self) -> Action {
        loop {
            self.catch_up().await;
            self.handle_timeout(Instant::now().into_std());
            let at = self.poll_timeout();
            // A report that makes the next timeout sooner wakes this task too.
            let news = poll_fn(|cx| match self.poll_action(cx) {
                Poll::Ready(action) => Poll::Ready(Some(action)),
                Poll::Pending if is_sooner(self.poll_timeout(), at) => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            });
            let due = async {
                match at {
                    Some(at) => sleep_until(Instant::from_std(at)).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                biased;
                news = news => if let Some(action) = news {
                    return action;
                },
                () = due => {}
            }
        }
    }

    /// A host that wakes late for a timeout has been stopped or starved, and reads what peers have sent just as late. It gets as
    /// much time again, so that an answer which has arrived counts before silence does.
    async fn catch_up(&self) {
        let Some(at) = self.poll_timeout() else {
            return;
        };
        let late = Instant::now().saturating_duration_since(Instant::from_std(at));
        if late > PUNCTUAL {
            sleep(late.min(CATCH_UP)).await;
        }
    }

    /// Waits until `peer` is in `state` or better. Cancel-safe.
    ///
    /// # Errors
    ///
    /// The peer was not in that state by the deadline.
    pub async fn wait_for(
        &self,
        peer: &Id,
        state: State,
        deadline: Instant,
    ) -> Result<State, WaitError> {
        let (snapshot, mut updates) = self.subscribe_to(peer);
        let mut current = snapshot.state(peer);
        let reached = async {
            while current < state {
                current = match updates.next().await {
                    Update::Event(event) => event.to,
                    Update::Lagged { snapshot, .. } => snapshot.state(peer),
                };
            }
            current
        };
        let reached = timeout_at(deadline, reached).await;
        reached.map_err(|_| WaitError {
            state: self.state(peer),
        })
    }

    /// Holds a resource while `peer` is fully connected. `make` makes the resource, and makes a new one each time the peer
    /// returns. The future never ends. If you drop the future, the resource is dropped, too.
    pub async fn when_connected<R>(&self, peer: &Id, make: impl FnMut() -> R) {
        let (snapshot, mut updates) = self.subscribe_to(peer);
        let mut held = WhenConnected::new(make);
        let mut current = snapshot.get(peer).map(|peer| (peer.number, peer.state));
        loop {
            // A peer that is in no snapshot is not connected, whatever its number.
            let (number, state) = current.unwrap_or((0, State::NotConnected));
            held.handle_state(number, state);
            current = match updates.next().await {
                Update::Event(event) => Some((event.number, event.to)),
                Update::Lagged { snapshot, .. } => {
                    snapshot.get(peer).map(|peer| (peer.number, peer.state))
                }
            };
        }
    }
}
