//! A relay over tokio streams.

use std::{
    collections::BTreeMap,
    future::pending,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use libp2p_identity::PeerId;
use multiaddr::Multiaddr;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{Notify, oneshot, watch},
    time::{sleep_until, timeout},
};

use super::{
    DriveError,
    exchange::{REQUEST, ask, end, now, read, unix, write},
};
use crate::{
    Admission,
    admission::Caps,
    error::{Refusal, Status},
    id::{CircuitId, ConnectionId},
    meter::Meter,
    scope::Origin,
    server::{HopAnswer, Server, StopAnswer},
    slot::Slot,
    splice::{SpliceConfig, SpliceEnd, splice_until},
    table::{EndCause, Event, Usage},
    terms::{Terms, TermsError},
    wire::{HopMessage, StopMessage},
};

/// A relay over tokio streams, shared between the tasks of its host.
#[derive(Debug)]
pub struct RelayServer<A = Caps> {
    server: Mutex<Server<A>>,
    /// Something may be due sooner.
    changed: Notify,
    /// Ends a circuit from outside.
    cuts: Mutex<Cuts>,
    phase: watch::Sender<Phase>,
}

type Cuts = BTreeMap<CircuitId, oneshot::Sender<SpliceEnd>>;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Open,
    /// Circuits hand on what they hold, and end.
    Closing,
    /// Circuits that have not ended are cut.
    Closed,
}

/// The outcome of a hop stream.
#[derive(Debug)]
#[non_exhaustive]
pub enum Served {
    /// The request was answered, and the stream is closed.
    Answered {
        /// The answer.
        status: Status,
        /// Why the table refused the request, if it did.
        refusal: Option<Refusal>,
    },
    /// A circuit was opened and has ended.
    Carried {
        /// How it ended.
        end: SpliceEnd,
        /// The bytes of both directions.
        bytes: u64,
    },
    /// The stream broke, or its peer took too long.
    Failed(DriveError),
}

/// A circuit that was admitted: what [`HopAnswer::Open`] says of it.
struct Admitted {
    circuit: CircuitId,
    request: StopMessage,
    within: Duration,
    meter: Arc<Meter>,
}

impl RelayServer<Caps> {
    /// All terms at this moment.
    pub fn terms(&self) -> Terms {
        self.lock().terms()
    }

    /// Changes the given terms, and returns all terms. Existing slots and circuits stay.
    ///
    /// # Errors
    ///
    /// A term is out of its bounds. In this case nothing changes.
    pub fn set_terms(&self, terms: &Terms) -> Result<Terms, TermsError> {
        self.with(|server| server.set_terms(terms))
    }
}

impl<A: Admission<PeerId>> RelayServer<A> {
    /// A relay with these rules, key and addresses.
    pub fn new(server: Server<A>) -> Self {
        Self {
            server: Mutex::new(server),
            changed: Notify::new(),
            cuts: Mutex::default(),
            phase: watch::Sender::new(Phase::Open),
        }
    }

    /// A connection was opened: see [`crate::Table::handle_connected`].
    pub fn handle_connected(&self, connection: ConnectionId, peer: &PeerId, origin: Origin) {
        self.with(|server| {
            let table = server.table_mut();
            table.handle_connected(now(), connection, peer, origin);
        });
    }

    /// A connection was closed. Its circuits are cut.
    pub fn handle_disconnected(&self, connection: ConnectionId) {
        self.with(|server| server.table_mut().handle_disconnected(now(), connection));
    }

    /// Something was received over a connection. If the host reports this, the relay sends fewer probes.
    pub fn handle_alive(&self, connection: ConnectionId) {
        self.handle_probed(connection, true);
    }

    /// The outcome of [`Event::Probe`]: whether the other end answered.
    pub fn handle_probed(&self, connection: ConnectionId, answered: bool) {
        self.with(|server| match answered {
            true => server.table_mut().handle_alive(now(), connection),
            false => server.table_mut().handle_dead(now(), connection),
        });
    }

    /// Sets the addresses where the relay can be reached: see [`Server::set_addresses`].
    pub fn set_addresses(&self, addresses: Vec<Multiaddr>) {
        self.with(|server| server.set_addresses(addresses));
    }

