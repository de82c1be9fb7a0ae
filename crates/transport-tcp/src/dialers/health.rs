//! The health and the speed of routes. This module reads no clock, and takes its random numbers from a seed.

use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng, rngs::SmallRng};

/// What a way that was never measured counts as: quick, so that it is tried.
const UNMEASURED: Duration = Duration::from_millis(1);

/// How much of a new measurement goes into the average: an eighth, as in TCP (RFC 6298 section 2).
const SMOOTHING: f64 = 1.0 / 8.0;

#[derive(Debug)]
pub(crate) struct Health {
    ways: Vec<Way>,
    interval: Duration,
    max_failures: u32,
    random: SmallRng,
}

#[derive(Debug, Clone, Default)]
struct Way {
    smoothed: Option<Duration>,
    in_flight: u32,
    /// In a row.
    failures: u32,
    ejected: bool,
    /// When it last showed what it is like, by a dial or a check.
    seen: Option<Instant>,
    dials: u64,
    failed: u64,
}

/// The health of one route of a [`Balance`](crate::Balance).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RouteHealth {
    /// Whether the route gets its share of dials.
    pub healthy: bool,
    /// The smoothed duration of a dial, after the first one.
    pub dial_time: Option<Duration>,
    /// Dials over this route.
    pub dials: u64,
    /// Dials that failed by the fault of the route.
    pub failed: u64,
}

impl Health {
    pub(crate) fn new(ways: usize, interval: Duration, max_failures: u32, seed: u64) -> Self {
        Self {
            ways: vec![Way::default(); ways],
            interval,
            max_failures: max_failures.max(1),
            random: SmallRng::seed_from_u64(seed),
        }
    }

    /// The way for the next dial, of those that it has not tried: a healthy one by lot, each as probable as it is
    /// quick and free. If none is healthy, any: a sick way is better than none.
    pub(crate) fn pick(&mut self, tried: &[usize]) -> Option<usize> {
        let fresh = (0..self.ways.len()).filter(|n| !tried.contains(n));
        let (sick, healthy): (Vec<_>, Vec<_>) = fresh.partition(|n| self.ways[*n].ejected);
        let candidates = if healthy.is_empty() { sick } else { healthy };
        let weights: Vec<_> = candidates.iter().map(|n| self.ways[*n].weight()).collect();
        let mut lot = self.random.random::<f64>() * weights.iter().sum::<f64>();
        let drawn = weights.iter().position(|weight| {
            lot -= weight;
            lot < 0.0
        });
        let way = *candidates.get(drawn.unwrap_or(0))?;
        self.ways[way].in_flight += 1;
        self.ways[way].dials += 1;
        Some(way)
    }

    /// A dial is over, however it went.
    pub(crate) fn handle_end(&mut self, way: usize) {
        let way = &mut self.ways[way];
        way.in_flight = way.in_flight.saturating_sub(1);
    }

    /// The way works. `took` is a dial's time, where one succeeded. Gives whether the way was out and is back.
    pub(crate) fn handle_success(
        &mut self,
        now: Instant,
        way: usize,
        took: Option<Duration>,
    ) -> bool {
        let way = &mut self.ways[way];
        way.seen = way.seen.max(Some(now));
        way.failures = 0;
        let back = std::mem::take(&mut way.ejected);
        if back {
            // What it was like before it fell ill says nothing about it now.
            way.smoothed = None;
        }
        if let Some(took) = took {
            way.smoothed = Some(match way.smoothed {
                None => took,
                Some(old) => old.mul_f64(1.0 - SMOOTHING) + took.mul_f64(SMOOTHING),
            });
        }
        back
    }

    /// A dial failed by the way's fault. Gives whether the way is out by this.
    pub(crate) fn handle_failure(&mut self, now: Instant, way: usize) -> bool {
        self.ways[way].failed += 1;
        let most = self.max_failures;
        self.fault(now, way, most)
    }

    /// A check failed: nothing but the way can be at fault, so once is enough.
    pub(crate) fn handle_failed_check(&mut self, now: Instant, way: usize) -> bool {
        self.fault(now, way, 1)
    }

