//! The number of inbound streams that the peer may have open. The number grows with use.
//!
//! quinn sets memory aside for every stream that the peer could open (about 70 bytes each), so a
//! connection starts with a small credit. The credit doubles when half of it is in use at the same
//! time, or when it is used up within a second. This module reads no clock.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

/// Credit of a new connection, in streams.
pub(crate) const INITIAL: u32 = 16;

const PERIOD: Duration = Duration::from_secs(1);

/// The credit of one connection.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: u32,
    max: u32,
    open: Arc<AtomicU32>,
    /// Streams accepted since `since`.
    recent: u32,
    since: Option<Instant>,
}

/// One open inbound stream; dropping it frees its place.
#[derive(Debug)]
pub(crate) struct Slot(Arc<AtomicU32>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Budget {
    pub(crate) fn new(max: u32) -> Self {
        Self {
            limit: INITIAL.min(max),
            max,
            open: Arc::default(),
            recent: 0,
            since: None,
        }
    }

    /// Counts an accepted stream in. Returns the new credit if it grows.
    pub(crate) fn handle_accept(&mut self, now: Instant) -> (Slot, Option<u32>) {
        let open = self.open.fetch_add(1, Ordering::Relaxed) + 1;
        let since = *self.since.get_or_insert(now);
        if now.saturating_duration_since(since) > PERIOD {
            self.since = Some(now);
            self.recent = 0;
        }
        self.recent = self.recent.saturating_add(1);
        let used = open >= self.limit.div_ceil(2) || self.recent >= self.limit;
        let grown = (used && self.limit < self.max).then(|| {
            self.limit = self.limit.saturating_mul(2).min(self.max);
            self.recent = 0;
            self.limit
        });
        (Slot(self.open.clone()), grown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credit_doubles_up_to_the_maximum_while_streams_stay_open() {
        let mut budget = Budget::new(100);
        let now = Instant::now();
        let mut slots = Vec::new();
        let mut grown = Vec::new();
        for _ in 0..100 {
            let (slot, more) = budget.handle_accept(now);
            slots.push(slot);
            grown.extend(more);
        }
        assert_eq!(grown, [32, 64, 100]);
    }

    #[test]
    fn short_streams_in_quick_succession_earn_credit_too() {
        let mut budget = Budget::new(256);
        let now = Instant::now();
        let grown = (0..1000).filter_map(|_| budget.handle_accept(now).1);
        assert_eq!(grown.collect::<Vec<_>>(), [32, 64, 128, 256]);
    }

    #[test]
    fn a_stream_now_and_then_does_not() {
        let mut budget = Budget::new(256);
        let mut now = Instant::now();
        for _ in 0..1000 {
            assert_eq!(budget.handle_accept(now).1, None);
            now += Duration::from_millis(200);
        }
    }

    #[test]
    fn a_small_maximum_is_never_exceeded() {
        let mut budget = Budget::new(3);
        assert_eq!(budget.limit, 3);
        let now = Instant::now();
        let all: Vec<_> = (0..10).map(|_| budget.handle_accept(now)).collect();
        assert!(all.iter().all(|(_, grown)| grown.is_none()));
    }
}
