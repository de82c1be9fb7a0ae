//! The part that joins the network and rejoins it: it runs the driver of `bootstrap`.
//!
//! `bootstrap` chooses the peers to dial and the time of each dial. This file reports connections to it, carries out the dials,
//! and saves the peers whose connections have lasted.

mod announced;
mod dials;
mod event;
mod figures;
mod listing;
mod sources;
#[cfg(all(test, feature = "tcp"))]
mod tests;
mod told;

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use bootstrap::{
    Driver, DriverEvent, Handle, PeerSource, Purpose, RejoinEvent, SourceError, State, Store,
    sources::TxtLookup,
};
use conn_state::{Closing, Direction};
use futures::{FutureExt, future::BoxFuture};
use libp2p_identity::PeerId;
use multiaddr::Multiaddr;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::dials::Dials;
pub use self::{
    event::{BootstrapFailed, NetworkEvent},
    listing::NodeCandidate,
};
use crate::{
    config::BootstrapConfig,
    connection::Connection,
    context::Context,
    error::error_chain,
    part::{Change, Figure, Part, Query},
};

/// The time in which the store writes its last reports at shutdown. The rest of the goodbye's second is in reserve.
const LAST_REPORTS: Duration = Duration::from_millis(800);

/// The part. It exists in every node with the feature, because it also tells the node's state to the host.
pub(crate) struct Rejoin {
    context: Context,
    handle: Handle<PeerId, Multiaddr>,
    /// The driver and the store, which the part's task takes.
    engine: Mutex<Option<Engine>>,
    /// Whether the addresses that peers announce are candidates.
    redials: bool,
    /// The announced addresses, for the source that searches the LAN.
    local: watch::Sender<Vec<Multiaddr>>,
    counters: Arc<Counters>,
}

struct Engine {
    driver: Driver<PeerId, Multiaddr>,
    store: Option<Store>,
}

#[derive(Debug, Default)]
struct Counters {
    dials: AtomicU64,
    failures: AtomicU64,
}

impl Rejoin {
    /// `look_up` answers the questions for `/dnsaddr` names. `further` are the sources of the host.
    pub(crate) fn new(
        context: Context,
        local: PeerId,
        config: &BootstrapConfig,
        dial_timeout: Duration,
        look_up: TxtLookup,
        further: Vec<Box<dyn PeerSource<PeerId, Multiaddr>>>,
    ) -> Self {
        let redials = config
            .redial
            .unwrap_or(config.has_source() || !further.is_empty());
        let direct = sources::dials_all_directly(&context);
        let figures = config.figures((!direct).then_some(dial_timeout));
        let addresses = watch::Sender::new(context.announced());
        let host = sources::Host {
            context: &context,
            local,
            direct,
            look_up,
            addresses: addresses.subscribe(),
        };
        let (mut all, store) = sources::configured(host, config);
        all.extend(further);
        let core = bootstrap::Rejoin::new(Some(local), rand::random(), figures);
        let (driver, handle) = Driver::new(core, all);
        Self {
            context,
            handle,
            engine: Mutex::new(Some(Engine { driver, store })),
            redials,
            local: addresses,
            counters: Arc::default(),
        }
    }

    fn note_connected(&self, connection: &Connection) {
        let peer = connection.peer();
        let outbound = connection.direction() == Direction::Outbound;
        // Without an address, the core remembers no candidate.
        let address = (outbound && self.redials).then(|| connection.address().clone());
        self.handle
            .with(|core, now| core.handle_connected(now, &peer, address));
    }

    fn note_disconnected(&self, connection: &Connection, closing: Closing, remaining: usize) {
        let peer = connection.peer();
        if remaining > 0 && self.context.unlimited(&peer).is_some() {
            return;
        }
        self.handle.with(|core, now| {
            if is_own_choice(closing) {
                core.handle_dismissed(now, &peer);
            }
            core.handle_disconnected(now, &peer);
        });
    }

    /// Notes the addresses that a peer announces, so that the core can dial the peer there after a loss.
    fn note_announced(&self, connection: &Connection, listen: &[Multiaddr]) {
        let relay = |relay: &PeerId| Some(self.context.connection(relay)?.address().clone());
        for candidate in announced::candidates(connection, listen, relay) {
            self.handle
                .with(|core, now| core.handle_candidate(now, candidate));
        }
    }

    async fn work(&self, engine: &mut Engine, stop: &CancellationToken) {
        let Engine { driver, store } = engine;
        let mut dials = Dials::new(&self.context, &self.handle, &self.counters);
        loop {
            tokio::select! {
                event = driver.next() => match event {
                    DriverEvent::Rejoin(event) => self.carry_out(event, &mut dials, store.as_ref()),
                    DriverEvent::Problem(problem) => self.tell(&problem),
                    DriverEvent::Resumed(asleep) => {
                        tracing::info!(?asleep, "this machine or this process was asleep");
                        self.context.report(Change::Woke);
                    }
                    _ => {}
                },
                () = dials.ended() => {}
                () = stop.cancelled() => return,
            }
        }
    }

