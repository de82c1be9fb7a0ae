//! Authenticated, multiplexed connections over any byte stream, and the dialers that open the stream.
//!
//! ```text
//!  Multiaddr ─► Target ─► Dialer ─► ByteStream ─┐
//!                         (below)               ├─► Upgrader ─► Connection ─► Stream
//!            Listener ────────────► ByteStream ─┘   multistream-select
//!                                                   TLS 1.3 or Noise XX
//!                                                   yamux
//!
//!  Metered ─► Rules ─┬─► Retry ─► Deadline ─► Balance ─┬─► Warm ─► Socks5 ─┐
//!                    │                                 └─► Chain ──────────┴─► Direct or Bound reaches the proxy
//!                    ├─► Fallback ─► the first route that is up
//!                    ├─► Direct, Bound, or your own closure
//!                    └─► refused
//! ```
//!
//! A dialer can wrap another dialer, in any order. The picture shows one example.
//!
//! # Invariants
//!
//! - A [`Target`] keeps its host name, and only the dialer resolves the name. A dialer that uses a proxy does not
//!   resolve the name on this machine.
//! - Every address from a `/dnsaddr` record contains the peer id that the record names, or else the id that the dial
//!   names. The handshake checks this id.
//! - Dropping [`Dialer::dial`], [`Upgrader::outbound`] or [`Upgrader::inbound`] at any await point closes every socket
//!   that the future holds.
//! - Every stage of an upgrade has its own deadline.
//! - Bytes from a peer are used only after its identity is verified. A peer other than the expected one is refused
//!   inside the handshake.
//! - A dial makes at most 100 connects, even if a name server returns more addresses. [`ConnectBudget`] also sets their
//!   pace.
//! - Whatever a peer sends, a connection keeps no more memory for the peer than [`UpgradeConfig`] states.
//! - A graceful close delivers the finished streams, within [`UpgradeConfig::close_timeout`]. Dropping the last
//!   [`Connection`] and [`Stream`] starts a graceful close.
//! - No public signature has a type of a lower-level library, except that [`ProxyTls`] takes a configuration of rustls.
//!   `Display` of an error describes its own level; `source()` gives the next one.
//!
//! # Limitations
//!
//! - yamux is the only muxer, and a connection has no datagrams.
//! - A dial uses an ephemeral port. Dials do not reuse the port of a listener: such dials would fail after a restart,
//!   and a hole punch chooses its own port.
//! - A host name may resolve to a private or loopback address, and [`Direct`] then dials that address. A rule for a network
//!   ([`Matcher::cidr`]) does not match such a dial, because [`Rules`] match a host name before it is resolved.
//! - TLS sessions are not resumed.
//! - The streams of one connection share one TCP stream: a lost segment stalls all of them.
//! - [`Stream::wait_delivered`] waits for the acknowledgement on Linux only.
//!
//! # Example
//!
//! ```
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//! use transport_tcp::{Keypair, UpgradeConfig, Upgrader};
//!
//! let (alice, bob) = (Keypair::generate_ed25519(), Keypair::generate_ed25519());
//! let dialer = Upgrader::new(&alice, UpgradeConfig::default())?;
//! let listener = Upgrader::new(&bob, UpgradeConfig::default())?;
//!
//! // Any byte stream will do: a TCP socket, a stream through a proxy or a relay, or a pipe in memory.
//! let (near, far) = tokio::io::duplex(64 * 1024);
//! let expected = Some(bob.public().to_peer_id());
//! let (mut say, mut hear) = (|_| (), |_| ());
//! let (dialed, accepted) = tokio::try_join!(
//!     dialer.outbound(near, expected, &mut say),
//!     listener.inbound(far, &mut hear),
//! )?;
//! assert_eq!(accepted.peer(), alice.public().to_peer_id());
//! assert_eq!(dialed.via(), "tcp/tls/yamux");
//!
//! let mut stream = dialed.open().await?;
//! stream.write_all(b"ahoy").await?;
//! let mut heard = [0; 4];
//! accepted.accept().await.unwrap().read_exact(&mut heard).await?;
//! assert_eq!(&heard, b"ahoy");
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! # }).unwrap();
//! ```