    /// The slots at this moment.
    pub fn slots(&self) -> Vec<Slot> {
        self.lock().slots(now())
    }

    /// How many of each thing the table holds.
    pub fn usage(&self) -> Usage {
        self.lock().table().usage()
    }

    /// Calls the core under its lock, and wakes [`Self::next`]. Do not take events here, because `next` takes them.
    pub fn with<R>(&self, call: impl FnOnce(&mut Server<A>) -> R) -> R {
        let result = call(&mut self.lock());
        self.changed.notify_one();
        result
    }

    /// Waits for the next event. The host probes on [`Event::Probe`], closes the connection on [`Event::Silent`], and may log the
    /// other events. Circuits are cut only while `next` runs, so one task must call it in a loop.
    pub async fn next(&self) -> Event<PeerId> {
        loop {
            let due = {
                let mut server = self.lock();
                let table = server.table_mut();
                table.handle_timeout(now());
                match table.poll_event() {
                    Some(event) => {
                        self.cut(&event);
                        return event;
                    }
                    None => table.poll_timeout(),
                }
            };
            let due = async {
                match due {
                    Some(due) => sleep_until(due.into()).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                () = self.changed.notified() => {}
                () = due => {}
            }
        }
    }

    /// Serves one hop stream of a connection. `open` opens a stop stream over another connection.
    ///
    /// Call this only after [`Self::handle_connected`].
    pub async fn serve<H, S, F, E>(
        &self,
        connection: ConnectionId,
        hop: H,
        open: impl FnOnce(ConnectionId) -> F,
    ) -> Served
    where
        H: AsyncRead + AsyncWrite + Unpin,
        S: AsyncRead + AsyncWrite + Unpin,
        F: Future<Output = Result<S, E>>,
    {
        let list = async |addresses: Vec<Multiaddr>| addresses;
        self.serve_listing(connection, hop, open, list, || ()).await
    }

    /// Like [`Self::serve`], but `list` chooses the addresses in the answer to a granted request. It receives the addresses of
    /// [`Self::set_addresses`]. The peer waits for the answer, so `list` must return soon. `opened` is called when a circuit has
    /// opened: until then, the stream may be one of many that do nothing.
    pub async fn serve_listing<H, S, F, E>(
        &self,
        connection: ConnectionId,
        mut hop: H,
        open: impl FnOnce(ConnectionId) -> F,
        list: impl AsyncFnOnce(Vec<Multiaddr>) -> Vec<Multiaddr>,
        opened: impl FnOnce(),
    ) -> Served
    where
        H: AsyncRead + AsyncWrite + Unpin,
        S: AsyncRead + AsyncWrite + Unpin,
        F: Future<Output = Result<S, E>>,
    {
        let message = match read(&mut hop, REQUEST).await {
            Ok(body) => HopMessage::decode(&body),
            Err(DriveError::Wire(error)) => Err(error),
            Err(error) => return Served::Failed(error),
        };
        let answer = self.with(|server| server.handle_hop(now(), unix(), connection, message));
        match answer {
            HopAnswer::Reply { message, refusal } => answered(hop, message, refusal).await,
            HopAnswer::Grant(grant) => {
                let listed = list(grant.addresses().to_vec()).await;
                let granting = grant.with_addresses(listed).answer();
                self.with(|server| server.handle_signed(&granting));
                answered(hop, granting.message, None).await
            }
            HopAnswer::Open {
                circuit,
                connection,
                request,
                within,
                meter,
            } => {
                let admitted = Admitted {
                    circuit,
                    request,
                    within,
                    meter,
                };
                // In a box, so that a stream without a circuit does not hold the memory of one.
                Box::pin(self.carry(hop, admitted, open(connection), opened)).await
            }
        }
    }

    /// Shuts the relay down. From now on it refuses every request. Circuits forward the bytes that they hold, and end. Circuits
    /// that have not ended after `within` are cut. Returns the number of cut circuits.
    pub async fn shutdown(&self, within: Duration) -> usize {
        self.with(Server::close);
        self.phase.send_replace(Phase::Closing);
        // Each circuit has a receiver.
        let _ = timeout(within, self.phase.closed()).await;
        self.phase.send_replace(Phase::Closed);
        self.cuts().len()
    }

    fn cut(&self, event: &Event<PeerId>) {
        let Event::CircuitEnded { circuit, cause } = event else {
            return;
        };
        let end = match cause {
            EndCause::Expired => SpliceEnd::Duration,
            EndCause::Unanswered | EndCause::Gone => SpliceEnd::Cut,
        };
        if let Some(cut) = self.cuts().remove(circuit) {
            // The circuit may be ending by itself.
            let _ = cut.send(end);
        }
    }

    async fn carry<H, S, E>(
        &self,
        mut hop: H,
        admitted: Admitted,
        open: impl Future<Output = Result<S, E>>,
        opened: impl FnOnce(),
    ) -> Served
    where
        H: AsyncRead + AsyncWrite + Unpin,
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let Admitted {
            circuit,
            request,
            within,
            meter,
        } = admitted;
        let (mut held, mut cut) = Held::new(self, circuit);
        let asked = tokio::select! {
            asked = timeout(within, ask(open, request)) => asked.ok().flatten(),
            _ = &mut cut => None,
            () = reaches(&mut held.phase, Phase::Closing) => None,
        };
        let (stop, answer) = asked.unzip();
        let answer = self.with(|server| server.handle_stop(now(), circuit, answer));
        let (message, limits, mut stop) = match (answer, stop) {
            (
                StopAnswer::Splice {
                    message,
                    duration,
                    data,
                },
                Some(stop),
            ) => (message, (data, duration), stop),
            (StopAnswer::Reply(message) | StopAnswer::Splice { message, .. }, _) => {
                drop(held);
                return answered(hop, message, None).await;
            }
        };
        if let Err(error) = write(&mut hop, message.encode()).await {
            return Served::Failed(error);
        }
        opened();
        let config = SpliceConfig::default().with_limits(limits.0, limits.1);
        let mut phase = held.phase.clone();
        let closing = reaches(&mut phase, Phase::Closing);
        let end = tokio::select! {
            end = splice_until(&mut hop, &mut stop, &config, &meter, closing) => end,
            end = &mut cut => end.unwrap_or(SpliceEnd::Cut),
            () = reaches(&mut held.phase, Phase::Closed) => SpliceEnd::Cut,
        };
        let bytes = meter.total();
        Served::Carried { end, bytes }
    }

