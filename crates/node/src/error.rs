//! The errors: one enum per operation.

use std::{error::Error, fmt, io, sync::Arc, time::Duration};

use conn_state::{Closing, Escaped, Refused, State, TrackError};
use libp2p_identity::PeerId;
use multiaddr::Multiaddr;

/// Formats an error and all of its sources as one line. A peer may control a part of the text, so every character that is not
/// printable becomes a visible escape.
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
        // A transparent error repeats the text of its source.
        if !line.ends_with(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        next = source.source();
    }
    Escaped(line).to_string()
}

/// An error of [`crate::Builder::build`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// [`crate::AnnounceConfig::addresses`] contains an address that the node cannot announce.
    #[error("cannot announce {address}: the address {problem}")]
    Announce {
        /// The address.
        address: Multiaddr,
        /// What is wrong with the address, see [`crate::AnnounceConfig::problem`].
        problem: &'static str,
    },
    /// A configured name of a protocol is invalid.
    #[error(
        "{protocol:?} is not a protocol name: it must start with '/', have at most 256 bytes and be printable"
    )]
    Protocol {
        /// The name.
        protocol: String,
    },
    /// The identity cannot be used for TCP.
    #[cfg(feature = "tcp")]
    #[error("cannot set up TCP")]
    Tcp(#[source] transport_tcp::UpgradeSetupError),
}

/// An error of [`crate::Node::listen`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// No transport of this build listens on such an address.
    #[error("cannot listen on {address}: {reason}")]
    Unsupported {
        /// The address asked for.
        address: Multiaddr,
        /// What is wrong with the address, and what to write instead.
        reason: String,
    },
    /// The operating system refused to bind the address.
    #[error("cannot listen on {address}")]
    Bind {
        /// The address asked for.
        address: Multiaddr,
        /// The error of the operating system.
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
    /// Whether another socket uses the port.
    pub fn is_address_in_use(&self) -> bool {
        matches!(self, Self::Bind { source, .. } if source.kind() == io::ErrorKind::AddrInUse)
    }

    /// Whether this machine lacks the address, or all addresses of its family.
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

/// An error of [`crate::Node::handle`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HandleError {
    /// The node itself serves the protocol.
    #[error("the node itself serves {protocol}: choose another protocol name")]
    Reserved {
        /// The protocol asked for.
        protocol: String,
    },
    /// The name is invalid: a protocol name starts with `/`, has at most 256 bytes and only printable characters.
    #[error(
        "{protocol:?} is not a protocol name: it must start with '/', have at most 256 bytes and be printable"
    )]
    Invalid {
        /// The protocol asked for.
        protocol: String,
    },
    /// The node is shut down.
    #[error("the node is shut down")]
    ShutDown,
}

/// An error of [`crate::Node::dial`].
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
        /// A different peer.
        second: PeerId,
    },
    /// The addresses name this node.
    #[error("{peer} is this node itself")]
    Oneself {
        /// This node's id.
        peer: PeerId,
    },
    /// Every address failed. There are at most about 100. The message names the first 8 with their causes, and counts the
    /// others.
    #[error("{}", Joined(.0))]
    AllFailed(Vec<AttemptError>),
    /// The node is shut down.
    #[error("the node is shut down")]
    ShutDown,
}

/// The failure of one address of a dial.
#[derive(Debug, thiserror::Error)]
#[error("{address}")]
pub struct AttemptError {
    /// The address of the attempt.
    pub address: Multiaddr,
    /// The cause of the failure.
    #[source]
    pub cause: AttemptCause,
}

