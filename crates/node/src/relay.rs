//! Circuit relay v2: slots that this node grants, slots that it holds, and connections over circuits. What is granted to
//! whom, whom to ask when, and what goes over the wire is relay-slots'; the node lends it connections and streams.

mod granting;
mod holding;
mod terms;

use std::{
    fmt,
    net::IpAddr,
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use conn_state::{Direction, Limit};
use libp2p_identity::{Keypair, PeerId};
use multiaddr::{Multiaddr, Protocol};
use relay_slots::{
    Caps, ClientConfig, TableConfig, driver,
    wire::{HOP_PROTOCOL, STOP_PROTOCOL},
};
use tokio::{sync::Notify, time::sleep_until};
use tokio_util::sync::CancellationToken;

use crate::{
    AttemptCause, Connection, Stream,
    accept::turned_away,
    address,
    connection::{Admitted, Muxed},
    dial,
    path::{Allowance, Path, Rationed},
    shared::Shared,
};

pub use granting::Slot;
pub use terms::{RateTerm, RelayTerms, TermsError};

use granting::Granting;
use holding::Holding;

/// What a node has to do with relays.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct RelayConfig {
    /// Whether it relays for others, and under which terms. Default: it does not.
    pub server: Option<RelayServerConfig>,
    /// Relays at which it wants to be reached, each with its id. Default: none.
    pub reserve_at: Vec<Multiaddr>,
    /// How many of them are used at a time, and how stubbornly.
    pub client: ClientConfig,
}

/// The terms of a relay.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct RelayServerConfig {
    /// Who gets in.
    pub caps: Caps,
    /// How long slots and circuits last, and how much a circuit carries.
    pub table: TableConfig,
    /// How the autonomous system of an address is found. Default: not at all, and [`Caps::slots_per_asn`] caps nothing.
    pub asn: Option<AsnLookup>,
}

/// Finds the autonomous system of an address, if it has one. It is asked once a connection, and must not block.
#[derive(Clone)]
pub struct AsnLookup(Arc<dyn Fn(IpAddr) -> Option<u32> + Send + Sync>);

impl fmt::Debug for AsnLookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AsnLookup")
    }
}

impl RelayServerConfig {
    /// These terms.
    pub fn new(caps: Caps, table: TableConfig) -> Self {
        Self {
            caps,
            table,
            asn: None,
        }
    }

    /// Sets [`Self::asn`].
    pub fn with_asn(
        mut self,
        lookup: impl Fn(IpAddr) -> Option<u32> + Send + Sync + 'static,
    ) -> Self {
        self.asn = Some(AsnLookup(Arc::new(lookup)));
        self
    }
}

impl RelayConfig {
    /// Sets [`Self::server`].
    pub fn with_server(mut self, server: RelayServerConfig) -> Self {
        self.server = Some(server);
        self
    }

    /// Sets [`Self::reserve_at`].
    pub fn with_reserve_at(mut self, relays: impl IntoIterator<Item = Multiaddr>) -> Self {
        self.reserve_at = relays.into_iter().collect();
        self
    }

    /// Sets [`Self::client`].
    pub fn with_client(mut self, client: ClientConfig) -> Self {
        self.client = client;
        self
    }
}

/// Both sides, where there are.
pub(crate) struct Relay {
    pub(crate) granting: Option<Granting>,
    holding: Option<Holding>,
}

impl Relay {
    pub(crate) fn new(keypair: &Keypair, config: &RelayConfig) -> Self {
        let holds = !config.reserve_at.is_empty();
        Self {
            granting: config
                .server
                .as_ref()
                .map(|server| Granting::new(keypair, server)),
            holding: holds.then(|| Holding::new(config)),
        }
    }

    /// What peers may ask because of this.
    pub(crate) fn protocols(&self) -> impl Iterator<Item = &'static str> {
        let hop = self.granting.as_ref().map(|_| HOP_PROTOCOL);
        let stop = self.holding.as_ref().map(|_| STOP_PROTOCOL);
        hop.into_iter().chain(stop)
    }

    pub(crate) fn handle_listening(&self, addresses: Vec<Multiaddr>) {
        if let Some(granting) = &self.granting {
            granting.handle_listening(addresses);
        }
    }

    pub(crate) fn handle_connected(&self, now: Instant, connection: &Connection) {
        if let Some(granting) = &self.granting {
            granting.handle_connected(now, connection);
        }
    }

    pub(crate) fn handle_disconnected(&self, now: Instant, connection: &Connection, left: usize) {
        if let Some(granting) = &self.granting {
            granting.handle_disconnected(now, connection);
        }
        if let Some(holding) = self.holding.as_ref().filter(|_| left == 0) {
            holding.handle_disconnected(now, connection.peer());
        }
    }
}

/// Starts what goes on by itself.
pub(crate) fn start(node: &Arc<Shared>) {
    let (weak, stopping) = (|| Arc::downgrade(node), || node.stopping.clone());
    if let Some(granting) = &node.relay.granting {
        let next = |relay: &Relay, now| match &relay.granting {
            Some(granting) => granting.next(now),
            None => Err(None),
        };
        let changed = Arc::clone(&granting.changed);
        let driver = drive(weak(), stopping(), changed, next, granting::carry_out);
        node.tasks.spawn(driver);
    }
    if let Some(holding) = &node.relay.holding {
        let next = |relay: &Relay, now| match &relay.holding {
            Some(holding) => holding.next(now),
            None => Err(None),
        };
        let changed = Arc::clone(&holding.changed);
        let driver = drive(weak(), stopping(), changed, next, holding::carry_out);
        node.tasks.spawn(driver);
    }
}

