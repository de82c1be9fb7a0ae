//! The API for parts: a weak handle with a handful of capabilities.
#![allow(
    dead_code,
    reason = "parts to come use more of it than today's; parts/tests.rs uses all of it"
)]

use std::sync::{Arc, Weak};

use conn_state::{Closing, ConnectionId, Source};
use libp2p_identity::{Keypair, PeerId};
use multiaddr::Multiaddr;

use crate::{
    config::Config,
    connection::{Connection, Stream},
    core::Core,
    dial,
    error::{DialError, OpenError},
    establish,
    event::{Event, PartEvent},
    local::Announcer,
    part::{Change, DialRequest, Existing, Incoming, Origin},
};

/// What a part may do with its node. It keeps no node alive: once the node is gone, every method says so or does nothing.
#[derive(Clone)]
pub(crate) struct Context(Weak<Core>);

impl Context {
    pub(crate) fn new(core: &Arc<Core>) -> Self {
        Self(Arc::downgrade(core))
    }

    fn core(&self) -> Option<Arc<Core>> {
        self.0.upgrade()
    }

    /// This node's id.
    pub(crate) fn peer_id(&self) -> Option<PeerId> {
        Some(self.core()?.peer_id)
    }

    /// This node's key.
    pub(crate) fn keypair(&self) -> Option<Keypair> {
        Some(self.core()?.keypair.clone())
    }

    /// Runs `read` on the node's settings.
    pub(crate) fn config<T>(&self, read: impl FnOnce(&Config) -> T) -> Option<T> {
        Some(read(&self.core()?.config))
    }

    /// Connects to a peer.
    pub(crate) async fn dial(&self, request: DialRequest) -> Result<Connection, DialError> {
        let core = self.core().ok_or(DialError::ShutDown)?;
        dial::dial(&core, request).await
    }

    /// The best connection to `peer`, dialed at `addresses` if there is none.
    pub(crate) async fn connect(
        &self,
        peer: PeerId,
        addresses: Vec<Multiaddr>,
    ) -> Result<Connection, DialError> {
        if let Some(connection) = self.connection(&peer) {
            return Ok(connection);
        }
        let request = DialRequest {
            addresses,
            expected: Some(peer),
            origin: Origin::Part,
            existing: Existing::Use,
        };
        self.dial(request).await
    }

    /// The best connection to `peer`.
    pub(crate) fn connection(&self, peer: &PeerId) -> Option<Connection> {
        self.core()?.connections.best(peer)
    }

    /// An authenticated connection by its id.
    pub(crate) fn connection_by_id(&self, id: ConnectionId) -> Option<Connection> {
        self.core()?.connections.get(id)
    }

    /// Every authenticated connection.
    pub(crate) fn connections(&self) -> Vec<Connection> {
        self.core()
            .map_or_else(Vec::new, |core| core.connections.all())
    }

    /// Opens a stream to `peer` over its best connection.
    pub(crate) async fn open(
        &self,
        peer: PeerId,
        protocols: &[&str],
    ) -> Result<(String, Stream), OpenError> {
        let connection = self
            .connection(&peer)
            .ok_or(OpenError::NotConnected { peer })?;
        connection.open(protocols).await
    }

    /// Closes a connection for `reason`. Unresponsive and silent connections are cut at once, all others deliver what was
    /// finished.
    pub(crate) fn close(&self, id: ConnectionId, reason: Closing) {
        if let Some(core) = self.core() {
            core.connections.close(id, reason);
        }
    }

    /// Takes an inbound connection that a part received, such as a circuit, through the pipeline of all connections. It
    /// returns when the connection has ended.
    pub(crate) async fn establish(&self, incoming: Incoming) {
        if let Some(core) = self.core() {
            establish::inbound(core, incoming).await;
        }
    }

    /// Runs a task that the node waits for at shutdown.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        if let Some(core) = self.core() {
            core.tasks.spawn(task);
        }
    }

    /// Tells the host about an event of the part's own.
    pub(crate) fn emit_part(&self, event: impl PartEvent) {
        self.emit(Event::Part(Arc::new(event)));
    }

    /// Tells the host about an event.
    pub(crate) fn emit(&self, event: Event) {
        if let Some(core) = self.core() {
            core.events.send(event);
        }
    }

    /// Tells every part, and the host where it is meant to know, that something happened.
    pub(crate) fn report(&self, change: Change) {
        if let Some(core) = self.core() {
            core.report(change);
        }
    }

    /// Announces `addresses` (without this node's id) on behalf of `announcer`, in place of those that it announced before.
    pub(crate) fn publish(&self, announcer: Announcer, addresses: Vec<Multiaddr>) {
        if let Some(core) = self.core() {
            core.announce(announcer, addresses);
        }
    }

    /// What this node announces, without its id.
    pub(crate) fn announced(&self) -> Vec<Multiaddr> {
        self.core()
            .map_or_else(Vec::new, |core| core.local.addresses())
    }

    /// The protocols that this node answers to.
    pub(crate) fn protocols(&self) -> Vec<String> {
        let offered = self.core().map(|core| core.router.offered(false));
        offered
            .iter()
            .flat_map(|all| all.iter())
            .map(ToString::to_string)
            .collect()
    }

    /// Switches a protocol of the part's on or off.
    pub(crate) fn enable(&self, protocol: &str, enabled: bool) {
        if let Some(core) = self.core() {
            core.router.enable(protocol, enabled);
        }
    }

    /// Remembers addresses of a peer. An address with another peer's id is passed over.
    pub(crate) fn learn(&self, peer: &PeerId, source: Source, addresses: &[Multiaddr]) {
        if let Some(core) = self.core() {
            core.address_book.learn(peer, source, addresses);
        }
    }

    /// What is known of a peer's addresses, the best first.
    pub(crate) fn addresses(&self, peer: &PeerId) -> Vec<Multiaddr> {
        self.core()
            .map_or_else(Vec::new, |core| core.address_book.addresses(peer))
    }

    /// Whether the dialer dials this address directly. A part with a socket of its own must respect it.
    pub(crate) fn is_direct(&self, address: &Multiaddr) -> bool {
        self.core().is_some_and(|core| (core.is_direct)(address))
    }
}
