//! A peer-to-peer node that combines Bowline's leaf crates, and the `bowline` binary.
//!
//! ```text
//! inbound: listen ─┐                                  ┌─► parts: ping, identify, rejoin, relays, kad, gossip
//!                  ├─► permit ► handshake ► register ─┤
//! outbound: dial ──┘                                  └─► session ─► router ─► your protocols
//! ```
//!
//! The leaf crates make all decisions about security, admission and peers' states. The node carries these decisions
//! out. A *part* of the node runs one leaf crate or one small protocol.
//!
//! # Invariants
//!
//! - One map holds every connection from its first packet to its end. One pipeline establishes all connections: over
//!   TCP, over QUIC and over circuits, inbound and outbound.
//! - Every task of a node belongs to the node: after [`Node::shutdown`] no task is left.
//! - Every wait for a peer has a deadline, and every call returns.
//! - A subscriber that falls behind misses events and learns their number. It never delays a connection.
//! - An attempt accepts only the peer that its own address names, or else the peer that its dial names.
//!
//! # Features
//!
//! A library needs the features `tcp`, `quic`, `relay`, `bootstrap`, `kad`, `gossip` and `iroh` at the most. The default features add the
//! binary (`cli`) and its metrics, so use `default-features = false`.
//!
//! # Limitations
//!
//! - The node has no hole punching yet.
//! - A node takes part in a DHT only if it is configured to do so ([`Config::kademlia`], feature `kad`). When it stops, it loses
//!   the values and providers of other peers.
//! - Gossip needs an Ed25519 identity, and does not use connections that a relay limits (feature `gossip`). Links to iroh peers
//!   (feature `iroh`) need an IP address of the peer: the node uses neither iroh's relays nor its look-up of addresses.
//! - A node without a configured source of peers dials nobody by itself ([`BootstrapConfig`], feature `bootstrap`).
//! - A drained connection is cut after 30 s. If a quiet connection works again after the node has dialed its peer anew, long
//!   streams on the old connection have 30 s to finish.
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
// Without one of the transports or parts, some code for them is unused. `relay` includes `tcp`.
#![cfg_attr(not(all(feature = "quic", feature = "relay")), allow(unused))]
#![cfg_attr(not(all(feature = "cli", feature = "metrics")), allow(dead_code))]

mod address;
mod address_book;
#[cfg(any(fuzzing, test))]
pub use address::fuzzing as address_fuzzing;
#[cfg(feature = "cli")]
pub mod admin;
mod builder;
mod config;
mod connection;
mod connections;
mod context;
mod core;
mod dial;
mod dial_budget;
mod dns_config;
mod error;
mod establish;
mod event;
mod failures;
mod interfaces;
pub mod keyfile;
mod listen;
mod local;
mod node;
mod part;
mod parts;
mod peer_text;
mod private_file;
pub mod protocols;
mod router;
mod session;
mod supervisor;
mod timeline;
mod transport;

pub use conn_state::{self, Closing, ConnectionId, Direction};
pub use libp2p_identity::{Keypair, PeerId, PublicKey};
pub use multiaddr::{self, Multiaddr};
#[cfg(feature = "quic")]
pub use transport_quic;
#[cfg(feature = "tcp")]
pub use transport_tcp;

#[cfg(feature = "iroh")]
pub use crate::parts::{IrohListenError, IrohPeer, IrohPeerError};
pub use crate::{
    address::announce::{AddressMatch, AddressMatchError, AnnounceConfig},
    builder::Builder,
    config::Config,
    connection::{Connection, Stream},
    connections::Protection,
    dial::{Step, plan},
    error::{
        AttemptCause, AttemptError, DialError, HandleError, ListenError, OpenError, SetupError,
        error_chain,
    },
    event::{Event, Events, EventsError, PartEvent},
    node::Node,
    peer_text::{parse_multiaddr, parse_peer_id},
    router::{IncomingStream, IncomingStreams},
    timeline::{Moment, Timeline},
};
#[cfg(feature = "kad")]
pub use crate::{
    config::KademliaConfig,
    parts::{
        ContentKeyError, DhtError, DhtEvent, FoundPeer, FoundProvider, FoundValue, Stored,
        content_key, value_key,
    },
};
#[cfg(feature = "bootstrap")]
pub use {
    crate::{
        config::BootstrapConfig,
        parts::{BootstrapFailed, NetworkEvent, NodeCandidate},
    },
    bootstrap,
};
#[cfg(feature = "gossip")]
pub use {
    crate::{
        config::{AllowPeer, GossipConfig, ValidateMessage},
        parts::{GossipEvent, SubscribeError, describe_gossip},
    },
    gossip_net,
};
#[cfg(feature = "relay")]
pub use {
    crate::{
        config::{AsnLookup, RelayConfig, RelayServerConfig},
        parts::ReservationEvent,
    },
    relay_slots::{self, RateTerm, Slot, Terms as RelayTerms, TermsError},
};

/// The README's code compiles and runs.
#[cfg(all(doctest, feature = "bootstrap", feature = "relay"))]
#[doc = include_str!("../README.md")]
struct Readme;
