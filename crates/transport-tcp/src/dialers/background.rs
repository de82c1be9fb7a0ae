//! A background task that runs while its dialer is in use.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    task::JoinHandle,
    time::{Instant, sleep_until},
};

/// Longer than any process lives, and short enough to be added to any time.
pub(crate) const FOREVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// Runs at most one task at a time, started by the first use, ended with its owner.
#[derive(Debug)]
pub(crate) struct Background {
    activity: Arc<Activity>,
    running: Mutex<Option<JoinHandle<()>>>,
}

/// When a dialer was used last. Its task ends by itself once that is long ago.
#[derive(Debug)]
pub(crate) struct Activity {
    idle: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    last: Instant,
    /// From its start until it has decided to end, so that no use falls between the two.
    running: bool,
}

impl Activity {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When it will have been idle for long enough.
    pub(crate) fn idle_at(&self) -> Instant {
        self.state().last + self.idle
    }

    /// The task asks whether it may end, and must if so: the next use starts another one.
    pub(crate) fn may_end(&self, now: Instant) -> bool {
        let mut state = self.state();
        let idle = now >= state.last + self.idle;
        state.running &= !idle;
        idle
    }

    /// Until the task must end.
    pub(crate) async fn ended(&self) {
        while !self.may_end(Instant::now()) {
            sleep_until(self.idle_at()).await;
        }
    }
}

impl Background {
    /// The task rests after so long without a use.
    pub(crate) fn new(idle: Duration) -> Self {
        let state = Mutex::new(State {
            last: Instant::now(),
            running: false,
        });
        let idle = idle.min(FOREVER);
        Self {
            activity: Arc::new(Activity { idle, state }),
            running: Mutex::default(),
        }
    }

    /// A use: starts the task unless it runs. Must be called within a tokio runtime.
    pub(crate) fn used<F>(&self, task: impl FnOnce(Arc<Activity>) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let ended = {
            let mut state = self.activity.state();
            state.last = Instant::now();
            !std::mem::replace(&mut state.running, true)
        };
        // One whose runtime is gone could not say that it ended.
        if ended || running.as_ref().is_none_or(JoinHandle::is_finished) {
            *running = Some(tokio::spawn(task(Arc::clone(&self.activity))));
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        let running = self.running.get_mut();
        if let Some(running) = running.unwrap_or_else(PoisonError::into_inner) {
            running.abort();
        }
    }
}
