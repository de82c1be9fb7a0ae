//! The log lines about a listener that pauses.

use std::time::{Duration, Instant};

/// The time between two lines. A flood can keep a process out of descriptors for as long as it lasts.
const INTERVAL: Duration = Duration::from_secs(60);

/// Counts the pauses, of which one per minute is logged.
#[derive(Debug, Default)]
pub(super) struct Pauses {
    logged: Option<Instant>,
    since: u64,
}

impl Pauses {
    /// Accepting pauses at `now`. Returns the number of pauses since the last line if a line is due.
    pub(super) fn note(&mut self, now: Instant) -> Option<u64> {
        self.since += 1;
        let is_due = |logged| now.saturating_duration_since(logged) >= INTERVAL;
        if !self.logged.is_none_or(is_due) {
            return None;
        }
        self.logged = Some(now);
        Some(std::mem::take(&mut self.since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_pause_is_logged_at_once_and_then_one_per_minute_with_a_count() {
        let (begun, tenth) = (Instant::now(), Duration::from_millis(100));
        let mut pauses = Pauses::default();
        let mut lines = Vec::new();
        for n in 0..=1_200 {
            lines.extend(pauses.note(begun + n * tenth).map(|count| (n, count)));
        }
        assert_eq!(lines, [(0, 1), (600, 600), (1_200, 600)]);
        // After an hour without a pause, the next one is logged at once.
        let later = begun + Duration::from_secs(3_720);
        assert_eq!(pauses.note(later), Some(1));
    }
}
