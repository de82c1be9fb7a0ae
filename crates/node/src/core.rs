//! The shared state of a running node: connections, router, addresses, tasks and events. No feature appears here.

use std::{
    net::IpAddr,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use conn_state::SharedTracker;
use libp2p_identity::{Keypair, PeerId};
use multiaddr::{Multiaddr, Protocol};
use tokio::{sync::Semaphore, task::JoinHandle};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    address::Kind,
    address_book::AddressBook,
    config::Config,
    connection::Timeouts,
    connections::Connections,
    event::{Event, EventSender},
    failures::Failures,
    interfaces,
    local::{Announcer, Changed, InterfaceChange, Local},
    part::{Change, Connector, Part, Transport},
    router::Router,
};

/// A running node.
pub(crate) struct Core {
    pub(crate) keypair: Keypair,
    pub(crate) peer_id: PeerId,
    pub(crate) config: Config,
    pub(crate) timeouts: Arc<Timeouts>,
    pub(crate) connections: Arc<Connections>,
    pub(crate) failures: Arc<Failures>,
    pub(crate) router: Arc<Router>,
    pub(crate) local: Local,
    pub(crate) address_book: AddressBook,
    pub(crate) events: EventSender,
    pub(crate) tasks: TaskTracker,
    /// Fires at shutdown. From then on, no dial, listener or handler begins.
    pub(crate) stopping: CancellationToken,
    /// Fires when the tasks of the parts begin: when the node is built, or with [`crate::Node::begin`].
    pub(crate) begun: CancellationToken,
    /// Limits the number of attempts of all dials together.
    pub(crate) dials: Semaphore,
    pub(crate) is_direct: IsDirect,
    transports: Vec<Arc<dyn Transport>>,
    assembly: OnceLock<Assembly>,
    listeners: AtomicU64,
    running: Mutex<Vec<RunningPart>>,
}

/// Whether the dialer dials an address directly.
pub(crate) type IsDirect = Box<dyn Fn(&Multiaddr) -> bool + Send + Sync>;

/// The parts and connectors. They are set after the core is constructed, because parts need the core.
struct Assembly {
    parts: Vec<Arc<dyn Part>>,
    connectors: Vec<Arc<dyn Connector>>,
}

/// A part's task.
pub(crate) struct RunningPart {
    pub(crate) name: &'static str,
    pub(crate) task: JoinHandle<()>,
}

impl Core {
    pub(crate) fn new(
        keypair: Keypair,
        config: Config,
        transports: Vec<Arc<dyn Transport>>,
        is_direct: IsDirect,
    ) -> Arc<Self> {
        let peer_id = keypair.public().to_peer_id();
        let policy = config.state.clone();
        let bounds = config
            .history
            .with_max_per_peer(Some(config.limits.max_per_peer));
        let tracker = SharedTracker::new(Instant::now(), peer_id, policy, bounds);
        let connections = Connections::new(tracker, config.limits.clone());
        let core = Arc::new(Self {
            keypair,
            peer_id,
            timeouts: Arc::new(Timeouts {
                negotiation: config.negotiation_timeout,
                ping: config.ping.timeout,
                signatures: Default::default(),
            }),
            router: Router::new(Arc::clone(&connections)),
            failures: Failures::new(Arc::clone(&connections)),
            connections,
            local: Local::new(config.announce.clone()),
            address_book: AddressBook::new(config.address_book),
            events: EventSender::new(config.event_capacity),
            tasks: TaskTracker::new(),
            stopping: CancellationToken::new(),
            begun: CancellationToken::new(),
            dials: Semaphore::new(config.dials.max(1)),
            is_direct,
            transports,
            assembly: OnceLock::new(),
            listeners: AtomicU64::new(0),
            running: Mutex::default(),
            config,
        });
        // Reports only the changes from now on.
        if let Err(error) = core.local.read_interfaces(interfaces::list) {
            tracing::debug!(%error, "the network interfaces cannot be read");
        }
        let weak = Arc::downgrade(&core);
        core.connections.observe(Box::new(move |change, position| {
            if let Some(core) = weak.upgrade() {
                core.deliver(change, position);
            }
        }));
        core
    }

    /// Adds the parts. Their tasks wait for [`Self::begun`]. The builder calls this method once, before anything else happens.
    pub(crate) fn assemble(self: &Arc<Self>, parts: Vec<Arc<dyn Part>>) {
        let mut connectors: Vec<Arc<dyn Connector>> = Vec::new();
        let mut services = Vec::new();
        for part in &parts {
            services.extend(Arc::clone(part).services());
            connectors.extend(Arc::clone(part).connector());
        }
        for transport in &self.transports {
            connectors.push(Arc::clone(transport) as Arc<dyn Connector>);
        }
        self.router.add_services(services);
        let assembly = Assembly {
            parts: parts.clone(),
            connectors,
        };
        if self.assembly.set(assembly).is_err() {
            return;
        }
        // The parts do not run yet, so no other change can come before this one.
        if let Some(configured) = self.local.configured() {
            self.tell(configured);
        }
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        for part in parts {
            let name = part.name();
            let (begun, stop) = (self.begun.clone(), self.stopping.child_token());
            // The task is not one of `tasks`, because the log must name a part that panics or is late.
            let task = tokio::spawn(async move {
                stop.run_until_cancelled(begun.cancelled()).await;
                part.run(stop).await;
            });
            running.push(RunningPart { name, task });
        }
    }

