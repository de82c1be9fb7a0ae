//! Authenticated, multiplexed connections over QUIC v1 that notice a restarted peer at once.
//!
//! ```text
//!                     ┌─► dial ─────────────────┐
//!  UdpBinder ─► Endpoint                        ├─► Connection ─► Stream
//!  (Tuned, or yours)  └─► accept ─► Incoming ───┘
//!       one socket         │                  TLS 1.3: libp2p certificates,
//!                          └─► Retry, refuse  or raw public keys
//! ```
//!
//! Two [`Flavour`]s: libp2p's `/quic-v1`, and raw public keys (RFC 7250) with an ALPN of the
//! caller's choice, which is what iroh's protocols speak.
//!
//! # A peer that crashed and came back
//!
//! It has forgotten its connections, and its peers do not know. Their next packet is answered
//! with a stateless reset (RFC 9000 section 10.3), provided that the restarted node recognises
//! the packet's connection id as its own and can compute the token that goes with it. Both keys
//! are derived from the identity, so it can, on the same port. To have that next packet at once,
//! [`probe`](Connection::probe) the old connection when the peer turns up with a new one; else it
//! is the next keep-alive.
//!
//! # Invariants
//!
//! - The peer's certificate is checked once, in the handshake, and a peer other than the expected
//!   one is refused there: no [`Connection`] exists whose [`peer`](Connection::peer) is not proved.
//! - Dropping a dial or an accept at any await point leaves no connection behind and no file
//!   descriptor; an endpoint has one socket however much it dials.
//! - Every handshake has a deadline. There are at most [`Config::max_incoming`] inbound ones at a
//!   time, and sources that have not proved their address fill at most half of that.
//! - A peer cannot make a connection hold more than [`Config::connection_window`] of stream data.
//! - TLS secrets are never logged: `SSLKEYLOGFILE` is not looked at.
//!
//! # Limitations
//!
//! - As TLS 1.3 has it, a dial succeeds before the listener has judged the dialer's certificate. A
//!   dialer that is refused sees its new connection close.
//! - An IPv6 endpoint dials IPv6 only. For both families bind two endpoints to one port.
//! - No 0-RTT, no session resumption, no QUIC v2 and no drafts.
//! - A stream exists for the peer with its first byte: who opens must write first.
//! - [`rebind`](Endpoint::rebind) keeps what the endpoint accepted only if it can keep its port; a
//!   listener on rust-libp2p does not follow a dialer that changes its port.
//! - Resets are not sent faster than one a millisecond, so a restarted node with more than a
//!   thousand busy peers needs over a second to tell them all.
//! - Connection-id floods, gapped STREAM and CRYPTO frames and bad transport parameters are left to
//!   quinn-proto, from 0.11.19 on.
//!
//! # Example
//!
//! ```
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//! use transport_quic::{CloseCode, CloseReason, Config, Endpoint, Keypair};
//!
//! let (alice, bob) = (Keypair::generate_ed25519(), Keypair::generate_ed25519());
//! let dialer = Endpoint::bind("127.0.0.1:0".parse()?, &alice, Config::default())?;
//! let listener = Endpoint::bind("127.0.0.1:0".parse()?, &bob, Config::default())?;
//!
//! let (to, expected) = (listener.local_addr()?, bob.public().to_peer_id());
//! let (dialed, accepted) = tokio::join!(dialer.dial(to, Some(expected)), async {
//!     listener.accept().await.expect("still open").accept().await
//! });
//! let (dialed, accepted) = (dialed?, accepted?);
//! assert_eq!(accepted.peer(), alice.public().to_peer_id());
//!
//! let mut stream = dialed.open().await?;
//! stream.write_all(b"ahoy").await?;
//! let mut heard = [0; 4];
//! accepted.accept().await.unwrap().read_exact(&mut heard).await?;
//! assert_eq!(&heard, b"ahoy");
//!
//! dialed.close(CloseCode::SHUTDOWN, "that was all");
//! assert!(matches!(accepted.closed().await, CloseReason::Peer { code: 0x1006, .. }));
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! # }).unwrap();
//! ```

#[doc(inline)]
pub use self::{
    address::{multiaddr_of, socket_addr},
    binders::{BoundTo, Lossy, Rates, Tuned, Weather},
    close_code::CloseCode,
    config::{Config, Flavour},
    connection::{Connection, ConnectionStats},
    endpoint::Endpoint,
    endpoints::Endpoints,
    error::{
        AcceptError, AddressError, BindError, CertificateError, CloseReason, DialError,
        EndpointError, ProbeError, ResolveError, RouteError, StreamError, TlsError,
    },
    incoming::Incoming,
    resolve::Resolver,
    stream::{RecvStream, SendStream, Stream},
};
pub use libp2p_identity::{KeyType, Keypair, PeerId};
pub use multiaddr::{self, Multiaddr};

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    sync::Arc,
};

mod address;
mod binders;
mod budget;
mod burst;
mod close_code;
mod config;
mod connection;
mod context;
mod dial;
mod endpoint;
mod endpoints;
mod error;
mod finished;
mod flag;
#[cfg(any(fuzzing, test))]
pub mod fuzzing;
mod incoming;
mod keys;
mod known;
mod link;
mod probe;
mod raw;
mod resolve;
mod retry;
mod socket;
mod stream;
mod tls;
mod verifier;
mod window;

/// Makes the UDP socket under an endpoint.
///
/// Only [`bind`](Self::bind) must be implemented. A binder that wraps another one forwards all
/// three methods to it.
pub trait UdpBinder: Send + Sync + std::fmt::Debug {
    /// Binds a UDP socket to `address`; port 0 takes a free one.
    ///
    /// # Errors
    ///
    /// The error of the operating system.
    fn bind(&self, address: SocketAddr) -> io::Result<UdpSocket>;

    /// Binds the socket that replaces `former` ones of this binder, which are still bound to
    /// `address`. Unless it takes their port over, this is [`bind`](Self::bind), which fails,
    /// and the endpoint then asks for a free port.
    ///
    /// # Errors
    ///
    /// The error of the operating system.
    fn rebind(
        &self,
        address: SocketAddr,
        former: &[Arc<tokio::net::UdpSocket>],
    ) -> io::Result<UdpSocket> {
        let _ = former;
        self.bind(address)
    }

    /// The bad network that the sockets are exposed to, in tests. None by default.
    fn weather(&self) -> Option<Weather> {
        None
    }
}

/// The README's code is compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
