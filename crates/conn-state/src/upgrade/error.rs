//! The errors of an upgrade.

use std::time::Duration;

use super::{Kind, Skipped, WireError};

/// The step for which a machine waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Step {
    /// The opening of the stream.
    Stream,
    /// The peer's CONNECT.
    Connect,
    /// The peer's SYNC.
    Sync,
    /// A dial of this end or of the peer.
    Dial,
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Stream => "a stream",
            Self::Connect => "a connect message",
            Self::Sync => "a sync message",
            Self::Dial => "a dial",
        })
    }
}

/// Why there is no direct connection, or why a stream is refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum UpgradeError {
    /// The peer's bytes are not a message.
    #[error("the peer sent what is no message")]
    Wire(#[from] WireError),
    /// The peer's message is out of order, such as a SYNC before its CONNECT, or a second CONNECT.
    #[error("the peer sent a {kind} message while it was waited for {step}")]
    Unexpected {
        /// The message that arrived.
        kind: Kind,
        /// The step for which the machine waited.
        step: Step,
    },
    /// The peer named no address that can be dialed.
    #[error(
        "no address to dial in the peer's connect message ({} relayed, {} undecodable, {} unwanted)",
        .skipped.relayed, .skipped.undecodable, .skipped.unwanted
    )]
    NoAddress {
        /// The numbers of the addresses that the peer has named.
        skipped: Skipped,
    },
    /// This end has no address to name, and peers refuse a CONNECT without an address.
    #[error("no address of our own to name in a connect message")]
    NoOwnAddress,
    /// The stream did not open, or ended before the end of the exchange.
    #[error("the stream ended while it was waited for {step}")]
    StreamClosed {
        /// The step for which the machine waited.
        step: Step,
    },
    /// The peer was silent for [`super::UpgradeConfig::message_timeout`].
    #[error("the peer left us waiting {after:?} for {step}")]
    Timeout {
        /// The step for which the machine waited.
        step: Step,
        /// The time of the wait.
        after: Duration,
    },
    /// The peer has begun more than [`super::UpgradeConfig::max_attempts`] attempts.
    #[error("the peer begins one more attempt than the {limit} allowed")]
    TooManyAttempts {
        /// The limit that is reached.
        limit: u8,
    },
    /// The peer opened a second stream during an exchange. Reset the new stream. The exchange
    /// continues.
    #[error("a second stream while it was waited for {step} on the first")]
    Busy {
        /// The step that the first stream waits for.
        step: Step,
    },
    /// The upgrade has ended. Reset the new stream.
    #[error("a stream after the upgrade has ended")]
    Over,
    /// Every attempt was made and no dial succeeded.
    #[error("no dial succeeded")]
    DialsFailed,
}
