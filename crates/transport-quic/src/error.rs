//! One error enum per operation. A message describes its own level only, and `source()` returns the
//! next level.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use libp2p_identity::{KeyType, PeerId};
use multiaddr::Multiaddr;

/// Why an endpoint could not be created, or could not get a new socket.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// The UDP socket could not be created or bound.
    #[error("cannot bind a UDP socket to {address}")]
    Socket {
        /// The address that should have been bound.
        address: SocketAddr,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The identity could not sign the endpoint's certificate.
    #[error("cannot make the TLS certificate")]
    Certificate(#[source] TlsError),
    /// The TLS library did not accept the key or the settings.
    #[error("cannot set up TLS")]
    Tls(#[source] TlsError),
    /// The identity has another type than Ed25519, which raw public keys need.
    #[error("raw public keys need an ed25519 identity, not {found}")]
    KeyType {
        /// The type of the given identity.
        found: KeyType,
    },
    /// A setting is out of its range.
    #[error("setting {setting} is out of range: {value}")]
    Setting {
        /// The field of [`Config`](crate::Config).
        setting: &'static str,
        /// The value that was given.
        value: String,
    },
    /// The endpoint has stopped, so it cannot get a new socket.
    #[error("the endpoint has stopped")]
    Stopped(#[source] EndpointError),
}

/// An error of the TLS library.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct TlsError(TlsCause);

#[derive(Debug, thiserror::Error)]
enum TlsCause {
    #[error(transparent)]
    Rustls(rustls::Error),
    #[error(transparent)]
    Certificate(libp2p_tls::certificate::GenError),
}

impl TlsError {
    pub(crate) fn of(error: rustls::Error) -> Self {
        Self(TlsCause::Rustls(error))
    }

    pub(crate) fn of_certificate(error: libp2p_tls::certificate::GenError) -> Self {
        Self(TlsCause::Certificate(error))
    }
}

/// Why an endpoint accepts and dials no more.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// This side closed the endpoint, or the runtime that drove it is gone.
    #[error("the endpoint was closed")]
    Closed,
    /// The socket of the endpoint failed. All connections of the endpoint are lost.
    #[error("the UDP socket at {address} failed")]
    Broken {
        /// The address to which the socket was bound.
        address: SocketAddr,
        /// The error of the operating system.
        source: Arc<io::Error>,
    },
}

/// Why no endpoint can dial an address.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RouteError {
    /// The operating system has no route to the address.
    #[error("no route to {address}")]
    Unroutable {
        /// The address to be dialed.
        address: SocketAddr,
        /// The error of the operating system.
        source: io::Error,
    },
    /// No socket could be bound to dial from.
    #[error("cannot make an endpoint to dial from")]
    Bind(#[source] BindError),
    /// The set of endpoints is closed.
    #[error("the endpoints are closed")]
    Closed,
}

/// Why a dial failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// Another peer answers at the address.
    #[error("the peer at {address} is {found}, not {expected}")]
    WrongPeer {
        /// The dialed address.
        address: SocketAddr,
        /// The peer that should be there.
        expected: Box<PeerId>,
        /// The peer that is there.
        found: Box<PeerId>,
    },
    /// The address names another peer than the caller expects.
    #[error("{address} names peer {named}, but {expected} is expected")]
    PeerConflict {
        /// The address to be dialed.
        address: Multiaddr,
        /// The peer that the address names.
        named: Box<PeerId>,
        /// The peer that the caller expects.
        expected: Box<PeerId>,
    },
    /// The handshake did not end in time.
    #[error("no connection to {address} within {after:?}")]
    Timeout {
        /// The dialed address.
        address: SocketAddr,
        /// The time allowed.
        after: Duration,
    },
    /// The peer's certificate or key is not acceptable.
    #[error("the peer at {address} did not authenticate")]
    Authentication {
        /// The dialed address.
        address: SocketAddr,
        /// What is wrong with the certificate or key.
        source: CertificateError,
    },
    /// The handshake failed, or the peer refused it.
    #[error("the handshake with {address} failed")]
    Handshake {
        /// The dialed address.
        address: SocketAddr,
        /// How the attempt ended.
        source: CloseReason,
    },
    /// The socket of the endpoint and the address have different address families.
    #[error("an endpoint at {local} cannot dial {address}: other address family")]
    Family {
        /// The endpoint's address.
        local: SocketAddr,
        /// The address to be dialed.
        address: SocketAddr,
    },
    /// No peer can be at this address, because it has port 0 or an unspecified IP address.
    #[error("{address} is not an address that can be dialed")]
    InvalidAddress {
        /// The address to be dialed.
        address: SocketAddr,
    },
    /// The endpoint has stopped and dials no more.
    #[error("cannot dial {address}: the endpoint has stopped")]
    EndpointStopped {
        /// The address to be dialed.
        address: SocketAddr,
        /// Why the endpoint has stopped.
        source: EndpointError,
    },
    /// No endpoint can dial the address.
    #[error("{source}")]
    Route {
        /// The address to be dialed.
        address: SocketAddr,
        /// Why there is no endpoint.
        source: RouteError,
    },
    /// The budget of the dial did not admit an attempt. See [`DialOptions`](crate::DialOptions).
    #[error("{0}: not tried, because the dial has reached its limit of attempts")]
    NoConnects(Multiaddr),
    /// The TLS library did not accept the settings of this dial.
    #[error("cannot set up TLS")]
    Tls(#[source] TlsError),
    /// The address is not an address of QUIC v1.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The host name has no address that could be dialed.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
}

/// Why an inbound handshake failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AcceptError {
    /// The handshake did not end in time.
    #[error("the handshake from {address} was not done within {after:?}")]
    Timeout {
        /// The dialer's address.
        address: SocketAddr,
        /// The time allowed.
        after: Duration,
    },
    /// The peer's certificate or key is not acceptable.
    #[error("the peer at {address} did not authenticate")]
    Authentication {
        /// The dialer's address.
        address: SocketAddr,
        /// What is wrong with the certificate or key.
        source: CertificateError,
    },
    /// The handshake failed, or the peer gave up.
    #[error("the handshake from {address} failed")]
    Handshake {
        /// The dialer's address.
        address: SocketAddr,
        /// How the attempt ended.
        source: CloseReason,
    },
    /// The TLS library did not accept the settings.
    #[error("cannot set up TLS")]
    Tls(#[source] TlsError),
}

/// The fault in a peer's certificate or raw key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// The peer did not show exactly one certificate.
    #[error("{found} certificates instead of one")]
    Count {
        /// The number of certificates.
        found: usize,
    },
    /// The certificate does not follow the libp2p TLS specification. It has a missing, doubled or
    /// malformed extension, a wrong signature, or is not valid at this time.
    #[error("certificate not acceptable: {0}")]
    Certificate(String),
    /// The raw key is not the 44-byte SPKI of an Ed25519 key.
    #[error("not the SPKI of an ed25519 key ({length} bytes)")]
    RawKey {
        /// Its length in bytes.
        length: usize,
    },
    /// The certificate or key belongs to another peer.
    #[error("the peer is {found}, not {expected}")]
    WrongPeer {
        /// The expected peer.
        expected: Box<PeerId>,
        /// The peer that it belongs to.
        found: Box<PeerId>,
    },
    /// The peer showed no certificate or key.
    #[error("no certificate")]
    Missing,
}

/// The fault in a multiaddr.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// The address does not have the form `/ip4|ip6|dns…/HOST/udp/PORT/quic-v1[/p2p/ID]`.
    #[error("{0} is not a quic-v1 address")]
    NotQuic(Multiaddr),
    /// The address has a host name instead of an IP address.
    #[error("{0} has a host name, not an IP address")]
    HostName(Multiaddr),
    /// The address is a link-local IPv6 address without a zone, so its interface is unknown.
    #[error("{0}: a link-local address needs the interface: write /ip6zone/INTERFACE{0}")]
    NoZone(Multiaddr),
    /// A zone precedes something other than a link-local IPv6 address.
    #[error(
        "{0}: ip6zone needs an interface, and a link-local address after it, as in /ip6zone/eth0/ip6/fe80::1/udp/4001/quic-v1"
    )]
    BadZone(Multiaddr),
    /// The zone names no interface of this machine.
    #[error("this machine has no network interface '{0}'")]
    NoInterface(String),
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
        /// The name that was looked up.
        host: String,
        /// The resolver's message.
        reason: String,
    },
    /// The lookup did not end in time.
    #[error("cannot resolve {host} within {after:?}")]
    Timeout {
        /// The name that was looked up.
        host: String,
        /// The time allowed.
        after: Duration,
    },
    /// The name has no address of a family that could be dialed.
    #[error("{host} has no DNS record with an address of the wanted family")]
    NoAddress {
        /// The name that was looked up.
        host: String,
    },
}

