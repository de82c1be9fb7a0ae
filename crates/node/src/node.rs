//! The handle to a running node.

use std::sync::{Arc, PoisonError, Weak};

use conn_state::{SharedTracker, State};
use libp2p_identity::{Keypair, PeerId};
use multiaddr::{Multiaddr, Protocol};
use tokio::sync::mpsc;

use crate::{
    Builder, Config, Connection, DialError, Event, Events, ListenError, OpenError, Stream, accept,
    address,
    connection::Admitted,
    dial,
    shared::{Handler, Shared},
    supervisor,
    transports::Transports,
};

/// A running node. Clones are handles to the same one; it runs until [`Node::shutdown`].
#[derive(Clone)]
pub struct Node(Arc<Shared>);

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
    pub(crate) _admitted: Admitted,
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
            .is_some_and(|handler| handler.sender.is_closed())
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

    /// The node, and its events from the first: it may be at work before anybody could ask for them.
    pub(crate) fn new(keypair: Keypair, config: Config, transports: Transports) -> (Self, Events) {
        let shared = Arc::new(Shared::new(keypair, config, transports));
        let events = Events(shared.events.subscribe());
        let (tracker, stopping) = (shared.tracker.clone(), shared.stopping.clone());
        let supervisor = supervisor::run(Arc::downgrade(&shared), tracker, stopping);
        shared.tasks.spawn(supervisor);
        #[cfg(feature = "relay")]
        crate::relay::start(&shared);
        (Self(shared), events)
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
        #[cfg(feature = "relay")]
        self.0.relay.handle_listening(self.0.listening());
        self.0.push_identify();
        all
    }

    /// Every address under which others reach this node, each with its id.
    pub fn listen_addresses(&self) -> Vec<Multiaddr> {
        let listening = self.0.listening();
        let ours = |address: Multiaddr| address.with(Protocol::P2p(self.0.peer_id));
        listening.into_iter().map(ours).collect()
    }

    /// Connects to the peer at `addresses`, best address first, and gives the first connection that comes about. If
    /// the addresses name a peer to whom there is a connection already, that one is given, unless a relay limits it and
    /// one of the addresses is direct. Dropping the future cancels
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

    /// The live connection to `peer` that streams are best opened on: a full one before a limited one, then the newest.
    pub fn connection(&self, peer: PeerId) -> Option<Connection> {
        self.0.registry().best(peer)
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

    /// The same over a full connection, which is waited for until `deadline` where a relay limits the one there is, or where
    /// there is none yet.
    ///
    /// # Errors
    ///
    /// [`OpenError::NotInTime`], or why the stream could not be opened.
    pub async fn open_by(
        &self,
        peer: PeerId,
        protocols: &[&str],
        deadline: tokio::time::Instant,
    ) -> Result<(String, Stream), OpenError> {
        let connected = self.0.tracker.wait_for(&peer, State::Connected, deadline);
        let late = |error: conn_state::WaitError| OpenError::NotInTime {
            peer,
            state: error.state,
        };
        connected.await.map_err(late)?;
        self.open(peer, protocols).await
    }

    /// Answers to `protocol` from now on, but for connections that a relay limits. Up to `capacity` streams wait for
    /// [`IncomingStreams::next`]; those beyond it are reset. A second registration replaces the first.
    pub fn handle(&self, protocol: &str, capacity: usize) -> IncomingStreams {
        self.register(protocol, capacity, false)
    }

    /// The same, also on connections that a relay limits.
    pub fn handle_limited(&self, protocol: &str, capacity: usize) -> IncomingStreams {
        self.register(protocol, capacity, true)
    }

    fn register(&self, protocol: &str, capacity: usize, limited: bool) -> IncomingStreams {
        let (sender, receiver) = mpsc::channel(capacity.max(1));
        let protocol: Arc<str> = protocol.into();
        let handlers = self.0.handlers.write();
        handlers
            .unwrap_or_else(PoisonError::into_inner)
            .insert(Arc::clone(&protocol), Handler { sender, limited });
        self.0.push_identify();
        IncomingStreams {
            receiver,
            protocol,
            node: Arc::downgrade(&self.0),
        }
    }

    /// Who is connected, how well, and how that came about: states, waiting for them, and their events in order.
    ///
    /// It is for asking. What happens to connections it is told by the node.
    pub fn tracker(&self) -> &SharedTracker<PeerId> {
        &self.0.tracker
    }

    /// The slots that this node grants as a relay; `None` if it is none.
    #[cfg(feature = "relay")]
    pub fn slots(&self) -> Option<Vec<crate::Slot>> {
        Some(self.0.relay.granting.as_ref()?.slots())
    }

    /// On which terms it relays; `None` if it does not.
    #[cfg(feature = "relay")]
    pub fn relay_terms(&self) -> Option<crate::RelayTerms> {
        Some(self.0.relay.granting.as_ref()?.terms())
    }

    /// Relays on these terms from now on, and gives all of them. Nobody who holds a slot or a circuit loses it by that.
    /// `None` if it does not relay.
    ///
    /// # Errors
    ///
    /// A value that cannot be; then nothing changes.
    #[cfg(feature = "relay")]
    pub fn set_relay_terms(
        &self,
        terms: &crate::RelayTerms,
    ) -> Option<Result<crate::RelayTerms, crate::TermsError>> {
        let granting = self.0.relay.granting.as_ref()?;
        Some(granting.set(terms).map(|()| granting.terms()))
    }

    /// Subscribes to everything that happens from now on.
    pub fn events(&self) -> Events {
        Events(self.0.events.subscribe())
    }

    #[cfg(feature = "cli")]
    pub(crate) fn stopping(&self) -> tokio_util::sync::CancellationToken {
        self.0.stopping.clone()
    }

    /// The node's counters in the OpenMetrics text format.
    #[cfg(feature = "metrics")]
    pub fn metrics(&self) -> String {
        #[cfg(feature = "relay")]
        if let Some(granting) = &self.0.relay.granting {
            self.0.metrics.relaying.now(&granting.usage());
        }
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
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node")
            .field("peer_id", &self.0.peer_id)
            .finish_non_exhaustive()
    }
}
