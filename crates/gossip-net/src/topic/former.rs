//! The neighbours of a topic that have gone a short time ago.

use std::time::{Duration, Instant};

/// How long the last messages of a former neighbour are still accepted.
const ACCEPTANCE: Duration = Duration::from_secs(5);
/// A neighbour that comes back within this time hears what it may have missed. Contents are kept for as long by default.
const RETURN: Duration = Duration::from_secs(30);
/// Messages that were sent so long before the end may be lost, because a silent neighbour is noticed within 4 s.
const SLACK: Duration = Duration::from_secs(5);
/// How many former neighbours are remembered. The oldest gives way.
const MAX_FORMER: usize = 8;

#[derive(Debug, Default)]
pub(super) struct Former(Vec<Entry>);

#[derive(Debug)]
struct Entry {
    peer: u32,
    gone: Instant,
    /// Whether the peer has come back since it was noted. A peer that comes and goes all the time hears nothing again.
    came_back: bool,
}

impl Former {
    /// A neighbour has gone.
    pub(super) fn handle_down(&mut self, now: Instant, peer: u32) {
        self.0.retain(|entry| now < entry.gone + RETURN);
        let known = self.0.iter().position(|entry| entry.peer == peer);
        let came_back = known.is_some_and(|at| self.0.remove(at).came_back);
        if self.0.len() >= MAX_FORMER {
            self.0.remove(0);
        }
        self.0.push(Entry {
            peer,
            gone: now,
            came_back,
        });
    }

    /// A peer has become a neighbour. Returns the time since which it may have missed messages, if it was a neighbour a short time
    /// ago.
    pub(super) fn handle_up(&mut self, now: Instant, peer: u32) -> Option<Instant> {
        let mut entries = self.0.iter_mut();
        let entry = entries.find(|entry| entry.peer == peer && now < entry.gone + RETURN)?;
        if std::mem::replace(&mut entry.came_back, true) {
            return None;
        }
        Some(entry.gone.checked_sub(SLACK).unwrap_or(entry.gone))
    }

    /// Whether the last messages of a peer still count.
    pub(super) fn is_accepted(&self, now: Instant, peer: u32) -> bool {
        let mut entries = self.0.iter();
        entries.any(|entry| entry.peer == peer && now < entry.gone + ACCEPTANCE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_neighbour_that_comes_back_within_30_seconds_has_missed_what_was_sent_since_5_seconds_before()
     {
        let start = Instant::now() + seconds(100);
        for (after, missed) in [
            (seconds(30) - Duration::from_millis(1), true),
            (seconds(30), false),
        ] {
            let mut former = Former::default();
            former.handle_down(start, 1);
            let since = former.handle_up(start + after, 1);
            assert_eq!(since, missed.then_some(start - seconds(5)));
            assert_eq!(former.handle_up(start + after, 2), None);
        }
    }

    #[test]
    fn a_peer_that_comes_and_goes_is_answered_once_until_it_stays_away_for_30_seconds() {
        let (mut former, mut now) = (Former::default(), Instant::now() + seconds(100));
        former.handle_down(now, 1);
        assert!(former.handle_up(now, 1).is_some());
        for _ in 0..10 {
            now += seconds(29);
            former.handle_down(now, 1);
            assert_eq!(former.handle_up(now, 1), None);
        }
        now += seconds(31);
        former.handle_down(now, 1);
        assert!(former.handle_up(now, 1).is_some());
    }

    #[test]
    fn the_last_messages_of_the_eight_latest_former_neighbours_count_for_5_seconds() {
        let (mut former, now) = (Former::default(), Instant::now());
        for peer in 1..=9 {
            former.handle_down(now, peer);
        }
        assert!(!former.is_accepted(now, 1));
        assert!(former.is_accepted(now + seconds(5) - Duration::from_millis(1), 2));
        assert!(!former.is_accepted(now + seconds(5), 2));
    }
}
