//! The part that takes part in a Kademlia DHT: it runs the core `Kad` of `bootstrap`.
//!
//! `bootstrap` chooses the peers to ask, decides about the requests of peers, and keeps the routing table. This file reports
//! connections to it and carries out its events. The peers of the routing table are also a source for the part `rejoin`.
//!
//! ```text
//!  changes, Node::find_peer, … ──► Kad ──► Send ──► asks.rs ──► a stream to the peer ──► answer ──► Kad
//!  streams of peers ──► serving.rs ──► Kad ──► answer            Join ──► Wanted ──► rejoin ──► Offered ──► a dial
//! ```

mod api;
mod asks;
mod event;
mod figures;
mod found;
mod messages;
mod queries;
mod serving;
#[cfg(all(test, feature = "tcp"))]
mod tests;
mod text;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bootstrap::{
    PeerSource,
    kad::{Kad, KadEvent, Links, Outcome, QueryError, QueryId, place_of},
};
use conn_state::Direction;
use futures::{FutureExt, future::BoxFuture};
use libp2p_identity::PeerId;
use multiaddr::Multiaddr;
use tokio::{
    sync::{Notify, oneshot},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

pub use self::{
    api::DhtError,
    event::DhtEvent,
    found::{FoundPeer, FoundProvider, FoundValue, Stored},
    text::{ContentKeyError, content_key, value_key},
};
use self::{
    api::Finish,
    asks::{Asks, Ended},
};
use crate::{
    config::KademliaConfig,
    connection::Connection,
    context::Context,
    error::SetupError,
    part::{Change, DHT_SERVERS, Figure, Part, Query, Service},
    protocols::identify::{Info, is_name},
};

/// The number of offered peers that the part dials each time that its routing table is low.
const WANTED: usize = 8;
/// The time limit for the dial of an offered peer.
const JOINING: Duration = Duration::from_secs(10);
/// The shortest sleep of the part, so that it never spins.
const NAP: Duration = Duration::from_millis(1);

type Core = Kad<PeerId, Multiaddr>;
type Event = KadEvent<PeerId, Multiaddr>;
type Answer = Result<Outcome<PeerId, Multiaddr>, QueryError>;

/// The part. A node without a [`KademliaConfig`] does not have it.
pub(crate) struct Kademlia {
    context: Context,
    kad: Arc<Mutex<Core>>,
    protocols: Arc<[String]>,
    /// The connections that requests have opened.
    links: Arc<Mutex<Links<PeerId>>>,
    /// The core has changed.
    touched: Notify,
    waiters: Mutex<Waiters>,
    offered: Mutex<Offered>,
    counters: Counters,
}

/// The callers that wait for the end of a query. The core bounds the number of queries.
#[derive(Default)]
struct Waiters {
    open: BTreeMap<QueryId, oneshot::Sender<Answer>>,
    /// The part has ended.
    closed: bool,
}

/// The peers that `rejoin` has offered.
#[derive(Default)]
struct Offered {
    waiting: VecDeque<(PeerId, Vec<Multiaddr>)>,
    /// The number of further peers to dial. Offers beyond that are ignored.
    left: usize,
}

#[derive(Debug, Default)]
struct Counters {
    sent: AtomicU64,
    failed: AtomicU64,
    served: AtomicU64,
    refused: AtomicU64,
}

impl Kademlia {
    /// # Errors
    ///
    /// A configured name of the DHT's protocol is invalid.
    pub(crate) fn new(
        context: Context,
        local: PeerId,
        config: &KademliaConfig,
    ) -> Result<Self, SetupError> {
        let is_valid = |name: &&String| name.starts_with('/') && is_name(name);
        if let Some(wrong) = config.protocols.iter().find(|name| !is_valid(name)) {
            let protocol = wrong.clone();
            return Err(SetupError::Protocol { protocol });
        }
        let (now, seed) = (Instant::now().into_std(), rand::random());
        let (figures, names) = (config.figures.clone(), config.namespaces.clone());
        let kad = Kad::new(now, local, seed, figures, names, place_of);
        Ok(Self {
            context,
            kad: Arc::new(Mutex::new(kad)),
            protocols: config.protocols.iter().cloned().collect(),
            links: Arc::new(Mutex::new(Links::new(config.max_connections))),
            touched: Notify::new(),
            waiters: Mutex::default(),
            offered: Mutex::default(),
            counters: Counters::default(),
        })
    }

    /// The peers of the routing table as candidates for the part `rejoin`.
    pub(crate) fn source(&self) -> Box<dyn PeerSource<PeerId, Multiaddr>> {
        Box::new(Arc::clone(&self.kad))
    }

    fn lock(&self) -> MutexGuard<'_, Core> {
        self.kad.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn waiters(&self) -> MutexGuard<'_, Waiters> {
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn offered(&self) -> MutexGuard<'_, Offered> {
        self.offered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn links(&self) -> MutexGuard<'_, Links<PeerId>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls the core, and wakes the part's task, which carries out the events.
    fn with<R>(&self, call: impl FnOnce(&mut Core, std::time::Instant) -> R) -> R {
        let result = call(&mut self.lock(), Instant::now().into_std());
        self.touched.notify_one();
        result
    }

    fn note_connected(&self, connection: &Connection) {
        let (peer, remote) = (connection.peer(), connection.address());
        let dialed = connection.direction() == Direction::Inbound;
        self.with(|kad, now| {
            kad.handle_connected(now, &peer, Some(remote), dialed);
            kad.handle_probing(now, &peer, false);
        });
    }

    fn note_disconnected(&self, peer: PeerId, remaining: usize) {
        let is_left = remaining > 0 && self.context.unlimited(&peer).is_some();
        if !is_left {
            self.links().handle_disconnected(&peer);
        }
        self.with(|kad, now| match is_left {
            true => kad.handle_probing(now, &peer, false),
            false => kad.handle_disconnected(now, &peer),
        });
    }

    fn note_identified(&self, connection: &Connection, info: &Info) {
        let serves = self.protocols.iter().any(|name| info.supports(name));
        // A peer elsewhere could otherwise make this node dial programs on its own machine.
        let audience = connection.audience();
        let believed = info.listen.iter().filter(|at| audience.is_believed(at));
        let addresses: Vec<Multiaddr> = believed.cloned().collect();
        self.with(|kad, now| kad.handle_identified(now, &info.peer, addresses, serves));
    }

    fn note_quiet(&self, connection: &Connection) {
        if self.context.is_best(connection) {
            let peer = connection.peer();
            self.with(|kad, now| kad.handle_probing(now, &peer, true));
        }
    }

    fn note_offered(&self, peer: PeerId, addresses: Vec<Multiaddr>) {
        let mut offered = self.offered();
        if offered.left > 0 && self.context.connection(&peer).is_none() {
            offered.left -= 1;
            offered.waiting.push_back((peer, addresses));
            self.touched.notify_one();
        }
    }

    /// Asks the other parts for peers that may serve the DHT.
    fn want(&self) {
        self.offered().left = WANTED;
        // `rejoin` offers connected peers first, which this part need not dial.
        let connected = self.context.connections().len();
        self.context.report(Change::Wanted {
            purpose: DHT_SERVERS,
            count: WANTED + connected,
        });
    }

    async fn work(&self, asks: &mut Asks, stop: &CancellationToken) {
        loop {
            let (events, due) = self.poll();
            for event in events {
                self.carry_out(event, asks);
            }
            for (peer, addresses) in self.take_offered() {
                asks.connect(peer, addresses, Instant::now() + JOINING);
            }
            asks.close_idle();
            let due = async {
                match due {
                    Some(due) => sleep_until(due.max(Instant::now() + NAP)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.touched.notified() => {}
                () = due => {}
                ended = asks.ended() => self.note_ended(ended),
                () = stop.cancelled() => return,
            }
        }
    }

    /// The events of the core, and the time of its next timeout.
    fn poll(&self) -> (Vec<Event>, Option<Instant>) {
        let mut kad = self.lock();
        kad.handle_timeout(Instant::now().into_std());
        let events = std::iter::from_fn(|| kad.poll_event()).collect();
        (events, kad.poll_timeout().map(Instant::from_std))
    }

    fn take_offered(&self) -> VecDeque<(PeerId, Vec<Multiaddr>)> {
        std::mem::take(&mut self.offered().waiting)
    }

    fn carry_out(&self, event: Event, asks: &mut Asks) {
        match event {
            KadEvent::Send {
                request,
                peer,
                addresses,
                message,
                until,
            } => {
                self.counters.sent.fetch_add(1, Relaxed);
                asks.start(request, peer, addresses, message, until.into());
            }
            KadEvent::Cancel { request } => {
                self.counters.failed.fetch_add(1, Relaxed);
                asks.cancel(request);
            }
            KadEvent::Join => self.want(),
            KadEvent::Entered { peer } => self.context.emit_part(DhtEvent::Entered { peer }),
            KadEvent::Left { peer } => self.context.emit_part(DhtEvent::Left { peer }),
            KadEvent::Serve(serves) => {
                for protocol in &*self.protocols {
                    self.context.enable(protocol, serves);
                }
                self.context.emit_part(DhtEvent::Serving { serves });
            }
            KadEvent::Done { query, result } => {
                let waiter = self.waiters().open.remove(&query);
                // A caller that no longer waits is not an error.
                let _ = waiter.map(|waiter| waiter.send(result));
            }
            _ => {}
        }
    }

    fn note_ended(&self, ended: Ended) {
        let Ended { request, outcome } = ended;
        let mut kad = self.lock();
        let now = Instant::now().into_std();
        match outcome {
            Ok((remote, response)) => kad.handle_response(now, request, Some(&remote), response),
            Err(failure) => {
                self.counters.failed.fetch_add(1, Relaxed);
                kad.handle_failed(now, request, failure);
            }
        }
    }
}

impl Part for Kademlia {
    fn name(&self) -> &'static str {
        "kad"
    }

    fn services(self: Arc<Self>) -> Vec<Service> {
        let enabled = self.lock().serves();
        let protocols = self.protocols.iter();
        vec![Service {
            protocols: protocols.map(|name| Arc::from(name.as_str())).collect(),
            limited: false,
            per_connection: Some(serving::MAX_SERVED),
            // Otherwise a peer could keep its place in a full node with one quiet stream.
            keeps_open: false,
            enabled,
            serve: Arc::new(move |inbound| serving::serve(Arc::clone(&self), inbound).boxed()),
        }]
    }

    fn handle(&self, _: std::time::Instant, change: &Change) {
        match change {
            Change::Connected { connection } if !connection.is_limited() => {
                self.note_connected(connection);
            }
            Change::Disconnected {
                connection,
                remaining,
                ..
            } => self.note_disconnected(connection.peer(), *remaining),
            Change::Identified { connection, info } if !connection.is_limited() => {
                self.note_identified(connection, info);
            }
            Change::Quiet { connection } => self.note_quiet(connection),
            Change::Heard { connection } => {
                let peer = connection.peer();
                self.with(|kad, now| kad.handle_probing(now, &peer, false));
            }
            Change::Local => {
                let addresses = self.context.announced();
                self.with(|kad, now| kad.handle_addresses(now, addresses));
            }
            Change::Network | Change::Woke => self.with(|kad, now| kad.handle_changed(now)),
            Change::Offered {
                purpose: DHT_SERVERS,
                peer,
                addresses,
            } => self.note_offered(*peer, addresses.clone()),
            _ => {}
        }
    }

    fn run(self: Arc<Self>, stop: CancellationToken) -> BoxFuture<'static, ()> {
        async move {
            let (protocols, links) = (Arc::clone(&self.protocols), Arc::clone(&self.links));
            let part = Arc::clone(&self);
            let started = move |request| {
                let until = part.with(|kad, now| kad.handle_started(now, request));
                until.map(Instant::from_std)
            };
            let mut asks = Asks::new(self.context.clone(), protocols, links, Box::new(started));
            let _finish = Finish(&self);
            self.work(&mut asks, &stop).await;
        }
        .boxed()
    }

    fn queries(self: Arc<Self>) -> Vec<Query> {
        queries::all(&self)
    }

    fn figures(&self) -> Vec<Figure> {
        figures::of(self)
    }
}
