//! One error enum per operation. A message describes its own level only, and `source()` returns the cause.

mod chain;
mod dial;
mod stage;

use std::{fmt, io, net::SocketAddr, sync::Arc, time::Duration};

use multiaddr::Multiaddr;

pub(crate) use chain::Chain;
pub(crate) use dial::Unsent;
pub use dial::{Attempt, DialError, Fault, ProxyError};
pub use stage::DialStage;

use crate::{PeerId, Security, Step};

/// A multiaddr that is not a target of a TCP dial.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// The address does not begin with a host.
    #[error("{0}: does not begin with ip4, ip6, ip6zone, dns, dns4, dns6, dnsaddr or onion3")]
    NoHost(Multiaddr),
    /// The address is a link-local IPv6 address without a zone, so its interface is unknown.
    #[error("{0}: a link-local address needs the interface: write /ip6zone/INTERFACE{0}")]
    NoZone(Multiaddr),
    /// A zone precedes something other than a link-local IPv6 address.
    #[error(
        "{0}: ip6zone needs an interface, and a link-local address after it, as in /ip6zone/eth0/ip6/fe80::1/tcp/4001"
    )]
    BadZone(Multiaddr),
    /// No TCP port follows the host.
    #[error("{0}: no tcp port after the host")]
    NoPort(Multiaddr),
    /// A component after the port belongs to another transport.
    #[error("{address}: `{component}` is not part of a tcp address")]
    Unexpected {
        /// The address.
        address: Multiaddr,
        /// The component.
        component: String,
    },
    /// The host name is empty or longer than the 253 bytes of a DNS name.
    #[error("{0}: host name is empty or over 253 bytes")]
    BadName(Multiaddr),
    /// The text is not a multiaddr.
    #[error("`{text}` is not a multiaddr")]
    Parse {
        /// The text.
        text: String,
        /// The parser's error.
        source: Arc<multiaddr::Error>,
    },
}

/// The error for a name that was not resolved.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResolveError {
    /// The system's resolver configuration cannot be read.
    #[error("no DNS configuration: host names will not resolve")]
    NoConfig(#[source] io::Error),
    /// No name server answered the question.
    #[error("looking up {name} failed")]
    Lookup {
        /// The name asked for.
        name: String,
        /// The resolver's error.
        source: io::Error,
    },
    /// The name does not exist, or has no usable record of the requested kind.
    #[error("{0} has no usable DNS record")]
    Empty(String),
}

impl ResolveError {
    /// Whether a later look-up may succeed. False if a name server has answered that there is no such record.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Lookup { .. } => true,
            Self::NoConfig(_) | Self::Empty(_) => false,
        }
    }
}

/// The error of a listener that could not be created.
#[derive(Debug, thiserror::Error)]
#[error("listening on {address} failed: {stage}")]
#[non_exhaustive]
pub struct ListenError {
    /// The address.
    pub address: SocketAddr,
    /// The step that failed.
    pub stage: &'static str,
    /// The system's error.
    pub source: io::Error,
}