    fn carry_out(
        &self,
        event: RejoinEvent<PeerId, Multiaddr>,
        dials: &mut Dials<'_>,
        store: Option<&Store>,
    ) {
        match event {
            RejoinEvent::Dial {
                attempt,
                peer,
                addresses,
                origin,
                until,
                ..
            } => {
                self.counters.dials.fetch_add(1, Relaxed);
                dials.start(attempt, peer, addresses, origin, until.into());
            }
            RejoinEvent::Abandon { attempt } => dials.abandon(attempt),
            RejoinEvent::State { from, to } => {
                let reason = self.handle.status().reason.to_string();
                self.context.emit_part(NetworkEvent { from, to, reason });
            }
            RejoinEvent::Offered {
                purpose: Purpose(purpose),
                peer,
                addresses,
                ..
            } => {
                self.context.report(Change::Offered {
                    purpose,
                    peer,
                    addresses,
                });
            }
            event => save(store, event),
        }
    }

    /// Reports a problem of a source. A `/dnsaddr` name without peers is reported like a bootstrap address that does not answer.
    fn tell(&self, problem: &SourceError) {
        let error = error_chain(problem);
        match problem {
            SourceError::Resolve { .. } | SourceError::Empty { .. } => {
                let what = "bootstrap list";
                self.context.emit_part(BootstrapFailed { what, error });
            }
            _ => tracing::warn!("{error}"),
        }
    }

    /// Saves the durations of the connections that are open at the end, and closes the store.
    async fn finish(&self, engine: Engine) {
        let Engine { driver, store } = engine;
        drop(driver);
        let Some(store) = store else { return };
        let events = self.handle.with(|core, now| {
            let connected: Vec<PeerId> = core.connected().copied().collect();
            connected
                .iter()
                .for_each(|peer| core.handle_disconnected(now, peer));
            std::iter::from_fn(|| core.poll_event()).collect::<Vec<_>>()
        });
        events
            .into_iter()
            .for_each(|event| save(Some(&store), event));
        if !store.close(LAST_REPORTS).await {
            tracing::warn!("the disk was too slow to save all peers before the end");
        }
    }
}

/// Saves a peer with the addresses at which it can be dialed: the address at which this node has reached the peer, and the
/// addresses that the peer has announced.
fn save(store: Option<&Store>, event: RejoinEvent<PeerId, Multiaddr>) {
    let Some(store) = store else { return };
    match event {
        RejoinEvent::Lasted {
            peer,
            stayed,
            address,
            addresses,
            ..
        } => store.save(peer, address.into_iter().chain(addresses).collect(), stayed),
        RejoinEvent::Lost { peer, stayed, .. } => store.save(peer, Vec::new(), stayed),
        _ => {}
    }
}

/// Whether the node closed the connection for a reason that a new dial would ignore.
fn is_own_choice(closing: Closing) -> bool {
    matches!(
        closing,
        Closing::Local | Closing::Trimmed | Closing::Refused | Closing::Violation
    )
}

impl Part for Rejoin {
    fn name(&self) -> &'static str {
        "rejoin"
    }

    fn handle(&self, _: Instant, change: &Change) {
        match change {
            Change::Connected { connection } if !connection.is_limited() => {
                self.note_connected(connection);
            }
            Change::Disconnected {
                connection,
                closing,
                remaining,
                ..
            } => self.note_disconnected(connection, *closing, *remaining),
            Change::Identified { connection, info } if self.redials => {
                self.note_announced(connection, &info.listen);
            }
            Change::Quiet { connection } => {
                if self.context.is_best(connection) {
                    let peer = connection.peer();
                    self.handle.with(|core, now| core.handle_quiet(now, &peer));
                }
            }
            Change::Heard { connection } => {
                let peer = connection.peer();
                self.handle.with(|core, now| core.handle_heard(now, &peer));
            }
            Change::Network => self.handle.changed(),
            Change::Wanted { purpose, count } => {
                let purpose = Purpose(purpose);
                self.handle
                    .with(|core, now| core.handle_wanted(now, purpose, *count));
            }
            Change::Local => drop(self.local.send_replace(self.context.announced())),
            _ => {}
        }
    }

    fn run(self: Arc<Self>, stop: CancellationToken) -> BoxFuture<'static, ()> {
        let engine = self
            .engine
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        async move {
            if let Some(mut engine) = engine {
                self.work(&mut engine, &stop).await;
                self.finish(engine).await;
            }
        }
        .boxed()
    }

    fn queries(self: Arc<Self>) -> Vec<Query> {
        listing::queries(&self.handle)
    }

    fn figures(&self) -> Vec<Figure> {
        figures::of(self)
    }
}

/// Whether a node in this state takes part in its network.
fn is_ready(state: State) -> bool {
    matches!(state, State::Joined | State::Degraded)
}
