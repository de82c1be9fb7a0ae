//! Why an upgrade came to nothing.

use std::time::Duration;

use super::{Kind, Skipped, WireError};

/// What a machine waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Step {
    /// The stream that it asked for.
    Stream,
    /// The peer's CONNECT.
    Connect,
    /// The peer's SYNC.
    Sync,
    /// A dial, its own or the peer's.
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

/// Why no direct connection came about, or why a stream is refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum UpgradeError {
    /// The peer's bytes are no message.
    #[error("the peer sent what is no message")]
    Wire(#[from] WireError),
    /// The peer's message is one that has no place here: a SYNC before its CONNECT, a second CONNECT.
    #[error("the peer sent a {kind} message while it was waited for {step}")]
    Unexpected {
        /// What came.
        kind: Kind,
        /// What was due.
        step: Step,
    },
    /// The peer named no address that can be dialed.
    #[error(
        "no address to dial in the peer's connect message ({} relayed, {} undecodable, {} unwanted)",
        .skipped.relayed, .skipped.undecodable, .skipped.unwanted
    )]
    NoAddress {
        /// What it named instead.
        skipped: Skipped,
    },
    /// This end has no address to name, and a peer refuses a CONNECT without one.
    #[error("no address of our own to name in a connect message")]
    NoOwnAddress,
    /// The stream did not open, or ended before the exchange did.
    #[error("the stream ended while it was waited for {step}")]
    StreamClosed {
        /// What was due.
        step: Step,
    },
    /// [`super::UpgradeConfig::message_timeout`] passed in silence.
    #[error("the peer left us waiting {after:?} for {step}")]
    Timeout {
        /// What was due.
        step: Step,
        /// How long it was waited for.
        after: Duration,
    },
    /// The peer begins more attempts than [`super::UpgradeConfig::max_attempts`].
    #[error("the peer begins one more attempt than the {limit} allowed")]
    TooManyAttempts {
        /// The limit that is reached.
        limit: u8,
    },
    /// The peer opened a second stream in mid-exchange. Reset the new one; the exchange goes on.
    #[error("a second stream while it was waited for {step} on the first")]
    Busy {
        /// What is due on the first stream.
        step: Step,
    },
    /// The upgrade has ended. Reset the new stream.
    #[error("a stream after the upgrade has ended")]
    Over,
    /// Every attempt was made and no dial succeeded.
    #[error("no dial succeeded")]
    DialsFailed,
}
