//! The number and the pace of a dial's connects.
//!
//! The owner of a DNS name chooses the addresses that a dial finds. There may be many addresses, and they may belong to other
//! hosts. A dial therefore makes a bounded number of connects. Addresses that refuse at once do not increase the pace of the
//! connects.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Connects of one dial: the maximum number of addresses of a `/dnsaddr`.
const MAX_CONNECTS: u32 = 100;
/// Connects that may start without a pause between them. Few hosts have more addresses.
const CONNECTS_AT_ONCE: u32 = 8;
/// The pause before each further connect. RFC 8305 section 5 requires at least 10 ms. 100 connects take 2 s, which is well
/// within the deadline of a dial.
const CONNECT_GAP: Duration = Duration::from_millis(20);

/// The connects that one dial may make. Clones share one budget, so that the budget bounds all routes and retries of a dial.
/// To share one budget between several dials, put a clone into [`DialContext::connects`](crate::DialContext::connects) of
/// each.
///
/// [`Direct`](crate::Direct) and [`Bound`](crate::Bound) ask the budget before each connect. A dialer that opens its own
/// sockets should do the same, with [`Self::reserve`].
///
/// The default admits 100 connects: the first 8 at once, and then at most one per 20 ms. After a pause without connects, up
/// to 8 may start at once again. Connections to a proxy do not count, because the configuration names the proxies and the
/// peer cannot add any.
#[derive(Clone)]
pub struct ConnectBudget(Arc<Reserve>);

type Reserve = dyn Fn(Instant) -> Option<Instant> + Send + Sync;

impl ConnectBudget {
    /// A budget that asks `reserve` before each connect. `reserve` receives the present time. It returns the time at
    /// which this connect may start, or `None` if the dial may make no further connect. It must not block. The time is that
    /// of tokio's clock, as a [`std::time::Instant`].
    pub fn new(reserve: impl Fn(Instant) -> Option<Instant> + Send + Sync + 'static) -> Self {
        Self(Arc::new(reserve))
    }

    /// Spends one connect. Returns the time at which it may start, or `None` if the budget is used up.
    pub fn reserve(&self, now: Instant) -> Option<Instant> {
        (self.0)(now)
    }
}

impl Default for ConnectBudget {
    fn default() -> Self {
        let connects = Mutex::new(Connects::default());
        Self::new(move |now| {
            let mut connects = connects.lock().unwrap_or_else(PoisonError::into_inner);
            connects.reserve(now)
        })
    }
}

impl fmt::Debug for ConnectBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ConnectBudget")
    }
}

/// The default budget: a count, and a token bucket that is stored as one time.
#[derive(Debug)]
struct Connects {
    left: u32,
    /// When the bucket will be full again.
    full_at: Option<Instant>,
}

impl Default for Connects {
    fn default() -> Self {
        Self {
            left: MAX_CONNECTS,
            full_at: None,
        }
    }
}

impl Connects {
    fn reserve(&mut self, now: Instant) -> Option<Instant> {
        self.left = self.left.checked_sub(1)?;
        let full_at = self.full_at.map_or(now, |at| at.max(now)) + CONNECT_GAP;
        self.full_at = Some(full_at);
        let start = full_at.checked_sub(CONNECT_GAP * CONNECTS_AT_ONCE);
        Some(start.map_or(now, |at| at.max(now)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_connects_start_at_once_then_one_per_20_ms_and_the_hundred_and_first_never() {
        let (mut connects, now) = (Connects::default(), Instant::now());
        let starts: Vec<_> = std::iter::from_fn(|| connects.reserve(now))
            .take(200)
            .collect();
        let expected: Vec<_> = (0..100_u32)
            .map(|n| now + CONNECT_GAP * (n + 1).saturating_sub(CONNECTS_AT_ONCE))
            .collect();
        assert_eq!(starts, expected);
    }

    #[test]
    fn a_pause_makes_room_for_as_many_connects_as_it_lasted_and_for_eight_at_most() {
        let begun = Instant::now();
        for (pause, at_once) in [(1, 0), (19, 0), (20, 1), (59, 2), (160, 8), (10_000, 8)] {
            let mut connects = Connects::default();
            assert!((0..CONNECTS_AT_ONCE).all(|_| connects.reserve(begun).is_some()));
            let now = begun + Duration::from_millis(pause);
            let starts = std::iter::from_fn(|| connects.reserve(now)).take(200);
            assert_eq!(
                starts.take_while(|at| *at == now).count(),
                at_once,
                "{pause} ms"
            );
        }
    }

    #[test]
    fn clones_share_one_budget_and_two_dials_do_not() {
        let (one, two) = (ConnectBudget::default(), ConnectBudget::default());
        let now = Instant::now();
        let used = std::iter::from_fn(|| one.clone().reserve(now))
            .take(200)
            .count();
        assert_eq!(used, MAX_CONNECTS as usize);
        assert!(one.reserve(now).is_none());
        assert_eq!(two.reserve(now), Some(now));
    }
}
