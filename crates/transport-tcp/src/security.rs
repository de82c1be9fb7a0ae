//! The security protocols, the steps and the stages of an upgrade.

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

/// A step of an upgrade. Each step has its own deadline.
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

/// A stage that an upgrade has reached. `elapsed` counts from the start of the upgrade.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stage {
    /// The security protocol is agreed upon.
    Negotiated {
        /// The protocol.
        security: Security,
        /// The time since the upgrade began.
        elapsed: Duration,
    },
    /// The handshake is over, and the peer has proved its identity.
    Secured {
        /// The peer.
        peer: PeerId,
        /// The protocol of the handshake.
        security: Security,
        /// The time since the upgrade began.
        elapsed: Duration,
    },
    /// The muxer is agreed upon.
    Muxed {
        /// Whether the handshake already agreed on the muxer, so that this step took no round trip.
        early: bool,
        /// The time since the upgrade began.
        elapsed: Duration,
    },
}

/// Which end of the connection this side is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Dialer,
    Listener,
}

/// A stream whose other end has proven its identity.
pub(crate) struct Secured<S> {
    pub(crate) stream: S,
    pub(crate) peer: PeerId,
    /// Whether the handshake has settled the muxer.
    pub(crate) muxer_settled: bool,
}
