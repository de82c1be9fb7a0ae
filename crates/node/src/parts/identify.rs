//! Identify: requests each peer's identify message, answers such requests, and pushes changes to peers.

#[cfg(all(test, feature = "tcp"))]
mod tests;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use conn_state::{Budget, Closing, ConnectionId, Rate, Source};
use futures::{FutureExt, future::BoxFuture};
use libp2p_identity::PeerId;
use multiaddr::{Multiaddr, Protocol};
use tokio::{
    sync::Notify,
    time::{sleep, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    address::{
        audience::{REACHES, Reach},
        zone,
    },
    connection::Connection,
    context::Context,
    part::{Change, InboundStream, Part, Service},
    protocols::identify::{
        self, Description, IdentifyError, Info, PROTOCOL, PUSH_PROTOCOL, SignedIdentify,
    },
};

/// The pause between a change of this node's description and the push, so that one push carries several changes.
const PUSH_DELAY: Duration = Duration::from_millis(50);
/// The number of open push streams per connection, including those that wait. Further streams are reset.
const PUSHES_SERVED: usize = 4;
/// The number of pushes that the node reads from one peer without a pause. A starting peer registers several protocols.
const PUSH_BURST: u32 = 8;
/// The pause before each further push of the peer.
const PUSH_INTERVAL: Duration = Duration::from_secs(1);
/// The number of pushes that the node reads from all peers without a pause, and the pause before each further push. Each push
/// may reach the host and all parts.
const ALL_PUSHES: (u32, Duration) = (256, Duration::from_millis(20));
/// The number of peers whose budgets of pushes are remembered. Beyond this number, the pushes of further peers wait.
const MAX_PUSHING: usize = 4_096;

/// Receives the descriptions of peers, and sends this node's description.
pub(crate) struct Identify {
    context: Context,
    timeout: Duration,
    description: Mutex<Cached>,
    known: Mutex<BTreeMap<ConnectionId, Known>>,
    /// The pushes that each peer may still send. They do not grow with the peer's connections.
    pushes: Mutex<Budget<PeerId>>,
    /// Connections whose peer has not been asked yet. `run` empties the list.
    newcomers: Mutex<Vec<Connection>>,
    arrived: Notify,
    local_changed: Notify,
}

/// This node's signed description, until the description changes.
#[derive(Default)]
struct Cached {
    /// The number of changes of the description.
    version: u64,
    /// One description of this node for each reach of a peer's address, because the node tells near peers more addresses.
    signed: [Option<Arc<SignedIdentify>>; REACHES],
}

/// The state of one connection.
struct Known {
    /// The version of the description that the peer received last, or refused last.
    told: Option<u64>,
    /// A push to the peer is under way.
    pushing: bool,
}

impl Identify {
    pub(crate) fn new(context: Context, timeout: Duration) -> Self {
        Self {
            context,
            timeout,
            description: Mutex::default(),
            known: Mutex::default(),
            pushes: Mutex::new(Budget::new(
                Rate::new(PUSH_BURST, PUSH_INTERVAL),
                Rate::new(ALL_PUSHES.0, ALL_PUSHES.1),
                MAX_PUSHING,
            )),
            newcomers: Mutex::default(),
            arrived: Notify::new(),
            local_changed: Notify::new(),
        }
    }

    fn newcomers(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.newcomers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<ConnectionId, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn description(&self) -> MutexGuard<'_, Cached> {
        self.description
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Encodes this node's description for the peer of `connection`. `None`: the node is gone.
    fn describe(&self, connection: &Connection) -> Option<Vec<u8>> {
        let audience = connection.audience();
        let (version, cached) = {
            let description = self.description();
            let signed = description.signed[audience as usize].clone();
            (description.version, signed)
        };
        let signed = match cached {
            Some(signed) => signed,
            None => {
                let signed = Arc::new(self.sign(audience)?);
                let mut description = self.description();
                // If the description has changed meanwhile, the next caller signs it again.
                if description.version == version {
                    description.signed[audience as usize] = Some(Arc::clone(&signed));
                }
                signed
            }
        };
        if let Some(known) = self.known().get_mut(&connection.id()) {
            known.told = Some(version);
        }
        Some(signed.encode_for(observed(connection).as_ref()))
    }

    /// Signs the description for peers whose addresses have this reach.
    fn sign(&self, audience: Reach) -> Option<SignedIdentify> {
        let mut listen = self.context.announced();
        listen.retain(|address| audience.is_told(address));
        let keypair = self.context.keypair()?;
        let (agent, protocol_version) = self
            .context
            .config(|config| (config.agent.clone(), config.protocol_version.clone()))?;
        // A zone means nothing to a peer.
        listen.retain(|address| !zone::is_bound_to_machine(address));
        let description = Description {
            keypair: &keypair,
            agent: &agent,
            protocol_version: &protocol_version,
            protocols: self.context.protocols(),
            listen,
        };
        Some(description.sign())
    }

    async fn ask(self: Arc<Self>, connection: Connection) {
        // The connection's end waits until the answer is reported.
        let _describing = connection.describing().await;
        match connection.identify().await {
            Ok(info) => self.note(connection.clone(), info),
            Err(error) => self.note_failure(&connection, &error),
        }
    }

    fn note(&self, connection: Connection, info: Arc<Info>) {
        let source = match info.signed {
            true => Source::SignedRecord,
            false => Source::Identify,
        };
        // A peer elsewhere could otherwise make this node dial programs on its own machine.
        let audience = connection.audience();
        let mut listen = info.listen.clone();
        listen.retain(|address| audience.is_believed(address));
        self.context.learn(&connection.peer(), source, &listen);
        self.context.report(Change::Identified { connection, info });
    }

    fn note_failure(&self, connection: &Connection, error: &IdentifyError) {
        let reason = crate::error::error_chain(error);
        if let IdentifyError::WrongPeer { .. } = error {
            tracing::debug!(
                reason,
                "a connection is closed because its identify message is false"
            );
            self.context.close(connection.id(), Closing::Violation);
        } else {
            tracing::debug!(peer = %connection.peer(), reason, "a peer sent no usable identify message");
        }
    }

    async fn answer(self: Arc<Self>, inbound: InboundStream) {
        let Some(frames) = self.describe(&inbound.connection) else {
            return;
        };
        let answered = timeout(self.timeout, identify::write(inbound.stream, &frames)).await;
        if let Ok(Err(error)) = answered {
            tracing::debug!(peer = %inbound.connection.peer(), %error, "an identify request could not be answered");
        }
    }

    async fn receive_push(self: Arc<Self>, inbound: InboundStream) {
        let InboundStream {
            connection, stream, ..
        } = inbound;
        let peer = connection.peer();
        while !self.may_push(peer) {
            tokio::select! {
                () = sleep(PUSH_INTERVAL) => {}
                _ = connection.closed() => return,
            }
        }
        let read = identify::read(stream, peer, connection.signatures());
        let read = timeout(self.timeout, read).await;
        let after = self.timeout;
        let update = match read.unwrap_or(Err(IdentifyError::TimedOut { after })) {
            Ok(update) => update,
            Err(error) => return self.note_failure(&connection, &error),
        };
        let info = Arc::new(match connection.identified() {
            Some(known) => known.updated_with(update),
            None => update,
        });
        if connection.set_identified(Arc::clone(&info)) {
            self.note(connection, info);
        }
    }

    fn may_push(&self, peer: PeerId) -> bool {
        let mut pushes = self.pushes.lock().unwrap_or_else(PoisonError::into_inner);
        pushes.take(Instant::now(), peer).is_ok()
    }

    /// Pushes the description to every connected peer that accepts pushes and has an older version. Each push is a task of its
    /// own, so that a peer that stalls delays no other. A connection has one push at a time, so that an older description never
    /// arrives last. Returns whether there was anything to push.
    fn push_to_all(self: &Arc<Self>) -> bool {
        let version = self.description().version;
        let is_behind = |connection: &Connection| {
            let known = self.known();
            let known = known.get(&connection.id());
            known.is_some_and(|known| !known.pushing && known.told != Some(version))
        };
        let takes_pushes = |connection: &Connection| {
            let info = connection.identified();
            info.is_some_and(|info| info.supports(PUSH_PROTOCOL))
        };
        let connections = self.context.connections().into_iter();
        let mut pushed = false;
        for connection in connections.filter(is_behind).filter(takes_pushes) {
            pushed = true;
            if let Some(known) = self.known().get_mut(&connection.id()) {
                // A push that fails is not repeated before something changes.
                (known.pushing, known.told) = (true, Some(version));
            }
            self.context.spawn(Arc::clone(self).push(connection));
        }
        pushed
    }

    async fn push(self: Arc<Self>, connection: Connection) {
        let pushed = async {
            let opened = connection.open_limited(&[PUSH_PROTOCOL]).await;
            let (_, stream) = opened.map_err(|error| crate::error::error_chain(&error))?;
            // What has changed while the peer agreed is told, too.
            let Some(frames) = self.describe(&connection) else {
                return Ok(());
            };
            let written = identify::write(stream, &frames).await;
            written.map_err(|error| error.to_string())
        };
        if let Ok(Err(reason)) = timeout(self.timeout, pushed).await {
            tracing::debug!(peer = %connection.peer(), reason, "an identify push failed");
        }
        let version = self.description().version;
        if let Some(known) = self.known().get_mut(&connection.id()) {
            known.pushing = false;
            if known.told != Some(version) {
                self.local_changed.notify_one();
            }
        }
    }
}

/// The address at which this node sees the peer, as it is told to the peer. An address that the node does not tell to a peer in
/// the audience is left out, because the peer may not know it: the relay's address in this node's network, or the peer's address
/// in the network of a proxy.
fn observed(connection: &Connection) -> Option<Multiaddr> {
    let address = connection.address();
    // The zone is the name of an interface of this machine.
    let mut observed: Multiaddr = zone::skip(address).collect();
    if !connection.audience().is_told(&observed) {
        let is_relay = |part: &Protocol<'_>| !matches!(part, Protocol::P2p(_));
        observed = address.iter().skip_while(is_relay).collect();
    }
    (!observed.is_empty()).then_some(observed)
}

impl Part for Identify {
    fn name(&self) -> &'static str {
        "identify"
    }

    fn services(self: Arc<Self>) -> Vec<Service> {
        let answering = Arc::clone(&self);
        vec![
            Service {
                protocols: vec![PROTOCOL.into()],
                limited: true,
                per_connection: None,
                keeps_open: false,
                enabled: true,
                serve: Arc::new(move |inbound| Arc::clone(&answering).answer(inbound).boxed()),
            },
            Service {
                protocols: vec![PUSH_PROTOCOL.into()],
                limited: true,
                per_connection: Some(PUSHES_SERVED),
                keeps_open: false,
                enabled: true,
                serve: Arc::new(move |inbound| Arc::clone(&self).receive_push(inbound).boxed()),
            },
        ]
    }

    fn handle(&self, _: Instant, change: &Change) {
        match change {
            Change::Connected { connection } => {
                let known = Known {
                    told: None,
                    pushing: false,
                };
                self.known().insert(connection.id(), known);
                self.newcomers().push(connection.clone());
                self.arrived.notify_one();
            }
            Change::Disconnected { connection, .. } => {
                self.known().remove(&connection.id());
            }
            Change::Local => {
                let mut description = self.description();
                description.version += 1;
                description.signed = Default::default();
                drop(description);
                self.local_changed.notify_one();
            }
            // The peer may have asked before the last change, when this node did not know whether the peer accepts pushes.
            Change::Identified { .. } => self.local_changed.notify_one(),
            _ => {}
        }
    }

    fn run(self: Arc<Self>, stop: CancellationToken) -> BoxFuture<'static, ()> {
        async move {
            let pushing = async {
                let rate = Rate::new(PUSH_BURST, PUSH_INTERVAL);
                let mut pace = Budget::new(rate, rate, 1);
                loop {
                    self.local_changed.notified().await;
                    sleep(PUSH_DELAY).await;
                    if self.push_to_all() {
                        // A relay can cause many changes. This pause limits the pace at which peers receive them.
                        while let Err(at) = pace.take(tokio::time::Instant::now().into_std(), ()) {
                            sleep_until(at.into()).await;
                        }
                    }
                }
            };
            let asking = async {
                loop {
                    self.arrived.notified().await;
                    for connection in std::mem::take(&mut *self.newcomers()) {
                        self.context.spawn(Arc::clone(&self).ask(connection));
                    }
                }
            };
            tokio::select! {
                () = pushing => {}
                () = asking => {}
                () = stop.cancelled() => {}
            }
        }
        .boxed()
    }
}
