//! What a node tells its host.

use std::{sync::Arc, time::Duration};

use libp2p_identity::PeerId;
use multiaddr::Multiaddr;
use tokio::sync::broadcast;

use crate::{Connection, protocols::identify};

/// Something that happened to a node.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event {
    /// The node can be reached at one more address.
    Listening {
        /// The address, with this node's id.
        address: Multiaddr,
    },
    /// A connection is authenticated and multiplexed.
    Connected {
        /// The connection.
        connection: Connection,
    },
    /// A peer said who it is, the first time on a connection or anew.
    Identified {
        /// The connection it came over.
        connection: Connection,
        /// What it said.
        info: Arc<identify::Info>,
    },
    /// A ping of ours was answered.
    Pong {
        /// The connection it went over.
        connection: Connection,
        /// The round trip.
        rtt: Duration,
    },
    /// A connection is gone.
    Disconnected {
        /// The connection that was.
        connection: Connection,
        /// Why, in one line.
        reason: String,
        /// How many other connections to that peer remain.
        remaining: usize,
    },
    /// Something happened to a slot that a relay keeps for us, or does not.
    #[cfg(feature = "relay")]
    Reservation {
        /// What.
        event: relay_slots::ClientEvent,
    },
    /// Someone was turned away before a handshake, or a handshake of theirs failed.
    InboundFailed {
        /// Where it came from.
        address: Multiaddr,
        /// Who it was, where that was known.
        peer: Option<PeerId>,
        /// Why, in one line.
        reason: String,
    },
}

/// A subscription: every event since it was made, as long as its reader keeps up.
#[derive(Debug)]
pub struct Events(pub(crate) broadcast::Receiver<Event>);

/// Why there is no next event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EventsError {
    /// The reader fell behind; the next call goes on after the gap.
    #[error("{missed} events were missed by reading too slowly")]
    Lagged {
        /// How many events are lost to this subscription.
        missed: u64,
    },
    /// The node is gone.
    #[error("the node is gone")]
    Closed,
}

impl Events {
    /// Waits for the next event. Cancel-safe.
    ///
    /// # Errors
    ///
    /// [`EventsError::Lagged`] when this reader was too slow, [`EventsError::Closed`] when no more will come.
    pub async fn next(&mut self) -> Result<Event, EventsError> {
        self.0.recv().await.map_err(|error| match error {
            broadcast::error::RecvError::Lagged(missed) => EventsError::Lagged { missed },
            broadcast::error::RecvError::Closed => EventsError::Closed,
        })
    }
}
