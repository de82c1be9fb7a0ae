//! The pace of the ordinary dials: a token bucket.

use std::time::{Duration, Instant};

use super::dials::after;

/// How many ordinary dials may start now, and when the next one may.
#[derive(Debug)]
pub(super) struct Pace {
    left: u32,
    /// The time from which the next token is counted. `None`: the bucket is full.
    since: Option<Instant>,
}

impl Pace {
    pub(super) fn new(burst: u32) -> Self {
        Self {
            left: burst.max(1),
            since: None,
        }
    }

    /// The earliest time of the next dial. `None`: at once.
    pub(super) fn ready_at(&self, interval: Duration) -> Option<Instant> {
        let since = self.since.filter(|_| self.left == 0)?;
        Some(after(since, interval))
    }

    /// An ordinary dial starts.
    pub(super) fn take(&mut self, now: Instant, interval: Duration, burst: u32) {
        self.fill(now, interval, burst.max(1));
        self.left = self.left.saturating_sub(1);
    }

    fn fill(&mut self, now: Instant, interval: Duration, burst: u32) {
        let since = *self.since.get_or_insert(now);
        let passed = now.saturating_duration_since(since).as_nanos();
        let tokens = passed.checked_div(interval.as_nanos());
        let tokens = tokens.and_then(|tokens| u32::try_from(tokens).ok());
        match tokens {
            Some(tokens) if tokens < burst - self.left.min(burst) => {
                self.left += tokens;
                self.since = Some(after(since, interval.saturating_mul(tokens)));
            }
            // The bucket is full. The time before does not count.
            _ => (self.left, self.since) = (burst, Some(now)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_millis(50);

    /// How many dials start at `now`.
    fn at_once(pace: &mut Pace, now: Instant, interval: Duration) -> u32 {
        let mut dials = 0;
        while dials < 1000 && pace.ready_at(interval).is_none_or(|at| at <= now) {
            pace.take(now, interval, 3);
            dials += 1;
        }
        dials
    }

    #[test]
    fn a_full_bucket_is_used_at_once_and_each_interval_brings_one_dial_up_to_the_burst() {
        let (mut pace, now) = (Pace::new(3), Instant::now());
        let nearly = INTERVAL - Duration::from_millis(1);
        for (after, expected) in [
            (Duration::ZERO, 3),
            (nearly, 0),
            (INTERVAL, 1),
            (INTERVAL * 2 + nearly, 1),
            (INTERVAL * 3, 1),
            (INTERVAL * 1000, 3),
            (INTERVAL * 1000 + nearly, 0),
        ] {
            let dials = at_once(&mut pace, now + after, INTERVAL);
            assert_eq!(dials, expected, "after {after:?}");
        }
    }

    #[test]
    fn an_interval_of_zero_bounds_nothing_and_an_endless_one_leaves_the_burst() {
        let now = Instant::now();
        assert_eq!(at_once(&mut Pace::new(3), now, Duration::ZERO), 1000);
        let (mut pace, hour) = (Pace::new(3), Duration::from_secs(3600));
        assert_eq!(at_once(&mut pace, now, Duration::MAX), 3);
        assert_eq!(at_once(&mut pace, now + hour, Duration::MAX), 0);
        assert_eq!(at_once(&mut Pace::new(0), now, hour), 1, "one at least");
    }
}
