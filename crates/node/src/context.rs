//! The API for parts: a weak handle to the node.
#![allow(
    dead_code,
    reason = "the current parts do not use every method; parts/tests.rs does"
)]

use std::{
    net::IpAddr,
    sync::{Arc, Weak},
};

use conn_state::{Closing, ConnectionId, Source};
use libp2p_identity::{Keypair, PeerId};
use multiaddr::Multiaddr;

use crate::{
    config::Config,
    connection::{Connection, Stream},
    connections::{OutsidePermit, Protection},
    core::Core,
    dial,
    dial_budget::DialBudget,
    error::{AttemptCause, DialError, OpenError},
    establish,
    event::{Event, PartEvent},
    local::Announcer,
    part::{self, Change, Circuits, DialRequest, Existing, Incoming, Origin},
};

/// The methods of the node that a part may use. It does not keep the node alive: when the node is gone, every method
/// returns an error, returns nothing or does nothing.
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

    /// Returns the best connection to `peer`. Dials `addresses` if there is no connection.
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
            circuits: Circuits::Allowed,
            until: None,
            budget: DialBudget::default(),
        };
        self.dial(request).await
    }

    /// An unlimited connection to a peer. If there is none, dials the direct addresses among `addresses`. The dial ends at `until`,
    /// if that is given, and takes its connects from `budget`.
    pub(crate) async fn connect_directly(
        &self,
        peer: PeerId,
        addresses: Vec<Multiaddr>,
        until: Option<tokio::time::Instant>,
        budget: DialBudget,
    ) -> Result<Connection, DialError> {
        let request = DialRequest {
            addresses,
            expected: Some(peer),
            origin: Origin::Part,
            existing: Existing::PreferUnlimited,
            circuits: Circuits::Refused,
            until,
            budget,
        };
        self.dial(request).await
    }

    /// The best connection to `peer`.
    pub(crate) fn connection(&self, peer: &PeerId) -> Option<Connection> {
        self.core()?.connections.best(peer)
    }

    /// The best connection to `peer`, unless a relay limits it.
    pub(crate) fn unlimited(&self, peer: &PeerId) -> Option<Connection> {
        let best = self.connection(peer);
        best.filter(|best| !best.is_limited())
    }

    /// Whether `connection` is the best one to its peer.
    pub(crate) fn is_best(&self, connection: &Connection) -> bool {
        let best = self.connection(&connection.peer());
        best.is_some_and(|best| best.id() == connection.id())
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

    /// Closes a connection for `reason`. The close is graceful unless the peer is silent or has violated a protocol.
    pub(crate) fn close(&self, id: ConnectionId, reason: Closing) {
        if let Some(core) = self.core() {
            core.connections.close(id, reason);
        }
    }

    /// Protects the connections of `peer` from being closed for newcomers, until the returned value is dropped.
    pub(crate) fn protect(&self, peer: PeerId) -> Option<Protection> {
        Some(self.core()?.connections.protect(peer))
    }

    /// Whether the connections of `peer` are protected.
    pub(crate) fn is_protected(&self, peer: &PeerId) -> bool {
        self.core()
            .is_some_and(|core| core.connections.is_protected(peer))
    }

    /// Counts a connection on a socket of the part in the limits. `source` is the other end of an inbound connection, and `None`
    /// if the part dials.
    pub(crate) fn permit(
        &self,
        source: Option<part::Source>,
    ) -> Result<OutsidePermit, AttemptCause> {
        let core = self.core().ok_or(AttemptCause::ShutDown)?;
        core.connections.begin_outside(source)
    }

    /// The addresses at which peers reach a socket of the part that is bound to `bound`, if the node may announce them.
    pub(crate) fn reachable_at(&self, bound: &Multiaddr) -> Vec<Multiaddr> {
        self.core()
            .map_or_else(Vec::new, |core| core.local.announceable_at(bound))
    }

    /// Passes an inbound connection that a part received, such as a circuit, to the pipeline of all connections.
    /// Returns when the connection has ended.
    pub(crate) async fn establish(&self, incoming: Incoming) {
        if let Some(core) = self.core() {
            establish::inbound(core, incoming).await;
        }
    }

    /// Starts a task. The shutdown of the node waits for the task.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        if let Some(core) = self.core() {
            core.tasks.spawn(task);
        }
    }

    /// Sends an event of the part to the host.
    pub(crate) fn emit_part(&self, event: impl PartEvent) {
        if let Some(core) = self.core() {
            core.emit(Event::Part(Arc::new(event)));
        }
    }

    /// Reports that an inbound connection from `address` failed.
    pub(crate) fn report_failure(&self, address: Multiaddr, cause: AttemptCause) {
        if let Some(core) = self.core() {
            core.failures.report(address, cause);
        }
    }

    /// Sends a change to all parts, and to the host if the change has a public event.
    pub(crate) fn report(&self, change: Change) {
        if let Some(core) = self.core() {
            core.report(change);
        }
    }

    /// Replaces the addresses that `announcer` announces. They do not contain this node's id.
    pub(crate) fn publish(&self, announcer: Announcer, addresses: Vec<Multiaddr>) {
        if let Some(core) = self.core() {
            core.announce(announcer, addresses);
        }
    }

    /// The addresses that this node announces, without its id. [`crate::address::audience::Reach::is_told`] chooses the ones for
    /// a peer.
    pub(crate) fn announced(&self) -> Vec<Multiaddr> {
        self.core()
            .map_or_else(Vec::new, |core| core.local.addresses())
    }

    /// Reads the addresses of the network interfaces, and reports a change. Returns the addresses that are gone. `None`: the
    /// addresses are the same.
    pub(crate) fn read_interfaces(&self) -> Option<Vec<IpAddr>> {
        self.core()?.read_interfaces()
    }

    /// Moves the sockets of the transports to the changed network, and reports the change.
    pub(crate) fn note_network_change(&self) {
        if let Some(core) = self.core() {
            core.note_network_change();
        }
    }

    /// Whether a network interface has an address other than a loopback address.
    pub(crate) fn has_network(&self) -> bool {
        self.core().is_some_and(|core| core.local.has_network())
    }

    /// The listener whose socket the connection uses, and the local address of the connection.
    pub(crate) fn listener_of(&self, connection: &Connection) -> Option<(u64, Multiaddr)> {
        let local = connection.local()?;
        let listener = self.core()?.local.listener_at(&local)?;
        Some((listener, local))
    }

    /// The protocols that this node accepts.
    pub(crate) fn protocols(&self) -> Vec<String> {
        let offered = self.core().map(|core| core.router.offered(false));
        offered
            .iter()
            .flat_map(|all| all.iter())
            .map(ToString::to_string)
            .collect()
    }

    /// Switches a protocol of the part on or off.
    pub(crate) fn enable(&self, protocol: &str, enabled: bool) {
        if let Some(core) = self.core() {
            core.router.enable(protocol, enabled);
        }
    }

    /// Remembers addresses of a peer. Ignores an address with the id of another peer.
    pub(crate) fn learn(&self, peer: &PeerId, source: Source, addresses: &[Multiaddr]) {
        if let Some(core) = self.core() {
            core.address_book.learn(peer, source, addresses);
        }
    }

    /// The known addresses of a peer, best first.
    pub(crate) fn addresses(&self, peer: &PeerId) -> Vec<Multiaddr> {
        self.core()
            .map_or_else(Vec::new, |core| core.address_book.addresses(peer))
    }

    /// Whether the dialer dials this address directly. A part with its own socket must not use an address that is not
    /// direct.
    pub(crate) fn is_direct(&self, address: &Multiaddr) -> bool {
        self.core().is_some_and(|core| (core.is_direct)(address))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is a test's verdict")]

    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    #[cfg(feature = "quic")]
    use std::{
        io,
        net::{SocketAddr, UdpSocket},
    };

    use super::*;
    use crate::{Keypair, Node, part::Observer};

    /// No task of the node runs during the test, because the test never waits.
    #[tokio::test]
    async fn parts_are_told_once_when_the_interfaces_have_other_addresses() {
        let (count, mut kept) = (Arc::new(AtomicUsize::new(0)), None);
        let counted = Arc::clone(&count);
        let watch = Observer(move |change: &Change| {
            if let Change::Network = change {
                counted.fetch_add(1, Relaxed);
            }
        });
        let built = Node::builder(Keypair::generate_ed25519()).build_with(|context| {
            kept = Some(context.clone());
            vec![Arc::new(watch)]
        });
        let (_node, context) = (built.unwrap(), kept.unwrap());
        assert_eq!(context.read_interfaces(), None);
        assert_eq!(count.load(Relaxed), 0, "nothing has changed");
        let old = "192.0.2.99".parse().unwrap();
        let core = context.core().unwrap();
        core.local.read_interfaces(|| Ok(vec![old])).unwrap();
        assert_eq!(context.read_interfaces(), Some(vec![old]));
        assert_eq!(count.load(Relaxed), 1);
    }

    /// Counts the sockets that are bound again.
    #[cfg(feature = "quic")]
    #[derive(Debug, Default)]
    struct Rebinds {
        count: AtomicUsize,
        inner: transport_quic::Tuned,
    }

    #[cfg(feature = "quic")]
    impl transport_quic::UdpBinder for Rebinds {
        fn bind(&self, address: SocketAddr) -> io::Result<UdpSocket> {
            self.inner.bind(address)
        }

        fn rebind(
            &self,
            address: SocketAddr,
            former: &[Arc<tokio::net::UdpSocket>],
        ) -> io::Result<UdpSocket> {
            self.count.fetch_add(1, Relaxed);
            self.inner.rebind(address, former)
        }
    }

    #[cfg(feature = "quic")]
    #[tokio::test]
    async fn each_quic_socket_is_bound_again_when_the_network_has_changed() {
        let binder = Arc::new(Rebinds::default());
        let builder = Node::builder(Keypair::generate_ed25519()).binder(binder.clone());
        let (node, _, context) = builder.build_with_context().unwrap();
        for _ in 0..2 {
            let address = "/ip4/127.0.0.1/udp/0/quic-v1".parse().unwrap();
            node.listen(address).await.unwrap();
        }
        let before = binder.count.load(Relaxed);
        let old = "192.0.2.99".parse().unwrap();
        let core = context.core().unwrap();
        core.local.read_interfaces(|| Ok(vec![old])).unwrap();
        assert_eq!(context.read_interfaces(), Some(vec![old]));
        assert_eq!(binder.count.load(Relaxed) - before, 2);
        // The routes have changed, and no address.
        context.note_network_change();
        assert_eq!(binder.count.load(Relaxed) - before, 4);
    }
}
