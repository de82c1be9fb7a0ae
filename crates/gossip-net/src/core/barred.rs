//! Peers that were evicted because they did not read or sent invalid messages. They may not be neighbours for some time.

use std::time::{Duration, Instant};

/// How long a peer may not be a neighbour after its first eviction. An honest peer may have crashed, and comes back after its
/// restart.
const FIRST_BAR: Duration = Duration::from_secs(4);
/// Each further eviction multiplies the time by this factor.
const FACTOR: u32 = 4;
/// The longest time. A peer that never reads delays publishers by 250 ms each time, and so by 0.4 % of the time in the long run.
const LONGEST_BAR: Duration = Duration::from_secs(60);
/// How long an eviction is remembered.
const MEMORY: Duration = Duration::from_secs(600);
/// How many evicted peers are remembered. The oldest gives way.
const MAX_BARRED: usize = 64;

/// The evicted peers, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Barred(Vec<Entry>);

#[derive(Debug)]
struct Entry {
    peer: u32,
    evicted: Instant,
    bar: Duration,
}

impl Barred {
    pub(super) fn insert(&mut self, now: Instant, peer: u32) {
        self.0.retain(|entry| now < entry.evicted + MEMORY);
        let known = self.0.iter().position(|entry| entry.peer == peer);
        let earlier = known.map(|at| self.0.remove(at).bar);
        let bar = earlier.map_or(FIRST_BAR, |bar| (bar * FACTOR).min(LONGEST_BAR));
        if self.0.len() >= MAX_BARRED {
            self.0.remove(0);
        }
        self.0.push(Entry {
            peer,
            evicted: now,
            bar,
        });
    }

    pub(super) fn contains(&self, now: Instant, peer: u32) -> bool {
        let mut all = self.0.iter();
        all.any(|entry| entry.peer == peer && now < entry.evicted + entry.bar)
    }

    pub(super) fn handles(&self) -> impl Iterator<Item = u32> {
        self.0.iter().map(|entry| entry.peer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_is_evicted_again_and_again_is_barred_for_4_16_and_60_seconds() {
        let (mut barred, mut now) = (Barred::default(), Instant::now());
        for seconds in [4, 16, 60, 60, 60] {
            barred.insert(now, 1);
            now += Duration::from_secs(seconds);
            assert!(barred.contains(now - Duration::from_millis(1), 1));
            assert!(!barred.contains(now, 1) && !barred.contains(now, 2));
        }
        now += MEMORY;
        barred.insert(now, 1);
        assert!(!barred.contains(now + FIRST_BAR, 1), "a new beginning");
    }

    #[test]
    fn the_64_peers_that_were_evicted_last_are_remembered() {
        let (mut barred, now) = (Barred::default(), Instant::now());
        for peer in 1..=65 {
            barred.insert(now, peer);
        }
        assert!(!barred.contains(now, 1));
        assert!((2..=65).all(|peer| barred.contains(now, peer)));
        assert_eq!(barred.handles().count(), 64);
    }
}
