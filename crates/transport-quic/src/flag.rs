//! A flag that is raised at most once. Tasks can wait for it.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

#[derive(Debug, Default)]
pub(crate) struct Flag {
    raised: AtomicBool,
    waiters: Notify,
}

impl Flag {
    /// Raises it. True for the one call that did.
    pub(crate) fn raise(&self) -> bool {
        let first = !self.raised.swap(true, Ordering::AcqRel);
        self.waiters.notify_waiters();
        first
    }

    pub(crate) fn is_raised(&self) -> bool {
        self.raised.load(Ordering::Acquire)
    }

    /// Returns once it is raised. Cancel-safe.
    pub(crate) async fn raised(&self) {
        // Registered before the look at the flag, so a raise in between is not missed.
        let waiter = self.waiters.notified();
        if !self.is_raised() {
            waiter.await;
        }
    }
}