    pub(crate) fn parts(&self) -> &[Arc<dyn Part>] {
        self.assembly.get().map_or(&[], |assembly| &assembly.parts)
    }

    pub(crate) fn transports(&self) -> &[Arc<dyn Transport>] {
        &self.transports
    }

    /// The connector for addresses of this kind.
    pub(crate) fn connector(&self, kind: Kind) -> Option<&Arc<dyn Connector>> {
        let connectors = &self.assembly.get()?.connectors;
        connectors.iter().find(|connector| connector.handles(kind))
    }

    /// The parts' tasks. The caller waits for their end.
    pub(crate) fn take_running(&self) -> Vec<RunningPart> {
        std::mem::take(&mut *self.running.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A number that no other listener has.
    pub(crate) fn next_listener(&self) -> Announcer {
        Announcer::Listener(self.listeners.fetch_add(1, Ordering::Relaxed))
    }

    /// Replaces the addresses that `announcer` announces. They do not contain this node's id.
    pub(crate) fn announce(&self, announcer: Announcer, addresses: Vec<Multiaddr>) {
        if let Some(changed) = self.local.announce(announcer, addresses) {
            self.tell(changed);
        }
    }

    /// Reads the addresses of the interfaces. Returns the addresses that are gone. `None`: the addresses are the same.
    pub(crate) fn read_interfaces(&self) -> Option<Vec<IpAddr>> {
        let change = match self.local.read_interfaces(interfaces::list) {
            Ok(Some(change)) => change,
            Ok(None) => return None,
            Err(error) => {
                // The next change or the next bind reads the addresses again.
                tracing::debug!(%error, "the network interfaces cannot be read");
                return None;
            }
        };
        let InterfaceChange { gone, announced } = change;
        if let Some(changed) = announced {
            self.tell(changed);
        }
        self.note_network_change();
        Some(gone)
    }

    /// Moves the sockets of the transports to the changed network, and reports the change.
    pub(crate) fn note_network_change(&self) {
        self.transports
            .iter()
            .for_each(|transport| transport.follow_network());
        self.report(Change::Network);
    }

    /// Reports a change of the announced addresses to the host and to all parts.
    fn tell(&self, changed: Changed) {
        let named = |addresses: Vec<Multiaddr>| -> Arc<[Multiaddr]> {
            let id = Protocol::P2p(self.peer_id);
            let named = addresses
                .into_iter()
                .map(|address| address.with(id.clone()));
            named.collect()
        };
        let added = named(changed.added);
        for address in added.iter().cloned() {
            self.emit(Event::Listening { address });
        }
        self.emit(Event::Addresses {
            addresses: named(changed.now),
            added,
            removed: named(changed.removed),
        });
        self.report(Change::Local);
    }

    /// Sends a change to all parts, and to the host if the change has a public event.
    pub(crate) fn report(&self, change: Change) {
        self.connections.report(change);
    }

    /// Sends an event to the host, after the events that were sent or caused before.
    pub(crate) fn emit(&self, event: Event) {
        self.report(Change::Public(event));
    }

    fn deliver(&self, change: &Change, position: u64) {
        let now = Instant::now();
        for part in self.parts() {
            part.handle(now, change);
        }
        if let Some(event) = public(change) {
            self.events.send(position, event);
        }
    }
}

/// The public event of a change. `None`: the host does not learn of the change.
fn public(change: &Change) -> Option<Event> {
    Some(match change {
        Change::Connected { connection } => Event::Connected {
            peer: connection.peer(),
            connection: connection.id(),
            address: connection.address().clone(),
            direction: connection.direction(),
            via: connection.via(),
        },
        Change::Disconnected {
            connection,
            closing,
            detail,
            remaining,
        } => Event::Disconnected {
            peer: connection.peer(),
            connection: connection.id(),
            reason: *closing,
            detail: detail.clone(),
            remaining: *remaining,
        },
        Change::Identified { connection, info } => Event::Identified {
            peer: connection.peer(),
            connection: connection.id(),
            info: Arc::clone(info),
        },
        Change::Pong { connection, rtt } => Event::Pong {
            peer: connection.peer(),
            connection: connection.id(),
            rtt: *rtt,
        },
        Change::InboundFailed {
            address,
            cause,
            count,
            subnet,
        } => Event::InboundFailed {
            address: address.clone(),
            cause: Arc::clone(cause),
            count: *count,
            subnet: *subnet,
        },
        Change::Public(event) => event.clone(),
        Change::Draining { .. }
        | Change::Resumed { .. }
        | Change::Attempted { .. }
        | Change::Network
        | Change::Woke
        | Change::Wanted { .. }
        | Change::Offered { .. }
        | Change::Quiet { .. }
        | Change::Heard { .. }
        | Change::Local => return None,
    })
}

impl Drop for Core {
    fn drop(&mut self) {
        // Parts and the supervisor hold no core while they wait, so they end now.
        self.stopping.cancel();
    }
}
