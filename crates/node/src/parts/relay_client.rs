//! The part that holds slots at relays and establishes connections over circuits.
//!
//! relay-slots chooses the relay and the time of each request, and implements the protocol. This file connects to
//! relays, announces the addresses at them, dials an address that relay-slots wants to confirm, and upgrades each circuit to
//! a connection. Another part offers the peers among which relay-slots finds relays by itself.

mod event;
mod probe;
mod search;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Instant};

use conn_state::{Direction, Limit, Source as Told, Usage};
use futures::{FutureExt, future::BoxFuture};
use libp2p_identity::PeerId;
use multiaddr::{Multiaddr, Protocol};
use relay_slots::{
    Allowance, Client, ClientEvent,
    driver::{self, Circuit},
    wire::{HOP_PROTOCOL, STOP_PROTOCOL},
};
use tokio_util::sync::CancellationToken;
use transport_tcp::Upgrader;

pub use self::event::ReservationEvent;
use self::search::Search;
use crate::{
    address::{self, Kind},
    config::RelayConfig,
    connection::{InUse, Muxed, Path, RelayLimit, Stream},
    context::Context,
    error::{AttemptCause, error_chain},
    local::Announcer,
    part::{
        Attempt, Change, Connector, InboundStream, Incoming, Part, RELAYS, Reached, Service,
        Source, Stranger,
    },
};

/// Stop streams of one connection whose circuits are not connections yet.
const MOST_ARRIVING: usize = 32;

/// The relay client. It exists in every node, because every node can dial through a relay.
pub(crate) struct RelayClient {
    cx: Context,
    client: driver::RelayClient,
    /// The configured relays, with their ids.
    candidates: Vec<(PeerId, Multiaddr)>,
    /// Whether the node also finds relays by itself.
    finds: bool,
    search: Search,
    upgrader: Arc<Upgrader>,
    stranger: Stranger,
}

impl RelayClient {
    pub(crate) fn new(
        cx: Context,
        local: PeerId,
        config: &RelayConfig,
        upgrader: Arc<Upgrader>,
        stranger: Stranger,
    ) -> Self {
        let client = Client::new(rand::random(), config.client.clone());
        let client = driver::RelayClient::new(local, client);
        let mut candidates = Vec::new();
        for at in &config.reserve_at {
            match address::peer(at) {
                Some(relay) => candidates.push((relay, at.clone())),
                None => {
                    tracing::warn!(address = %at, "cannot reserve a slot at this address, because it does not end in the relay's peer id")
                }
            }
        }
        for (relay, at) in &candidates {
            client.handle_candidate(*relay, at, None);
        }
        Self {
            cx,
            client,
            candidates,
            finds: config.client.auto > 0,
            search: Search::default(),
            upgrader,
            stranger,
        }
    }

    fn carry_out(self: &Arc<Self>, event: ClientEvent, stop: &CancellationToken) {
        tracing::debug!(?event, "reservation");
        match &event {
            ClientEvent::Ask { relay, addresses } => {
                self.ask(*relay, addresses.clone(), stop.clone())
            }
            ClientEvent::Granted {
                relay, addresses, ..
            }
            | ClientEvent::Renewed {
                relay, addresses, ..
            }
            | ClientEvent::Proved { relay, addresses } => {
                self.cx.publish(Announcer::Relay(*relay), addresses.clone());
            }
            ClientEvent::Probe { relay, address } => {
                self.probe(*relay, address.clone(), stop.clone());
            }
            ClientEvent::Lost { relay, .. } => {
                self.cx.publish(Announcer::Relay(*relay), Vec::new())
            }
            ClientEvent::Wanted { count } => {
                let (purpose, count) = (RELAYS, *count);
                self.cx.report(Change::Wanted { purpose, count });
            }
            ClientEvent::Examine { relay, addresses } => {
                self.examine(*relay, addresses.clone(), stop.clone());
            }
            ClientEvent::Released { relay } => self.release(relay),
            _ => {}
        }
        self.cx.emit_part(ReservationEvent(event));
    }

