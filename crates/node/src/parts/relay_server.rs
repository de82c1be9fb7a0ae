//! The part that relays for other peers: it grants slots, and carries circuits to the peers that hold slots.
//!
//! relay-slots decides which peer gets a slot or a circuit, and implements the protocol. This file reports connections
//! to relay-slots, opens stop streams, and probes or closes connections on request.

mod figures;
mod listing;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use conn_state::{Closing, ConnectionId, Route};
use futures::future::BoxFuture;
use libp2p_identity::{Keypair, PeerId};
use multiaddr::Multiaddr;
use relay_slots::{
    Event, Origin, Server, Slot, Status, Table, Terms, TermsError,
    driver::{self, Served},
    wire::{HOP_PROTOCOL, STOP_PROTOCOL},
};
use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::{
    address,
    config::RelayServerConfig,
    connection::{Connection, InUse},
    connections::Protection,
    context::Context,
    error::error_chain,
    node::Node,
    part::{Answer, Change, Figure, GOODBYE, InboundStream, Part, Query, QueryError, Service},
};

/// The time that circuits have at shutdown to forward the bytes that they hold. The part needs the rest of [`GOODBYE`].
const LAST_BYTES: Duration = GOODBYE.saturating_sub(Duration::from_millis(200));

/// Hop streams of one connection that wait for their request or for its answer.
const MOST_REQUESTS: usize = 64;

/// The time that the answer to a request for a slot waits for the holder's identify message, which contains the address at which
/// the holder sees this relay.
const SEEN_WITHIN: Duration = Duration::from_millis(500);

/// The relay server. It exists in every node, so that the admin endpoint can report that a node is not a relay.
pub(crate) struct RelayServer {
    cx: Context,
    /// `None`: this node is not a relay.
    relay: Option<Arc<driver::RelayServer>>,
    counters: Counters,
    /// The holders of slots. Their connections are idle between two circuits, and must stay.
    protected: Mutex<BTreeMap<PeerId, Protection>>,
}

/// Totals since the node started.
#[derive(Debug, Default)]
struct Counters {
    refused: AtomicU64,
    ended: AtomicU64,
    bytes: AtomicU64,
}

impl RelayServer {
    pub(crate) fn new(cx: Context, keypair: &Keypair, config: Option<&RelayServerConfig>) -> Self {
        let relay = config.map(|config| {
            let (caps, terms) = (config.caps.clone(), config.table.clone());
            let mut table = Table::new(Instant::now(), rand::random(), caps, terms);
            if let Some(asn) = config.asn.clone() {
                table = table.with_asn(move |address| asn.find(address));
            }
            let server = Server::new(table, keypair.clone(), Vec::new());
            Arc::new(driver::RelayServer::new(server))
        });
        Self {
            cx,
            relay,
            counters: Counters::default(),
            protected: Mutex::default(),
        }
    }

