//! Runs the core on tokio. The tasks forward and sleep, and decide nothing.
//!
//! One task takes the events of the links, and another task sleeps until the core's next timeout. Each stream that a peer opens
//! has a task that reads it. A reader waits only for its stream, because it calls the core directly. Each link has a task that
//! writes the link's messages. The backpressure of the writer reaches the core's queues, and through them the publishers.

mod actor;
mod gossip;
mod queue;
mod reader;
mod subscription;
mod writer;

use crate::{AsyncRead, Id, LinkId, LinkProtocol, wire::PeerData};

pub use gossip::{Builder, Gossip};
pub use subscription::{Receiver, Sender, Subscription};

/// An event on the links of a host.
#[non_exhaustive]
pub enum LinkEvent {
    /// A link is up, opened by either end.
    Up {
        /// The authenticated peer.
        peer: Id,
        /// A number that the host uses only once.
        link: LinkId,
        /// The end that opened the link: this node or the peer.
        dialed_by: Id,
        /// The protocol on which the two ends have agreed.
        protocol: LinkProtocol,
    },
    /// The peer has opened a stream.
    Stream {
        /// The link.
        link: LinkId,
        /// The position of the stream among those that the peer opens on this link.
        index: u64,
        /// The bytes of the stream.
        reader: Box<dyn AsyncRead + Send + Unpin>,
    },
    /// A link is closed, by either end. The readers of its streams must end, too.
    Closed {
        /// The link.
        link: LinkId,
        /// The reason, for the log.
        cause: String,
    },
    /// The addresses of this node have changed, or are known for the first time.
    OwnData(PeerData),
    /// The network of this host has changed.
    NetworkChanged,
}
