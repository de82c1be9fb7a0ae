//! What can go wrong, one enum an operation.

use std::{fmt, io, time::Duration};

use conn_state::{Refused, State, TrackError};
use libp2p_identity::PeerId;
use multiaddr::Multiaddr;

/// Why a node could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// The identity could not be put to use for TCP.
    #[cfg(feature = "tcp")]
    #[error("cannot set up TCP: {0}")]
    Tcp(#[from] transport_tcp::UpgradeSetupError),
}

/// Why an address could not be listened on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// No transport of this build listens on such an address.
    #[error("cannot listen on {address}: not an address of a transport this node has")]
    Unsupported {
        /// The address asked for.
        address: Multiaddr,
    },
    /// The operating system refused.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// The address asked for.
        address: Multiaddr,
        /// What the operating system said.
        source: io::Error,
    },
    /// The node is shut down.
    #[error("cannot listen on {address}: the node is shut down")]
    ShutDown {
        /// The address asked for.
        address: Multiaddr,
    },
}

impl ListenError {
    /// Whether the port is taken by someone else.
    pub fn is_address_in_use(&self) -> bool {
        matches!(self, Self::Bind { source, .. } if source.kind() == io::ErrorKind::AddrInUse)
    }

    /// Whether this machine has no such address or no such family at all.
    pub fn is_address_unavailable(&self) -> bool {
        match self {
            Self::Bind { source, .. } => {
                // EAFNOSUPPORT has no stable ErrorKind; 97 is its number on Linux.
                source.kind() == io::ErrorKind::AddrNotAvailable
                    || source.raw_os_error() == Some(97)
            }
            _ => false,
        }
    }
}

/// Why a dial gave no connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// No address was given.
    #[error("no address to dial")]
    NoAddress,
    /// The addresses name different peers.
    #[error("the addresses name both {first} and {second}")]
    DifferentPeers {
        /// The first peer named.
        first: PeerId,
        /// Another one.
        second: PeerId,
    },
    /// The addresses name this very node.
    #[error("{peer} is this node itself")]
    Oneself {
        /// Our id.
        peer: PeerId,
    },
    /// Every address failed. The message names each one, with its stage and cause.
    #[error("{}", Joined(.0))]
    AllFailed(Vec<AttemptError>),
    /// The node is shut down.
    #[error("the node is shut down")]
    ShutDown,
}

/// Why one address gave no connection.
#[derive(Debug, thiserror::Error)]
#[error("{address}: {cause}")]
pub struct AttemptError {
    /// The address tried.
    pub address: Multiaddr,
    /// At which stage it failed, and why.
    #[source]
    pub cause: AttemptCause,
}

/// At which stage an attempt failed, and why.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AttemptCause {
    /// No transport of this build can dial such an address.
    #[error("not an address of a transport this node has")]
    Unsupported,
    /// It would go around the dialer, which does not dial this address directly.
    #[cfg(feature = "tcp")]
    #[error("{what} would go around the dialer's rules, which do not say direct for this address")]
    NotDirect {
        /// What would.
        what: &'static str,
    },
    /// Its name could not be resolved.
    #[error("resolving: {0}")]
    Resolve(String),
    /// No byte stream came about.
    #[cfg(feature = "tcp")]
    #[error("{0}")]
    Connect(#[from] transport_tcp::DialError),
    /// The byte stream could not be secured or multiplexed.
    #[cfg(feature = "tcp")]
    #[error("{0}")]
    Upgrade(#[from] transport_tcp::UpgradeError),
    /// The QUIC handshake failed.
    #[cfg(feature = "quic")]
    #[error("{0}")]
    Quic(#[from] transport_quic::DialError),
    /// No UDP socket could be made to dial from.
    #[error("making a UDP socket: {0}")]
    Socket(String),
    /// Nothing conclusive happened in time.
    #[error("timed out after {} s", after.as_secs_f32())]
    TimedOut {
        /// The time it was given.
        after: Duration,
    },
    /// The peer's QUIC handshake failed.
    #[cfg(feature = "quic")]
    #[error("{0}")]
    Accept(transport_quic::AcceptError),
    /// The relay did not bring a circuit about.
    #[cfg(feature = "relay")]
    #[error("by the relay {relay}: {reason}")]
    Relay {
        /// Which one.
        relay: PeerId,
        /// What happened, in one line.
        reason: String,
    },
    /// There are as many connections in their handshake as there may be.
    #[error("{0}")]
    Tracker(#[from] TrackError),
    /// The connection came about, but is one too many.
    #[error("{0}")]
    Refused(#[from] Refused),
}

struct Joined<'a>(&'a [AttemptError]);

impl fmt::Display for Joined<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cannot connect to ")?;
        for (n, attempt) in self.0.iter().enumerate() {
            let separator = if n == 0 { "" } else { "; " };
            write!(f, "{separator}{attempt}")?;
        }
        Ok(())
    }
}

/// Why a stream could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// There is no connection to the peer.
    #[error("not connected to {peer}")]
    NotConnected {
        /// Whom the stream was for.
        peer: PeerId,
    },
    /// A relay limits the connection, and the stream is not for one that is limited.
    #[error("{peer} is connected only through a relay that limits the connection")]
    Limited {
        /// Whom the stream was for.
        peer: PeerId,
    },
    /// There was no full connection by the deadline.
    #[error("{peer} was still {state} at the deadline")]
    NotInTime {
        /// Whom the stream was for.
        peer: PeerId,
        /// What it was.
        state: State,
    },
    /// The connection is closed or does not allow one more stream.
    #[error("cannot open a stream to {peer}: {reason}")]
    Connection {
        /// Whom the stream was for.
        peer: PeerId,
        /// What the transport says.
        reason: String,
    },
    /// The peer speaks none of the protocols.
    #[error("{peer} speaks none of {}", .protocols.join(", "))]
    Unsupported {
        /// Whom the stream was for.
        peer: PeerId,
        /// What was asked for.
        protocols: Vec<String>,
    },
    /// The negotiation broke.
    #[error("negotiating with {peer}: {reason}")]
    Negotiation {
        /// Whom the stream was for.
        peer: PeerId,
        /// What went wrong.
        reason: String,
    },
    /// The peer did not answer in time.
    #[error("{peer} did not agree on a protocol within {} s", after.as_secs_f32())]
    TimedOut {
        /// Whom the stream was for.
        peer: PeerId,
        /// The time it was given.
        after: Duration,
    },
}