/// Why an [`Upgrader`](crate::Upgrader) could not be created.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UpgradeSetupError {
    /// No security protocol is configured.
    #[error("no security protocol is configured")]
    NoSecurity,
    /// `max_streams` is zero, or so large that the sum of the windows overflows.
    #[error("max_streams of {0} is out of range")]
    BadStreamLimit(usize),
    /// The TLS certificate could not be created.
    #[error("the TLS certificate could not be made")]
    Certificate(#[source] io::Error),
    /// The Noise static key could not be created or signed.
    #[error("the Noise static key could not be made")]
    StaticKey(#[source] io::Error),
}

/// Why a byte stream could not be upgraded to a connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UpgradeError {
    /// A step did not end by its deadline.
    #[error("{stage} took longer than {limit:?}")]
    TimedOut {
        /// The step.
        stage: Step,
        /// Its time limit.
        limit: Duration,
    },
    /// The peers did not agree on a protocol.
    #[error("{stage} failed")]
    Negotiation {
        /// [`Step::Negotiate`] or [`Step::Mux`].
        stage: Step,
        /// The cause.
        source: NegotiateError,
    },
    /// The TLS handshake failed, or the connection broke during it.
    #[error("the TLS handshake failed")]
    Tls(#[source] io::Error),
    /// The Noise handshake failed.
    #[error("the Noise handshake failed")]
    Noise(#[source] NoiseError),
    /// A peer other than the expected one answered.
    #[error("expected peer {expected}, found {found}")]
    WrongPeer {
        /// The expected peer.
        expected: Box<PeerId>,
        /// The peer that proved its identity.
        found: Box<PeerId>,
    },
}

/// Why a negotiation did not agree on a protocol.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NegotiateError {
    /// The two sides have no protocol in common, or the peer closed the stream.
    #[error("no protocol in common")]
    NoneInCommon,
    /// The peer sent too many bytes without agreeing on a protocol.
    #[error("not settled after {limit} bytes")]
    TooLong {
        /// The most bytes that are read.
        limit: usize,
    },
    /// A message was malformed, or the stream broke.
    #[error(transparent)]
    Protocol(io::Error),
}

/// Why a Noise handshake failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NoiseError {
    /// The stream broke or ended.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A message does not follow the pattern XX of Noise, or cannot be decrypted.
    #[error("a handshake message is invalid")]
    Cipher(#[source] io::Error),
    /// A handshake message is longer than any valid one.
    #[error("handshake message of {length} bytes, over the limit of {limit}")]
    TooLong {
        /// Its length.
        length: usize,
        /// The most that is accepted.
        limit: usize,
    },
    /// The payload is not a `NoiseHandshakePayload`.
    #[error("the handshake payload is malformed")]
    Payload(#[source] io::Error),
    /// The payload has no identity key, or one that cannot be decoded.
    #[error("identity key is missing or malformed")]
    BadIdentity,
    /// The identity key did not sign the static key of this handshake.
    #[error("identity signature does not match")]
    BadSignature,
    /// The peer's list of muxers does not contain yamux (libp2p's inlined muxer negotiation).
    #[error("no muxer in common")]
    NoMuxer,
    /// A peer other than the expected one answered.
    #[error("expected peer {expected}, found {found}")]
    WrongPeer {
        /// The expected peer.
        expected: Box<PeerId>,
        /// The peer that proved its identity.
        found: Box<PeerId>,
    },
}

/// Why a stream could not be opened.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// The connection is closed.
    #[error("the connection is closed")]
    Closed(#[source] CloseReason),
    /// The connection already has the maximum number of streams.
    #[error("the connection already has {limit} streams")]
    TooMany {
        /// [`UpgradeConfig::max_streams`](crate::UpgradeConfig::max_streams).
        limit: usize,
    },
}

/// Why a connection ended.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum CloseReason {
    /// This side closed the connection, with [`Connection::close`](crate::Connection::close) or by dropping the last
    /// handle.
    Local,
    /// This side aborted the connection.
    Aborted,
    /// The peer closed the connection.
    Remote,
    /// The byte stream broke.
    Failed(Arc<io::Error>),
    /// The peer violated the muxer's protocol, and this side closed the connection.
    Violation(Arc<io::Error>),
    /// The runtime that drove the connection is gone.
    Stopped,
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Local => "closed by this side",
            Self::Aborted => "aborted by this side",
            Self::Remote => "closed by the peer",
            Self::Failed(_) => "the connection broke",
            Self::Violation(_) => "the peer violated the protocol",
            Self::Stopped => "the runtime stopped",
        })
    }
}

impl std::error::Error for CloseReason {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Failed(error) | Self::Violation(error) => Some(&**error),
            _ => None,
        }
    }
}

impl CloseReason {
    pub(crate) fn of_muxer(error: yamux::ConnectionError) -> Self {
        use yamux::{ConnectionError, FrameDecodeError};
        let error = match error {
            ConnectionError::Io(error) | ConnectionError::Decode(FrameDecodeError::Io(error)) => {
                error
            }
            ConnectionError::Decode(malformed) => {
                let error = io::Error::new(io::ErrorKind::InvalidData, malformed);
                return Self::Violation(Arc::new(error));
            }
            other => io::Error::other(other),
        };
        let inner = error.get_ref();
        match inner.is_some_and(|inner| inner.is::<Violation>()) {
            true => Self::Violation(Arc::new(error)),
            false => Self::Failed(Arc::new(error)),
        }
    }
}

/// How a peer violated the muxer's protocol.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Violation {
    #[error("the peer sent more on a stream than its receive window allows")]
    BeyondTheWindow,
    /// The muxer sent a go-away with the code for a protocol error. It does not report the kind of error.
    #[error("the muxer refused a frame of the peer")]
    Refused,
}

impl From<Violation> for io::Error {
    fn from(violation: Violation) -> Self {
        Self::new(io::ErrorKind::InvalidData, violation)
    }
}

impl UpgradeError {
    pub(crate) fn from_noise(error: NoiseError) -> Self {
        match error {
            NoiseError::WrongPeer { expected, found } => Self::WrongPeer { expected, found },
            other => Self::Noise(other),
        }
    }

    /// A handshake that began before the peer agreed to its protocol may fail because the peer did not agree.
    pub(crate) fn or_refused(self) -> Self {
        let io = match &self {
            Self::Tls(error) | Self::Noise(NoiseError::Io(error)) => error,
            _ => return self,
        };
        let refused = io.get_ref().and_then(|inner| inner.downcast_ref());
        match refused {
            Some(NegotiateError::NoneInCommon) => Self::Negotiation {
                stage: Step::Negotiate,
                source: NegotiateError::NoneInCommon,
            },
            _ => self,
        }
    }

    /// The security protocol, if its handshake failed.
    pub fn security(&self) -> Option<Security> {
        match self {
            Self::Tls(_) => Some(Security::Tls),
            Self::Noise(_) => Some(Security::Noise),
            _ => None,
        }
    }
}
