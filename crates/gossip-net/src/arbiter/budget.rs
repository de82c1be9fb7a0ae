//! How many membership messages a peer may send, and how many this node forwards to it.

use std::time::Instant;

/// How many seconds' worth of messages a budget holds.
const BURST: f64 = 4.0;

/// A budget regains so many messages per second as its rate, and holds four times as many.
#[derive(Debug, Clone, Copy)]
struct Budget {
    left: f64,
    since: Instant,
}

impl Budget {
    fn full(now: Instant, rate: u32) -> Self {
        Self {
            left: BURST * f64::from(rate),
            since: now,
        }
    }

    fn at(&self, now: Instant, rate: u32) -> f64 {
        let passed = now.saturating_duration_since(self.since).as_secs_f64();
        (self.left + passed * f64::from(rate)).min(BURST * f64::from(rate))
    }

    fn take(&mut self, now: Instant, rate: u32) -> bool {
        let left = self.at(now, rate);
        (self.left, self.since) = ((left - 1.0).max(0.0), now);
        left >= 1.0
    }
}

/// The budgets of one peer. They belong to the peer and not to a link, so that another link brings no other messages.
#[derive(Debug)]
pub(super) struct Budgets {
    /// Per second.
    rate: u32,
    received: Budget,
    forwarded: Budget,
}

impl Budgets {
    pub(super) fn new(now: Instant, rate: u32) -> Self {
        Self {
            rate,
            received: Budget::full(now, rate),
            forwarded: Budget::full(now, forwarding(rate)),
        }
    }

    /// Counts a message of the peer. Returns whether it may be decoded.
    pub(super) fn receive(&mut self, now: Instant) -> bool {
        self.received.take(now, self.rate)
    }

    /// Counts a message of another peer for this peer. Returns whether it may be sent.
    pub(super) fn forward(&mut self, now: Instant) -> bool {
        self.forwarded.take(now, forwarding(self.rate))
    }

    /// Whether the budgets are full, so that they can be forgotten without a difference.
    pub(super) fn are_full(&self, now: Instant) -> bool {
        let is_full = |budget: &Budget, rate| budget.at(now, rate) >= BURST * f64::from(rate);
        is_full(&self.received, self.rate) && is_full(&self.forwarded, forwarding(self.rate))
    }
}

/// The receiver has the same limit for all messages of this node. Half of it is for the node's own messages.
fn forwarding(rate: u32) -> u32 {
    (rate / 2).max(1)
}
