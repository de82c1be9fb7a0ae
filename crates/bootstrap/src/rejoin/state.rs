//! The state of the node in its network, and the reason.

use std::{fmt, time::Instant};

/// The state of the node in its network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum State {
    /// No peer is connected, or only peers that came less than half of [`crate::RejoinConfig::settled`] ago.
    Isolated,
    /// Peers are connected, but too few of them have settled so far.
    Joining,
    /// The node was joined, and too few of its peers are left.
    Degraded,
    /// At least [`crate::RejoinConfig::wanted`] peers are connected and have settled.
    Joined,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Isolated => "isolated",
            Self::Joining => "joining",
            Self::Degraded => "degraded",
            Self::Joined => "joined",
        })
    }
}

/// Why the node is in its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// No source has named a peer so far.
    NoCandidates,
    /// Candidates are being dialed.
    Dialing {
        /// How many dials are in flight.
        dials: usize,
    },
    /// All dials have failed, and the next dial waits for its backoff.
    Waiting {
        /// How many candidates there are.
        candidates: usize,
        /// When the next dial is due.
        next: Option<Instant>,
    },
    /// Peers are connected.
    Connected {
        /// How many of the connected peers have settled.
        settled: usize,
        /// How many must have settled.
        wanted: usize,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCandidates => f.write_str("no peer is known that could be dialed"),
            Self::Dialing { dials: 1 } => {
                f.write_str("no peer is connected, and 1 dial is in flight")
            }
            Self::Dialing { dials } => {
                write!(f, "no peer is connected, and {dials} dials are in flight")
            }
            Self::Waiting { candidates: 1, .. } => f.write_str(
                "the only known peer did not answer, and the next dial waits for its backoff",
            ),
            Self::Waiting { candidates, .. } => {
                write!(
                    f,
                    "none of the {candidates} known peers answered, and the next dial waits for its backoff"
                )
            }
            Self::Connected { settled, wanted } => {
                write!(
                    f,
                    "{settled} of {wanted} wanted peers are connected and have settled"
                )
            }
        }
    }
}

/// A state with its reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// The state.
    pub state: State,
    /// Its reason.
    pub reason: Reason,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.state, self.reason)
    }
}
