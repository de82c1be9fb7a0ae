//! Authenticated, multiplexed connections over a byte stream, and the dialer that brings the stream about.
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
//!                    ├─► Direct, Bound, or a closure of yours
//!                    └─► refused
//! ```
//!
//! Every dialer but the last in a row takes another one, in whatever order: the picture is one of many.
//!
//! # Invariants
//!
//! - A [`Target`] keeps its host name; only the dialer resolves it. A dialer that goes through a
//!   proxy resolves nothing locally.
//! - Dropping [`Dialer::dial`], [`Upgrader::outbound`] or [`Upgrader::inbound`] at any await
//!   point closes every socket it holds.
//! - Every stage of an upgrade has a deadline of its own.
//! - No byte of a peer's is believed before its identity is verified, and a peer other than the
//!   expected one is refused inside the handshake.
//! - Whatever a peer sends, the bytes kept for it stay under the bounds that
//!   [`UpgradeConfig`] states.
//!
//! # Limitations
//!
//! - yamux is the only muxer, and a connection has no datagrams.
//! - A dial uses an ephemeral port. Ports are not reused for dialing: that breaks dials after a
//!   restart, and a hole punch chooses its port by itself.
//! - TLS sessions are not resumed.
//! - Streams of one connection share one TCP stream: a lost segment stalls all of them.
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
//! // Any byte stream will do: a TCP socket, a proxy's, a relay's, or a pipe in memory.
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
mod dial;
mod dialers;
mod dnsaddr;
mod driver;
mod ends;
mod error;
#[cfg(any(fuzzing, test))]
pub mod fuzzing;
mod handle;
mod known;
mod link;
mod listen;
mod negotiate;
mod noise;
mod presume;
mod readahead;
mod resolve;
mod security;
mod stream;
mod target;
mod tls;
mod trail;
mod upgrade;

pub use config::{DirectConfig, Keepalive, ListenConfig, UpgradeConfig};
pub use connection::Connection;
pub use dial::{ByteStream, DialContext};
pub use dialers::{
    balance::{Balance, BalanceConfig, WayHealth},
    bound::Bound,
    chain::Chain,
    deadline::{Deadline, DeadlineConfig},
    direct::Direct,
    fallback::Fallback,
    http_connect::{HttpConnect, ProxyTls},
    metered::{DialCounters, Metered, WayCounters},
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
pub use security::{Security, Stage, Step};
pub use stream::Stream;
pub use target::{Family, Host, Target};
pub use upgrade::Upgrader;

/// How the byte stream to a target comes about.
///
/// This is the place for a proxy, a source address, a policy or a retry. An implementation must
///
/// - resolve host names itself, or hand them to whoever does. It must not resolve them where the
///   way to the target is a proxy that could;
/// - end by [`DialContext::deadline`];
/// - close every socket it opened when its future is dropped;
/// - report in its error each address it tried, the stage it got to and the cause.
///
/// A closure is a dialer too: `|target: Target, cx: DialContext| async move { … }`.
#[async_trait::async_trait]
pub trait Dialer: Send + Sync {
    /// Brings about a byte stream to `target`. Dropping the future closes every socket it opened.
    async fn dial(&self, target: &Target, cx: &DialContext) -> Result<ByteStream, DialError>;

    /// Whether `target` is dialed as any other program of this machine would dial it. Whoever has another transport
    /// may then use that to the same target; otherwise it would go around a proxy or a rule. Default: no.
    fn is_direct(&self, _target: &Target) -> bool {
        false
    }

    /// Whether the way is open, as far as can be told without a target. Default: yes.
    async fn check(&self, _cx: &DialContext) -> Result<(), DialError> {
        Ok(())
    }
}

/// The README's code compiles and runs.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
