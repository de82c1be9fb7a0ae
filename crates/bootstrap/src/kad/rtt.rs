//! The time that a lookup waits for a peer, computed from the times of earlier answers (RFC 6298).

use std::time::Duration;

/// No wait is shorter: a server may be busy.
const LEAST: Duration = Duration::from_millis(250);

/// The times of answers, apart for peers that are connected and peers that must be dialed first.
#[derive(Debug, Default)]
pub(crate) struct Rtt {
    warm: Estimate,
    cold: Estimate,
}

#[derive(Debug, Default, Clone, Copy)]
struct Estimate(Option<(Duration, Duration)>);

impl Rtt {
    pub(crate) fn measured(&mut self, connected: bool, took: Duration) {
        let Estimate(estimate) = if connected {
            &mut self.warm
        } else {
            &mut self.cold
        };
        *estimate = Some(match *estimate {
            None => (took, took / 2),
            Some((mean, deviation)) => {
                let off = mean.abs_diff(took);
                ((mean * 7 + took) / 8, (deviation * 3 + off) / 4)
            }
        });
    }

    /// How long a lookup waits for the peer. `most` bounds it.
    pub(crate) fn patience(&self, connected: bool, most: Duration) -> Duration {
        let (Estimate(estimate), first) = match connected {
            true => (self.warm, Duration::from_secs(1)),
            false => (self.cold, Duration::from_secs(3)),
        };
        let wait = estimate.map_or(first, |(mean, deviation)| mean + deviation * 4);
        wait.max(LEAST).min(most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: Duration = Duration::from_secs(10);

    #[test]
    fn the_wait_follows_the_answers_and_has_both_limits() {
        let mut rtt = Rtt::default();
        assert_eq!(rtt.patience(true, MOST), Duration::from_secs(1));
        assert_eq!(rtt.patience(false, MOST), Duration::from_secs(3));
        for _ in 0..100 {
            rtt.measured(true, Duration::from_millis(300));
        }
        let wait = rtt.patience(true, MOST);
        assert!((300..320).contains(&wait.as_millis()), "{wait:?}");
        assert_eq!(
            rtt.patience(false, MOST),
            Duration::from_secs(3),
            "dials are counted apart"
        );
        rtt.measured(false, Duration::from_secs(3600));
        assert_eq!(rtt.patience(false, MOST), MOST);
        (0..100).for_each(|_| rtt.measured(true, Duration::ZERO));
        assert_eq!(rtt.patience(true, MOST), LEAST);
    }
}