    fn ask(self: &Arc<Self>, relay: PeerId, addresses: Vec<Multiaddr>, stop: CancellationToken) {
        let this = Arc::clone(self);
        self.cx.spawn(async move {
            let ask = this.client.ask(relay, this.open_hop(relay, addresses));
            stop.run_until_cancelled(ask).await;
            // The stream of the request was still open when its outcome was known.
            this.close_unneeded(&relay);
        });
    }

    /// Opens a hop stream. Returns the stream and the address of the relay. The caller sets the deadline.
    async fn open_hop(
        &self,
        relay: PeerId,
        addresses: Vec<Multiaddr>,
    ) -> Result<(Stream, Multiaddr), String> {
        let connection = self.connect_to(relay, addresses).await;
        let connection = connection.map_err(|error| error_chain(&error))?;
        if let Some(rtt) = connection.rtt() {
            self.client.handle_rtt(&relay, rtt);
        }
        let opened = connection.open(&[HOP_PROTOCOL]).await;
        let (_, stream) = opened.map_err(|error| error_chain(&error))?;
        let address = connection.address();
        let reached = match connection.direction() {
            Direction::Outbound => address.clone(),
            // The remote port of an inbound connection is not a port at which the relay listens.
            Direction::Inbound => address.iter().take(1).collect(),
        };
        Ok((stream, reached))
    }

    /// Serves one stop stream, on which a relay announces a peer that connects to this node.
    async fn accept(
        self: Arc<Self>,
        InboundStream {
            connection,
            mut stream,
            ..
        }: InboundStream,
    ) {
        let relay = connection.peer();
        let address = connection.address().clone();
        let address = address
            .with(Protocol::P2p(relay))
            .with(Protocol::P2pCircuit);
        // The permit is held until the circuit is a connection, which the node's limits count.
        let permit = (stream.release_permit(), stream.take_service());
        let usage = connection.usage().clone();
        drop(connection);
        let circuit = match self.client.accept(&relay, stream).await {
            Ok(circuit) => circuit,
            Err(error) => {
                let cause = failed(relay, error_chain(&error));
                return self.cx.report_failure(address, cause);
            }
        };
        let upgrader = Arc::clone(&self.upgrader);
        let incoming = Incoming {
            address,
            source: Source::Relayed(relay),
            advanced: None,
            handshake: Box::pin(async move {
                let reached = upgrade_inbound(&upgrader, relay, circuit, &usage).await;
                drop(permit);
                reached
            }),
            refuse: None,
        };
        self.cx.establish(incoming).await;
    }

    /// Connects to the peer that `attempt` names, through the relay that its address names.
    async fn dial(&self, attempt: Attempt) -> Result<Reached, AttemptCause> {
        let unsupported = || AttemptCause::Unsupported {
            reason: address::unsupported::reason(&attempt.address),
        };
        let (at, relay) = address::circuit(&attempt.address).ok_or_else(unsupported)?;
        let failed = |reason: String| failed(relay, reason);
        let nobody = || failed("the address does not name the peer behind the relay".to_owned());
        let peer = attempt.expected.ok_or_else(nobody)?;
        let budget = attempt.budget.clone();
        let connected = self.cx.connect_directly(relay, vec![at], None, budget);
        let connection = connected
            .await
            .map_err(|error| failed(error_chain(&error)))?;
        let opened = connection.open(&[HOP_PROTOCOL]).await;
        let (_, hop) = opened.map_err(|error| failed(error_chain(&error)))?;
        let left = attempt
            .deadline
            .saturating_duration_since(tokio::time::Instant::now());
        let circuit = driver::connect(hop, peer, left).await;
        let circuit = circuit.map_err(|error| failed(error_chain(&error)))?;
        // The relay would have refused a peer that holds no slot.
        self.cx
            .learn(&peer, Told::Relay, std::slice::from_ref(&attempt.address));
        let path = path(relay, Arc::clone(circuit.stream.allowance()), None);
        let address = attempt.address;
        let mut trace = |stage| tracing::debug!(%address, ?stage, "outbound circuit");
        let upgraded = self
            .upgrader
            .outbound(circuit.stream, Some(peer), &mut trace)
            .await?;
        Ok(Reached {
            muxed: Muxed::Tcp(upgraded),
            path,
        })
    }
}

