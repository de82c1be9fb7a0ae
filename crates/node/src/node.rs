//! The handle to a running node.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use conn_state::{Limits, Refused};
use libp2p_identity::{Keypair, PeerId};
use multiaddr::{Multiaddr, Protocol};
use tokio::sync::{Semaphore, broadcast, mpsc};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    Builder, Config, Connection, ConnectionId, DialError, Direction, Event, Events, ListenError,
    OpenError, Stream, accept, address,
    connection::{Admitted, Muxed, Timeouts},
    dial,
    negotiate::Offered,
    protocols::{identify, ping},
    registry::Registry,
    session,
    transports::Transports,
};

/// A running node. Clones are handles to the same one; it runs until [`Node::shutdown`].
#[derive(Clone)]
pub struct Node(Arc<Shared>);

pub(crate) struct Shared {
    pub(crate) keypair: Keypair,
    pub(crate) peer_id: PeerId,
    pub(crate) config: Config,
    pub(crate) transports: Transports,
    pub(crate) tasks: TaskTracker,
    pub(crate) stopping: CancellationToken,
    pub(crate) dials: Semaphore,
    limits: Mutex<Limits<ConnectionId, PeerId>>,
    registry: Mutex<Registry>,
    handlers: RwLock<BTreeMap<Arc<str>, mpsc::Sender<IncomingStream>>>,
    listening: RwLock<Vec<Multiaddr>>,
    /// What identify says, as long as nothing of it has changed.
    said: Mutex<Option<Arc<identify::Said>>>,
    events: broadcast::Sender<Event>,
    #[cfg(feature = "metrics")]
    metrics: crate::metrics::Metrics,
    next_id: AtomicU64,
}

/// A stream that a peer opened for a protocol of the host's.
#[derive(Debug)]
pub struct IncomingStream {
    /// Over which connection.
    pub connection: Connection,
    /// The stream itself.
    pub stream: Stream,
    /// Counts towards [`Config::max_inbound_streams`] until this is dropped.
    pub place: StreamPlace,
}

/// Keeps an inbound stream counted. Drop it together with the stream.
pub struct StreamPlace {
    _admitted: Admitted,
}

impl std::fmt::Debug for StreamPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StreamPlace")
    }
}

/// The streams that peers open for one protocol. Dropping it ends the protocol: later ones are reset.
#[derive(Debug)]
pub struct IncomingStreams {
    receiver: mpsc::Receiver<IncomingStream>,
    protocol: Arc<str>,
    node: Weak<Shared>,
}

impl IncomingStreams {
    /// Waits for the next stream; `None` when the node is shut down. Cancel-safe.
    pub async fn next(&mut self) -> Option<IncomingStream> {
        self.receiver.recv().await
    }
}

impl Drop for IncomingStreams {
    fn drop(&mut self) {
        let Some(node) = self.node.upgrade() else {
            return;
        };
        let mut handlers = node
            .handlers
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        self.receiver.close();
        // A newer registration of the same protocol is not ours to remove.
        if handlers
            .get(&self.protocol)
            .is_some_and(mpsc::Sender::is_closed)
        {
            handlers.remove(&self.protocol);
        }
        drop(handlers);
        node.forget_said();
    }
}

impl Node {
    /// Starts to put a node together.
    pub fn builder(keypair: Keypair) -> Builder {
        Builder::new(keypair)
    }

    pub(crate) fn new(keypair: Keypair, config: Config, transports: Transports) -> Self {
        let (events, _) = broadcast::channel(config.event_capacity.max(1));
        Self(Arc::new(Shared {
            peer_id: keypair.public().to_peer_id(),
            keypair,
            transports,
            tasks: TaskTracker::new(),
            stopping: CancellationToken::new(),
            dials: Semaphore::new(config.dials),
            limits: Mutex::new(Limits::new(config.limits.clone())),
            config,
            registry: Mutex::default(),
            handlers: RwLock::default(),
            listening: RwLock::default(),
            said: Mutex::default(),
            events,
            #[cfg(feature = "metrics")]
            metrics: crate::metrics::Metrics::new(),
            next_id: AtomicU64::new(1),
        }))
    }

