//! The API for hosts: the handle to a running node.

use std::{any::Any, sync::Arc, time::Duration};

use conn_state::{Closing, ConnectionId, SharedTracker, State};
use libp2p_identity::PeerId;
use multiaddr::{Multiaddr, Protocol};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::{
    connection::{Connection, Stream},
    connections::Protection,
    core::{Core, RunningPart},
    dial,
    dial_budget::DialBudget,
    error::{DialError, HandleError, ListenError, OpenError},
    event::Events,
    listen,
    part::{Circuits, DialRequest, Existing, GOODBYE, Origin, Part, Query},
    router::IncomingStreams,
    supervisor,
    timeline::Timeline,
};

/// A running node. Clones are handles to the same node, which runs until [`Node::shutdown`].
#[derive(Clone)]
pub struct Node(Arc<Core>);

impl Node {
    /// Starts the tasks of a node and subscribes to its events.
    pub(crate) fn start(core: Arc<Core>) -> (Self, Events) {
        // The subscription comes first, so that it includes the first event.
        let events = core.events.subscribe();
        core.tasks.spawn(supervisor::run(Arc::downgrade(&core)));
        let failures = Arc::clone(&core.failures);
        core.tasks.spawn(failures.run(core.stopping.clone()));
        (Self(core), events)
    }

    /// Lets the node dial by itself. Only a node that was built with [`crate::Builder::listen_first`] needs this call.
    pub fn begin(&self) {
        self.0.begun.cancel();
    }

    /// This node's id.
    pub fn peer_id(&self) -> PeerId {
        self.0.peer_id
    }

    /// Listens on a further address. Returns the addresses at which peers reach the socket, with this node's id. A port
    /// of 0 stands for a free port. An unspecified IP address stands for all interfaces.
    ///
    /// # Errors
    ///
    /// No transport listens on such an address, or the operating system refuses.
    pub async fn listen(&self, address: Multiaddr) -> Result<Vec<Multiaddr>, ListenError> {
        Ok(listen::bind(&self.0, &address)?.start(&self.0))
    }

    /// Listens on one port of all interfaces, with every transport. A `port` of 0 stands for a free port. Ignores
    /// address families that this machine lacks, often IPv6.
    ///
    /// # Errors
    ///
    /// The operating system refuses one of the addresses. In this case the node listens on none of the addresses.
    pub async fn listen_everywhere(&self, port: u16) -> Result<Vec<Multiaddr>, ListenError> {
        let bound = listen::retry_free_port(port, || listen::bind_everywhere(&self.0, port))?;
        Ok(bound
            .into_iter()
            .flat_map(|bound| bound.start(&self.0))
            .collect())
    }

    /// The addresses that this node announces, with its id. They follow the network interfaces, the listeners, the relays and the
    /// peers' observations, see [`crate::AnnounceConfig`]. The node tells each peer only the addresses that the peer may be able
    /// to use.
    pub fn listen_addresses(&self) -> Vec<Multiaddr> {
        let addresses = self.0.local.addresses().into_iter();
        addresses
            .map(|address| address.with(Protocol::P2p(self.0.peer_id)))
            .collect()
    }

    /// Whether a listener of this node accepts connections.
    pub fn is_listening(&self) -> bool {
        self.0.local.is_listening()
    }

    /// Connects to the peer at `addresses` and returns the first established connection. [`crate::plan`] decides the
    /// order of the attempts. The address `/p2p/ID` stands for all addresses of the peer that the node knows. If the
    /// peer is connected already, the dial returns that connection, unless a relay limits the connection and one of the
    /// addresses is direct. Dropping the future cancels every attempt.
    ///
    /// # Errors
    ///
    /// [`DialError`]. Its message names every failed address with the cause.
    pub async fn dial(
        &self,
        addresses: impl IntoIterator<Item = Multiaddr>,
    ) -> Result<Connection, DialError> {
        let request = DialRequest {
            addresses: addresses.into_iter().collect(),
            expected: None,
            origin: Origin::User,
            existing: Existing::PreferUnlimited,
            circuits: Circuits::Allowed,
            until: None,
            budget: DialBudget::default(),
        };
        dial::dial(&self.0, request).await
    }

    /// The best live connection to `peer` for new streams: unlimited connections come before limited ones, and then
    /// newer connections before older ones.
    pub fn connection(&self, peer: PeerId) -> Option<Connection> {
        self.0.connections.best(&peer)
    }

    /// The live connection with this id.
    pub fn connection_by_id(&self, id: ConnectionId) -> Option<Connection> {
        self.0.connections.get(id)
    }

    /// Protects the connections of `peer` until the returned value is dropped: the node closes none of them to make room for a
    /// newcomer. Without protection, it may close an inbound connection that has been idle for
    /// [`LimitsConfig::trim_idle`](conn_state::LimitsConfig::trim_idle). A stream that the host has opened, and a stream of the
    /// peer for one of the host's protocols that has carried a byte, also keep their connection open.
    pub fn protect(&self, peer: PeerId) -> Protection {
        self.0.connections.protect(peer)
    }

    /// Every live connection.
    pub fn connections(&self) -> Vec<Connection> {
        self.0.connections.all()
    }

    /// The known addresses of `peer`, best first. Addresses that worked come before addresses that were only reported.
    pub fn addresses_of(&self, peer: PeerId) -> Vec<Multiaddr> {
        self.0.address_book.addresses(&peer)
    }

