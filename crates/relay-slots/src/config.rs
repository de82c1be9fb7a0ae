//! The numbers a host may set.

use std::time::Duration;

/// How long things last, and how much a circuit may carry. Who gets in is [`crate::Caps`]'.
///
/// A change at run time holds for what comes after it: [`crate::Table::set_config`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TableConfig {
    /// How long a slot is granted for, and again at each renewal. Default 1 h, as go-libp2p's relay does.
    pub ttl: Duration,
    /// How long a slot is kept for a peer that is gone. Default 60 s: a phone that changes its network is back by then,
    /// and a relay that is full of the departed is not full for long.
    pub grace: Duration,
    /// How long a holder may be silent before it is probed; each is probed up to a quarter sooner, so that those who came
    /// together are not probed together. Default 30 s, which also keeps a NAT's mapping alive. `None`: nobody is probed.
    pub heartbeat: Option<Duration>,
    /// How long a probe may stay unanswered until its peer counts as gone. Default 10 s: some retransmissions of a slow
    /// path.
    pub answer: Duration,
    /// How long the destination may take to accept a circuit. Default 30 s.
    pub opening: Duration,
    /// How long a circuit may be open. Default 2 min, go-libp2p's: enough for a hole punch. `None`: without end.
    pub circuit_duration: Option<Duration>,
    /// How many bytes a circuit may carry in each direction. Default 128 KiB, go-libp2p's. `None`: any number.
    pub circuit_data: Option<u64>,
    /// How many peers' and subnets' request rates are remembered. Default 65,536 (some 4 MiB). Only what was granted is
    /// remembered, until it is long enough ago to say nothing; with as many that say something, a newcomer is refused.
    pub max_buckets: usize,
}

impl Default for TableConfig {
    fn default() -> Self {
        Self {
            ttl: Duration::from_secs(3600),
            grace: Duration::from_secs(60),
            heartbeat: Some(Duration::from_secs(30)),
            answer: Duration::from_secs(10),
            opening: Duration::from_secs(30),
            circuit_duration: Some(Duration::from_secs(120)),
            circuit_data: Some(128 << 10),
            max_buckets: 65_536,
        }
    }
}

impl TableConfig {
    /// Sets [`Self::ttl`].
    pub fn with_ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// Sets [`Self::grace`].
    pub fn with_grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Sets [`Self::heartbeat`] and [`Self::answer`].
    pub fn with_heartbeat(mut self, heartbeat: Option<Duration>, answer: Duration) -> Self {
        (self.heartbeat, self.answer) = (heartbeat, answer);
        self
    }

    /// Sets [`Self::opening`].
    pub fn with_opening(mut self, opening: Duration) -> Self {
        self.opening = opening;
        self
    }

    /// Sets [`Self::circuit_duration`] and [`Self::circuit_data`].
    pub fn with_circuit_limits(mut self, duration: Option<Duration>, data: Option<u64>) -> Self {
        (self.circuit_duration, self.circuit_data) = (duration, data);
        self
    }

    /// Sets [`Self::max_buckets`].
    pub fn with_max_buckets(mut self, buckets: usize) -> Self {
        self.max_buckets = buckets;
        self
    }
}
