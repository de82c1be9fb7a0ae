//! Why a connection ends.

use std::fmt;

/// Why a connection is gone, or why the host has to close it. One enum serves the tracker, the host and its reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Closing {
    /// This host closed it, by its own choice.
    Local,
    /// The peer closed it.
    Remote {
        /// The application's error code, where the transport carries one (QUIC, and yamux's go-away) and it fits. QUIC's codes
        /// have up to 62 bits; those that libp2p uses fit.
        code: Option<u32>,
    },
    /// The transport broke: a reset, or an error of the socket.
    Lost,
    /// Its handshake failed.
    Handshake,
    /// A limit or a rule of this host forbids it.
    Refused,
    /// A newcomer displaced it during its handshake: see [`Limits`](crate::Limits).
    Displaced,
    /// It was idle, and a newcomer displaced it: see [`Limits`](crate::Limits).
    Trimmed,
    /// Another connection to the same peer is kept.
    Superseded,
    /// It did not answer a probe, and a newer connection to the same peer is there.
    Unresponsive,
    /// Nothing was received for too long: [`Liveness`](crate::Liveness) found it dead, or its transport's idle timeout passed.
    Silent,
    /// The peer did not answer a probe after this host had lost the address that the connection used, or had been asleep.
    Stale,
    /// It was transient for longer than [`Policy::max_age`](crate::Policy::max_age), or its handshake took longer than
    /// [`Limits`](crate::Limits) allow.
    TooLongTransient,
    /// The peer broke the rules of a protocol.
    Violation,
    /// This host is shutting down.
    Shutdown,
}

impl fmt::Display for Closing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Local => "closed by this host",
            Self::Remote { code: None } => "closed by the peer",
            Self::Remote { code: Some(code) } => {
                return write!(f, "closed by the peer with code {code:#x}");
            }
            Self::Lost => "connection lost",
            Self::Handshake => "handshake failed",
            Self::Refused => "refused",
            Self::Displaced => "displaced from the pool of handshakes by a newcomer",
            Self::Trimmed => "idle, and closed to make room for a newcomer",
            Self::Superseded => "superseded and drained",
            Self::Unresponsive => "unresponsive",
            Self::Silent => "silent for too long",
            Self::Stale => "silent after this host lost its address or was asleep",
            Self::TooLongTransient => "transient for too long",
            Self::Violation => "protocol violation by the peer",
            Self::Shutdown => "shutdown",
        })
    }
}
