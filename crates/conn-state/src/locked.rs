//! A tracker behind a lock, and the tasks that wait for its events and actions.

use std::{hash::Hash, sync::PoisonError, task::Waker, time::Instant};

use crate::{
    Tracker,
    sync::{AtomicUsize, Mutex, MutexGuard, Ordering, bound, spin_loop},
};

/// How long somebody who changes things lets those who ask go first, in turns of a spinning wait. It is some hundred
/// nanoseconds, in which several questions are answered.
const COURTESY: usize = bound(64, 1) as usize;

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
    pub(crate) driver: Option<Waker>,
}

/// Whether there is something to do before what was known of.
pub(crate) fn is_sooner(now: Option<Instant>, known: Option<Instant>) -> bool {
    now.is_some_and(|now| known.is_none_or(|known| now < known))
}

impl<Id> Shared<Id> {
    pub(crate) fn new(tracker: Tracker<Id>) -> Self {
        let core = Core {
            tracker,
            waiting: Vec::new(),
            subscribers: 0,
            driver: None,
        };
        Self {
            core: Mutex::new(core),
            asking: AtomicUsize::new(0),
        }
    }

    /// To ask something.
    pub(crate) fn ask(&self) -> MutexGuard<'_, Core<Id>> {
        self.asking.fetch_add(1, Ordering::Relaxed);
        let core = self.core.lock().unwrap_or_else(PoisonError::into_inner);
        self.asking.fetch_sub(1, Ordering::Relaxed);
        core
    }

    /// To change something. A lock is not fair: without this courtesy, one who changes things without a pause takes it
    /// again and again before one who asks is awake.
    fn lock(&self) -> MutexGuard<'_, Core<Id>> {
        for _ in 0..COURTESY {
            if self.asking.load(Ordering::Relaxed) == 0 {
                break;
            }
            spin_loop();
        }
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<Id: Eq + Hash + Clone> Shared<Id> {
    /// Runs a change, then wakes whom it concerns, without the lock.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut Tracker<Id>) -> T) -> T {
        let mut core = self.lock();
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
}
