//! The configuration of a table.

use std::time::Duration;

/// How long slots and circuits last, and how much a circuit may carry. Admission is a separate matter: [`crate::Caps`].
///
/// [`crate::Table::set_config`] changes these values at run time, for later slots and circuits.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TableConfig {
    /// The duration of a slot from its grant, and from each renewal. Default 1 h, as in go-libp2p.
    pub ttl: Duration,
    /// The grace: how long the table keeps the slot of a disconnected peer. Default 60 s. A phone that changes its network is
    /// back after this time, and the slots of peers that have left do not block a full relay for long.
    pub grace: Duration,
    /// How long the peer of a slot may be silent before it is probed. Each probe is sent up to a quarter of this time sooner, so
    /// that peers that connected together are not probed together. Default 30 s, which also keeps the mapping of a NAT alive.
    /// `None`: no probes.
    pub heartbeat: Option<Duration>,
    /// How long a probe may stay unanswered before its peer counts as gone. Default 10 s: several retransmissions over a
    /// slow path.
    pub answer: Duration,
    /// How long the destination may take to accept a circuit. Default 30 s.
    pub opening: Duration,
    /// How long a circuit may be open. Default 2 min, as in go-libp2p: enough for a hole punch. `None`: unlimited.
    pub circuit_duration: Option<Duration>,
    /// How many bytes a circuit may carry in each direction. Default 128 KiB, as in go-libp2p. `None`: unlimited.
    pub circuit_data: Option<u64>,
    /// How many peers and subnets are remembered with their request rates. Default 65,536 (about 4 MiB). Only granted requests
    /// are remembered, until they no longer affect the rate. While all entries are in use, a request that needs a further entry
    /// is refused.
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
