//! What a node tells its host.

use std::{any::Any, fmt, sync::Arc, time::Duration};

use conn_state::{Closing, ConnectionId, Direction};
use libp2p_identity::PeerId;
use multiaddr::Multiaddr;
use tokio::sync::broadcast;

use crate::{error::AttemptCause, protocols::identify};

/// Something that happened to a node.
///
/// An event names connections by their ids and keeps none of them alive. [`crate::Node::connection_by_id`] gives the
/// connection while it is open.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event {
    /// The node can be reached at one more address.
    Listening {
        /// The address, with this node's id.
        address: Multiaddr,
    },
    /// A listener broke. Its addresses are no longer announced.
    ListenerFailed {
        /// The address that the listener was bound to.
        address: Multiaddr,
        /// What the operating system or the transport said.
        reason: Arc<str>,
    },
    /// A connection is authenticated and multiplexed.
    Connected {
        /// The peer at the other end.
        peer: PeerId,
        /// The connection.
        connection: ConnectionId,
        /// The other end's address as this node sees it, without the peer's id.
        address: Multiaddr,
        /// Which end dialed.
        direction: Direction,
        /// The layers of the connection, see [`crate::Connection::via`].
        via: &'static str,
    },
    /// A peer described itself: the first time on a connection, or with something new.
    Identified {
        /// The peer.
        peer: PeerId,
        /// The connection that the description came over.
        connection: ConnectionId,
        /// The description. All holders share it.
        info: Arc<identify::Info>,
    },
    /// The peer answered a ping of this node.
    Pong {
        /// The peer.
        peer: PeerId,
        /// The connection that the ping went over.
        connection: ConnectionId,
        /// The round trip.
        rtt: Duration,
    },
    /// A connection is gone.
    Disconnected {
        /// The peer at the other end.
        peer: PeerId,
        /// The connection.
        connection: ConnectionId,
        /// Why it ended.
        reason: Closing,
        /// What the transport adds to the reason, in one line.
        detail: Option<Arc<str>>,
        /// How many other connections to the peer remain.
        remaining: usize,
    },
    /// An inbound connection was refused, or its handshake failed.
    InboundFailed {
        /// Where the connection came from.
        address: Multiaddr,
        /// The peer, if the handshake got far enough to tell.
        peer: Option<PeerId>,
        /// At which stage it failed, and why.
        cause: Arc<AttemptCause>,
    },
    /// An event of one of the node's parts, such as [`crate::ReservationEvent`].
    Part(Arc<dyn PartEvent>),
}

/// An event of one part of the node. `Display` gives it as a line for people.
///
/// ```
/// use node::{Event, PartEvent};
///
/// fn name_of(event: &Event) -> Option<&'static str> {
///     match event {
///         Event::Part(event) => Some(event.name()),
///         _ => None,
///     }
/// }
/// # assert_eq!(name_of(&Event::Listening { address: node::Multiaddr::empty() }), None);
/// ```
pub trait PartEvent: Any + fmt::Debug + fmt::Display + Send + Sync {
    /// The event's name: the field `event` of its JSON line.
    fn name(&self) -> &'static str;

    /// The event as a JSON object, without its name.
    fn to_json(&self) -> serde_json::Value;

    /// Whether the event is worth a line in the output of `bowline up`.
    fn is_notable(&self) -> bool {
        true
    }
}

impl dyn PartEvent {
    /// The event as the type `E`, if it is one.
    pub fn downcast_ref<E: PartEvent>(&self) -> Option<&E> {
        let any: &dyn Any = self;
        any.downcast_ref()
    }
}

/// Sends events to every subscriber. A full ring drops its oldest events.
#[derive(Debug)]
pub(crate) struct EventSender(broadcast::Sender<Event>);

impl EventSender {
    /// Keeps up to `capacity` events for a subscriber that falls behind.
    pub(crate) fn new(capacity: usize) -> Self {
        Self(broadcast::channel(capacity.max(1)).0)
    }

    pub(crate) fn send(&self, event: Event) {
        // A node without subscribers is not an error.
        let _ = self.0.send(event);
    }

    pub(crate) fn subscribe(&self) -> Events {
        Events(self.0.subscribe())
    }
}

/// A subscription: every event since it was made, provided that its reader keeps up.
#[derive(Debug)]
pub struct Events(broadcast::Receiver<Event>);

/// Why there is no next event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EventsError {
    /// The reader fell behind. The next call continues after the gap.
    #[error("{missed} events were missed because the subscriber read too slowly")]
    Lagged {
        /// How many events this subscription lost.
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
    /// [`EventsError::Lagged`] when this reader was too slow, [`EventsError::Closed`] when the node is gone.
    pub async fn next(&mut self) -> Result<Event, EventsError> {
        self.0.recv().await.map_err(|error| match error {
            broadcast::error::RecvError::Lagged(missed) => EventsError::Lagged { missed },
            broadcast::error::RecvError::Closed => EventsError::Closed,
        })
    }
}
