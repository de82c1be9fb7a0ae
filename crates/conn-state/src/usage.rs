//! Whether a connection is in use, for the limits.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// Tells [`Limits`](crate::Limits) whether a connection is in use. Clones report together.
///
/// A host reports each stream that shows that the connection is needed, from any thread. Streams that peers keep open
/// without a need, such as those of ping, should not be reported: they would keep the connection from being trimmed. A report
/// takes two atomic instructions and no lock.
#[derive(Debug, Clone)]
pub struct Usage(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    begin: Instant,
    open: AtomicU32,
    /// Nanoseconds since `begin`.
    idle_since: AtomicU64,
}

impl Usage {
    /// A connection that is idle since `now`.
    pub fn new(now: Instant) -> Self {
        Self(Arc::new(Inner {
            begin: now,
            open: AtomicU32::new(0),
            idle_since: AtomicU64::new(0),
        }))
    }

    /// One more stream is open, whichever end opened it.
    pub fn handle_opened(&self) {
        self.0.open.fetch_add(1, Ordering::AcqRel);
    }

    /// A stream that was reported by [`Self::handle_opened`] is closed. Where none is open, nothing changes.
    pub fn handle_closed(&self, now: Instant) {
        let since = now.saturating_duration_since(self.0.begin).as_nanos();
        let since = u64::try_from(since).unwrap_or(u64::MAX);
        // The time comes before the count: who sees no open stream also sees when the last one closed.
        self.0.idle_since.fetch_max(since, Ordering::AcqRel);
        let less = |open: u32| open.checked_sub(1);
        let _ = self
            .0
            .open
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, less);
    }

    /// Since when the connection has had no stream. `None`: a stream is open.
    pub fn idle_since(&self) -> Option<Instant> {
        let is_idle = self.0.open.load(Ordering::Acquire) == 0;
        let since = Duration::from_nanos(self.0.idle_since.load(Ordering::Acquire));
        is_idle.then(|| self.0.begin + since)
    }
}