    /// Who this node is.
    pub fn peer_id(&self) -> PeerId {
        self.0.peer_id
    }

    /// Listens on one more address and says under which addresses, each with this node's id, others reach it. A port
    /// of 0 takes a free one; an unspecified IP address stands for all interfaces.
    ///
    /// # Errors
    ///
    /// The address is none that a transport here can listen on, or the operating system refuses.
    pub async fn listen(&self, address: Multiaddr) -> Result<Vec<Multiaddr>, ListenError> {
        if self.0.stopping.is_cancelled() {
            return Err(ListenError::ShutDown { address });
        }
        let bound = accept::bind(&self.0, &address)?;
        Ok(self.start_listening([bound]))
    }

    /// Listens on all interfaces, with every transport there is, on one and the same port; a `port` of 0 takes a free
    /// one. What this machine lacks (often IPv6) is left out.
    ///
    /// # Errors
    ///
    /// The operating system refuses one of the addresses; then none is listened on.
    pub async fn listen_everywhere(&self, mut port: u16) -> Result<Vec<Multiaddr>, ListenError> {
        let mut all: Vec<accept::Bound> = Vec::new();
        let mut refused = None;
        for address in address::everywhere() {
            let address = address(port);
            if self.0.stopping.is_cancelled() {
                return Err(ListenError::ShutDown { address });
            }
            match accept::bind(&self.0, &address) {
                Ok(bound) => {
                    port = bound.port();
                    all.push(bound);
                }
                Err(error @ ListenError::Unsupported { .. }) => refused = Some(error),
                Err(error) if error.is_address_unavailable() => refused = Some(error),
                Err(error) => return Err(error),
            }
        }
        match refused {
            Some(error) if all.is_empty() => Err(error),
            _ => Ok(self.start_listening(all)),
        }
    }

    fn start_listening(&self, sockets: impl IntoIterator<Item = accept::Bound>) -> Vec<Multiaddr> {
        let mut all = Vec::new();
        for plain in sockets.into_iter().flat_map(|bound| bound.start(&self.0)) {
            self.0.write_listening().push(plain.clone());
            let address = plain.with(Protocol::P2p(self.0.peer_id));
            all.push(address.clone());
            self.0.emit(Event::Listening { address });
        }
        self.push_identify();
        all
    }

    /// Every address under which others reach this node, each with its id.
    pub fn listen_addresses(&self) -> Vec<Multiaddr> {
        let listening = self.0.listening();
        let ours = |address: Multiaddr| address.with(Protocol::P2p(self.0.peer_id));
        listening.into_iter().map(ours).collect()
    }

    /// Connects to the peer at `addresses`, best address first, and gives the first connection that comes about. If
    /// the addresses name a peer to whom there is a connection already, that one is given. Dropping the future cancels
    /// every attempt.
    ///
    /// # Errors
    ///
    /// Which addresses failed, at which stage and why.
    pub async fn dial(
        &self,
        addresses: impl IntoIterator<Item = Multiaddr>,
    ) -> Result<Connection, DialError> {
        dial::dial(&self.0, addresses.into_iter().collect()).await
    }

    /// The newest live connection to `peer`.
    pub fn connection(&self, peer: PeerId) -> Option<Connection> {
        self.0.registry().newest(peer)
    }

    /// Every connection there is.
    pub fn connections(&self) -> Vec<Connection> {
        self.0.registry().all()
    }

    /// Opens a stream to `peer` over its newest connection, for the first of `protocols` that it knows.
    ///
    /// # Errors
    ///
    /// [`OpenError::NotConnected`], or why the stream could not be opened.
    pub async fn open(
        &self,
        peer: PeerId,
        protocols: &[&str],
    ) -> Result<(String, Stream), OpenError> {
        let connection = self.connection(peer);
        let connection = connection.ok_or(OpenError::NotConnected { peer })?;
        connection.open(protocols).await
    }

