//! Dials again after a pause.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rand::{RngExt, SeedableRng, rngs::SmallRng};
use tokio::time::{Instant, sleep_until};

use super::background::FOREVER;
use crate::{ByteStream, DialContext, DialError, DialStage, Dialer, Target, error::Chain};

/// Dials again if that may help ([`DialError::is_worth_retrying`]), after a pause with full jitter.
///
/// Before attempt n + 1 it pauses for a random time between zero and the smaller of `base · 2ⁿ⁻¹` and `cap`. If a pause would
/// exceed the dial's deadline, the dial returns the last error instead. All attempts share [`DialContext::connects`]. A dial that
/// succeeds at the first attempt costs nothing more. The pauses of the n-th dial depend only on [`RetryConfig::seed`] and n.
#[derive(Debug, Clone)]
pub struct Retry<D> {
    inner: D,
    config: RetryConfig,
    /// The dials so far. Clones count together.
    dials: Arc<AtomicU64>,
}

/// Settings of [`Retry`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetryConfig {
    /// The total number of attempts, at least 1. Default 3: one more for a lost packet and one more for a restart.
    pub attempts: u32,
    /// The longest pause before the second attempt. Default 200 ms, a slow round trip.
    pub base: Duration,
    /// The longest pause of all. Default 5 s.
    pub cap: Duration,
    /// The seed of the jitter. Default random. A test that repeats a run sets it.
    pub seed: u64,
}

impl Default for RetryConfig {
    fn default() -> Self {
        Self {
            attempts: 3,
            base: Duration::from_millis(200),
            cap: Duration::from_secs(5),
            seed: rand::random(),
        }
    }
}

impl RetryConfig {
    /// Sets [`RetryConfig::attempts`].
    pub fn with_attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }

    /// Sets [`RetryConfig::base`] and [`RetryConfig::cap`].
    pub fn with_pauses(mut self, base: Duration, cap: Duration) -> Self {
        (self.base, self.cap) = (base, cap);
        self
    }

    /// Sets [`RetryConfig::seed`].
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }
}

impl<D: Dialer> Retry<D> {
    /// Repeats the dials of `inner`.
    pub fn new(inner: D, mut config: RetryConfig) -> Self {
        config.cap = config.cap.min(FOREVER);
        Self {
            inner,
            config,
            dials: Arc::default(),
        }
    }
}

/// The pauses of one dial.
struct Pauses {
    longest: Duration,
    cap: Duration,
    random: SmallRng,
}

impl Pauses {
    fn new(config: &RetryConfig, dial: u64) -> Self {
        Self {
            longest: config.base.min(config.cap),
            cap: config.cap,
            random: SmallRng::seed_from_u64(config.seed ^ dial),
        }
    }

    fn next(&mut self) -> Duration {
        let pause = self.longest.mul_f64(self.random.random::<f64>());
        self.longest = self.longest.saturating_mul(2).min(self.cap);
        pause
    }
}

fn gave_up(attempts: u32, error: DialError) -> DialError {
    match attempts {
        1 => error,
        _ => DialError::GaveUp {
            attempts,
            source: Box::new(error),
        },
    }
}

#[async_trait::async_trait]
impl<D: Dialer> Dialer for Retry<D> {
    async fn dial(&self, target: &Target, cx: &DialContext) -> Result<ByteStream, DialError> {
        let dial = self.dials.fetch_add(1, Ordering::Relaxed);
        let mut pauses = Pauses::new(&self.config, dial);
        let (mut attempts, mut last) = (1, None);
        loop {
            let error = match self.inner.dial(target, cx).await {
                Ok(stream) => return Ok(stream),
                // The error of the previous attempt has the cause.
                Err(error @ DialError::NoConnects(_)) => {
                    return Err(last.map_or(error, |error| gave_up(attempts - 1, error)));
                }
                Err(error) => error,
            };
            let again = Instant::now() + pauses.next();
            let over = attempts >= self.config.attempts || again >= cx.deadline;
            if over || !error.is_worth_retrying() {
                return Err(gave_up(attempts, error));
            }
            tracing::debug!(attempt = cx.attempt, error = %Chain(&error), "dialing again in a while");
            cx.enter(DialStage::Pause);
            sleep_until(again).await;
            attempts += 1;
            last = Some(error);
        }
    }

    fn is_direct(&self, target: &Target) -> bool {
        self.inner.is_direct(target)
    }

    async fn check(&self, cx: &DialContext) -> Result<(), DialError> {
        self.inner.check(cx).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_cap_and_spread_over_all_of_their_range() {
        let config = RetryConfig::default();
        let ms = Duration::from_millis;
        let mut means = [0.0; 8];
        for dial in 0..2_000 {
            let mut pauses = Pauses::new(&config, dial);
            for (n, mean) in means.iter_mut().enumerate() {
                let pause = pauses.next();
                assert!(pause < (ms(200) * 2u32.pow(n as u32)).min(config.cap));
                *mean += pause.as_secs_f64() / 2_000.0;
            }
        }
        for (n, mean) in means.iter().enumerate() {
            let half = (0.2 * 2f64.powi(n as i32)).min(5.0) / 2.0;
            assert!((mean / half - 1.0).abs() < 0.1, "{n}: {mean}, not {half}");
        }
    }

    #[test]
    fn one_seed_and_one_dial_give_one_row_of_pauses() {
        let config = RetryConfig::default().with_seed(7);
        let row = |dial| {
            let mut pauses = Pauses::new(&config, dial);
            [pauses.next(), pauses.next()]
        };
        assert_eq!(row(1), row(1));
        assert_ne!(row(1), row(2));
    }
}
