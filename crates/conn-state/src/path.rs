//! The path of a connection to its peer.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    net::SocketAddr,
    num::NonZeroU64,
    time::Instant,
};

/// The limit that a relay sets for a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Limit {
    /// When the relay ends the connection. `None`: never.
    pub until: Option<Instant>,
    /// The number of bytes that the relay still carries. `None`: unlimited.
    pub bytes: Option<u64>,
}

/// Whether a connection uses a relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Route {
    /// No relay is between the two ends.
    Direct,
    /// Through a relay, which may limit the connection.
    Relayed(Option<Limit>),
}

/// The transport and the socket address at the other end of a direct connection, in a form that can only be compared.
///
/// It is a digest of 64 bits, because a tracker keeps one per connection. Two digests are equal if the transport, the IP
/// address and the port are equal; an IPv4 address and the same address mapped to IPv6 are equal too.
///
/// ```
/// use conn_state::Remote;
/// let at = |address: &str| address.parse().unwrap();
/// let quic = Remote::new("quic", at("192.0.2.1:4001"));
/// assert_eq!(quic, Remote::new("quic", at("[::ffff:192.0.2.1]:4001")));
/// assert_ne!(quic, Remote::new("tcp", at("192.0.2.1:4001")));
/// assert_ne!(quic, Remote::new("quic", at("192.0.2.1:4002")));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Remote(NonZeroU64);

impl Remote {
    /// The end at `address`, over `transport`: a name, a number or an enum that the host chooses.
    pub fn new(transport: impl Hash, address: SocketAddr) -> Self {
        let mut hasher = DefaultHasher::new();
        transport.hash(&mut hasher);
        (address.ip().to_canonical(), address.port()).hash(&mut hasher);
        Self(NonZeroU64::new(hasher.finish()).unwrap_or(NonZeroU64::MIN))
    }
}

/// The path of a connection, as far as the host knows it.
///
/// A [`Route`] converts into a path without a remote address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Path {
    /// Whether the connection goes through a relay.
    pub route: Route,
    /// The other end of a direct connection; `None` if the host does not know it or the connection is relayed.
    ///
    /// The tracker uses this to recognise a peer that restarts and dials again from the same UDP port. The old
    /// connection of such a peer is closed when a probe on it stays unanswered.
    pub remote: Option<Remote>,
}

impl Path {
    /// A path of which only the route is known.
    pub fn new(route: Route) -> Self {
        Self {
            route,
            remote: None,
        }
    }

    /// Sets [`Self::remote`].
    pub fn with_remote(mut self, remote: Remote) -> Self {
        self.remote = Some(remote);
        self
    }
}

impl From<Route> for Path {
    fn from(route: Route) -> Self {
        Self::new(route)
    }
}
