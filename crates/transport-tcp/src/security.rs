//! The vocabulary of an upgrade: its security protocols, its steps, and what it reports.

use std::{fmt, time::Duration};

use crate::PeerId;

/// A security protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Security {
    /// TLS 1.3, `/tls/1.0.0`.
    Tls,
    /// Noise XX, `/noise`.
    Noise,
}

impl Security {
    pub(crate) fn protocol(self) -> &'static str {
        match self {
            Self::Tls => "/tls/1.0.0",
            Self::Noise => "/noise",
        }
    }
}

impl fmt::Display for Security {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tls => "tls",
            Self::Noise => "noise",
        })
    }
}

/// A part of an upgrade. Each has a deadline of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Step {
    /// Agreeing on the security protocol.
    Negotiate,
    /// The TLS or Noise handshake.
    Secure,
    /// Agreeing on the muxer.
    Mux,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Negotiate => "negotiating security",
            Self::Secure => "the security handshake",
            Self::Mux => "negotiating the muxer",
        })
    }
}

/// What an upgrade has got to. `elapsed` counts from the upgrade's beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stage {
    /// The security protocol is agreed upon.
    Negotiated {
        /// Which it is.
        security: Security,
        /// Since the upgrade began.
        elapsed: Duration,
    },
    /// The handshake is over and the peer's identity proven.
    Secured {
        /// Who it is.
        peer: PeerId,
        /// By which protocol.
        security: Security,
        /// Since the upgrade began.
        elapsed: Duration,
    },
    /// The muxer is agreed upon.
    Muxed {
        /// Whether the handshake settled it, so that it took no round trip.
        early: bool,
        /// Since the upgrade began.
        elapsed: Duration,
    },
}

/// Which end of the connection we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Dialer,
    Listener,
}

/// A stream whose other end has proven who it is.
pub(crate) struct Secured<S> {
    pub(crate) stream: S,
    pub(crate) peer: PeerId,
    /// Whether the handshake has settled the muxer.
    pub(crate) muxer_settled: bool,
}
