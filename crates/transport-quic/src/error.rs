//! One error an operation.

use std::{io, net::SocketAddr, time::Duration};

use libp2p_identity::PeerId;
use multiaddr::Multiaddr;

/// Why an endpoint could not be made, or could not get a new socket.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// The UDP socket could not be made or bound.
    #[error("cannot bind UDP socket to {address}: {source}")]
    Socket {
        /// Where it should have been bound.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The identity could not sign the endpoint's certificate.
    #[error("cannot make the TLS certificate: {0}")]
    Certificate(#[from] libp2p_tls::certificate::GenError),
    /// rustls did not accept the key or the settings.
    #[error("cannot set up TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// Raw public keys are Ed25519 keys; the identity is of another kind.
    #[error("raw public keys need an ed25519 identity, not {found}")]
    KeyType {
        /// The kind of the identity given.
        found: libp2p_identity::KeyType,
    },
    /// A setting is out of its range.
    #[error("setting {setting} is out of range: {value}")]
    Setting {
        /// The field of [`Config`](crate::Config).
        setting: &'static str,
        /// What it was set to.
        value: String,
    },
}

/// Why a dial brought no connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// Somebody else answers at the address.
    #[error("{address} is {found}, not {expected}")]
    WrongPeer {
        /// Where was dialed.
        address: SocketAddr,
        /// Who should have been there.
        expected: Box<PeerId>,
        /// Who is.
        found: Box<PeerId>,
    },
    /// The handshake did not end in time.
    #[error("no connection to {address} within {after:?}")]
    Timeout {
        /// Where was dialed.
        address: SocketAddr,
        /// How long was waited.
        after: Duration,
    },
    /// The peer's certificate or key is not acceptable.
    #[error("{address} did not authenticate: {source}")]
    Authentication {
        /// Where was dialed.
        address: SocketAddr,
        /// What was wrong.
        source: CertificateError,
    },
    /// quinn could not start: wrong address family, port 0, endpoint closed.
    #[error("cannot dial {address}: {source}")]
    Start {
        /// Where should have been dialed.
        address: SocketAddr,
        /// What quinn said.
        source: quinn::ConnectError,
    },
    /// The handshake failed, or the peer refused.
    #[error("handshake with {address} failed: {source}")]
    Handshake {
        /// Where was dialed.
        address: SocketAddr,
        /// What quinn said.
        source: quinn::ConnectionError,
    },
    /// rustls did not accept the settings of this dial.
    #[error("cannot set up TLS: {0}")]
    Tls(rustls::Error),
    /// The address is not one of QUIC v1.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The host name has no address that this endpoint could dial.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
}

/// Why an inbound connection did not come about.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AcceptError {
    /// The handshake did not end in time.
    #[error("handshake from {address} not done within {after:?}")]
    Timeout {
        /// Who dialed.
        address: SocketAddr,
        /// How long was waited.
        after: Duration,
    },
    /// The peer's certificate or key is not acceptable.
    #[error("{address} did not authenticate: {source}")]
    Authentication {
        /// Who dialed.
        address: SocketAddr,
        /// What was wrong.
        source: CertificateError,
    },
    /// The handshake failed, or the peer gave up.
    #[error("handshake from {address} failed: {source}")]
    Handshake {
        /// Who dialed.
        address: SocketAddr,
        /// What quinn said.
        source: quinn::ConnectionError,
    },
    /// rustls did not accept the settings.
    #[error("cannot set up TLS: {0}")]
    Tls(rustls::Error),
}

/// What is wrong with a peer's certificate or raw key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// There must be exactly one certificate.
    #[error("{found} certificates instead of one")]
    Count {
        /// How many there were.
        found: usize,
    },
    /// It does not follow the libp2p TLS specification: a missing, doubled or malformed
    /// extension, a wrong signature, a time outside its validity.
    #[error("certificate not acceptable: {0}")]
    Certificate(String),
    /// It is not the 44-byte SPKI of an Ed25519 key.
    #[error("not the SPKI of an ed25519 key ({length} bytes)")]
    RawKey {
        /// Its length in bytes.
        length: usize,
    },
    /// It belongs to somebody else.
    #[error("peer is {found}, not {expected}")]
    WrongPeer {
        /// Who was expected.
        expected: Box<PeerId>,
        /// Whose it is.
        found: Box<PeerId>,
    },
    /// There was none.
    #[error("no certificate")]
    Missing,
}

/// What is wrong with a multiaddr.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// It does not read `/ip4|ip6|dns…/HOST/udp/PORT/quic-v1[/p2p/ID]`.
    #[error("{0} is not a quic-v1 address")]
    NotQuic(Multiaddr),
    /// It has a host name where an IP address is needed.
    #[error("{0} has a host name, not an IP address")]
    HostName(Multiaddr),
}

/// Why a host name could not be resolved.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ResolveError {
    /// The system's resolver configuration cannot be used.
    #[error("cannot read the system's DNS configuration: {0}")]
    System(String),
    /// The lookup failed.
    #[error("cannot resolve {host}: {reason}")]
    Lookup {
        /// The name asked for.
        host: String,
        /// What the resolver said.
        reason: String,
    },
    /// It has no address of the wanted family.
    #[error("{host} has no address of the wanted family")]
    NoAddress {
        /// The name asked for.
        host: String,
    },
}

/// Why a stream could not be opened.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// The connection is gone.
    #[error("connection closed: {0}")]
    Closed(#[from] CloseReason),
}

/// Why a probe did not find the peer alive.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeError {
    /// Nothing came back.
    #[error("peer did not answer within {waited:?}")]
    Silent {
        /// How long was waited.
        waited: Duration,
    },
    /// The connection ended meanwhile, or had ended before.
    #[error("connection closed: {0}")]
    Closed(#[from] CloseReason),
}

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CloseReason {
    /// This side closed it, or dropped its last handle.
    #[error("closed by this side")]
    Local,
    /// The peer closed it.
    #[error("closed by the peer: code {code:#x} {reason:?}")]
    Peer {
        /// The application's code, see [`CloseCode`](crate::CloseCode).
        code: u64,
        /// The peer's words, made printable.
        reason: String,
    },
    /// The peer lost its state, usually by a restart, and said so (RFC 9000 section 10.3).
    #[error("reset by the peer")]
    Reset,
    /// Nothing was heard for the idle timeout.
    #[error("timed out")]
    TimedOut,
    /// A protocol violation, on either side.
    #[error("transport error: {0}")]
    Transport(String),
}

impl From<quinn::ConnectionError> for CloseReason {
    fn from(error: quinn::ConnectionError) -> Self {
        use quinn::ConnectionError as E;
        match error {
            E::LocallyClosed => Self::Local,
            E::Reset => Self::Reset,
            E::TimedOut => Self::TimedOut,
            E::ApplicationClosed(close) => Self::Peer {
                code: close.error_code.into_inner(),
                reason: String::from_utf8_lossy(&close.reason).into_owned(),
            },
            other => Self::Transport(other.to_string()),
        }
    }
}
