//! A thin node that composes the six crates, and the bowline binary.
//!
//! ```text
//! listen ─► limits ─► transport-tcp │ transport-quic ─► Connection ─► session ─► ping, identify, your protocols
//!   dial ─► rank, stagger ──┘                               │
//!                                                           └─► Event
//! ```
//!
//! The node decides nothing about how a byte stream is secured, who is admitted or what a peer's state is: the leaf
//! crates do. It moves their outcomes to where they are needed.
//!
//! # Invariants
//!
//! - Every task of a node belongs to its tracker: after [`Node::shutdown`] none is left.
//! - Every wait for a peer has a deadline, and every caller is answered.
//! - A subscriber that does not read misses events (and is told how many); it never delays a connection.
//!
//! # Limitations
//!
//! Relaying, gossip and rejoining are not here yet: their features exist and add nothing so far.
//!
#![cfg_attr(
    all(feature = "tcp", feature = "quic"),
    doc = r#"
```
use node::{Keypair, Node};

# tokio::runtime::Runtime::new().unwrap().block_on(async {
let listening = Node::builder(Keypair::generate_ed25519()).build().unwrap();
let addresses = listening.listen("/ip4/127.0.0.1/udp/0/quic-v1".parse().unwrap()).await.unwrap();

let dialing = Node::builder(Keypair::generate_ed25519()).build().unwrap();
let connection = dialing.dial(addresses).await.unwrap();
assert_eq!(connection.peer(), listening.peer_id());
assert!(connection.ping().await.unwrap().as_secs() < 10);
dialing.shutdown().await;
listening.shutdown().await;
# });
```
"#
)]
// Without one of the transports, what is handed to it has no taker.
#![cfg_attr(
    not(all(feature = "tcp", feature = "quic")),
    allow(unused, unreachable_code)
)]

mod accept;
mod address;
#[cfg(feature = "cli")]
pub mod admin;
mod builder;
mod config;
mod connection;
mod dial;
mod error;
mod event;
pub mod keyfile;
#[cfg(feature = "metrics")]
mod metrics;
mod negotiate;
mod node;
mod path;
pub mod protocols;
mod registry;
#[cfg(feature = "relay")]
mod relay;
mod session;
mod shared;
mod stream;
mod supervisor;
mod transports;

pub use libp2p_identity::{Keypair, PeerId, PublicKey};
pub use multiaddr::{self, Multiaddr};

#[cfg(feature = "relay")]
pub use crate::relay::{
    AsnLookup, RateTerm, RelayConfig, RelayServerConfig, RelayTerms, Slot, TermsError,
};
pub use crate::{
    builder::Builder,
    config::Config,
    connection::Connection,
    dial::{Step, plan},
    error::{AttemptCause, AttemptError, DialError, ListenError, OpenError, SetupError},
    event::{Event, Events, EventsError},
    node::{IncomingStream, IncomingStreams, Node},
    stream::Stream,
};
pub use conn_state::{self, ConnectionId, Direction};
#[cfg(feature = "relay")]
pub use relay_slots;
#[cfg(feature = "quic")]
pub use transport_quic;
#[cfg(feature = "tcp")]
pub use transport_tcp;
