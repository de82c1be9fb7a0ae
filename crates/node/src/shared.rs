//! What the parts of a running node share.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockWriteGuard},
    time::Instant,
};

use conn_state::{Closing, ConnectionId, Direction, Limits, SharedTracker};
use libp2p_identity::{Keypair, PeerId};
use multiaddr::Multiaddr;
use tokio::sync::{Semaphore, broadcast, mpsc};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    AttemptCause, Config, Connection, Event, IncomingStream, Stream,
    connection::{Admitted, Muxed, Timeouts},
    negotiate::Offered,
    node::StreamPlace,
    path::Path,
    protocols::{identify, ping},
    registry::Registry,
    session,
    transports::Transports,
};

pub(crate) struct Shared {
    pub(crate) keypair: Keypair,
    pub(crate) peer_id: PeerId,
    pub(crate) config: Config,
    pub(crate) transports: Transports,
    pub(crate) tasks: TaskTracker,
    pub(crate) stopping: CancellationToken,
    pub(crate) dials: Semaphore,
    limits: Mutex<Limits<ConnectionId, PeerId>>,
    pub(crate) tracker: SharedTracker<PeerId>,
    /// How handshakes are ended from outside.
    handshakes: Mutex<BTreeMap<ConnectionId, CancellationToken>>,
    registry: Mutex<Registry>,
    pub(crate) handlers: RwLock<BTreeMap<Arc<str>, Handler>>,
    listening: RwLock<Vec<Multiaddr>>,
    /// What identify says, as long as nothing of it has changed.
    said: Mutex<Option<Arc<identify::Said>>>,
    pub(crate) events: broadcast::Sender<Event>,
    #[cfg(feature = "relay")]
    pub(crate) relay: crate::relay::Relay,
    #[cfg(feature = "metrics")]
    pub(crate) metrics: crate::metrics::Metrics,
}

/// Where streams of a protocol of the host's go.
pub(crate) struct Handler {
    pub(crate) sender: mpsc::Sender<IncomingStream>,
    /// Also those of connections that a relay limits.
    pub(crate) limited: bool,
}

impl Shared {
    pub(crate) fn new(keypair: Keypair, config: Config, transports: Transports) -> Self {
        let (events, _) = broadcast::channel(config.event_capacity.max(1));
        #[cfg(feature = "metrics")]
        let metrics = crate::metrics::Metrics::new();
        #[cfg(all(feature = "metrics", feature = "tcp"))]
        let metrics = metrics.with_dialer(Arc::clone(&transports.tcp.dialer));
        let peer_id = keypair.public().to_peer_id();
        let policy = config.state.clone();
        #[cfg(feature = "relay")]
        let relay = crate::relay::Relay::new(&keypair, &config.relay);
        Self {
            peer_id,
            tracker: SharedTracker::new(Instant::now(), peer_id, policy, config.history),
            handshakes: Mutex::default(),
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
            #[cfg(feature = "relay")]
            relay,
            #[cfg(feature = "metrics")]
            metrics,
        }
    }

    pub(crate) fn emit(&self, event: Event) {
        #[cfg(feature = "metrics")]
        self.metrics.record(&event);
        // Nobody listening is not an error.
        let _ = self.events.send(event);
    }

