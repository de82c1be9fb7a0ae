//! One enum an operation; each message names what failed.

mod dial;

use std::{fmt, io, net::SocketAddr, sync::Arc, time::Duration};

use hickory_resolver::net::NetError;
use multiaddr::Multiaddr;
use multistream_select::NegotiationError;

pub(crate) use dial::Unsent;
pub use dial::{Attempt, DialError, DialStage, Fault, ProxyError};

use crate::{PeerId, Security, Step};

/// A multiaddr that names no target of a TCP dial.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// The address does not begin with a host.
    #[error("{0}: does not begin with ip4, ip6, dns, dns4, dns6, dnsaddr or onion3")]
    NoHost(Multiaddr),
    /// After the host there is no TCP port.
    #[error("{0}: no tcp port after the host")]
    NoPort(Multiaddr),
    /// What follows the port belongs to another transport.
    #[error("{address}: `{component}` is not part of a tcp address")]
    Unexpected {
        /// The address.
        address: Multiaddr,
        /// The component that has no place in it.
        component: String,
    },
    /// The host name is empty or longer than the 253 bytes of a DNS name.
    #[error("{0}: host name is empty or over 253 bytes")]
    BadName(Multiaddr),
    /// The text is no multiaddr.
    #[error("`{text}`: {source}")]
    Parse {
        /// The text.
        text: String,
        /// Why not.
        source: Arc<multiaddr::Error>,
    },
}

/// A name that was not resolved.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResolveError {
    /// The system's resolver configuration cannot be used.
    #[error("resolver configuration: {0}")]
    Config(#[source] Box<NetError>),
    /// The question was not answered.
    #[error("resolving {name}: {source}")]
    Lookup {
        /// The name asked for.
        name: String,
        /// Why.
        source: Box<NetError>,
    },
    /// The name exists and has no address of the family asked for, or no usable record.
    #[error("resolving {0}: no usable record")]
    Empty(String),
}

impl ResolveError {
    /// Whether the same question may be answered in a while: not if the answer was that there is nothing.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Lookup { source, .. } => !source.is_no_records_found(),
            Self::Config(_) | Self::Empty(_) => false,
        }
    }
}

/// A socket that could not be listened on.
#[derive(Debug, thiserror::Error)]
#[error("listening on {address}: {stage}: {source}")]
#[non_exhaustive]
pub struct ListenError {
    /// The address.
    pub address: SocketAddr,
    /// The step that failed.
    pub stage: &'static str,
    /// Why.
    pub source: io::Error,
}

/// An [`Upgrader`](crate::Upgrader) that could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UpgradeSetupError {
    /// No security protocol is configured.
    #[error("no security protocol is configured")]
    NoSecurity,
    /// `max_streams` is zero, or so large that the sum of the windows overflows.
    #[error("max_streams of {0} is out of range")]
    BadStreamLimit(usize),
    /// The TLS certificate could not be made.
    #[error("making the tls certificate: {0}")]
    Certificate(#[source] io::Error),
    /// The Noise static key could not be made or signed.
    #[error("making the noise static key: {0}")]
    StaticKey(#[source] io::Error),
}

/// A byte stream that did not become a connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UpgradeError {
    /// A stage was not over by its deadline.
    #[error("{stage} took longer than {limit:?}")]
    TimedOut {
        /// The stage.
        stage: Step,
        /// Its deadline, from its beginning.
        limit: Duration,
    },
    /// The peers did not agree on a protocol.
    #[error("{stage}: {source}")]
    Negotiation {
        /// The security protocol's or the muxer's.
        stage: Step,
        /// Why.
        source: NegotiateError,
    },
    /// The TLS handshake failed. The source carries a [`rustls::Error`] where it was TLS that
    /// objected, and the socket's error where it was not.
    #[error("tls handshake: {0}")]
    Tls(#[source] io::Error),
    /// The Noise handshake failed.
    #[error("noise handshake: {0}")]
    Noise(#[source] NoiseError),
    /// Another peer answered than the one expected.
    #[error("expected peer {expected}, found {found}")]
    WrongPeer {
        /// Whom we wanted.
        expected: Box<PeerId>,
        /// Who proved to be there.
        found: Box<PeerId>,
    },
}

/// A negotiation that found no protocol.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NegotiateError {
    /// None of what we speak does the other side speak, or it hung up.
    #[error("no protocol in common")]
    NoneInCommon,
    /// The peer talked on without settling on one.
    #[error("not settled after {limit} bytes")]
    TooLong {
        /// How much we listen to.
        limit: usize,
    },
    /// Malformed messages, or a broken stream.
    #[error("{0}")]
    Protocol(#[source] NegotiationError),
}

/// A Noise handshake that failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NoiseError {
    /// The stream broke or ended.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// A message is not what the pattern asks for, or does not decrypt.
    #[error("{0}")]
    Cipher(#[from] snow::Error),
    /// A handshake message is longer than any honest one.
    #[error("handshake message of {length} bytes, at most {limit} are taken")]
    TooLong {
        /// Its length.
        length: usize,
        /// The most we take.
        limit: usize,
    },
    /// The payload is no `NoiseHandshakePayload`.
    #[error("payload: {0}")]
    Payload(#[from] prost::DecodeError),
    /// The payload has no identity key, or one that cannot be decoded.
    #[error("identity key is missing or malformed")]
    BadIdentity,
    /// The identity key did not sign the static key of this handshake.
    #[error("identity signature does not match")]
    BadSignature,
    /// The peer lists muxers, and ours is not among them (libp2p's inlined muxer negotiation).
    #[error("no muxer in common")]
    NoMuxer,
    /// Another peer answered than the one expected.
    #[error("expected peer {expected}, found {found}")]
    WrongPeer {
        /// Whom we wanted.
        expected: Box<PeerId>,
        /// Who proved to be there.
        found: Box<PeerId>,
    },
}

/// A stream that could not be opened.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// The connection is closed.
    #[error("connection is closed: {0}")]
    Closed(CloseReason),
    /// The connection already has as many streams as it may.
    #[error("connection already has {limit} streams")]
    TooMany {
        /// [`UpgradeConfig::max_streams`](crate::UpgradeConfig::max_streams).
        limit: usize,
    },
}

/// Why a connection ended.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum CloseReason {
    /// We closed it: by [`Connection::close`](crate::Connection::close), or because nobody
    /// holds it any more.
    Local,
    /// We aborted it.
    Aborted,
    /// The peer closed it.
    Remote,
    /// It broke, or the peer violated the protocol.
    Failed(Arc<yamux::ConnectionError>),
    /// The runtime that drove it is gone.
    Stopped,
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local => f.write_str("closed by us"),
            Self::Aborted => f.write_str("aborted by us"),
            Self::Remote => f.write_str("closed by the peer"),
            Self::Failed(error) => write!(f, "{error}"),
            Self::Stopped => f.write_str("runtime stopped"),
        }
    }
}

impl UpgradeError {
    pub(crate) fn from_noise(error: NoiseError) -> Self {
        match error {
            NoiseError::WrongPeer { expected, found } => Self::WrongPeer { expected, found },
            other => Self::Noise(other),
        }
    }

    /// A handshake that began before the peer had agreed to its protocol may fail because it did not.
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

    /// The security protocol whose handshake failed, where it was one.
    pub fn security(&self) -> Option<Security> {
        match self {
            Self::Tls(_) => Some(Security::Tls),
            Self::Noise(_) => Some(Security::Noise),
            _ => None,
        }
    }
}
