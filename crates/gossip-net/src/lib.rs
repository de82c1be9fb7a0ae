//! Broadcast to all subscribers of a topic, wire-compatible with iroh-gossip.
#![allow(dead_code)]

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
mod outbox;
mod peers;
mod rng;
#[cfg(feature = "signed")]
mod signed;
#[cfg(test)]
mod simulation;
mod topic;
pub mod wire;

#[cfg(feature = "tokio")]
use std::time::Instant;

pub use self::core::{Core, LinkCounters, Output, TopicStatus};
pub use arbiter::{Dialect, LinkId, Probe};
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
    /// Opens a link to a peer, and reports it as [`LinkEvent::Up`] too. `data` holds what is known of the addresses of the
    /// peer, as [`wire::AddrInfo`] reads them.
    async fn connect(&self, peer: &Id, data: &[u8], deadline: Instant) -> Result<LinkId, LinkError>;

    /// Opens a one-way stream. A bidirectional stream whose other half is closed serves as well. The future must not wait for
    /// the peer.
    async fn open(&self, link: LinkId) -> Result<Box<dyn AsyncWrite + Send + Unpin>, LinkError>;

    /// The next event of any link. If the future is dropped, no event may be lost.
    async fn next(&self) -> LinkEvent;

    /// Closes a link, if it is still open. This must not block.
    fn close(&self, link: LinkId, reason: &str);

    /// Finds out whether the peer still answers over a link. Default: this is unknown.
    async fn probe(&self, link: LinkId, deadline: Instant) -> Probe {
        let _ = (link, deadline);
        Probe::Unknown
    }

    /// Whether a peer may take part in a topic. Default: every peer may. It is called often, and must not block.
    fn allows(&self, topic: &TopicId, peer: &Id) -> bool {
        let _ = (topic, peer);
        true
    }
}
