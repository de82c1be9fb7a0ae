//! An estimate of the number of servers in the network, from the distances of the nearest peers to random keys.
//!
//! The i-th nearest of n peers is at a mean distance of i / (n + 1) from a random key. A lookup of a key that a user has chosen
//! does not count, because an attacker may have put peers around that key.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::key::Distance;

/// Older measurements say little.
const MAX_AGE: Duration = Duration::from_secs(1800);

/// How many measurements are kept.
const MAX: usize = 15;

/// How many peers a lookup must have found to be a measurement.
const LEAST: usize = 8;

/// From this number of measurements on, lookups rely on the estimate.
pub(crate) const ENOUGH: usize = 3;

#[derive(Debug, Default)]
pub(crate) struct Size {
    measurements: VecDeque<(Instant, f64)>,
}

impl Size {
    /// A lookup of a random key has found peers at these distances, the nearest first.
    pub(crate) fn measured(&mut self, now: Instant, distances: impl Iterator<Item = Distance>) {
        let (mut products, mut squares, mut count) = (0.0, 0.0, 0.0);
        for distance in distances {
            count += 1.0;
            products += count * distance.fraction();
            squares += count * count;
        }
        if count < LEAST as f64 || products <= 0.0 {
            return;
        }
        if self.measurements.len() >= MAX {
            self.measurements.pop_front();
        }
        self.measurements.push_back((now, squares / products - 1.0));
    }

    /// The median of the recent measurements. An attacker near a few keys does not move it.
    pub(crate) fn estimate(&self, now: Instant) -> Option<f64> {
        let mut sizes: Vec<f64> = self.recent(now).map(|size| size.max(1.0)).collect();
        sizes.sort_by(f64::total_cmp);
        sizes.get(sizes.len() / 2).copied()
    }

    /// How many recent measurements there are.
    pub(crate) fn measurements(&self, now: Instant) -> usize {
        self.recent(now).count()
    }

    fn recent(&self, now: Instant) -> impl Iterator<Item = f64> {
        let recent = self.measurements.iter();
        let recent = recent.filter(move |(at, _)| now.saturating_duration_since(*at) <= MAX_AGE);
        recent.map(|(_, size)| *size)
    }

    /// The expected distance of the k-th nearest honest peer from any key.
    pub(crate) fn reach(&self, now: Instant, k: usize) -> Option<Distance> {
        let size = self
            .estimate(now)
            .filter(|_| self.measurements(now) >= ENOUGH)?;
        let fraction = k as f64 / size;
        // In a network of few peers, all are within reach, and a lookup finds them anyway.
        (fraction < 0.5).then(|| Distance::from_fraction(fraction))
    }
}

#[cfg(test)]
mod tests {
    use super::{super::key::Key, *};

    #[test]
    fn the_estimate_is_near_the_size_and_forgets_after_half_an_hour() {
        let now = Instant::now();
        for peers in [300u64, 10_000] {
            let keys: Vec<Key> = (0..peers).map(|peer| Key::of(peer.to_be_bytes())).collect();
            let mut size = Size::default();
            for target in 0..15u64 {
                let target = Key::of(
                    [7].into_iter()
                        .chain(target.to_be_bytes())
                        .collect::<Vec<u8>>(),
                );
                let mut distances: Vec<Distance> =
                    keys.iter().map(|key| key.distance(&target)).collect();
                distances.sort_unstable();
                size.measured(now, distances.into_iter().take(20));
            }
            let estimate = size.estimate(now).unwrap() / peers as f64;
            assert!((0.75..1.33).contains(&estimate), "{estimate}");
            assert_eq!(size.estimate(now + MAX_AGE + Duration::from_secs(1)), None);
        }
    }

    #[test]
    fn a_few_measurements_by_an_attacker_do_not_move_the_estimate() {
        let now = Instant::now();
        let distance = |fraction: f64| Distance::from_fraction(fraction);
        let mut size = Size::default();
        for _ in 0..10 {
            size.measured(
                now,
                (1..=20).map(|place| distance(f64::from(place) / 1000.0)),
            );
        }
        for _ in 0..4 {
            size.measured(now, (1..=20).map(|place| distance(f64::from(place) / 1e9)));
        }
        assert!((900.0..1100.0).contains(&size.estimate(now).unwrap()));
        size.measured(now, std::iter::empty());
        size.measured(now, (0..20).map(|_| Distance::ZERO));
        assert_eq!(size.measurements(now), 14);
    }
}
