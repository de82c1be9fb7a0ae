//! A client of relays over tokio streams.

use std::{
    fmt,
    future::pending,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use libp2p_identity::PeerId;
use multiaddr::Multiaddr;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::Notify,
    time::{sleep_until, timeout},
};

use super::{
    DriveError,
    exchange::{REQUEST, body, end, now, read, reserve, unix, write},
};
use crate::{
    client::{Answer, AskError, Client, ClientEvent},
    error::Status,
    metered::{Allowance, MeteredStream},
    wire::{HopMessage, Limit, StopMessage},
};

/// A client of relays over tokio streams, shared between the tasks of its host.
#[derive(Debug)]
pub struct RelayClient {
    client: Mutex<Client>,
    local: PeerId,
    /// Something may be due sooner.
    changed: Notify,
}

/// One end of an open circuit.
#[derive(Debug)]
pub struct Circuit<S> {
    /// The peer at the other end, as the relay claims. The connection over the circuit must authenticate the peer.
    pub peer: PeerId,
    /// The circuit.
    pub stream: MeteredStream<S>,
}

impl<S> Circuit<S> {
    fn new(peer: PeerId, stream: S, limit: Option<Limit>) -> Self {
        let allowance = Arc::new(Allowance::new(limit, now()));
        let stream = MeteredStream::new(stream, allowance);
        Self { peer, stream }
    }
}

impl RelayClient {
    /// A client of the peer `local`.
    pub fn new(local: PeerId, client: Client) -> Self {
        Self {
            client: Mutex::new(client),
            local,
            changed: Notify::new(),
        }
    }

    /// A relay that may be asked: see [`Client::handle_candidate`].
    pub fn handle_candidate(&self, relay: PeerId, address: &Multiaddr, rtt: Option<Duration>) {
        self.with(|client| client.handle_candidate(now(), relay, address, rtt));
    }

    /// The measured round trip of a relay.
    pub fn handle_rtt(&self, relay: &PeerId, rtt: Duration) {
        self.with(|client| client.handle_rtt(relay, rtt));
    }

    /// A peer that may be a relay: see [`Client::handle_offered`].
    pub fn handle_offered(&self, relay: PeerId, addresses: &[Multiaddr]) {
        self.with(|client| client.handle_offered(now(), relay, addresses));
    }

    /// A connected peer has told whether it serves the hop protocol: see [`Client::handle_identified`].
    pub fn handle_identified(&self, relay: &PeerId, serves: bool) {
        self.with(|client| client.handle_identified(now(), relay, serves));
    }

    /// The client must not ask a relay any more. It gives up its reservation at this relay.
    pub fn handle_removed(&self, relay: &PeerId) {
        self.with(|client| client.handle_removed(now(), relay));
    }

    /// The last connection to a relay was closed.
    pub fn handle_disconnected(&self, relay: &PeerId) {
        self.with(|client| client.handle_disconnected(now(), relay));
    }

    /// This host's network changed: see [`Client::handle_network_changed`].
    pub fn handle_network_changed(&self) {
        self.with(|client| client.handle_network_changed(now()));
    }

    /// The circuit addresses to announce at this moment, without this peer's own id.
    pub fn addresses(&self) -> Vec<Multiaddr> {
        self.lock().addresses().cloned().collect()
    }

    /// The relays that hold a slot for this peer.
    pub fn held(&self) -> Vec<PeerId> {
        self.lock().held().collect()
    }

    /// Calls the core under its lock, and wakes [`Self::next`]. Do not take events here, because `next` takes them.
    pub fn with<R>(&self, call: impl FnOnce(&mut Client) -> R) -> R {
        let result = call(&mut self.lock());
        self.changed.notify_one();
        result
    }