    fn fault(&mut self, now: Instant, way: usize, most: u32) -> bool {
        let way = &mut self.ways[way];
        way.seen = way.seen.max(Some(now));
        way.failures = way.failures.saturating_add(1);
        let out = way.failures >= most && !way.ejected;
        way.ejected |= out;
        out
    }

    /// When a way is to be checked: half an interval after it was seen. The check may take the other half.
    pub(crate) fn poll_timeout(&self, now: Instant, way: usize) -> Instant {
        let seen = self.ways[way].seen;
        seen.map_or(now, |seen| seen + self.interval / 2)
    }

    pub(crate) fn ways(&self) -> Vec<RouteHealth> {
        let show = |way: &Way| RouteHealth {
            healthy: !way.ejected,
            dial_time: way.smoothed,
            dials: way.dials,
            failed: way.failed,
        };
        self.ways.iter().map(show).collect()
    }
}

impl Way {
    fn weight(&self) -> f64 {
        let time = self
            .smoothed
            .unwrap_or(UNMEASURED)
            .max(Duration::from_micros(1));
        1.0 / (time.as_secs_f64() * f64::from(self.in_flight.saturating_add(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const INTERVAL: Duration = Duration::from_secs(5);

    fn health(ways: usize) -> (Health, Instant) {
        (Health::new(ways, INTERVAL, 2, 1), Instant::now())
    }

    fn shares(health: &mut Health, picks: usize) -> Vec<usize> {
        let mut shares = vec![0; health.ways.len()];
        for _ in 0..picks {
            let way = health.pick(&[]).unwrap();
            health.handle_end(way);
            shares[way] += 1;
        }
        shares
    }

    #[test]
    fn a_way_twice_as_quick_gets_twice_the_dials_and_the_slow_one_is_not_forgotten() {
        let (mut health, now) = health(2);
        health.handle_success(now, 0, Some(10 * MS));
        health.handle_success(now, 1, Some(20 * MS));
        let shares = shares(&mut health, 3_000);
        assert!((1_900..2_100).contains(&shares[0]), "{shares:?}");
    }

    #[test]
    fn dials_under_way_count_against_a_way() {
        let (mut health, now) = health(2);
        health.handle_success(now, 0, Some(10 * MS));
        health.handle_success(now, 1, Some(10 * MS));
        let picks: Vec<_> = (0..100).filter_map(|_| health.pick(&[])).collect();
        let first = picks.iter().filter(|way| **way == 0).count();
        assert!((40..60).contains(&first), "{first}");
    }

    #[test]
    fn failures_in_a_row_put_a_way_out_and_a_success_between_them_does_not_count_up() {
        let (mut health, now) = health(2);
        assert!(!health.handle_failure(now, 0));
        health.handle_success(now, 0, Some(MS));
        assert!(!health.handle_failure(now, 0));
        assert!(health.handle_failure(now, 0));
        assert!(!health.handle_failure(now, 0), "it is out already");
        assert_eq!(shares(&mut health, 100)[0], 0);
        assert_eq!(health.pick(&[1]), Some(0), "nothing else is left");
    }

    #[test]
    fn one_failed_check_puts_a_way_out_and_one_good_one_brings_it_back() {
        let (mut health, now) = health(2);
        assert!(health.handle_failed_check(now, 0));
        assert!(!health.ways()[0].healthy);
        assert!(health.handle_success(now, 0, None));
        assert!(shares(&mut health, 100)[0] > 20);
    }

    #[test]
    fn a_way_is_checked_half_an_interval_after_it_was_last_seen() {
        let (mut health, now) = health(2);
        assert_eq!(health.poll_timeout(now, 0), now, "it was never seen");
        health.handle_success(now, 0, Some(MS));
        health.handle_failed_check(now + MS, 1);
        let half = INTERVAL / 2;
        assert_eq!(health.poll_timeout(now + MS, 0), now + half);
        assert_eq!(health.poll_timeout(now + MS, 1), now + MS + half);
        health.handle_failure(now + 2 * MS, 0);
        assert_eq!(health.poll_timeout(now + 2 * MS, 0), now + 2 * MS + half);
    }

    #[test]
    fn when_every_way_was_tried_there_is_none() {
        let (mut health, _) = health(2);
        assert_eq!(health.pick(&[0, 1]), None);
    }
}