/// The cause of a failed attempt. The variant tells the stage.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AttemptCause {
    /// No transport of this build can dial such an address.
    #[error("{reason}")]
    Unsupported {
        /// What is wrong with the address, and what to write instead.
        reason: String,
    },
    /// No address of the peer is known.
    #[error("no address of this peer is known")]
    NoKnownAddress,
    /// The dial has reached its limit of addresses. The addresses of host names and of relays also count.
    #[error("not tried, because a dial tries at most {limit} addresses; it left out {left_out}")]
    NotTried {
        /// The most addresses that a dial tries.
        limit: usize,
        /// The number of addresses that the dial did not try. This address is the first of them.
        left_out: usize,
    },
    /// The time of the whole dial ended before this address had its turn.
    #[error("not tried, because the dial had only {} s for all addresses", after.as_secs_f32())]
    OutOfTime {
        /// The time limit of the dial.
        after: Duration,
    },
    /// The attempt would bypass the dialer, whose rules do not allow a direct connection to this address.
    #[error("{what} would bypass the dialer: no rule allows a direct connection to this address")]
    NotDirect {
        /// The part of the attempt that would bypass the dialer.
        what: &'static str,
    },
    /// The name could not be resolved.
    #[error("cannot resolve the name")]
    Resolve(#[source] Box<dyn Error + Send + Sync>),
    /// The dialer opened no byte stream.
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
        /// The time limit of the attempt.
        after: Duration,
    },
    /// The peer's QUIC handshake failed.
    #[cfg(feature = "quic")]
    #[error(transparent)]
    Accept(#[from] transport_quic::AcceptError),
    /// The address of a relay leads through another relay.
    #[error("a relay is not reached through another relay")]
    NestedCircuit,
    /// The relay did not open a circuit.
    #[error("no connection through the relay {relay}: {reason}")]
    Relay {
        /// The relay.
        relay: PeerId,
        /// The reason, in one line.
        reason: String,
    },
    /// The other end is this node itself.
    #[error("this node itself answers at the address")]
    Oneself,
    /// The tracker ended the handshake.
    #[error("{0}")]
    Closed(Closing),
    /// The tracker refuses the connection, for example because too many peers are transient.
    #[error(transparent)]
    Tracker(#[from] TrackError),
    /// A limit of this node refuses the connection.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The node is shut down.
    #[error("the node is shut down")]
    ShutDown,
}

/// The number of failed attempts that a message names.
const NAMED: usize = 8;
/// The maximum length of a message in bytes, unless the first attempt alone is longer.
const LONGEST: usize = 4096;

struct Joined<'a>(&'a [AttemptError]);

impl fmt::Display for Joined<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cannot connect to ")?;
        let mut length = 0;
        for (n, attempt) in self.0.iter().enumerate() {
            // Several causes cannot be one `source()`, so the message contains them.
            let (address, cause) = (attempt.to_string(), error_chain(&attempt.cause));
            let text = match cause.starts_with(&address) {
                // The transport's error names the address.
                true => cause,
                false => format!("{address}: {cause}"),
            };
            length += text.len();
            if n > 0 && (n >= NAMED || length > LONGEST) {
                return more(f, &self.0[n..]);
            }
            let separator = if n == 0 { "" } else { "; " };
            write!(f, "{separator}{text}")?;
        }
        Ok(())
    }
}

/// Writes the number of failed attempts that the message leaves out.
fn more(f: &mut fmt::Formatter<'_>, rest: &[AttemptError]) -> fmt::Result {
    write!(f, "; and {} more", rest.len())?;
    let mut late = rest.iter().filter_map(|attempt| match attempt.cause {
        AttemptCause::OutOfTime { after } => Some((&attempt.address, after)),
        _ => None,
    });
    let Some((first, after)) = late.next() else {
        return Ok(());
    };
    let (count, seconds) = (late.count() + 1, after.as_secs_f32());
    write!(
        f,
        ", of which {count} were not tried within the {seconds} s of the dial: the first is {first}"
    )
}

/// An error of [`crate::Connection::open`] and similar methods.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// There is no connection to the peer.
    #[error("not connected to {peer}")]
    NotConnected {
        /// The peer of the stream.
        peer: PeerId,
    },
    /// A relay limits the connection, and the stream needs an unlimited connection.
    #[error("{peer} is connected only through a relay that limits the connection")]
    Limited {
        /// The peer of the stream.
        peer: PeerId,
    },
    /// There was no unlimited connection by the deadline.
    #[error("{peer} was still {state} at the deadline")]
    NotInTime {
        /// The peer of the stream.
        peer: PeerId,
        /// The peer's state at the deadline.
        state: State,
    },
    /// The connection is closed or allows no more streams.
    #[error("cannot open a stream to {peer}")]
    Connection {
        /// The peer of the stream.
        peer: PeerId,
        /// The error of the transport.
        source: Arc<io::Error>,
    },
    /// The peer supports none of the protocols.
    #[error("{peer} supports none of these protocols: {}", .protocols.join(", "))]
    Unsupported {
        /// The peer of the stream.
        peer: PeerId,
        /// The proposed protocols.
        protocols: Vec<String>,
    },
    /// The negotiation of the protocol failed.
    #[error("cannot negotiate a protocol with {peer}")]
    Negotiation {
        /// The peer of the stream.
        peer: PeerId,
        /// The error of the negotiation.
        source: Arc<io::Error>,
    },
    /// The peer did not answer in time.
    #[error("{peer} did not agree on a protocol within {} s", after.as_secs_f32())]
    TimedOut {
        /// The peer of the stream.
        peer: PeerId,
        /// The time limit of the negotiation.
        after: Duration,
    },
}