/// Why a stream could not be opened.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// The connection has ended, or is being closed.
    #[error("the connection is closed")]
    Closed(#[source] CloseReason),
}

/// Why a probe did not find the peer alive.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeError {
    /// No answer arrived.
    #[error("the peer did not answer within {waited:?}")]
    Silent {
        /// The time waited.
        waited: Duration,
    },
    /// The connection ended during the probe, or had ended before.
    #[error("the connection is closed")]
    Closed(#[source] CloseReason),
}

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CloseReason {
    /// This side closed the connection, or dropped its last handle.
    #[error("closed by this side")]
    Local,
    /// The peer closed the connection.
    #[error("closed by the peer: code {code:#x} {reason:?}")]
    Peer {
        /// The application's code, see [`CloseCode`](crate::CloseCode).
        code: u64,
        /// The peer's reason, made printable.
        reason: String,
    },
    /// The peer refused the handshake, because it has no room or does not listen.
    #[error("refused by the peer")]
    Refused,
    /// The peer has lost its state, usually by a restart, and sent a stateless reset (RFC 9000
    /// section 10.3).
    #[error("reset by the peer")]
    Reset,
    /// The peer was silent for the idle timeout.
    #[error("timed out")]
    TimedOut,
    /// The UDP socket of this side's endpoint failed, or the runtime that drove the endpoint is
    /// gone: see [`Endpoint::stopped`](crate::Endpoint::stopped).
    #[error("the endpoint's socket failed")]
    SocketFailed,
    /// One side violated the protocol.
    #[error("transport error: {0}")]
    Transport(String),
}

impl CloseReason {
    pub(crate) fn of(error: quinn::ConnectionError) -> Self {
        use quinn::ConnectionError as E;
        use quinn_proto::TransportErrorCode as Code;
        match error {
            E::LocallyClosed => Self::Local,
            E::Reset => Self::Reset,
            E::TimedOut => Self::TimedOut,
            E::ApplicationClosed(close) => Self::Peer {
                code: close.error_code.into_inner(),
                reason: String::from_utf8_lossy(&close.reason).into_owned(),
            },
            E::ConnectionClosed(close) if close.error_code == Code::CONNECTION_REFUSED => {
                Self::Refused
            }
            other => Self::Transport(other.to_string()),
        }
    }
}
