//! Several routes to the same targets. Healthy and fast routes are preferred.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::future::{join_all, select_ok};
use tokio::time::{Instant, sleep_until, timeout_at};

pub use super::health::RouteHealth;
use super::{
    background::{Activity, Background, FOREVER},
    health::Health,
};
use crate::{ByteStream, DialContext, DialError, Dialer, Fault, Target, error::Chain};

/// Dials over one of several routes. The route must be healthy, and faster routes are chosen more often.
///
/// If a route fails by its own fault ([`Fault::Route`], [`Fault::Setup`]), the same dial tries another route. A route
/// becomes unhealthy after [`BalanceConfig::max_failures`] dials in a row that failed with [`Fault::Route`], or after
/// one failed check. An unhealthy route gets no dials while another route is healthy. A route without a dial or check
/// for half of [`BalanceConfig::interval`] is checked with [`Dialer::check`], which may take the other half. A dead
/// route is therefore found within one interval, and a route that has recovered is used again within one interval. If
/// all routes are unhealthy, all routes are tried.
///
/// A task makes the checks. It starts with the first dial, and ends when there was no dial for [`BalanceConfig::idle`]
/// or the dialer is dropped. There are at most two checks per route and interval, and none for routes that are dialed
/// more often.
pub struct Balance {
    shared: Arc<Shared>,
    task: Background,
}

/// Settings of [`Balance`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct BalanceConfig {
    /// The time within which a dead route is found: half of it without a dial or check, and half of it for the check.
    /// Default 5 s: a check every 2.5 s that may take 2.5 s, which suffices even if a SYN packet is lost.
    pub interval: Duration,
    /// The number of failures in a row after which a route is unhealthy. Default 2, because one failure may be a lost
    /// packet.
    pub max_failures: u32,
    /// How long after the last dial the routes are still checked. Default 60 s.
    pub idle: Duration,
    /// The seed of the random choices. Default random.
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
    interval: Duration,
    health: Mutex<Health>,
}

impl Balance {
    /// Balances between the routes in `ways`. If there are none, every dial fails.
    pub fn new(ways: impl IntoIterator<Item = Arc<dyn Dialer>>, config: BalanceConfig) -> Self {
        let ways: Vec<_> = ways.into_iter().collect();
        let interval = config.interval.clamp(Duration::from_millis(1), FOREVER);
        let health = Health::new(ways.len(), interval, config.max_failures, config.seed);
        Self {
            shared: Arc::new(Shared {
                ways,
                interval,
                health: Mutex::new(health),
            }),
            task: Background::new(config.idle),
        }
    }

    /// The health of each route, in the order given.
    pub fn health(&self) -> Vec<RouteHealth> {
        self.shared.health().ways()
    }
}

impl Shared {
    fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The task: ends when nobody has dialed for a while.
    async fn keep_checking(self: Arc<Self>, activity: Arc<Activity>) {
        // Each way for itself: one that does not answer must not hold up the others' checks.
        let checks = join_all((0..self.ways.len()).map(|way| self.keep_checking_way(way)));
        tokio::select! {
            () = activity.ended() => {}
            _ = checks => {}
        }
    }

    async fn keep_checking_way(&self, way: usize) {
        loop {
            let now = Instant::now();
            let next = self.health().poll_timeout(now.into_std(), way);
            if next > now.into_std() {
                sleep_until(Instant::from_std(next)).await;
            } else {
                self.check(way).await;
            }
        }
    }

    async fn check(&self, way: usize) {
        // What it shows is as old as its beginning: after one that was not over in time the next one begins at once.
        let begun = Instant::now();
        let deadline = begun + self.interval / 2;
        let cx = DialContext::new(deadline);
        let checked = timeout_at(deadline, self.ways[way].check(&cx)).await;
        let now = begun.into_std();
        let mut health = self.health();
        match checked {
            Ok(Ok(())) => {
                if health.handle_success(now, way, None) {
                    tracing::info!(route = way, "the route is healthy again");
                }
            }
            Ok(Err(error)) => {
                if health.handle_failed_check(now, way) {
                    tracing::warn!(route = way, error = %Chain(&error), "the route is unhealthy");
                }
            }
            Err(_) => {
                if health.handle_failed_check(now, way) {
                    tracing::warn!(
                        route = way,
                        "the route is unhealthy: its check was not over in time"
                    );
                }
            }
        }
    }

    async fn dial(
        &self,
        way: usize,
        first: bool,
        target: &Target,
        cx: &DialContext,
    ) -> Result<ByteStream, DialError> {
        let _under_way = UnderWay { shared: self, way };
        let begun = Instant::now();
        let outcome = self.ways[way].dial(target, cx).await;
        let now = Instant::now();
        // A way that had only what another one left of the time shows nothing by using that up.
        let cut_short = !first && now >= cx.deadline;
        let mut health = self.health();
        match &outcome {
            Ok(_) => {
                health.handle_success(now.into_std(), way, Some(now - begun));
            }
            Err(error) if error.fault() == Fault::Route && !cut_short => {
                if health.handle_failure(now.into_std(), way) {
                    tracing::warn!(route = way, error = %Chain(error), "the route is unhealthy");
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
        self.shared.health().handle_end(self.way);
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
        let shared = &self.shared;
        self.task
            .used(|activity| Arc::clone(shared).keep_checking(activity));
        let (mut tried, mut failed) = (Vec::new(), Vec::new());
        loop {
            let over = !tried.is_empty() && Instant::now() >= cx.deadline;
            let way = match over {
                true => None,
                false => shared.health().pick(&tried),
            };
            let Some(way) = way else {
                return Err(DialError::NoRoute {
                    address: target.to_multiaddr(),
                    routes: failed,
                });
            };
            let error = match shared.dial(way, tried.is_empty(), target, cx).await {
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

    /// Whether every route is direct.
    fn is_direct(&self, target: &Target) -> bool {
        let ways = &self.shared.ways;
        !ways.is_empty() && ways.iter().all(|way| way.is_direct(target))
    }

    /// Whether one of the routes is up.
    async fn check(&self, cx: &DialContext) -> Result<(), DialError> {
        match self.shared.ways.is_empty() {
            true => Ok(()),
            false => select_ok(self.shared.ways.iter().map(|way| way.check(cx)))
                .await
                .map(drop),
        }
    }
}
