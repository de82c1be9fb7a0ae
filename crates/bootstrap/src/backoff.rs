//! Backoff with full jitter: each delay is uniform in (0, min(cap, base · 2ⁿ)], where n counts the dials since the last reset.

use std::time::Duration;

/// The shortest ceiling of a delay. A base or cap of zero would otherwise dial without a pause.
const LEAST: Duration = Duration::from_millis(1);

/// A sequence of delays. The caller passes the cap each time, because the cap depends on the situation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backoff {
    base: Duration,
    steps: u32,
}

impl Backoff {
    /// A backoff whose first delay is at most `base`.
    pub fn new(base: Duration) -> Self {
        Self { base, steps: 0 }
    }

    /// Returns the next delay and doubles the ceiling of the delay after it, up to the cap.
    pub fn next(&mut self, cap: Duration, jitter: &mut Jitter) -> Duration {
        let delay = self.redraw(cap, jitter);
        self.steps = self.steps.saturating_add(1);
        delay
    }

    /// Returns a delay with the present ceiling, and leaves the ceiling unchanged.
    pub fn redraw(&self, cap: Duration, jitter: &mut Jitter) -> Duration {
        jitter.up_to(self.ceiling(cap))
    }

    /// The maximum of the next delay.
    pub fn ceiling(&self, cap: Duration) -> Duration {
        let factor = 1u32.checked_shl(self.steps).unwrap_or(u32::MAX);
        self.base.saturating_mul(factor).min(cap).max(LEAST)
    }

    /// Starts again at the base.
    pub fn reset(&mut self) {
        self.steps = 0;
    }

    /// Skips the steps whose ceiling is below `cap`. The next delay is then uniform in (0, `cap`].
    pub fn raise(&mut self, cap: Duration) {
        self.reset();
        while self.steps < u32::BITS && self.ceiling(cap) < cap {
            self.steps += 1;
        }
    }

    /// How many steps were taken since the last reset.
    pub fn steps(&self) -> u32 {
        self.steps
    }
}

/// A seeded source of random delays (SplitMix64). The delays must differ between nodes, but need not be secret.
#[derive(Debug, Clone)]
pub struct Jitter(u64);

impl Jitter {
    /// The same seed gives the same delays.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A duration that is uniform in (0, `most`].
    pub fn up_to(&mut self, most: Duration) -> Duration {
        let most = u64::try_from(most.as_nanos()).unwrap_or(u64::MAX).max(1);
        let scaled = (u128::from(self.next_u64()) * u128::from(most)) >> 64;
        // The product is below `most`, which is a u64.
        Duration::from_nanos(u64::try_from(scaled).unwrap_or(u64::MAX - 1) + 1)
    }

    /// Any number, each with the same probability.
    pub(crate) fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BASE: Duration = Duration::from_millis(250);

    #[test]
    fn delays_are_spread_evenly_over_the_whole_of_the_ceiling() {
        let mut jitter = Jitter::new(7);
        let mut tenths = [0; 10];
        for _ in 0..10_000 {
            let delay = Backoff::new(BASE).next(Duration::MAX, &mut jitter);
            tenths[((delay.as_nanos() - 1) / 25_000_000) as usize] += 1;
        }
        assert!(
            tenths.iter().all(|count| (850..1150).contains(count)),
            "{tenths:?}"
        );
    }

    #[test]
    fn the_ceiling_doubles_up_to_the_cap_and_starts_again_after_a_reset() {
        let (mut backoff, mut jitter) = (Backoff::new(BASE), Jitter::new(1));
        let mut ceilings = Vec::new();
        for _ in 0..7 {
            ceilings.push(backoff.ceiling(Duration::from_secs(10)).as_millis());
            backoff.next(Duration::from_secs(10), &mut jitter);
        }
        assert_eq!(ceilings, [250, 500, 1000, 2000, 4000, 8000, 10_000]);
        backoff.reset();
        assert_eq!(backoff.ceiling(Duration::from_secs(10)), BASE);
        backoff.raise(Duration::from_secs(10));
        assert_eq!(
            backoff.ceiling(Duration::from_secs(10)),
            Duration::from_secs(10)
        );
        let (short, long) = (Duration::from_secs(10), Duration::from_secs(300));
        assert_eq!(backoff.ceiling(long), Duration::from_secs(16));
        for _ in 0..20 {
            backoff.next(long, &mut jitter);
        }
        backoff.raise(short);
        assert_eq!(backoff.ceiling(long), Duration::from_secs(16));
    }

    proptest! {
        #[test]
        fn no_delay_is_zero_or_above_its_ceiling_whatever_the_figures(
            seed: u64, base: Duration, cap: Duration, steps in 0u32..80,
        ) {
            let (mut backoff, mut jitter) = (Backoff::new(base), Jitter::new(seed));
            for _ in 0..steps {
                backoff.next(cap, &mut jitter);
            }
            let (ceiling, delay) = (backoff.ceiling(cap), backoff.redraw(cap, &mut jitter));
            prop_assert!(delay > Duration::ZERO && delay <= ceiling);
            prop_assert!(ceiling <= cap.max(LEAST));
            backoff.raise(cap);
        }
    }
}