    fn lock(&self) -> MutexGuard<'_, Server<A>> {
        // Each operation checks before it changes anything: a panic elsewhere leaves the server whole.
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cuts(&self) -> MutexGuard<'_, Cuts> {
        self.cuts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives a circuit back to the table, however its task ends.
struct Held<'a, A: Admission<PeerId>> {
    relay: &'a RelayServer<A>,
    circuit: CircuitId,
    phase: watch::Receiver<Phase>,
}

impl<'a, A: Admission<PeerId>> Held<'a, A> {
    fn new(relay: &'a RelayServer<A>, circuit: CircuitId) -> (Self, oneshot::Receiver<SpliceEnd>) {
        let (cut, is_cut) = oneshot::channel();
        relay.cuts().insert(circuit, cut);
        let held = Self {
            relay,
            circuit,
            phase: relay.phase.subscribe(),
        };
        (held, is_cut)
    }
}

impl<A: Admission<PeerId>> Drop for Held<'_, A> {
    fn drop(&mut self) {
        self.relay.cuts().remove(&self.circuit);
        let circuit = self.circuit;
        self.relay
            .with(|server| server.handle_closed(now(), circuit));
    }
}

async fn reaches(phase: &mut watch::Receiver<Phase>, wanted: Phase) {
    // The sender outlives its receivers.
    let _ = phase.wait_for(|phase| *phase >= wanted).await;
}

async fn answered<H: AsyncWrite + Unpin>(
    mut hop: H,
    message: HopMessage,
    refusal: Option<Refusal>,
) -> Served {
    if let Err(error) = write(&mut hop, message.encode()).await {
        return Served::Failed(error);
    }
    end(hop).await;
    let status = match message {
        HopMessage::Status { status, .. } => status,
        // A relay answers with a status only.
        HopMessage::Reserve | HopMessage::Connect(_) => Status::UnexpectedMessage,
    };
    Served::Answered { status, refusal }
}