    fn protected(&self) -> MutexGuard<'_, BTreeMap<PeerId, Protection>> {
        let protected = self.protected.lock();
        protected.unwrap_or_else(PoisonError::into_inner)
    }

    /// Serves one hop stream, and the circuit that may follow.
    async fn serve(
        self: Arc<Self>,
        InboundStream {
            connection,
            mut stream,
            ..
        }: InboundStream,
    ) {
        let Some(relay) = &self.relay else { return };
        let (peer, id) = (connection.peer(), slots_id(connection.id()));
        // The connection is in use while it carries a circuit, and not while a peer only opens hop streams.
        let (usage, mut in_use) = (connection.usage().clone(), None);
        // A circuit is counted by the relay's caps, and no longer as one of the requests of its connection.
        let request = stream.take_service();
        let opened = || {
            in_use = Some(InUse::begin(&usage));
            drop(request);
        };
        let list = async |announced| self.list(id, announced).await;
        drop(connection);
        let open = |to: relay_slots::ConnectionId| {
            let connection = self.cx.connection_by_id(node_id(to));
            async move {
                let gone = || io::Error::from(io::ErrorKind::NotConnected);
                let connection = connection.ok_or_else(gone)?;
                let opened = connection.open(&[STOP_PROTOCOL]).await;
                opened.map(|(_, stream)| stream).map_err(io::Error::other)
            }
        };
        let served = relay.serve_listing(id, stream, open, list, opened).await;
        drop(in_use);
        match served {
            Served::Answered {
                refusal: Some(refusal),
                ..
            } => {
                tracing::debug!(%peer, %refusal, "the relay refused a hop request");
                self.counters.refused.fetch_add(1, Relaxed);
            }
            Served::Answered {
                status: Status::Ok, ..
            } => {
                // The peer has got a slot, or has renewed it. A circuit that opens is reported when it ends.
                if let Some(protection) = self.cx.protect(peer) {
                    self.protected().insert(peer, protection);
                }
            }
            Served::Carried { end, bytes, .. } => {
                tracing::debug!(%peer, ?end, bytes, "a circuit ended");
                self.counters.ended.fetch_add(1, Relaxed);
                self.counters.bytes.fetch_add(bytes, Relaxed);
            }
            Served::Failed(error) => {
                let error = error_chain(&error);
                tracing::debug!(%peer, error, "a hop stream failed");
            }
            _ => {}
        }
    }

    /// The addresses for the holder of a slot.
    async fn list(
        &self,
        id: relay_slots::ConnectionId,
        announced: Vec<Multiaddr>,
    ) -> Vec<Multiaddr> {
        let Some(connection) = self.cx.connection_by_id(node_id(id)) else {
            return announced;
        };
        // Only a connection to a listener shows an address of this relay that others can dial.
        let Some((_, local)) = self.cx.listener_of(&connection) else {
            return listing::list(connection.audience(), None, None, announced);
        };
        if connection.identified().is_none() {
            // The holder asks for its slot while its identify message is still on its way.
            let _ = timeout(SEEN_WITHIN, connection.identify()).await;
        }
        let info = connection.identified();
        let seen = info.as_ref().and_then(|info| info.observed.as_ref());
        listing::list(connection.audience(), seen, Some(&local), announced)
    }

    fn carry_out(
        &self,
        relay: &Arc<driver::RelayServer>,
        event: Event<PeerId>,
        stop: &CancellationToken,
    ) {
        match event {
            Event::Probe {
                connection: id,
                within,
            } => {
                // The relay already knows that a missing connection has ended.
                let Some(connection) = self.cx.connection_by_id(node_id(id)) else {
                    return;
                };
                let (relay, stop) = (Arc::clone(relay), stop.clone());
                self.cx.spawn(async move {
                    let answers = stop.run_until_cancelled(connection.answers(within)).await;
                    if let Some(answered) = answers {
                        relay.handle_probed(id, answered);
                    }
                });
            }
            Event::Silent {
                peer,
                connection: id,
            } => {
                tracing::debug!(%peer, connection = %id, "a peer with a slot did not answer a probe");
                self.cx.close(node_id(id), Closing::Silent);
            }
            Event::Freed { peer, cause } => {
                tracing::debug!(%peer, ?cause, "a peer's slot is free again");
                self.protected().remove(&peer);
            }
            event => tracing::debug!(?event, "an event of the relay"),
        }
    }

    /// Updates the addresses that this relay sends to the holders of slots.
    fn set_addresses(&self) {
        if let Some(relay) = &self.relay {
            relay.set_addresses(self.cx.announced());
        }
    }

    fn listing(&self) -> Result<Value, QueryError> {
        let relay = self.relay.as_ref().ok_or_else(not_a_relay)?;
        Ok(json!({"slots": relay.slots(), "terms": relay.terms()}))
    }

    fn change_terms(&self, terms: Value) -> Result<Value, QueryError> {
        let relay = self.relay.as_ref().ok_or_else(not_a_relay)?;
        // The decoder would read a list as the terms in their order.
        let Some(named) = terms.as_object() else {
            return Err(QueryError::Invalid(
                "the terms are not a JSON object".to_owned(),
            ));
        };
        // One by one first, because the decoder names no term whose value has the wrong type.
        for (name, value) in named {
            let term = serde_json::from_value::<Terms>(json!({name: value}));
            term.map_err(|error| QueryError::Invalid(format!("{name}: {error}")))?;
        }
        let malformed = |error: serde_json::Error| QueryError::Invalid(error.to_string());
        let terms: Terms = serde_json::from_value(terms).map_err(malformed)?;
        let terms = relay.set_terms(&terms);
        let terms = terms.map_err(|error| QueryError::Invalid(error.to_string()))?;
        Ok(json!(terms))
    }
}

