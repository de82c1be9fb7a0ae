//! The public events of a node.

use std::{
    any::Any,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use conn_state::{Closing, ConnectionId, Detail, Direction, Prefix};
use libp2p_identity::PeerId;
use multiaddr::Multiaddr;
use tokio::sync::broadcast;

use crate::{error::AttemptCause, protocols::identify};

/// An event of a node.
///
/// An event names connections by their ids and keeps no connection open. [`crate::Node::connection_by_id`] returns the
/// connection while it is open.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event {
    /// Peers can reach the node at a new address.
    Listening {
        /// The address, with this node's id.
        address: Multiaddr,
    },
    /// The list of addresses at which peers can reach the node changed: a listener started or failed, a network interface
    /// changed, peers observed an address, or a relay granted or ended a slot. The node tells each peer only the addresses that
    /// the peer may be able to use.
    ///
    /// The list is empty before the first event. A node with configured addresses ([`crate::AnnounceConfig::addresses`]) sends
    /// the first event while it is built, so only the subscription of [`crate::Builder::build_with_events`] contains that event.
    Addresses {
        /// All addresses, each with this node's id. [`crate::Node::listen_addresses`] returns the same list.
        addresses: Arc<[Multiaddr]>,
        /// The addresses that the list of the previous event does not contain.
        added: Arc<[Multiaddr]>,
        /// The addresses of the previous event that the node no longer announces.
        removed: Arc<[Multiaddr]>,
    },
    /// A listener broke. Its addresses are no longer announced.
    ListenerFailed {
        /// The address that the listener was bound to.
        address: Multiaddr,
        /// The error of the operating system or the transport.
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
        /// The end that dialed.
        direction: Direction,
        /// The layers of the connection, see [`crate::Connection::via`].
        via: &'static str,
    },
    /// The first identify message of a peer on a connection arrived, or a message with a change.
    Identified {
        /// The peer.
        peer: PeerId,
        /// The connection over which the message arrived.
        connection: ConnectionId,
        /// The content of the message. All copies of the event share it.
        info: Arc<identify::Info>,
    },
    /// The peer answered a ping of this node.
    Pong {
        /// The peer.
        peer: PeerId,
        /// The connection of the ping.
        connection: ConnectionId,
        /// The round-trip time.
        rtt: Duration,
    },
    /// A connection has ended.
    Disconnected {
        /// The peer at the other end.
        peer: PeerId,
        /// The connection.
        connection: ConnectionId,
        /// The reason.
        reason: Closing,
        /// The transport's text about the reason. The peer may have chosen it.
        detail: Option<Detail>,
        /// The number of remaining connections to the peer.
        remaining: usize,
    },
    /// Inbound connections were refused, or their handshakes failed.
    ///
    /// The first failure of a subnet causes an event at once. The next failures of the subnet share at most one event per second.
    /// Up to 16 subnets have their own events at the same time. All other subnets share one event per second.
    InboundFailed {
        /// The address of the other end of the latest connection that failed.
        address: Multiaddr,
        /// The cause of the latest failure.
        cause: Arc<AttemptCause>,
        /// The number of failures. The counts of all events add up to the number of connections that failed.
        count: u64,
        /// The IPv4 /24 or IPv6 /48 of all of the connections. `None`: the connections may have come from several subnets, or
        /// the address contains no IP address.
        subnet: Option<Prefix>,
    },
    /// An event of one of the node's parts, such as [`crate::ReservationEvent`].
    Part(Arc<dyn PartEvent>),
}

/// An event of one part of the node. `Display` prints the event as a line for people.
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
    /// Returns the event as the type `E`, if it has that type.
    pub fn downcast_ref<E: PartEvent>(&self) -> Option<&E> {
        let any: &dyn Any = self;
        any.downcast_ref()
    }
}

/// Sends events to every subscriber. A full buffer drops its oldest events. `None`: the node is shut down.
#[derive(Debug)]
pub(crate) struct EventSender(Mutex<Option<broadcast::Sender<Placed>>>);

/// An event, and the number of events of the tracker that happened before it.
pub(crate) type Placed = (u64, Event);

impl EventSender {
    /// Keeps up to `capacity` events for a subscriber that falls behind.
    pub(crate) fn new(capacity: usize) -> Self {
        Self(Mutex::new(Some(broadcast::channel(capacity.max(1)).0)))
    }

    pub(crate) fn send(&self, position: u64, event: Event) {
        if let Some(sender) = &*self.lock() {
            // A node without subscribers is not an error.
            let _ = sender.send((position, event));
        }
    }

    /// After [`Self::close`], the subscription ends at once.
    pub(crate) fn subscribe(&self) -> Events {
        Events(match &*self.lock() {
            Some(sender) => sender.subscribe(),
            None => broadcast::channel(1).1,
        })
    }

    /// Ends every subscription after the events that were sent before.
    pub(crate) fn close(&self) {
        self.lock().take();
    }

    fn lock(&self) -> MutexGuard<'_, Option<broadcast::Sender<Placed>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A subscription. A reader that keeps up receives every event since the subscription began.
#[derive(Debug)]
pub struct Events(broadcast::Receiver<Placed>);

/// An error of [`Events::next`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EventsError {
    /// The reader fell behind and missed events. The next call continues after the missed events.
    #[error("{missed} events were missed because the subscriber read too slowly")]
    Lagged {
        /// The number of missed events.
        missed: u64,
    },
    /// The node is shut down, and this reader has received every event.
    #[error("the node is shut down")]
    Closed,
}

impl Events {
    /// Waits for the next event. Cancel-safe.
    ///
    /// # Errors
    ///
    /// [`EventsError::Lagged`] if this reader was too slow. [`EventsError::Closed`] after the last event of a node that is shut
    /// down ([`crate::Node::shutdown`]) or whose last handle is dropped.
    pub async fn next(&mut self) -> Result<Event, EventsError> {
        Ok(self.next_placed().await?.1)
    }

    /// Like [`Self::next`], with the number of events of the tracker that happened before the event.
    pub(crate) async fn next_placed(&mut self) -> Result<Placed, EventsError> {
        self.0.recv().await.map_err(|error| match error {
            broadcast::error::RecvError::Lagged(missed) => EventsError::Lagged { missed },
            broadcast::error::RecvError::Closed => EventsError::Closed,
        })
    }

    /// Like [`Self::next_placed`]. `None`: there is no event yet.
    pub(crate) fn try_next_placed(&mut self) -> Option<Result<Placed, EventsError>> {
        match self.0.try_recv() {
            Ok(placed) => Some(Ok(placed)),
            Err(broadcast::error::TryRecvError::Empty) => None,
            Err(broadcast::error::TryRecvError::Lagged(missed)) => {
                Some(Err(EventsError::Lagged { missed }))
            }
            Err(broadcast::error::TryRecvError::Closed) => Some(Err(EventsError::Closed)),
        }
    }
}