/// Carries out what is next, or waits until something is due or has changed; until the node stops. It holds no node while it
/// waits.
async fn drive<E>(
    node: Weak<Shared>,
    stopping: CancellationToken,
    changed: Arc<Notify>,
    next: impl Fn(&Relay, Instant) -> Result<E, Option<Instant>>,
    carry_out: impl Fn(&Arc<Shared>, E),
) {
    loop {
        let Some(node) = node.upgrade() else { return };
        let due = match next(&node.relay, Instant::now()) {
            Ok(event) => {
                carry_out(&node, event);
                continue;
            }
            Err(due) => due,
        };
        drop(node);
        let due = async {
            match due {
                Some(due) => sleep_until(due.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = changed.notified() => {}
            () = due => {}
            () = stopping.cancelled() => return,
        }
    }
}

/// A peer wants a slot, or to be connected to somebody.
pub(crate) async fn serve_hop(node: &Arc<Shared>, connection: &Connection, stream: Stream) {
    if let Some(granting) = &node.relay.granting {
        granting.serve(node, connection, stream).await;
    }
}

/// Somebody wants to be connected to us, says a relay.
pub(crate) async fn serve_stop(
    node: &Arc<Shared>,
    relay: &Connection,
    mut stream: Stream,
    place: Admitted,
) {
    let Some(holding) = &node.relay.holding else {
        return;
    };
    let address = relay.address().clone().with(Protocol::P2p(relay.peer()));
    let address = address.with(Protocol::P2pCircuit);
    let accepted = driver::accept(&mut stream, holding.accept(&relay.peer())).await;
    let (peer, limit) = match accepted {
        Ok(accepted) => accepted,
        Err(error) => return turned_away(node, address, error),
    };
    let mut admitted = match node.admit_relayed() {
        Ok(admitted) => admitted,
        Err(refused) => return turned_away(node, address, refused),
    };
    let mut trace = |stage| tracing::debug!(%peer, ?stage, "inbound by a relay");
    let allowance = Allowance::new(limit.map(ours));
    let path = Path::Circuit(Arc::clone(&allowance));
    let circuit = Rationed {
        inner: stream,
        allowance,
    };
    let handshake = async {
        let upgrader = &node.transports.tcp.upgrader;
        let upgraded = upgrader.inbound(circuit, &mut trace).await?;
        match upgraded.peer() == peer {
            true => Ok(upgraded),
            false => Err(AttemptCause::Relay {
                relay: relay.peer(),
                reason: format!("it announced {peer}, who came was {}", upgraded.peer()),
            }),
        }
    };
    let upgraded = tokio::select! {
        upgraded = Box::pin(admitted.run(handshake)) => upgraded,
        () = node.stopping.cancelled() => return,
    };
    // The connection is none of the relay's streams any more, for the host's count.
    drop(place);
    let way = (path, Direction::Inbound);
    let adopted = upgraded
        .and_then(|upgraded| node.adopt(admitted, Muxed::Tcp(upgraded), address.clone(), way));
    match adopted {
        Ok(session) => session.run().await,
        Err(error) => turned_away(node, address, error),
    }
}

/// Connects to a peer through its relay, to which a connection is made where there is none.
pub(crate) async fn dial(
    node: &Arc<Shared>,
    address: &Multiaddr,
    expected: Option<PeerId>,
    deadline: tokio::time::Instant,
) -> Result<(Muxed, Path), AttemptCause> {
    let (at, relay) = address::circuit(address).ok_or(AttemptCause::Unsupported)?;
    let failed = |reason: String| AttemptCause::Relay { relay, reason };
    let peer =
        expected.ok_or_else(|| failed("the address does not say who is behind it".into()))?;
    let there = node.registry().best(relay);
    let connection = match there {
        Some(connection) => connection,
        None => {
            let dialed = Box::pin(dial::dial(node, vec![at])).await;
            dialed.map_err(|error| failed(error.to_string()))?
        }
    };
    let opened = connection.open(&[HOP_PROTOCOL]).await;
    let (_, mut stream) = opened.map_err(|error| failed(error.to_string()))?;
    let left = deadline.saturating_duration_since(tokio::time::Instant::now());
    let limit = driver::connect(&mut stream, peer, left).await;
    let limit = limit.map_err(|error| failed(error.to_string()))?;
    let allowance = Allowance::new(limit.map(ours));
    let path = Path::Circuit(Arc::clone(&allowance));
    let circuit = Rationed {
        inner: stream,
        allowance,
    };
    let mut trace = |stage| tracing::debug!(%address, ?stage, "outbound by a relay");
    let upgrader = &node.transports.tcp.upgrader;
    let upgraded = upgrader.outbound(circuit, Some(peer), &mut trace).await?;
    Ok((Muxed::Tcp(upgraded), path))
}

/// A relay's limit as conn-state counts it.
fn ours(limit: relay_slots::wire::Limit) -> Limit {
    if let Some(seconds) = limit.cut_from {
        tracing::info!(seconds, "a relay confuses its units: its limit was cut");
    }
    let until = |lasts: Duration| Instant::now().checked_add(lasts);
    Limit {
        until: limit.duration.and_then(until),
        bytes: limit.data,
    }
}