fn not_a_relay() -> QueryError {
    QueryError::NotFound("this node is not a relay".to_owned())
}

fn slots_id(id: ConnectionId) -> relay_slots::ConnectionId {
    relay_slots::ConnectionId(id.as_u64())
}

fn node_id(id: relay_slots::ConnectionId) -> ConnectionId {
    ConnectionId::from_u64(id.0)
}

/// The origin of a connection, for the relay's caps.
fn origin(connection: &Connection) -> Origin {
    match (connection.route(), address::ip(connection.address())) {
        (Route::Relayed(_), _) => Origin::Relayed,
        (Route::Direct, Some(ip)) => Origin::Address(ip),
        (Route::Direct, None) => Origin::Local,
    }
}

impl Part for RelayServer {
    fn name(&self) -> &'static str {
        "relay server"
    }

    fn services(self: Arc<Self>) -> Vec<Service> {
        if self.relay.is_none() {
            return Vec::new();
        }
        vec![Service {
            protocols: vec![HOP_PROTOCOL.into()],
            limited: false,
            per_connection: Some(MOST_REQUESTS),
            keeps_open: false,
            enabled: true,
            serve: Arc::new(move |inbound| Box::pin(Arc::clone(&self).serve(inbound))),
        }]
    }

    fn handle(&self, _now: Instant, change: &Change) {
        let Some(relay) = &self.relay else { return };
        match change {
            Change::Connected { connection } => {
                let id = slots_id(connection.id());
                relay.handle_connected(id, &connection.peer(), origin(connection));
            }
            Change::Disconnected { connection, .. } => {
                relay.handle_disconnected(slots_id(connection.id()));
            }
            Change::Local => self.set_addresses(),
            _ => {}
        }
    }

    fn run(self: Arc<Self>, stop: CancellationToken) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let Some(relay) = &self.relay else { return };
            self.set_addresses();
            while let Some(event) = stop.run_until_cancelled(relay.next()).await {
                self.carry_out(relay, event, &stop);
            }
            let cut = relay.shutdown(LAST_BYTES).await;
            if cut > 0 {
                tracing::info!(
                    circuits = cut,
                    "the relay stopped and cut circuits that were still open"
                );
            }
        })
    }

    fn queries(self: Arc<Self>) -> Vec<Query> {
        let changed = Arc::clone(&self);
        vec![
            Query::read("/slots", move |_| Answer::ready(self.listing())),
            Query::write("/slots", move |terms| {
                Answer::ready(changed.change_terms(terms))
            }),
        ]
    }

    fn figures(&self) -> Vec<Figure> {
        figures::of(self)
    }
}

/// Relaying for other peers.
impl Node {
    /// The slots that this node has granted as a relay. `None`: this node is not a relay.
    pub fn slots(&self) -> Option<Vec<Slot>> {
        Some(self.part::<RelayServer>()?.relay.as_ref()?.slots())
    }

    /// The relay terms of this node. `None`: this node is not a relay.
    pub fn relay_terms(&self) -> Option<Terms> {
        Some(self.part::<RelayServer>()?.relay.as_ref()?.terms())
    }

    /// Changes the terms that `terms` contains, and returns all terms. Existing slots and circuits stay. `None`: this
    /// node is not a relay.
    ///
    /// # Errors
    ///
    /// A term is out of its bounds. In this case no term changes.
    pub fn set_relay_terms(&self, terms: &Terms) -> Option<Result<Terms, TermsError>> {
        Some(self.part::<RelayServer>()?.relay.as_ref()?.set_terms(terms))
    }
}