    /// Answers to `protocol` from now on. Up to `capacity` streams wait for [`IncomingStreams::next`]; those beyond it
    /// are reset. A second registration replaces the first.
    pub fn handle(&self, protocol: &str, capacity: usize) -> IncomingStreams {
        let (sender, receiver) = mpsc::channel(capacity.max(1));
        let protocol: Arc<str> = protocol.into();
        let handlers = self.0.handlers.write();
        handlers
            .unwrap_or_else(PoisonError::into_inner)
            .insert(Arc::clone(&protocol), sender);
        self.push_identify();
        IncomingStreams {
            receiver,
            protocol,
            node: Arc::downgrade(&self.0),
        }
    }

    /// Subscribes to everything that happens from now on.
    pub fn events(&self) -> Events {
        Events(self.0.events.subscribe())
    }

    /// The node's counters in the OpenMetrics text format.
    #[cfg(feature = "metrics")]
    pub fn metrics(&self) -> String {
        self.0.metrics.text()
    }

    /// Stops listening, says goodbye on every connection and waits, within [`Config::shutdown_timeout`], until no task
    /// of the node is left. Whatever still runs then is dropped with the node.
    pub async fn shutdown(&self) {
        self.0.stopping.cancel();
        let goodbyes = async {
            let connections = self.connections();
            futures::future::join_all(connections.iter().map(Connection::close)).await;
            self.0.transports.close().await;
            self.0.tasks.close();
            self.0.tasks.wait().await;
        };
        let _ = tokio::time::timeout(self.0.config.shutdown_timeout, goodbyes).await;
    }

    /// Tells connected peers that speak identify push what has changed.
    fn push_identify(&self) {
        self.0.forget_said();
        for connection in self.connections() {
            let speaks = |info: Arc<identify::Info>| {
                info.protocols.iter().any(|p| p == identify::PUSH_PROTOCOL)
            };
            if !connection.identified().is_some_and(speaks) {
                continue;
            }
            let node = Arc::clone(&self.0);
            self.0.tasks.spawn(async move {
                let ours = node.identify_for(&connection);
                let timeout = node.config.negotiation_timeout;
                if let Err(error) = identify::push(&connection, ours, timeout).await {
                    tracing::debug!(peer = %connection.peer(), %error, "identify push failed");
                }
            });
        }
    }
}

impl Shared {
    pub(crate) fn emit(&self, event: Event) {
        #[cfg(feature = "metrics")]
        self.metrics.record(&event);
        // Nobody listening is not an error.
        let _ = self.events.send(event);
    }

    pub(crate) fn next_id(&self) -> ConnectionId {
        ConnectionId(self.next_id.fetch_add(1, Ordering::Relaxed))
    }

