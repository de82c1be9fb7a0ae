//! Broadcasts messages to all subscribers of a topic, over links that the host supplies. The wire format is iroh-gossip's.
//!
//! ```text
//!  Sender::publish ──► queue of each neighbour ──► writer ──► Links ──► neighbours
//!                          ▲   control first                    │
//!                          │                                    ▼
//!                     Core: Topic … Topic  ◄── reader ◄── streams of neighbours
//!                           │  membership (HyParView): the choice of neighbours
//!                           │  broadcast (Plumtree): contents or ids for each neighbour
//!                           ▼  arbiter: the choice between two links to a peer
//!                     Event ──► Receiver
//! ```
//!
//! A *neighbour* is a peer of the topic with which the node exchanges messages. An *eager* neighbour gets contents, and a *lazy*
//! neighbour gets ids. A *Graft* message asks for contents, and a *Prune* message asks for ids only. A *link* is a connection to
//! a peer. The two ends of a link agree on its *protocol*: Bowline's or iroh's.
//!
//! [`Core`] holds all topics and links of a node, without I/O. With the feature `tokio`, [`Gossip`] runs it over [`Links`].
//!
//! # Invariants
//!
//! - The node always reads every link. No queue lies between a link and the core, so a burst cannot block the reader.
//! - The queue of a neighbour is bounded. If the queue fills, the neighbour gets ids instead of contents. A neighbour that reads
//!   nothing for 3 s is evicted, and refused for 4 to 60 s while the node has another neighbour. Such a neighbour does not delay
//!   other neighbours. As long as another neighbour has room, it delays publishers by a quarter of a second at most.
//! - A message is published only if a neighbour has room for it.
//! - Control messages are sent before contents.
//! - If two Bowline peers have two links to each other, both keep the same link and lose no message.
//! - A Disconnect that was sent before the peer's latest Neighbor or Join is ignored.
//! - Strangers can displace at most one neighbour per second, and never the two oldest neighbours.
//! - Two of eight dials are reserved for peers that the host has named, because other members may name peers that do not exist.
//! - At least one neighbour always pushes contents, so that a burst does not dissolve the tree.
//! - Memory is bounded for each topic, link and subscriber. No number from the wire sets a timer, and the number of hops in a
//!   message is bounded.
//!
//! # Limitations
//!
//! - Messages have no order, and a subscriber gets no message from before its subscription.
//! - A member whose links are too slow for the topic misses messages.
//! - The name of a topic is no secret, because it can be guessed. [`Links::allows`] decides who may take part.
//! - The author of a message is unknown, unless the payload is signed (feature `signed`).
//! - A peer's id is an Ed25519 key. Peers with other keys get an [`IdError`].
//! - A message is sent in one piece of at most 1 MiB.
//! - gossipsub is not implemented.
//!
//! ```
//! use std::time::Instant;
//! use gossip_net::{Bytes, Config, Core, LinkProtocol, Event, Id, LinkId, MessageId, Output, TopicId, wire};
//!
//! let now = Instant::now();
//! let topic = TopicId::from_name("greetings");
//! // Ids are Ed25519 public keys.
//! let id = |y: u8| Id::from_bytes(std::array::from_fn(|at| if at == 0 { y } else { 0 }));
//! let (me, peer) = (id(3)?, id(4)?);
//! let mut core = Core::new(me, 7, Config::default());
//! core.subscribe(now, topic, &[])?;
//!
//! // A peer opens a link and asks to be a neighbour.
//! core.handle_link_up(now, LinkId(1), peer, peer, LinkProtocol::Bowline);
//! let asks = wire::Message::Swarm(wire::Swarm::Neighbor { priority: wire::Priority::High, data: None });
//! core.handle_message(now, LinkId(1), (0, 0), topic, asks);
//! assert_eq!(core.poll_output(), Some(Output::Event(topic, Event::NeighborUp(peer))));
//!
//! let content = Bytes::from_static(b"hello");
//! assert_eq!(core.publish(now, topic, MessageId::of(&content), content, true)?, 1);
//! assert_eq!(core.poll_transmit(now, LinkId(1), 64 << 10).len(), 2);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod arbiter;
mod broadcast;
mod config;
mod core;
#[cfg(feature = "tokio")]
mod driver;
mod error;
mod event;
#[cfg(any(fuzzing, test))]
pub mod fuzzing;
mod id;
mod membership;
#[cfg(feature = "tokio")]
pub mod memory;
mod message;
mod outbox;
mod peers;
mod rng;
#[cfg(feature = "signed")]
mod signed;
mod topic;
pub mod wire;

#[cfg(feature = "tokio")]
use std::time::Instant;

pub use self::core::{Core, LinkCounters, Output, TopicStatus};
pub use arbiter::{LinkId, LinkProtocol, Probe};
#[cfg(feature = "tokio")]
pub use async_trait::async_trait;
pub use broadcast::Counters;
pub use bytes::Bytes;
pub use config::{BroadcastConfig, Config, MembershipConfig};
#[cfg(feature = "tokio")]
pub use driver::{Builder, Gossip, LinkEvent, Receiver, Sender, Subscription};
pub use error::{IdError, JoinError, LinkError, PublishError, WireError};
pub use event::{DownCause, Event, Received};
pub use id::{Id, MessageId, TopicId};
pub use outbox::Transmit;
#[cfg(feature = "signed")]
pub use signed::{SIGNED_OVERHEAD, Signed, SignedError, Signer, Verifier};
#[cfg(feature = "tokio")]
pub use tokio::io::{AsyncRead, AsyncWrite};

/// Opens links to neighbours.
///
/// A link is a connection with independent one-way streams, such as a QUIC connection. The host authenticates peers.
#[cfg(feature = "tokio")]
#[async_trait]
pub trait Links: Send + Sync + 'static {
    /// Opens a link to a peer. [`Self::next`] reports the new link, too. `data` holds the known addresses of the peer, which
    /// [`wire::AddrInfo`] decodes, or nothing. The node drops the future at the deadline.
    async fn connect(&self, peer: &Id, data: &[u8], deadline: Instant)
    -> Result<LinkId, LinkError>;

    /// Opens a one-way stream. The stream may also be a bidirectional stream whose other half is closed. The future must not wait
    /// for the peer.
    async fn open(&self, link: LinkId) -> Result<Box<dyn AsyncWrite + Send + Unpin>, LinkError>;

    /// The next event of any link. Dropping the future must not lose an event.
    async fn next(&self) -> LinkEvent;

    /// Closes a link, if it is still open. [`Self::next`] then reports the end of the link. The method must not block.
    fn close(&self, link: LinkId, reason: &str);

    /// Checks whether the peer still answers over a link. Default: [`Probe::Unknown`].
    async fn probe(&self, link: LinkId, deadline: Instant) -> Probe {
        let _ = (link, deadline);
        Probe::Unknown
    }

    /// An event has occurred in a topic, whether or not the topic has a subscriber. A host can use this method to protect the
    /// connections to its neighbours. Default: does nothing. The method must neither block nor call the [`Gossip`] of these
    /// links.
    fn handle_event(&self, topic: &TopicId, event: &Event) {
        let _ = (topic, event);
    }

    /// Whether a peer may take part in a topic. Default: every peer may. The node calls this method often, so it must not block.
    fn allows(&self, topic: &TopicId, peer: &Id) -> bool {
        let _ = (topic, peer);
        true
    }
}

/// The examples in the README run.
#[cfg(all(doctest, feature = "tokio"))]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(test)]
mod tests;
