//! The distribution of delays, in constant memory.

use std::time::Duration;

/// Each power of two above 64 has so many buckets, so that a delay is known with an error of at most 1.6 per cent.
const STEPS: usize = 32;

/// Enough for all numbers of microseconds.
const BUCKETS: usize = 64 * STEPS;

/// How many delays fall into each bucket.
pub(crate) struct Delays(Vec<u32>);

impl Default for Delays {
    fn default() -> Self {
        Self(vec![0; BUCKETS])
    }
}

impl Delays {
    pub(crate) fn add(&mut self, delay: Duration) {
        self.0[bucket(delay.as_micros() as u64)] += 1;
    }

    pub(crate) fn add_all(&mut self, other: &Self) {
        for (sum, count) in self.0.iter_mut().zip(&other.0) {
            *sum += count;
        }
    }

    /// The nearest-rank percentile in microseconds, such as 0.99 for the 99th. 0 if there are no delays.
    pub(crate) fn percentile(&self, share: f64) -> u64 {
        let all: u64 = self.0.iter().map(|count| u64::from(*count)).sum();
        let rank = ((all as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        let reached = self.0.iter().position(|count| {
            seen += u64::from(*count);
            seen >= rank
        });
        reached.map_or(0, middle)
    }
}

/// The buckets of 0 to 63 microseconds have one number each.
fn bucket(micros: u64) -> usize {
    match micros.checked_ilog2() {
        Some(power @ 6..) => {
            let shift = power - 5;
            shift as usize * STEPS + (micros >> shift) as usize
        }
        _ => micros as usize,
    }
}

/// The middle of a bucket.
fn middle(bucket: usize) -> u64 {
    match bucket / STEPS {
        0 | 1 => bucket as u64,
        power => {
            let shift = power - 1;
            let first = ((bucket - shift * STEPS) as u64) << shift;
            first + (1 << shift) / 2
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_is_known_with_a_small_error_and_buckets_follow_each_other() {
        let mut previous = 0;
        for micros in (0..100_000).chain([1 << 30, u64::from(u32::MAX), u64::MAX]) {
            let bucket = bucket(micros);
            assert!(micros > 100_000 || bucket <= previous + 1, "{micros}");
            previous = bucket;
            let error = middle(bucket).abs_diff(micros) as f64;
            assert!(error <= micros as f64 * 0.016, "{micros} {bucket}");
        }
    }

    #[test]
    fn a_percentile_is_the_delay_with_the_nearest_rank() {
        let mut delays = Delays::default();
        assert_eq!(delays.percentile(0.5), 0);
        for micros in 1..=50 {
            delays.add(Duration::from_micros(micros));
        }
        let mut more = Delays::default();
        more.add(Duration::from_micros(1000));
        delays.add_all(&more);
        assert_eq!(delays.percentile(0.5), 26);
        assert_eq!(delays.percentile(0.98), 50);
        assert!(delays.percentile(1.0).abs_diff(1000) <= 16);
    }
}
