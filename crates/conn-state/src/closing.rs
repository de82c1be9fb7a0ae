//! Why a connection ends.

use std::fmt;

/// Why a connection is gone, or why the host has to close it. The tracker, the host and its reports share this enum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Closing {
    /// This host closed the connection, by its own choice.
    Local,
    /// The peer closed the connection.
    Remote {
        /// The application's error code, if the transport carries one (QUIC, and yamux's go-away) and the code fits into 32 bits.
        /// QUIC's codes have up to 62 bits, but the codes that libp2p uses fit.
        code: Option<u32>,
    },
    /// The transport broke: a reset, or an error of the socket.
    Lost,
    /// The handshake failed.
    Handshake,
    /// A limit or a rule of this host forbids the connection.
    Refused,
    /// A newcomer displaced the connection during its handshake: see [`Limits`](crate::Limits).
    Displaced,
    /// The connection was idle, and a newcomer displaced it: see [`Limits`](crate::Limits).
    Trimmed,
    /// Another connection to the same peer is kept.
    Superseded,
    /// The connection did not answer a probe, and there is a newer connection to the same peer.
    Unresponsive,
    /// Nothing was received for too long: [`Liveness`](crate::Liveness) declared the connection dead, or the idle timeout of the
    /// transport passed.
    Silent,
    /// The peer did not answer a probe after this host had lost the address that the connection used, or had been asleep.
    Stale,
    /// The connection was transient for longer than [`Policy::max_age`](crate::Policy::max_age), or its handshake took longer
    /// than [`Limits`](crate::Limits) allows.
    TooLongTransient,
    /// The peer broke the rules of a protocol.
    Violation,
    /// This host opened it for one question, which is answered.
    Unneeded,
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
            Self::Unneeded => "no longer needed",
            Self::Shutdown => "shutdown",
        })
    }
}
