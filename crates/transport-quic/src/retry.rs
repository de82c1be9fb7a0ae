//! Which inbound handshakes are let in, which must first prove their address, which are refused.
//!
//! A token bucket over unvalidated handshakes: it holds what one second may bring and is
//! refilled at that rate, so a burst and a steady flood meet the same limit. Reads no clock.

use std::time::{Duration, Instant};

/// What becomes of an inbound handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Let it in.
    Admit,
    /// Ask for a Retry round trip, which proves the address (RFC 9000 section 8.1.2).
    Retry,
    /// Refuse it: no room.
    Refuse,
}

/// Counts unvalidated handshakes.
#[derive(Debug)]
pub(crate) struct Meter {
    /// Unvalidated handshakes a second that are let in.
    rate: u32,
    /// Most handshakes in progress.
    max_half_open: usize,
    /// Bucket content in billionths of a handshake: no rounding at any rate.
    level: u64,
    filled: Option<Instant>,
}

const WHOLE: u64 = 1_000_000_000;

impl Meter {
    pub(crate) fn new(rate: u32, max_half_open: usize) -> Self {
        Self {
            rate,
            max_half_open,
            level: u64::from(rate) * WHOLE,
            filled: None,
        }
    }

    /// Decides about a handshake that arrives while `half_open` others are in progress.
    pub(crate) fn handle_incoming(
        &mut self,
        now: Instant,
        validated: bool,
        half_open: usize,
    ) -> Verdict {
        let admitted = !validated && {
            self.fill(now);
            self.level >= WHOLE && half_open < self.max_half_open.div_ceil(2)
        };
        match (validated, admitted) {
            (true, _) if half_open < self.max_half_open => Verdict::Admit,
            (true, _) => Verdict::Refuse,
            (false, true) => {
                self.level -= WHOLE;
                Verdict::Admit
            }
            (false, false) => Verdict::Retry,
        }
    }

    fn fill(&mut self, now: Instant) {
        let last = *self.filled.get_or_insert(now);
        let passed = now
            .saturating_duration_since(last)
            .min(Duration::from_secs(1));
        let passed = u64::try_from(passed.as_nanos()).unwrap_or(WHOLE);
        let full = u64::from(self.rate) * WHOLE;
        self.level = (self.level + passed * u64::from(self.rate)).min(full);
        self.filled = Some(last.max(now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admitted(meter: &mut Meter, now: Instant, tries: usize) -> usize {
        (0..tries)
            .filter(|_| meter.handle_incoming(now, false, 0) == Verdict::Admit)
            .count()
    }

    #[test]
    fn up_to_the_rate_all_are_let_in_and_the_next_must_retry() {
        let mut meter = Meter::new(1000, 64);
        let now = Instant::now();
        assert_eq!(admitted(&mut meter, now, 1000), 1000);
        assert_eq!(meter.handle_incoming(now, false, 0), Verdict::Retry);
    }

    #[test]
    fn the_bucket_fills_at_the_rate_and_no_further() {
        let mut meter = Meter::new(1000, 64);
        let start = Instant::now();
        assert_eq!(admitted(&mut meter, start, 5000), 1000);
        let later = start + Duration::from_millis(10);
        assert_eq!(admitted(&mut meter, later, 5000), 10);
        let much_later = start + Duration::from_secs(3600);
        assert_eq!(admitted(&mut meter, much_later, 5000), 1000);
    }

    #[test]
    fn a_validated_address_is_not_counted() {
        let mut meter = Meter::new(1, 64);
        let now = Instant::now();
        for _ in 0..10 {
            assert_eq!(meter.handle_incoming(now, true, 0), Verdict::Admit);
        }
        assert_eq!(meter.handle_incoming(now, false, 0), Verdict::Admit);
        assert_eq!(meter.handle_incoming(now, false, 0), Verdict::Retry);
    }

    #[test]
    fn half_full_asks_for_proof_and_full_refuses() {
        let mut meter = Meter::new(1000, 64);
        let now = Instant::now();
        assert_eq!(meter.handle_incoming(now, false, 31), Verdict::Admit);
        assert_eq!(meter.handle_incoming(now, false, 32), Verdict::Retry);
        assert_eq!(meter.handle_incoming(now, true, 63), Verdict::Admit);
        assert_eq!(meter.handle_incoming(now, true, 64), Verdict::Refuse);
    }

    #[test]
    fn a_rate_of_zero_asks_everybody() {
        let mut meter = Meter::new(0, 64);
        assert_eq!(
            meter.handle_incoming(Instant::now(), false, 0),
            Verdict::Retry
        );
    }

    #[test]
    fn a_clock_that_steps_back_gives_no_credit() {
        let mut meter = Meter::new(10, 64);
        let now = Instant::now() + Duration::from_secs(10);
        assert_eq!(admitted(&mut meter, now, 100), 10);
        let before = now - Duration::from_secs(5);
        assert_eq!(admitted(&mut meter, before, 100), 0);
        assert_eq!(admitted(&mut meter, now, 100), 0);
    }
}
