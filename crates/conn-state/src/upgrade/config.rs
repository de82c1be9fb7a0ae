//! The settings of an upgrade.

use std::time::Duration;

/// The time limits of an upgrade, the number of attempts, and the number of addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UpgradeConfig {
    /// The number of attempts, each of which exchanges messages and dials. Default 3, as in step 6 of the spec. The
    /// plain dial before the first attempt does not count.
    pub max_attempts: u8,
    /// The time limit of each wait for the peer: for the stream to open, for its CONNECT, and for its SYNC. Default 10
    /// s. rust-libp2p ends a whole exchange after 10 s and js-libp2p after 5 s, so a peer that is silent for longer has
    /// given up. Besides, no punch can succeed if a relayed round trip takes longer.
    pub message_timeout: Duration,
    /// How long a dial may take. Default 10 s, as in go-libp2p: both ends then give up and try again at about the same
    /// time.
    pub dial_timeout: Duration,
    /// The maximum of the measured round trip. Default 4 s, which is twice the round trip of a path over two
    /// satellites. A longer time means that the peer was slow to answer, and half of it would be a wrong estimate of
    /// the arrival of the SYNC. A longer round trip counts as this maximum.
    pub max_rtt: Duration,
    /// The number of addresses that a CONNECT of this host names, and that the host reads of the peer's CONNECT.
    /// Default 16: each address costs a dial that an unknown peer can cause, and a host has few interfaces. rust-libp2p
    /// names at most 20.
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
