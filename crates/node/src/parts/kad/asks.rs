//! Carries out the requests of the core: one task per request. The core bounds their number and sets their deadlines.

use std::{
    collections::BTreeMap,
    future::pending,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bootstrap::kad::{Failure, Links, Request, RequestId, Response, wire::MAX_ANSWER};
use conn_state::{Closing, Direction};
use libp2p_identity::PeerId;
use multiaddr::Multiaddr;
use tokio::{
    io::AsyncWriteExt,
    sync::{MutexGuard as TurnGuard, Semaphore, SemaphorePermit},
    task::{AbortHandle, JoinSet},
    time::{Duration, Instant, timeout, timeout_at},
};

use super::messages::Messages;
use crate::{
    address,
    connection::{Connection, Stream},
    context::Context,
    dial_budget::DialBudget,
    error::OpenError,
};

/// The dials of the DHT that run at the same time. One dial has up to 8 attempts, so 32 of the node's 160 places for attempts stay
/// free for other dials.
const MAX_DIALS: usize = 16;
/// The open streams to one peer. Further requests to the peer wait. The core does not count this time as the peer's.
const MAX_STREAMS: usize = 8;
/// The time limit for the end of a stream after the answer.
const ENDING: Duration = Duration::from_secs(1);

type Message = Request<PeerId, Multiaddr>;
/// The answer, and the address of the peer that gave it.
type Outcome = Result<(Multiaddr, Response<PeerId, Multiaddr>), Failure>;

/// Tells the core that a request leaves the queue, and returns the new time to give up. `None`: the core has ended the request.
pub(super) type Started = Box<dyn Fn(RequestId) -> Option<Instant> + Send + Sync>;

/// A request that has ended.
pub(super) struct Ended {
    pub(super) request: RequestId,
    pub(super) outcome: Outcome,
}

/// The requests in flight. Dropping this value ends all of them.
pub(super) struct Asks {
    shared: Arc<Shared>,
    tasks: JoinSet<Option<Ended>>,
    running: BTreeMap<RequestId, (PeerId, AbortHandle)>,
    /// The bounds of each peer that has requests in flight.
    lanes: BTreeMap<PeerId, Arc<Lane>>,
}

struct Shared {
    context: Context,
    protocols: Arc<[String]>,
    dials: Semaphore,
    links: Arc<Mutex<Links<PeerId>>>,
    started: Started,
    /// The budget of all dials to host names. Peers supply the names, and a name may lead to many addresses.
    of_names: DialBudget,
}

/// The bounds of the requests to one peer.
struct Lane {
    streams: Semaphore,
    /// Requests to a peer without a connection share one dial.
    dialing: tokio::sync::Mutex<()>,
}

/// The turn of a request, with the places that it takes.
enum Turn<'a> {
    /// The peer is connected.
    Ask(Connection, SemaphorePermit<'a>),
    /// The peer must be dialed.
    Dial(TurnGuard<'a, ()>, SemaphorePermit<'a>),
}

impl Asks {
    pub(super) fn new(
        context: Context,
        protocols: Arc<[String]>,
        links: Arc<Mutex<Links<PeerId>>>,
        started: Started,
    ) -> Self {
        let shared = Shared {
            context,
            protocols,
            dials: Semaphore::new(MAX_DIALS),
            links,
            started,
            of_names: DialBudget::default(),
        };
        Self {
            shared: Arc::new(shared),
            tasks: JoinSet::new(),
            running: BTreeMap::new(),
            lanes: BTreeMap::new(),
        }
    }

    /// Sends a request, and dials the peer if there is no connection to it. Until its turn, the request waits at most until
    /// `until`.
    pub(super) fn start(
        &mut self,
        request: RequestId,
        peer: PeerId,
        addresses: Vec<Multiaddr>,
        message: Message,
        until: Instant,
    ) {
        let (shared, lane) = (Arc::clone(&self.shared), self.lane(peer));
        let task = self.tasks.spawn(async move {
            // The core itself ends a request whose turn does not come.
            let turn = timeout_at(until, shared.turn(&lane, &peer)).await.ok()??;
            let until = (shared.started)(request)?;
            let asked = shared.ask(&lane, turn, peer, addresses, &message, until);
            let outcome = timeout_at(until, asked).await;
            let outcome = outcome.unwrap_or(Err(Failure::Unreachable));
            Some(Ended { request, outcome })
        });
        self.running.insert(request, (peer, task));
    }

    /// Connects to a peer that may serve the DHT.
    pub(super) fn connect(&mut self, peer: PeerId, addresses: Vec<Multiaddr>, until: Instant) {
        let (shared, lane) = (Arc::clone(&self.shared), self.lane(peer));
        self.tasks.spawn(async move {
            let turn = timeout_at(until, shared.turn(&lane, &peer)).await.ok()??;
            if let Turn::Dial(..) = &turn {
                let _ = timeout_at(until, shared.dial(peer, addresses, until)).await;
            }
            None
        });
    }

    /// Ends a request whose answer is no longer needed.
    pub(super) fn cancel(&mut self, request: RequestId) {
        if let Some((_, task)) = self.running.remove(&request) {
            task.abort();
        }
    }

    /// Waits for the end of a request. Cancel-safe.
    pub(super) async fn ended(&mut self) -> Ended {
        loop {
            let Some(joined) = self.tasks.join_next().await else {
                return pending().await;
            };
            self.lanes.retain(|_, lane| Arc::strong_count(lane) > 1);
            // A task without a result was cancelled, or it panicked and the time of its request runs out in the core.
            if let Ok(Some(ended)) = joined
                && let Some((peer, _)) = self.running.remove(&ended.request)
            {
                self.shared.links().handle_used(&peer);
                return ended;
            }
        }
    }

    /// Closes connections that requests have opened, if there are too many.
    pub(super) fn close_idle(&self) {
        let context = &self.shared.context;
        let is_asked = |peer: &PeerId| {
            let lane = self.lanes.get(peer);
            lane.is_some_and(|lane| Arc::strong_count(lane) > 1)
        };
        let is_used = |peer: &PeerId| {
            let best = context.connection(peer);
            best.is_some_and(|best| best.usage().idle_since().is_none())
        };
        let is_busy = |peer: &PeerId| is_asked(peer) || context.is_protected(peer) || is_used(peer);
        loop {
            let next = self.shared.links().poll_close(is_busy);
            let Some(peer) = next else { return };
            let connection = context.connection(&peer);
            if let Some(connection) = connection.filter(is_outbound) {
                tracing::debug!(%peer, "a connection is closed because the DHT has opened too many");
                context.close(connection.id(), Closing::Local);
            }
        }
    }

    fn lane(&mut self, peer: PeerId) -> Arc<Lane> {
        let lane = self.lanes.entry(peer).or_insert_with(|| {
            Arc::new(Lane {
                streams: Semaphore::new(MAX_STREAMS),
                dialing: tokio::sync::Mutex::default(),
            })
        });
        Arc::clone(lane)
    }
}

impl Shared {
    fn links(&self) -> MutexGuard<'_, Links<PeerId>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a request to the peer may start.
    async fn turn<'a>(&'a self, lane: &'a Lane, peer: &PeerId) -> Option<Turn<'a>> {
        let mut connection = self.context.unlimited(peer);
        if connection.is_none() {
            let turn = lane.dialing.lock().await;
            connection = self.context.unlimited(peer);
            if connection.is_none() {
                let place = self.dials.acquire().await.ok()?;
                return Some(Turn::Dial(turn, place));
            }
        }
        let place = lane.streams.acquire().await.ok()?;
        Some(Turn::Ask(connection?, place))
    }

    async fn ask(
        &self,
        lane: &Lane,
        turn: Turn<'_>,
        peer: PeerId,
        addresses: Vec<Multiaddr>,
        message: &Message,
        until: Instant,
    ) -> Outcome {
        let (connection, _place) = match turn {
            Turn::Ask(connection, place) => (connection, place),
            Turn::Dial(turn, dialing) => {
                let connection = self.dial(peer, addresses, until).await?;
                drop((turn, dialing));
                let place = lane.streams.acquire().await;
                (connection, place.map_err(|_| Failure::Unreachable)?)
            }
        };
        let answer = exchange(&connection, &self.protocols, message).await?;
        Ok((connection.address().clone(), answer))
    }

    async fn dial(
        &self,
        peer: PeerId,
        addresses: Vec<Multiaddr>,
        until: Instant,
    ) -> Result<Connection, Failure> {
        let (addresses, budget) = self.dialable(addresses);
        let context = &self.context;
        let dialed = context.connect_directly(peer, addresses, Some(until), budget);
        let connection = dialed.await.map_err(|_| Failure::Unreachable)?;
        if is_outbound(&connection) {
            let mut links = self.links();
            links.handle_opened(peer);
            // The part may have learned of the end of the connection before this.
            if connection.is_closed() {
                links.handle_disconnected(&peer);
            }
        }
        Ok(connection)
    }

    /// The addresses to dial, with the budget of the dial. A host name is dialed only if no IP address of the peer is known.
    fn dialable(&self, addresses: Vec<Multiaddr>) -> (Vec<Multiaddr>, DialBudget) {
        let is_ip = |address: &Multiaddr| address::ip(address).is_some();
        let (ips, names): (Vec<_>, Vec<_>) = addresses.into_iter().partition(is_ip);
        match ips.is_empty() {
            false => (ips, DialBudget::default()),
            true => {
                self.of_names.renew(Instant::now().into_std());
                (names, self.of_names.clone())
            }
        }
    }
}

fn is_outbound(connection: &Connection) -> bool {
    connection.direction() == Direction::Outbound
}

/// Sends a request and reads the answer. The caller sets the deadline.
async fn exchange(
    connection: &Connection,
    protocols: &[String],
    message: &Message,
) -> Result<Response<PeerId, Multiaddr>, Failure> {
    let bytes = message.encode().map_err(|error| {
        tracing::debug!(%error, "a request of the DHT cannot be sent");
        Failure::Refused
    })?;
    let mut stream = open(connection, protocols, message.has_answer()).await?;
    let broken = |_| match connection.is_closed() {
        true => Failure::Unreachable,
        false => Failure::Refused,
    };
    stream.write_all(&bytes).await.map_err(broken)?;
    stream.flush().await.map_err(broken)?;
    if !message.has_answer() {
        stream.shutdown().await.map_err(broken)?;
        stream.wait_delivered().await.map_err(broken)?;
        return Ok(Response::Empty);
    }
    let body = Messages::new(MAX_ANSWER).next(&mut stream).await;
    let body = body.map_err(broken)?.ok_or(Failure::Refused)?;
    let answer = Response::decode(&body).map_err(|_| Failure::Refused)?;
    let _ = timeout(ENDING, stream.shutdown()).await;
    Ok(answer)
}

/// Opens a stream. If the peer has said that it supports the protocol, the request does not wait for the agreement.
async fn open(
    connection: &Connection,
    protocols: &[String],
    has_answer: bool,
) -> Result<Stream, Failure> {
    let info = connection.identified().filter(|_| has_answer);
    let listed = info.and_then(|info| {
        let mut names = protocols.iter();
        names.find(|name| info.supports(name))
    });
    let opened = match listed {
        Some(name) => connection.open_optimistic(name).await,
        None => {
            let names: Vec<&str> = protocols.iter().map(String::as_str).collect();
            connection.open(&names).await.map(|(_, stream)| stream)
        }
    };
    opened.map_err(|error| match error {
        OpenError::Unsupported { .. } => Failure::Unsupported,
        _ => Failure::Unreachable,
    })
}
