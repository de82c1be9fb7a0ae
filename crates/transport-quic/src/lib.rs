//! Authenticated, multiplexed connections over QUIC v1 that notice a restarted peer at once.

#[doc(inline)]
pub use self::{
    address::{multiaddr_of, socket_addr},
    binders::{BoundTo, Lossy, Rates, Tuned, Weather},
    config::{Config, Flavour},
    connection::{CloseCode, Connection},
    endpoint::Endpoint,
    error::{
        AcceptError, AddressError, BindError, CertificateError, CloseReason, DialError, ProbeError,
        ResolveError, StreamError,
    },
    incoming::Incoming,
    resolve::Resolver,
    stream::Stream,
};
pub use libp2p_identity::{Keypair, PeerId};
pub use multiaddr::{self, Multiaddr};
pub use quinn;

use std::{io, net::SocketAddr, sync::Arc};

mod address;
mod binders;
mod budget;
mod config;
mod connection;
mod dial;
mod endpoint;
mod error;
mod incoming;
mod keys;
mod probe;
mod raw;
mod resolve;
mod retry;
mod stream;
mod tls;
mod verifier;
mod window;

/// How the UDP socket under an endpoint is made, and made again.
pub trait UdpBinder: Send + Sync + std::fmt::Debug {
    /// Makes the UDP socket under an endpoint.
    ///
    /// # Errors
    ///
    /// What the system says.
    fn bind(&self, address: SocketAddr) -> io::Result<Arc<dyn quinn::AsyncUdpSocket>>;

    /// Makes the socket that takes the place of one of this binder's, which still is bound to
    /// `address`. Without a way to take over the port, this is [`bind`](Self::bind), and the
    /// endpoint then asks for a free one.
    ///
    /// # Errors
    ///
    /// What the system says.
    fn rebind(&self, address: SocketAddr) -> io::Result<Arc<dyn quinn::AsyncUdpSocket>> {
        self.bind(address)
    }
}