mod buffer;
mod coalesce;
mod config;
mod connection;
mod connects;
mod dial;
mod dialers;
mod dnsaddr;
mod driver;
mod ends;
mod error;
mod follow;
#[cfg(any(fuzzing, test))]
pub mod fuzzing;
mod handle;
mod header;
mod intake;
mod known;
mod link;
mod listen;
mod negotiate;
mod noise;
mod peer_text;
mod presume;
mod readahead;
mod resolve;
mod security;
mod stream;
mod system_dns;
mod target;
mod tls;
mod trail;
mod unread;
mod upgrade;
mod zone;

pub use config::{DirectConfig, Keepalive, ListenConfig, UpgradeConfig};
pub use connection::Connection;
pub use connects::ConnectBudget;
pub use dial::{ByteStream, DialContext};
#[cfg(feature = "test")]
pub use dialers::misbehaving::{FaultControl, Faults, Misbehaving};
pub use dialers::{
    balance::{Balance, BalanceConfig, RouteHealth},
    bound::Bound,
    chain::Chain,
    deadline::{Deadline, DeadlineConfig},
    direct::Direct,
    fallback::Fallback,
    http_connect::{HttpConnect, ProxyTls},
    metered::{DialCounters, Metered, RouteCounters},
    proxy::Proxy,
    retry::{Retry, RetryConfig},
    rule_text::{RuleError, RuleText},
    rules::{HostKind, Matcher, Rules},
    socks5::Socks5,
    uplink::Uplink,
    warm::{Warm, WarmConfig},
    wrap::{Wrap, wrap},
};
pub use error::{
    AddressError, Attempt, CloseReason, DialError, DialStage, Fault, ListenError, NegotiateError,
    NoiseError, ProxyError, ResolveError, StreamError, UpgradeError, UpgradeSetupError,
};
pub use ipnet::{self, IpNet};
pub use libp2p_identity::{Keypair, PeerId};
pub use link::{Link, LinkInfo};
pub use listen::Listener;
pub use multiaddr::{self, Multiaddr};
pub use resolve::Resolver;
/// [`ProxyTls`] takes a configuration of rustls, which covers everything that a proxy may require of its clients, such as a
/// certificate. A type of this crate could not express this more simply.
pub use rustls;
pub use security::{Security, Stage, Step};
pub use stream::Stream;
pub use target::{Family, Host, Target};
pub use upgrade::Upgrader;

/// Opens the byte stream to a target.
///
/// Implement this trait for a proxy, a source address, a policy or retries. An implementation must
///
/// - resolve host names itself, or pass them to a proxy that resolves them. It must not resolve a name that the proxy
///   could resolve;
/// - end by [`DialContext::deadline`];
/// - close every socket that it opened when its future is dropped;
/// - report in its error each address that it tried, the stage that it reached, and the cause. A refusal is
///   [`DialError::Refused`].
///
/// A closure is a dialer, too: `|target: Target, cx: DialContext| async move { … }`. It uses the defaults of
/// [`Dialer::is_direct`] and [`Dialer::check`]. For a closure around another dialer, use [`wrap`], which forwards both methods to
/// that dialer. A type that wraps another dialer must forward both methods itself, unless it refuses or changes targets.
#[async_trait::async_trait]
pub trait Dialer: Send + Sync {
    /// Opens a byte stream to `target`. Dropping the future closes every socket that it opened.
    async fn dial(&self, target: &Target, cx: &DialContext) -> Result<ByteStream, DialError>;

    /// Whether this dialer dials `target` directly, like any other program of this machine. If so, another transport, such as
    /// QUIC, may dial the target itself. Otherwise the other transport would bypass a proxy or a rule. Default: no, which is
    /// always safe.
    fn is_direct(&self, _target: &Target) -> bool {
        false
    }

    /// Whether the route is up, as far as the dialer can find out without a target. [`Balance`] sends no dials to a route that
    /// fails this check. Default: yes, without a check.
    async fn check(&self, _cx: &DialContext) -> Result<(), DialError> {
        Ok(())
    }
}

/// The README's code compiles and runs.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(test)]
mod test_io;
