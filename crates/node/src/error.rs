//! What can go wrong: one enum per operation.

use std::{error::Error, fmt, io, sync::Arc, time::Duration};

use conn_state::{Closing, Refused, State, TrackError};
use libp2p_identity::PeerId;
use multiaddr::Multiaddr;

/// An error and all of its sources in one line.
///
/// ```
/// let source = std::io::Error::other("disk full");
/// let error = node::ListenError::Bind { address: "/ip4/127.0.0.1/tcp/1".parse().unwrap(), source };
/// assert_eq!(node::error_chain(&error), "cannot listen on /ip4/127.0.0.1/tcp/1: disk full");
/// ```
pub fn error_chain(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let text = source.to_string();
        // An error that is transparent repeats its source.
        if !line.ends_with(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        next = source.source();
    }
    line
}

/// Why a node could not be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// The identity cannot be used for TCP.
    #[cfg(feature = "tcp")]
    #[error("cannot set up TCP")]
    Tcp(#[source] transport_tcp::UpgradeSetupError),
}

/// Why an address could not be listened on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// No transport of this build listens on such an address.
    #[error("cannot listen on {address}: no transport of this node listens on such an address")]
    Unsupported {
        /// The address asked for.
        address: Multiaddr,
    },
    /// The operating system refused.
    #[error("cannot listen on {address}")]
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
    /// Whether another socket holds the port.
    pub fn is_address_in_use(&self) -> bool {
        matches!(self, Self::Bind { source, .. } if source.kind() == io::ErrorKind::AddrInUse)
    }

    /// Whether this machine has no such address, or no address of its family.
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

/// Why a protocol could not be handled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HandleError {
    /// The node itself serves the protocol.
    #[error("the node itself serves {protocol}: choose another protocol name")]
    Reserved {
        /// The protocol asked for.
        protocol: String,
    },
    /// multistream-select carries no such name: names start with `/` and have at most 256 bytes.
    #[error(
        "{protocol:?} is not a protocol name: it must start with '/' and have at most 256 bytes"
    )]
    Invalid {
        /// The protocol asked for.
        protocol: String,
    },
    /// The node is shut down.
    #[error("the node is shut down")]
    ShutDown,
}

/// Why a dial gave no connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// No address was given.
    #[error("no address to dial")]
    NoAddress,
    /// The addresses name different peers.
    #[error("the addresses name two peers: {first} and {second}")]
    DifferentPeers {
        /// The first peer named.
        first: PeerId,
        /// Another one.
        second: PeerId,
    },
    /// The addresses name this node.
    #[error("{peer} is this node itself")]
    Oneself {
        /// This node's id.
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
#[error("{address}")]
pub struct AttemptError {
    /// The address tried.
    pub address: Multiaddr,
    /// At which stage the attempt failed, and why.
    #[source]
    pub cause: AttemptCause,
}

/// At which stage an attempt failed, and why.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AttemptCause {
    /// No transport of this build can dial such an address.
    #[error("no transport of this node dials such an address")]
    Unsupported,
    /// No address of the peer is known.
    #[error("no address of this peer is known")]
    NoKnownAddress,
    /// The attempt would bypass the dialer, which does not dial this address directly.
    #[error("{what} would bypass the dialer: no rule allows a direct connection to this address")]
    NotDirect {
        /// What would bypass the dialer.
        what: &'static str,
    },
    /// The name could not be resolved.
    #[error("cannot resolve the name")]
    Resolve(#[source] Box<dyn Error + Send + Sync>),
    /// No byte stream was opened.
    #[cfg(feature = "tcp")]
    #[error(transparent)]
    Connect(#[from] transport_tcp::DialError),
    /// The byte stream could not be secured or multiplexed.
    #[cfg(feature = "tcp")]
    #[error(transparent)]
    Upgrade(#[from] transport_tcp::UpgradeError),
    /// The QUIC handshake failed.
    #[cfg(feature = "quic")]
    #[error(transparent)]
    Quic(#[from] transport_quic::DialError),
    /// No UDP socket reaches the address.
    #[cfg(feature = "quic")]
    #[error(transparent)]
    Socket(#[from] transport_quic::RouteError),
    /// The attempt did not end in time.
    #[error("timed out after {} s", after.as_secs_f32())]
    TimedOut {
        /// The time that the attempt had.
        after: Duration,
    },
    /// The peer's QUIC handshake failed.
    #[cfg(feature = "quic")]
    #[error(transparent)]
    Accept(#[from] transport_quic::AcceptError),
    /// The relay opened no circuit.
    #[error("the relay {relay}: {reason}")]
    Relay {
        /// The relay.
        relay: PeerId,
        /// What happened, in one line.
        reason: String,
    },
    /// The other end is this node itself.
    #[error("this node itself answers at the address")]
    Oneself,
    /// The tracker had the handshake closed.
    #[error("{0}")]
    Closed(Closing),
    /// The tracker takes no more connections in their handshake.
    #[error(transparent)]
    Tracker(#[from] TrackError),
    /// A limit of this node refuses the connection.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The node is shut down.
    #[error("the node is shut down")]
    ShutDown,
}

struct Joined<'a>(&'a [AttemptError]);

impl fmt::Display for Joined<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cannot connect to ")?;
        for (n, attempt) in self.0.iter().enumerate() {
            let separator = if n == 0 { "" } else { "; " };
            // Several causes have no one source: each is written out.
            write!(f, "{separator}{}", error_chain(attempt))?;
        }
        Ok(())
    }
}

/// Why a stream could not be opened.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// There is no connection to the peer.
    #[error("not connected to {peer}")]
    NotConnected {
        /// The peer that the stream was for.
        peer: PeerId,
    },
    /// A relay limits the connection, and the stream is not for a limited one.
    #[error("{peer} is connected only through a relay that limits the connection")]
    Limited {
        /// The peer that the stream was for.
        peer: PeerId,
    },
    /// There was no unlimited connection by the deadline.
    #[error("{peer} was still {state} at the deadline")]
    NotInTime {
        /// The peer that the stream was for.
        peer: PeerId,
        /// The peer's state at the deadline.
        state: State,
    },
    /// The connection is closed or allows no more streams.
    #[error("cannot open a stream to {peer}")]
    Connection {
        /// The peer that the stream was for.
        peer: PeerId,
        /// What the transport says.
        source: Arc<io::Error>,
    },
    /// The peer speaks none of the protocols.
    #[error("{peer} speaks none of {}", .protocols.join(", "))]
    Unsupported {
        /// The peer that the stream was for.
        peer: PeerId,
        /// The protocols proposed.
        protocols: Vec<String>,
    },
    /// The negotiation of the protocol broke.
    #[error("cannot negotiate a protocol with {peer}")]
    Negotiation {
        /// The peer that the stream was for.
        peer: PeerId,
        /// What went wrong.
        source: Arc<io::Error>,
    },
    /// The peer did not answer in time.
    #[error("{peer} did not agree on a protocol within {} s", after.as_secs_f32())]
    TimedOut {
        /// The peer that the stream was for.
        peer: PeerId,
        /// The time that the negotiation had.
        after: Duration,
    },
}
