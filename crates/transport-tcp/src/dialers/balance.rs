//! Several ways to the same targets, the well and quick ones preferred.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::future::join_all;
use tokio::time::{Instant, sleep_until, timeout_at};

pub use super::health::WayHealth;
use super::{background::Background, health::Health};
use crate::{ByteStream, DialContext, DialError, Dialer, Fault, Target};

/// Dials over whichever of several ways is well, the quicker the likelier.
///
/// A way that fails by its own fault ([`Fault::Way`]) is followed by the next one within the same dial. After
/// [`BalanceConfig::max_failures`] of these in a row, or one failed check, it is out: it gets no dials while another way
/// is well. A way of which nothing was seen for [`BalanceConfig::interval`] is checked by [`Dialer::check`], so a dead one
/// is out within one interval, and is back within one after it recovered. If all are out, all are tried.
///
/// A task does the checks from the first dial on, until nobody has dialed for [`BalanceConfig::idle`] or the dialer is
/// dropped. Costs one check a way and interval, and nothing for ways that are dialed more often than that.
pub struct Balance {
    shared: Arc<Shared>,
    task: Background,
}

/// Settings of [`Balance`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct BalanceConfig {
    /// How long a way may go unseen until it is checked; a check may take as long. Default 5 s.
    pub interval: Duration,
    /// Failures in a row after which a way is out. Default 2: one may be a lost packet.
    pub max_failures: u32,
    /// How long after the last dial ways are still checked. Default 60 s.
    pub idle: Duration,
    /// What lots are drawn from. Default random.
    pub seed: u64,
}

impl Default for BalanceConfig {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(5),
            max_failures: 2,
            idle: Duration::from_secs(60),
            seed: rand::random(),
        }
    }
}

impl BalanceConfig {
    /// Sets [`BalanceConfig::interval`].
    pub fn with_interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// Sets [`BalanceConfig::max_failures`].
    pub fn with_max_failures(mut self, failures: u32) -> Self {
        self.max_failures = failures;
        self
    }

    /// Sets [`BalanceConfig::idle`].
    pub fn with_idle(mut self, idle: Duration) -> Self {
        self.idle = idle;
        self
    }

    /// Sets [`BalanceConfig::seed`].
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }
}

struct Shared {
    ways: Vec<Arc<dyn Dialer>>,
    config: BalanceConfig,
    state: Mutex<State>,
}

struct State {
    health: Health,
    last_dial: Instant,
}

impl Balance {
    /// Balances over `ways`. Without any, every dial fails.
    pub fn new(ways: impl IntoIterator<Item = Arc<dyn Dialer>>, config: BalanceConfig) -> Self {
        let ways: Vec<_> = ways.into_iter().collect();
        let state = State {
            health: Health::new(ways.len(), &config),
            last_dial: Instant::now(),
        };
        Self {
            shared: Arc::new(Shared {
                ways,
                config,
                state: Mutex::new(state),
            }),
            task: Background::default(),
        }
    }

    /// What is known of each way, in the order given.
    pub fn health(&self) -> Vec<WayHealth> {
        self.shared.state().health.ways()
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The task: ends when nobody has dialed for a while.
    async fn keep_checking(self: Arc<Self>) {
        loop {
            let now = Instant::now();
            let (due, next) = {
                let state = self.state();
                if now >= state.last_dial + self.config.idle {
                    return;
                }
                let health = &state.health;
                let next = health.poll_timeout(now.into_std());
                (health.poll_checks(now.into_std()), Instant::from_std(next))
            };
            if due.is_empty() {
                sleep_until(next).await;
            } else {
                join_all(due.into_iter().map(|way| self.check(way))).await;
            }
        }
    }

    async fn check(&self, way: usize) {
        let deadline = Instant::now() + self.config.interval;
        let cx = DialContext::new(deadline);
        let checked = timeout_at(deadline, self.ways[way].check(&cx)).await;
        let now = Instant::now().into_std();
        let health = &mut self.state().health;
        match checked {
            Ok(Ok(())) => {
                if health.handle_success(now, way, None) {
                    tracing::info!(way, "the way is back");
                }
            }
            Ok(Err(error)) => {
                if health.handle_failed_check(now, way) {
                    tracing::warn!(way, %error, "the way is out");
                }
            }
            Err(_) => {
                if health.handle_failed_check(now, way) {
                    tracing::warn!(way, "the way is out: its check was not over in time");
                }
            }
        }
    }

    async fn dial(
        &self,
        way: usize,
        target: &Target,
        cx: &DialContext,
    ) -> Result<ByteStream, DialError> {
        let _under_way = UnderWay { shared: self, way };
        let begun = Instant::now();
        let outcome = self.ways[way].dial(target, cx).await;
        let now = Instant::now();
        let health = &mut self.state().health;
        match &outcome {
            Ok(_) => {
                health.handle_success(now.into_std(), way, Some(now - begun));
            }
            Err(error) if error.fault() == Fault::Way => {
                if health.handle_failure(now.into_std(), way) {
                    tracing::warn!(way, %error, "the way is out");
                }
            }
            Err(_) => {}
        }
        outcome
    }
}

/// A dial that counts against its way until it is over or dropped.
struct UnderWay<'a> {
    shared: &'a Shared,
    way: usize,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.shared.state().health.handle_end(self.way);
    }
}

impl fmt::Debug for Balance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.health()).finish()
    }
}

#[async_trait::async_trait]
impl Dialer for Balance {
    async fn dial(&self, target: &Target, cx: &DialContext) -> Result<ByteStream, DialError> {
        self.shared.state().last_dial = Instant::now();
        self.task
            .ensure(|| Arc::clone(&self.shared).keep_checking());
        let (mut tried, mut failed) = (Vec::new(), Vec::new());
        loop {
            let way = self.shared.state().health.pick(&tried);
            let Some(way) = way else {
                return Err(DialError::NoWay {
                    address: target.to_multiaddr(),
                    ways: failed,
                });
            };
            let error = match self.shared.dial(way, target, cx).await {
                Ok(stream) => return Ok(stream),
                Err(error) => error,
            };
            if matches!(error.fault(), Fault::Target | Fault::Policy) {
                return Err(error);
            }
            tried.push(way);
            failed.push(error);
        }
    }

    /// Whether all of the ways are.
    fn is_direct(&self, target: &Target) -> bool {
        self.shared.ways.iter().all(|way| way.is_direct(target))
    }

    /// Whether one of the ways is open.
    async fn check(&self, cx: &DialContext) -> Result<(), DialError> {
        let mut last = Ok(());
        for way in &self.shared.ways {
            last = way.check(cx).await;
            if last.is_ok() {
                break;
            }
        }
        last
    }
}
