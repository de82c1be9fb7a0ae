//! How many streams are open on a connection. The count changes without the tracker's lock.

use crate::sync::{Arc, AtomicU32, Ordering};

/// This bit is set while the connection is being drained. The other bits are the count, which 2³¹ streams would overflow.
const DRAINING: u32 = 1 << 31;

/// A count that its connection and the host's handles share.
///
/// The flag and the count are one word. Each change therefore either comes before the flag, and the tracker sees it when it
/// plans the end of the drain, or sees the flag, and has the tracker plan anew. The tracker reads the count itself, under its
/// lock, so that the change that is planned for last is planned by the latest count.
#[derive(Debug, Clone)]
pub(crate) struct Count(Arc<AtomicU32>);

impl Count {
    pub(crate) fn new(is_draining: bool) -> Self {
        Self(Arc::new(AtomicU32::new(flag(is_draining))))
    }

    /// Counts one more. Whether the tracker has to plan the end of the drain anew.
    pub(crate) fn increase(&self) -> bool {
        self.0.fetch_add(1, Ordering::Relaxed) == DRAINING
    }

    /// Counts one less. Whether the tracker has to plan the end of the drain anew.
    pub(crate) fn decrease(&self) -> bool {
        let less = |count| (count & !DRAINING > 0).then(|| count - 1);
        let before = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        before == Ok(DRAINING | 1)
    }

    pub(crate) fn set_draining(&self, is_draining: bool) {
        match is_draining {
            true => self.0.fetch_or(DRAINING, Ordering::Relaxed),
            false => self.0.fetch_and(!DRAINING, Ordering::Relaxed),
        };
    }

    pub(crate) fn get(&self) -> u32 {
        self.0.load(Ordering::Relaxed) & !DRAINING
    }
}

fn flag(is_draining: bool) -> u32 {
    if is_draining { DRAINING } else { 0 }
}