    /// Waits for the next event. On [`ClientEvent::Ask`], [`ClientEvent::Examine`] and [`ClientEvent::Probe`], the host calls
    /// [`Self::ask`], [`Self::examine`] and [`Self::probe`] in a task of its own.
    pub async fn next(&self) -> ClientEvent {
        loop {
            let due = {
                let mut client = self.lock();
                client.handle_timeout(now());
                match client.poll_event() {
                    Some(event) => return event,
                    None => client.poll_timeout(),
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

    /// Carries out [`ClientEvent::Ask`]. `open` connects to the relay if there is no connection yet, opens a hop stream, and
    /// returns it with the address where the relay was reached.
    ///
    /// The whole request takes at most [`crate::ClientConfig::answer`]. The client announces the address at which it reached the
    /// relay before the relay's other addresses: see [`Client::handle_reached`].
    pub async fn ask<S, E>(
        &self,
        relay: PeerId,
        open: impl Future<Output = Result<(S, Multiaddr), E>>,
    ) where
        S: AsyncRead + AsyncWrite + Unpin,
        E: fmt::Display,
    {
        let within = self.lock().config().answer;
        let asked = async {
            let (mut hop, at) = open.await.map_err(|error| error.to_string())?;
            self.lock().handle_reached(&relay, &at);
            let answer = reserve(&mut hop, relay, self.local).await;
            Ok((hop, answer))
        };
        let (hop, answer) = match timeout(within, asked).await {
            Ok(Ok((hop, answer))) => (Some(hop), answer),
            Ok(Err(reason)) => (None, Answer::Failed(AskError::Unreachable { reason })),
            Err(_) => (None, Answer::Failed(AskError::NoAnswer { within })),
        };
        self.with(|client| client.handle_answer(now(), unix(), &relay, answer));
        if let Some(hop) = hop {
            end(hop).await;
        }
    }

    /// Carries out [`ClientEvent::Examine`]. `look` connects to the peer if there is no connection yet, and returns whether the
    /// peer serves the hop protocol. `None`: it cannot be told. The examination takes at most
    /// [`crate::ClientConfig::answer`].
    pub async fn examine(&self, relay: PeerId, look: impl Future<Output = Option<bool>>) {
        let within = self.lock().config().answer;
        let serves = timeout(within, look).await.unwrap_or(None);
        self.with(|client| client.handle_examined(now(), &relay, serves));
    }

    /// Carries out [`ClientEvent::Probe`]. `dial` dials the address under a new identity, and returns whether the relay is
    /// there.
    pub async fn probe(
        &self,
        relay: PeerId,
        address: &Multiaddr,
        dial: impl Future<Output = bool>,
    ) {
        let within = self.lock().config().answer;
        let is_found = timeout(within, dial).await.unwrap_or(false);
        self.with(|client| client.handle_probed(now(), &relay, address, is_found));
    }

    /// Answers a stop stream that a relay opened. Circuits are accepted only from relays that were asked for a slot.
    ///
    /// # Errors
    ///
    /// There is no circuit. The relay has received the status, and the stream is closed.
    pub async fn accept<S>(&self, relay: &PeerId, mut stop: S) -> Result<Circuit<S>, DriveError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let message = match read(&mut stop, REQUEST).await {
            Ok(body) => StopMessage::decode(&body).map_err(DriveError::from),
            Err(error) => Err(error),
        };
        let allowed = self.lock().accept(relay);
        let (status, outcome) = match (message, allowed) {
            (Ok(StopMessage::Connect { peer, limit }), Ok(())) => (Status::Ok, Ok((peer, limit))),
            (Ok(StopMessage::Connect { .. }), Err(status)) => {
                (status, Err(DriveError::Refused(status)))
            }
            (Ok(StopMessage::Status(_)), _) => {
                (Status::UnexpectedMessage, Err(DriveError::Unexpected))
            }
            (Err(DriveError::Wire(error)), _) => (Status::MalformedMessage, Err(error.into())),
            (Err(error), _) => return Err(error),
        };
        write(&mut stop, StopMessage::Status(status).encode()).await?;
        match outcome {
            Ok((peer, limit)) => Ok(Circuit::new(peer, stop, limit)),
            Err(error) => {
                end(stop).await;
                Err(error)
            }
        }
    }

    /// Shuts the client down: see [`Client::close`]. Returns at once.
    pub fn close(&self) {
        self.with(Client::close);
    }

    fn lock(&self) -> MutexGuard<'_, Client> {
        self.client.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Opens a circuit to `destination` on a new hop stream. The call takes at most `within`, which includes the time that the relay
/// waits for the destination.
///
/// # Errors
///
/// There is no circuit, and the stream is dropped.
pub async fn connect<S>(
    mut hop: S,
    destination: PeerId,
    within: Duration,
) -> Result<Circuit<S>, DriveError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let answer = async {
        write(&mut hop, HopMessage::Connect(destination).encode()).await?;
        Ok::<_, DriveError>(HopMessage::decode(&body(&mut hop).await?)?)
    };
    let answer = timeout(within, answer).await;
    match answer.map_err(|_| DriveError::TimedOut(within))?? {
        HopMessage::Status {
            status: Status::Ok,
            limit,
            ..
        } => Ok(Circuit::new(destination, hop, limit)),
        HopMessage::Status { status, .. } => Err(DriveError::Refused(status)),
        HopMessage::Reserve | HopMessage::Connect(_) => Err(DriveError::Unexpected),
    }
}
