//! The numbers a host may set.

use std::time::Duration;

/// How long an upgrade may take, how often it is tried and how much the peer may say.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UpgradeConfig {
    /// How many times the two exchange messages and dial. Default 3: the spec's number (step 6). The plain dial that
    /// comes before is not counted.
    pub max_attempts: u8,
    /// How long the peer may take for each thing that is waited for: the stream to open, its CONNECT, its SYNC.
    /// Default 10 s: rust-libp2p ends a whole exchange after that long and js-libp2p after 5 s, so a peer that is
    /// silent for longer has given up; and a relayed round trip that is longer is no basis for a punch.
    pub message_timeout: Duration,
    /// How long a dial may take. Default 10 s, which is go-libp2p's for a punch: both ends then give up, and try
    /// again, at about the same time.
    pub dial_timeout: Duration,
    /// The longest round trip that is believed. Default 4 s: twice a path through two satellites, so more is a peer
    /// that was slow to answer, and half of that would be a wrong guess of when its SYNC arrives. A longer one counts
    /// as this one.
    pub max_rtt: Duration,
    /// How many addresses are named in a CONNECT, and taken from one. Default 16: each is a dial, on a stranger's word
    /// at that, and a host has few interfaces; rust-libp2p names at most 20.
    pub max_addresses: usize,
}

impl Default for UpgradeConfig {
    fn default() -> Self {
        Self {
            max_attempts: 3,
            message_timeout: Duration::from_secs(10),
            dial_timeout: Duration::from_secs(10),
            max_rtt: Duration::from_secs(4),
            max_addresses: 16,
        }
    }
}

impl UpgradeConfig {
    /// Sets [`Self::max_attempts`].
    pub fn with_max_attempts(mut self, attempts: u8) -> Self {
        self.max_attempts = attempts;
        self
    }

    /// Sets [`Self::message_timeout`].
    pub fn with_message_timeout(mut self, timeout: Duration) -> Self {
        self.message_timeout = timeout;
        self
    }

    /// Sets [`Self::dial_timeout`].
    pub fn with_dial_timeout(mut self, timeout: Duration) -> Self {
        self.dial_timeout = timeout;
        self
    }

    /// Sets [`Self::max_rtt`].
    pub fn with_max_rtt(mut self, rtt: Duration) -> Self {
        self.max_rtt = rtt;
        self
    }

    /// Sets [`Self::max_addresses`].
    pub fn with_max_addresses(mut self, addresses: usize) -> Self {
        self.max_addresses = addresses;
        self
    }
}
