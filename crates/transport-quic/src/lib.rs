//! Authenticated, multiplexed connections over QUIC v1 that notice a restarted peer at once.
//!
//! ```text
//!                       ┌─► dial ─────────────────┐
//!  UdpBinder ─► Endpoint                          ├─► Connection ─► Stream
//!  (Tuned, or yours)    └─► accept ─► Incoming ───┘
//!       one socket             │
//!                              └─► Retry, refuse
//! ```
//!
//! Connections are secured by TLS 1.3 with libp2p certificates or raw public keys.
//!
//! There are two [`Flavour`]s: libp2p's `/quic-v1`, and raw public keys (RFC 7250) with any ALPN,
//! which iroh's protocols use. [`Endpoints`] holds several endpoints and dials each address from
//! the endpoint that the operating system's routing table selects.
//!
//! # A peer that crashed and restarted
//!
//! A restarted peer has forgotten its connections, and the other ends do not know this. The peer answers their next packet with a
//! stateless reset (RFC 9000 section 10.3) if it recognises the connection id in the packet and can compute the token that
//! belongs to the id. The keys for the ids and for the tokens are derived from the identity, so a peer that restarts on the same
//! port can do both. The other ends send their next packet at the latest when a keep-alive is due. To send a packet at once,
//! [`probe`](Connection::probe) the old connection when the same peer opens a new one.
//!
//! A dialer's first connection id has no token (RFC 9000 section 10.3). A dial therefore ends only after the dialer has sent
//! further ids, and [`Connection::can_be_reset`] tells the listener whether these ids have arrived. If they have not arrived, an
//! unanswered probe and an unchanged [`received_datagrams`](Connection::received_datagrams) together show that the old connection
//! is dead.
//!
//! # How connections end
//!
//! [`Connection::close`] and [`Endpoint::close`] are graceful: they deliver every finished stream,
//! within [`Config::close_timeout`]. If the last handle of a connection is dropped, the connection
//! closes in the same way in the background. [`Connection::abort`] ends a connection at once. If
//! the last handle of an endpoint is dropped, the endpoint stops accepting and dialing, but its
//! connections stay open.
//!
//! # Invariants
//!
//! - The handshake checks the peer's certificate once and refuses a peer other than the expected
//!   one. The [`peer`](Connection::peer) of every [`Connection`] is therefore proved.
//! - Dropping a dial or an accept at any await point leaves no connection and no file descriptor.
//!   An endpoint uses one socket for any number of dials.
//! - Every handshake has a deadline.
//! - Handshakes with forged source addresses use up only their own budget ([`Config::max_unvalidated`]). A dialer that has proved
//!   its address is not affected.
//! - An address that no connection has proved gets at most three times the bytes that came from it. Only path challenges may
//!   exceed this bound: 16 at once and 2 per second, for all addresses together. A peer whose address changes proves the new
//!   address by the echo of a challenge.
//! - A peer cannot make a connection hold more than [`Config::connection_window`] of stream data. The memory for the data is
//!   larger than the data by at most 32 KiB per stream or 1.5 times the data. Each gap takes 56 bytes more, and a stream has
//!   at most 2,048 gaps. quinn-proto 0.11.19 and later versions enforce these bounds. They close a connection if a stream has
//!   more than 1,024 gaps that cannot be merged, or if a CRYPTO frame is more than 16 KiB ahead.
//! - The port of an endpoint is free when the endpoint has closed, or when it was dropped and its
//!   connections have ended. Handles of closed connections do not occupy the port.
//! - TLS secrets are never logged: `SSLKEYLOGFILE` is ignored.
//!
//! # Limitations
//!
//! - With TLS 1.3, a dial succeeds before the listener has checked the dialer's certificate. If the listener refuses the
//!   certificate, the new connection of the dialer closes.
//! - *Delivered* means that the peer's QUIC stack has acknowledged the data. The peer's application may not have read the data
//!   yet, and stacks other than quinn may discard it when the connection closes.
//! - An IPv6 endpoint of the included binders dials IPv6 only. To dial both families, bind two
//!   endpoints to one port, and add both endpoints to [`Endpoints`].
//! - The crate has no 0-RTT, no session resumption, no QUIC datagrams, and no QUIC version other
//!   than 1.
//! - The peer learns of a stream when the first byte arrives, so the end that opens a stream must
//!   write first.
//! - [`rebind`](Endpoint::rebind) keeps accepted connections only if it can keep its port; a
//!   listener on rust-libp2p does not follow a dialer that changes its port.
//! - An endpoint sends at most one reset per millisecond, so a restarted node with more than a
//!   thousand busy peers needs over a second to reset all of their connections.
//! - A host name may resolve to a private or loopback address, and a dial then tries that address.
//! - A closed connection keeps its unread bytes until its last handle and its last stream are dropped.
//! - quinn-proto 0.11.19 and later versions limit floods of connection ids, STREAM and CRYPTO frames with gaps, and bad
//!   transport parameters. This crate adds no further limits: with 256 streams full of gaps, a peer can make one connection
//!   keep 28 MiB beyond the data.
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
//! stream.shutdown().await?;
//! dialed.close(CloseCode::SHUTDOWN, "that was all");
//!
//! // The finished stream is delivered before the connection ends.
//! let mut heard = Vec::new();
//! accepted.accept().await.unwrap().read_to_end(&mut heard).await?;
//! assert_eq!(heard, b"ahoy");
//! assert!(matches!(accepted.closed().await, CloseReason::Peer { code: 0x1006, .. }));
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! # }).unwrap();
//! ```

#[doc(inline)]
pub use self::{
    address::{multiaddr_of, socket_addr},
    binders::{BoundTo, FaultControl, Faults, Misbehaving, Tuned},
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
    options::{ConnectBudget, DialOptions},
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
mod connection_ids;
mod context;
mod dial;
mod endpoint;
mod endpoints;
mod error;
mod finished;
mod flag;
#[cfg(any(fuzzing, test))]
pub mod fuzzing;
mod hmac;
mod incoming;
mod keys;
mod known;
mod link;
mod options;
mod probe;
mod raw;
mod refusals;
mod resolve;
mod retry;
mod socket;
mod stream;
mod system_dns;
mod tap;
mod tls;
mod unproved;
mod verifier;
mod window;
mod zone;

/// Creates the UDP sockets of endpoints.
///
/// Only [`bind`](Self::bind) must be implemented. A binder that wraps another binder must forward all three methods.
pub trait UdpBinder: Send + Sync + std::fmt::Debug {
    /// Binds a UDP socket to `address`. Port 0 stands for a free port.
    ///
    /// # Errors
    ///
    /// The error of the operating system.
    fn bind(&self, address: SocketAddr) -> io::Result<UdpSocket>;

    /// Binds a socket that replaces the `former` sockets of this binder, which are still bound to `address`. The new socket takes
    /// over their port. The default is [`bind`](Self::bind), which fails because the port is taken; the endpoint then asks for a
    /// free port.
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

    /// The faults that [`Misbehaving`] adds to the sockets in tests. Default: none.
    fn faults(&self) -> Option<FaultControl> {
        None
    }
}

/// The README's code is compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