    /// Opens a stream to `peer` over its best connection, for the first of `protocols` that the peer supports.
    ///
    /// # Errors
    ///
    /// [`OpenError::NotConnected`], or an error of [`Connection::open`].
    pub async fn open(
        &self,
        peer: PeerId,
        protocols: &[&str],
    ) -> Result<(String, Stream), OpenError> {
        let connection = self.connection(peer);
        let connection = connection.ok_or(OpenError::NotConnected { peer })?;
        connection.open(protocols).await
    }

    /// Like [`Self::open`], but waits until `deadline` for an unlimited connection to `peer`.
    ///
    /// # Errors
    ///
    /// [`OpenError::NotInTime`], or an error of [`Self::open`].
    pub async fn open_by(
        &self,
        peer: PeerId,
        protocols: &[&str],
        deadline: tokio::time::Instant,
    ) -> Result<(String, Stream), OpenError> {
        let connected = self.tracker().wait_for(&peer, State::Connected, deadline);
        let late = |error: conn_state::WaitError| OpenError::NotInTime {
            peer,
            state: error.state,
        };
        connected.await.map_err(late)?;
        self.open(peer, protocols).await
    }

    /// Registers a handler of `protocol`. Streams over relay-limited connections are refused. Up to `capacity` streams
    /// wait for [`IncomingStreams::next`]. The node resets further streams. A second registration replaces the first.
    ///
    /// # Errors
    ///
    /// The node itself serves the protocol, the protocol name is invalid, or the node is shut down.
    pub fn handle(&self, protocol: &str, capacity: usize) -> Result<IncomingStreams, HandleError> {
        self.0.router.handle(protocol, capacity, false)
    }

    /// Like [`Self::handle`], but also accepts streams over relay-limited connections.
    ///
    /// # Errors
    ///
    /// As [`Self::handle`].
    pub fn handle_limited(
        &self,
        protocol: &str,
        capacity: usize,
    ) -> Result<IncomingStreams, HandleError> {
        self.0.router.handle(protocol, capacity, true)
    }

    /// The tracker of peers' states, for queries, waits and ordered events. Only the node may report changes to it.
    pub fn tracker(&self) -> &SharedTracker<PeerId> {
        self.0.connections.tracker()
    }

    /// Subscribes to all events from now on.
    pub fn events(&self) -> Events {
        self.0.events.subscribe()
    }

    /// Subscribes to all events and all changes of peers' states from now on, in the order in which they happen.
    pub fn timeline(&self) -> Timeline {
        self.timeline_of(self.events())
    }

    /// Adds the changes of peers' states from now on to a subscription of events.
    pub fn timeline_of(&self, events: Events) -> Timeline {
        Timeline::new(events, Arc::clone(&self.0.connections))
    }

    /// The part of type `P`, if the node has it.
    pub(crate) fn part<P: Part>(&self) -> Option<Arc<P>> {
        let mut parts = self.0.parts().iter();
        parts.find_map(|part| {
            let any: Arc<dyn Any + Send + Sync> = Arc::clone(part) as _;
            any.downcast().ok()
        })
    }

    /// The queries that the parts answer at the admin endpoint.
    pub(crate) fn queries(&self) -> Vec<Query> {
        let parts = self.0.parts().iter();
        parts.flat_map(|part| Arc::clone(part).queries()).collect()
    }

    /// Fires when the node begins to shut down.
    pub(crate) fn stopping(&self) -> CancellationToken {
        self.0.stopping.clone()
    }

    /// Stops listening, ends the parts, closes every connection gracefully and closes every socket. The parts have 1 s,
    /// and the connections deliver their finished streams within [`crate::Config::shutdown_timeout`]. Afterwards no
    /// task of the node is left, and [`IncomingStreams::next`] returns `None`. [`Events::next`] and [`Timeline::next`] report the
    /// end after the last event. Subscriptions of [`Self::tracker`] do not end, so do not wait for them afterwards.
    pub async fn shutdown(&self) {
        let core = &self.0;
        core.stopping.cancel();
        core.router.close();
        futures::future::join_all(core.take_running().into_iter().map(say_goodbye)).await;
        self.close_connections(core.config.shutdown_timeout).await;
        for transport in core.transports() {
            let _ = timeout(GOODBYE, Arc::clone(transport).close()).await;
        }
        core.tasks.close();
        let _ = timeout(GOODBYE, core.tasks.wait()).await;
        // The subscriptions end after the last event.
        core.connections.settle();
        core.events.close();
    }

    async fn close_connections(&self, within: Duration) {
        let connections = self.connections();
        for connection in &connections {
            connection.close_for(Closing::Shutdown);
        }
        let closed = connections.iter().map(Connection::closed);
        if timeout(within, futures::future::join_all(closed))
            .await
            .is_err()
        {
            for connection in self.connections() {
                connection.abort_for(Closing::Shutdown);
            }
        }
    }
}

/// Waits for the end of a part, and aborts a part that is late.
async fn say_goodbye(RunningPart { name, mut task }: RunningPart) {
    match timeout(GOODBYE, &mut task).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(part = name, %error, "a part of the node panicked"),
        Err(_) => {
            tracing::warn!(
                part = name,
                "a part of the node did not stop within 1 s and was aborted"
            );
            task.abort();
        }
    }
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node")
            .field("peer_id", &self.0.peer_id)
            .finish_non_exhaustive()
    }
}
