//! Whether a connection is in use, for the limits.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// Tells [`Limits`](crate::Limits) whether a connection is in use. Clones share one count.
///
/// The host reports the streams that show that the connection is needed, from any thread. A reported stream prevents that the
/// connection is closed for a newcomer. The host should therefore not report streams that a peer keeps open without a need, such
/// as streams of ping. A report takes two atomic instructions and no lock.
///
/// Dropping a clone reports nothing. Call [`Self::handle_closed`] on every path on which a stream ends, also when its task
/// is cancelled. If a stream stays reported as open, its connection is never trimmed.
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

    /// A stream that [`Self::handle_opened`] reported is closed. If no stream is open, nothing changes.
    pub fn handle_closed(&self, now: Instant) {
        let since = now.saturating_duration_since(self.0.begin).as_nanos();
        let since = u64::try_from(since).unwrap_or(u64::MAX);
        // The time is stored before the count: a thread that sees no open stream also sees when the last stream closed.
        self.0.idle_since.fetch_max(since, Ordering::AcqRel);
        let less = |open: u32| open.checked_sub(1);
        let _ = self
            .0
            .open
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, less);
    }

    /// The time at which the last stream closed. `None`: a stream is open.
    pub fn idle_since(&self) -> Option<Instant> {
        let is_idle = self.0.open.load(Ordering::Acquire) == 0;
        let since = Duration::from_nanos(self.0.idle_since.load(Ordering::Acquire));
        is_idle.then(|| self.0.begin + since)
    }
}