fn failed(relay: PeerId, reason: String) -> AttemptCause {
    AttemptCause::Relay { relay, reason }
}

/// Authenticates the peer that a relay announced, and multiplexes the circuit.
async fn upgrade_inbound(
    upgrader: &Upgrader,
    relay: PeerId,
    circuit: Circuit<Stream>,
    usage: &Usage,
) -> Result<Reached, AttemptCause> {
    let (announced, allowance) = (circuit.peer, Arc::clone(circuit.stream.allowance()));
    let mut trace = |stage| tracing::debug!(peer = %announced, ?stage, "inbound circuit");
    let upgraded = upgrader.inbound(circuit.stream, &mut trace).await?;
    let peer = upgraded.peer();
    if peer != announced {
        let reason = format!("the relay announced {announced}, but {peer} is at the other end");
        return Err(failed(relay, reason));
    }
    Ok(Reached {
        muxed: Muxed::Tcp(upgraded),
        path: path(relay, allowance, Some(InUse::begin(usage))),
    })
}

/// `in_use` keeps the connection to the relay in use as long as the circuit lasts.
fn path(relay: PeerId, allowance: Arc<Allowance>, in_use: Option<InUse>) -> Path {
    if let Some(seconds) = allowance.limit().and_then(|limit| limit.cut_from) {
        // Only at the level `debug`, because the relay can cause many of these lines.
        tracing::debug!(%relay, seconds, "the node shortened the time limit of a circuit, because the relay probably sends milliseconds instead of seconds");
    }
    Path::Relayed(Arc::new(Metered {
        allowance,
        _in_use: in_use,
    }))
}

/// The rest of a relay's limit on a circuit, in the tracker's form.
#[derive(Debug)]
struct Metered {
    allowance: Arc<Allowance>,
    _in_use: Option<InUse>,
}

impl RelayLimit for Metered {
    fn remaining(&self) -> Option<Limit> {
        let remaining = self.allowance.remaining()?;
        Some(Limit {
            until: remaining.until,
            bytes: remaining.bytes,
        })
    }
}

impl Part for RelayClient {
    fn name(&self) -> &'static str {
        "relay client"
    }

    fn services(self: Arc<Self>) -> Vec<Service> {
        vec![Service {
            protocols: vec![STOP_PROTOCOL.into()],
            limited: false,
            per_connection: Some(MOST_ARRIVING),
            keeps_open: false,
            enabled: self.finds || !self.candidates.is_empty(),
            serve: Arc::new(move |inbound| Box::pin(Arc::clone(&self).accept(inbound))),
        }]
    }

    fn connector(self: Arc<Self>) -> Option<Arc<dyn Connector>> {
        Some(self)
    }

    fn handle(&self, _now: Instant, change: &Change) {
        if self.finds {
            self.note_offers(change);
        }
        match change {
            Change::Disconnected {
                connection,
                remaining: 0,
                ..
            } => self.client.handle_disconnected(&connection.peer()),
            Change::Network => self.client.handle_network_changed(),
            _ => {}
        }
    }

    fn run(self: Arc<Self>, stop: CancellationToken) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            for (relay, at) in &self.candidates {
                self.cx.learn(relay, Told::Config, std::slice::from_ref(at));
            }
            while let Some(event) = stop.run_until_cancelled(self.client.next()).await {
                self.carry_out(event, &stop);
            }
            self.client.close();
            // Connected peers learn that the circuit addresses are gone.
            while let Some(event) = self.client.next().now_or_never() {
                if !matches!(event, ClientEvent::Ask { .. }) {
                    self.carry_out(event, &stop);
                }
            }
        })
    }
}

impl Connector for RelayClient {
    fn handles(&self, kind: Kind) -> bool {
        kind == Kind::Circuit
    }

    fn connect(
        self: Arc<Self>,
        attempt: Attempt,
    ) -> BoxFuture<'static, Result<Reached, AttemptCause>> {
        Box::pin(async move { self.dial(attempt).await })
    }

    fn dials_through(&self) -> bool {
        true
    }
}