    pub(crate) fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn limits(&self) -> MutexGuard<'_, Limits<ConnectionId, PeerId>> {
        self.limits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn listening(&self) -> Vec<Multiaddr> {
        let listening = self.listening.read();
        listening.unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn write_listening(&self) -> RwLockWriteGuard<'_, Vec<Multiaddr>> {
        self.listening
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn handshakes(&self) -> MutexGuard<'_, BTreeMap<ConnectionId, CancellationToken>> {
        self.handshakes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a connection from someone at `address` whose handshake now begins.
    pub(crate) fn admit(
        self: &Arc<Self>,
        address: std::net::IpAddr,
    ) -> Result<Place, AttemptCause> {
        let now = Instant::now();
        let mut place = self.begin(self.tracker.handle_inbound(now)?);
        let admitted = self.limits().handle_inbound(now, place.id, address);
        if let Err(refused) = admitted {
            place.end = (Closing::Refused, Some(refused.to_string()));
            return Err(refused.into());
        }
        Ok(place)
    }

    /// The same for one that comes over a circuit: the relay's address says nothing of who it is.
    #[cfg(feature = "relay")]
    pub(crate) fn admit_relayed(self: &Arc<Self>) -> Result<Place, AttemptCause> {
        let id = self.tracker.handle_inbound(Instant::now())?;
        Ok(self.begin(id))
    }

    /// A place for a connection that we dial: it counts once its peer is known.
    pub(crate) fn place(self: &Arc<Self>, peer: Option<PeerId>) -> Result<Place, AttemptCause> {
        let id = self.tracker.handle_dialing(Instant::now(), peer.as_ref())?;
        Ok(self.begin(id))
    }

    fn begin(self: &Arc<Self>, id: ConnectionId) -> Place {
        let cancelled = CancellationToken::new();
        self.handshakes().insert(id, cancelled.clone());
        Place {
            id,
            node: Arc::clone(self),
            cancelled,
            end: (Closing::Local, None),
        }
    }

    /// Takes in a connection whose handshake is done. The caller runs the session that comes of it.
    pub(crate) fn adopt(
        self: &Arc<Self>,
        mut place: Place,
        muxed: Muxed,
        address: Multiaddr,
        (path, direction): (Path, Direction),
    ) -> Result<Session, AttemptCause> {
        let timeouts = Timeouts {
            negotiation: self.config.negotiation_timeout,
            ping: self.config.ping_timeout,
        };
        let tracker = self.tracker.clone();
        let route = path.route();
        let way = (path, direction);
        let connection = Connection::new(place.id, muxed, address, way, &timeouts, tracker);
        let peer = connection.peer();
        let admitted = self.limits().handle_authenticated(place.id, peer);
        if let Err(refused) = admitted {
            connection.abort("too many connections");
            place.end = (Closing::Refused, Some(refused.to_string()));
            return Err(refused.into());
        }
        self.handshakes().remove(&place.id);
        {
            let mut registry = self.registry();
            registry.insert(connection.clone());
            self.emit(Event::Connected {
                connection: connection.clone(),
            });
        }
        let session = Session {
            node: Arc::clone(self),
            connection: connection.clone(),
            place,
        };
        // It is in the registry by now: what the tracker wants done with it can be done.
        let (now, id) = (Instant::now(), connection.id());
        let tracked = self.tracker.handle_authenticated(now, id, &peer, route);
        if let Err(error) = tracked {
            tracing::error!(%error, "a connection is not tracked");
        }
        #[cfg(feature = "relay")]
        self.relay.handle_connected(now, &connection);
        if self.stopping.is_cancelled() {
            connection.abort("the node is shutting down");
        }
        Ok(session)
    }

    fn forget(&self, connection: Connection, reason: String) {
        // The lock is held while the event goes out, so that a peer's events come in the order of its changes.
        let mut registry = self.registry();
        let remaining = registry.remove(connection.peer(), connection.id());
        #[cfg(feature = "relay")]
        self.relay
            .handle_disconnected(Instant::now(), &connection, remaining);
        self.emit(Event::Disconnected {
            connection,
            reason,
            remaining,
        });
    }

    /// What is answered to on a connection that a relay limits.
    pub(crate) fn offered_limited(&self) -> Offered {
        let handlers = self.handlers.read().unwrap_or_else(PoisonError::into_inner);
        let own = [ping::PROTOCOL, identify::PROTOCOL, identify::PUSH_PROTOCOL];
        let handled = handlers.iter().filter(|(_, handler)| handler.limited);
        let handled = handled.map(|(protocol, _)| Arc::clone(protocol));
        own.into_iter().map(Arc::from).chain(handled).collect()
    }

    /// Everything this node answers to.
    pub(crate) fn offered(&self) -> Offered {
        let handlers = self.handlers.read().unwrap_or_else(PoisonError::into_inner);
        let own = [ping::PROTOCOL, identify::PROTOCOL, identify::PUSH_PROTOCOL];
        let own = own.into_iter();
        #[cfg(feature = "relay")]
        let own = own.chain(self.relay.protocols());
        own.map(Arc::from).chain(handlers.keys().cloned()).collect()
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

    pub(crate) fn forget_said(&self) {
        *self.said.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// What is said of this node has changed: connected peers that speak identify push are told.
    pub(crate) fn push_identify(self: &Arc<Self>) {
        self.forget_said();
        for connection in self.registry().all() {
            let speaks = |info: Arc<identify::Info>| {
                info.protocols.iter().any(|p| p == identify::PUSH_PROTOCOL)
            };
            if !connection.identified().is_some_and(speaks) {
                continue;
            }
            let node = Arc::clone(self);
            self.tasks.spawn(async move {
                let ours = node.identify_for(&connection);
                let timeout = node.config.negotiation_timeout;
                if let Err(error) = identify::push(&connection, ours, timeout).await {
                    tracing::debug!(peer = %connection.peer(), %error, "identify push failed");
                }
            });
        }
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
        let Some(Handler { sender, .. }) = handlers.get(protocol) else {
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

    pub(crate) async fn run(mut self) {
        session::run(Arc::clone(&self.node), self.connection.clone()).await;
        let reason = self.connection.closed().await;
        let closing = self.connection.closed_how().await;
        self.place.end = (closing, Some(reason.clone()));
        drop(self.place);
        self.node.forget(self.connection, reason);
    }
}

/// A connection's place in the limits and in the tracker, from its first packet to its end; dropping it gives the place
/// back.
pub(crate) struct Place {
    pub(crate) id: ConnectionId,
    node: Arc<Shared>,
    cancelled: CancellationToken,
    /// Why it ends, when it does.
    end: (Closing, Option<String>),
}

impl Place {
    /// Runs a handshake, until it is over or the tracker has it ended.
    pub(crate) async fn run<T>(
        &mut self,
        handshake: impl Future<Output = Result<T, AttemptCause>>,
    ) -> Result<T, AttemptCause> {
        let begun = Instant::now();
        let outcome = tokio::select! {
            outcome = handshake => outcome,
            () = self.cancelled.cancelled() => {
                self.end.0 = Closing::TooLongTransient;
                return Err(AttemptCause::TimedOut { after: begun.elapsed() });
            }
        };
        outcome.inspect_err(|cause| self.end = (Closing::Handshake, Some(cause.to_string())))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.node.handshakes().remove(&self.id);
        self.node.limits().handle_closed(self.id);
        let (closing, detail) = std::mem::replace(&mut self.end, (Closing::Local, None));
        let now = Instant::now();
        let tracker = &self.node.tracker;
        let closed = tracker.handle_closed(now, self.id, closing, detail.map(Into::into));
        if let Err(error) = closed {
            tracing::error!(%error, "a connection was not tracked");
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // The supervisor holds no node.
        self.stopping.cancel();
    }
}
