//! Times and their bounds.

use std::fmt;
use std::time::Duration;

/// The times of all samples of one case, in ascending order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Times(Vec<f64>);

/// A bound of a case, in seconds.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bound {
    P50(f64),
    P99(f64),
    Max(f64),
}

impl Times {
    pub(crate) fn add(&mut self, time: Duration) {
        let time = time.as_secs_f64();
        let place = self.0.partition_point(|other| *other <= time);
        self.0.insert(place, time);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The smallest time that at least this share of the samples does not exceed.
    pub(crate) fn percentile(&self, share: f64) -> Option<f64> {
        let rank = (share * self.0.len() as f64).ceil() as usize;
        self.0.get(rank.saturating_sub(1)).copied()
    }

    pub(crate) fn max(&self) -> Option<f64> {
        self.0.last().copied()
    }
}

impl Bound {
    /// The text of a missed bound. No samples miss every bound.
    pub(crate) fn missed(self, times: &Times) -> Option<String> {
        let (value, bound) = match self {
            Self::P50(bound) => (times.percentile(0.5), bound),
            Self::P99(bound) => (times.percentile(0.99), bound),
            Self::Max(bound) => (times.max(), bound),
        };
        match value {
            Some(value) if value <= bound => None,
            Some(value) => Some(format!("{value:.3} s, and the bound is {self}")),
            None => Some("there are no samples".to_owned()),
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::P50(bound) => write!(f, "p50 ≤ {bound}"),
            Self::P99(bound) => write!(f, "p99 ≤ {bound}"),
            Self::Max(bound) => write!(f, "max ≤ {bound}"),
        }
    }
}