    pub(crate) fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn limits(&self) -> MutexGuard<'_, Limits<ConnectionId, PeerId>> {
        self.limits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn listening(&self) -> Vec<Multiaddr> {
        let listening = self.listening.read();
        listening.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn write_listening(&self) -> std::sync::RwLockWriteGuard<'_, Vec<Multiaddr>> {
        self.listening
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a connection from someone at `address` whose handshake now begins.
    pub(crate) fn admit(self: &Arc<Self>, address: std::net::IpAddr) -> Result<Place, Refused> {
        let place = self.place();
        self.limits()
            .handle_inbound(Instant::now(), place.id, address)?;
        Ok(place)
    }

    /// A place for a connection that we dial: it counts once its peer is known.
    pub(crate) fn place(self: &Arc<Self>) -> Place {
        Place {
            id: self.next_id(),
            node: Arc::clone(self),
        }
    }

    /// Takes in a connection whose handshake is done. The caller runs the session that comes of it.
    pub(crate) fn adopt(
        self: &Arc<Self>,
        place: Place,
        muxed: Muxed,
        address: Multiaddr,
        direction: Direction,
    ) -> Result<Session, Refused> {
        let timeouts = Timeouts {
            negotiation: self.config.negotiation_timeout,
            ping: self.config.ping_timeout,
        };
        let connection = Connection::new(place.id, muxed, address, direction, &timeouts);
        let admitted = self
            .limits()
            .handle_authenticated(place.id, connection.peer());
        if let Err(refused) = admitted {
            connection.abort("too many connections");
            return Err(refused);
        }
        {
            let mut registry = self.registry();
            registry.insert(connection.clone());
            self.emit(Event::Connected {
                connection: connection.clone(),
            });
        }
        if self.stopping.is_cancelled() {
            connection.abort("the node is shutting down");
        }
        Ok(Session {
            node: Arc::clone(self),
            connection,
            place,
        })
    }

    fn forget(&self, connection: Connection, reason: String) {
        // The lock is held while the event goes out, so that a peer's events come in the order of its changes.
        let mut registry = self.registry();
        let remaining = registry.remove(connection.peer(), connection.id());
        self.emit(Event::Disconnected {
            connection,
            reason,
            remaining,
        });
    }

    /// Everything this node answers to.
    pub(crate) fn offered(&self) -> Offered {
        let handlers = self.handlers.read().unwrap_or_else(PoisonError::into_inner);
        let own = [ping::PROTOCOL, identify::PROTOCOL, identify::PUSH_PROTOCOL];
        let own = own.into_iter().map(Arc::from);
        own.chain(handlers.keys().cloned()).collect()
    }

    /// What this node says of itself to the peer at the other end of `connection`, ready to send.
    pub(crate) fn identify_for(&self, connection: &Connection) -> Vec<u8> {
        let said = {
            let mut kept = self.said.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(kept.get_or_insert_with(|| Arc::new(self.sign_identify())))
        };
        said.encode_for(connection.address())
    }

    fn sign_identify(&self) -> identify::Said {
        let ours = identify::Ours {
            keypair: &self.keypair,
            agent: &self.config.agent,
            protocol_version: &self.config.protocol_version,
            protocols: self.offered().iter().map(|p| p.to_string()).collect(),
            listen: self.listening(),
        };
        ours.sign()
    }

    fn forget_said(&self) {
        *self.said.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Gives a stream to the host's handler of its protocol; where there is no room, dropping resets it.
    pub(crate) fn hand_over(
        &self,
        protocol: &str,
        connection: Connection,
        stream: Stream,
        place: Admitted,
    ) {
        let handlers = self.handlers.read().unwrap_or_else(PoisonError::into_inner);
        let Some(sender) = handlers.get(protocol) else {
            return;
        };
        let incoming = IncomingStream {
            connection,
            stream,
            place: StreamPlace { _admitted: place },
        };
        if sender.try_send(incoming).is_err() {
            tracing::debug!(protocol, "no room for one more stream: it is reset");
        }
    }
}

/// A connection that is in the registry, and what must run for it to be served and, in the end, forgotten.
pub(crate) struct Session {
    node: Arc<Shared>,
    connection: Connection,
    place: Place,
}

impl Session {
    pub(crate) fn spawn(self) -> Connection {
        let connection = self.connection.clone();
        self.node.tasks.clone().spawn(self.run());
        connection
    }

    pub(crate) async fn run(self) {
        session::run(Arc::clone(&self.node), self.connection.clone()).await;
        let reason = self.connection.closed().await;
        drop(self.place);
        self.node.forget(self.connection, reason);
    }
}

/// A connection's place in the limits, from its first packet to its end; dropping it gives the place back.
pub(crate) struct Place {
    pub(crate) id: ConnectionId,
    node: Arc<Shared>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.node.limits().handle_closed(self.id);
    }
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node")
            .field("peer_id", &self.0.peer_id)
            .finish_non_exhaustive()
    }
}
