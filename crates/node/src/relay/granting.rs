//! Slots that others hold here, and circuits through this node.

use std::{
    collections::BTreeMap,
    io,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Instant,
};

use conn_state::{ConnectionId, Route};
use libp2p_identity::{Keypair, PeerId};
use multiaddr::Multiaddr;
use relay_slots::{
    Caps, ConnectionId as TableId, Event, Meter, Origin, Server, Table, Way,
    driver::{self, Relayed},
    wire::STOP_PROTOCOL,
};
use tokio::{io::AsyncWriteExt, sync::Notify};

use super::{RelayServerConfig, RelayTerms, TermsError};
use crate::{Connection, Stream, address, shared::Shared};

pub(crate) struct Granting {
    server: Mutex<Server<Caps>>,
    names: Mutex<Names>,
    carried: Mutex<BTreeMap<PeerId, Carried>>,
    /// Something may be due sooner.
    pub(super) changed: Arc<Notify>,
}

/// What the table and the node call the same connection.
#[derive(Default)]
struct Names {
    ours: BTreeMap<TableId, ConnectionId>,
    tables: BTreeMap<ConnectionId, TableId>,
}

/// What went to and from one who holds a slot.
#[derive(Default)]
struct Carried {
    ended: u64,
    live: Vec<Arc<Meter>>,
}

fn bytes(meter: &Meter) -> u64 {
    meter.bytes(Way::There) + meter.bytes(Way::Back)
}

/// A slot that this node grants as a relay.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Slot {
    /// Who holds it.
    pub peer: PeerId,
    /// From where. Of an IPv6 address the last 64 bits are zero.
    pub address: Option<IpAddr>,
    /// `active`, `probing` or `grace`.
    pub state: String,
    /// Until when, unless it is renewed.
    pub expires: Instant,
    /// Circuits that end at its holder.
    pub circuits: usize,
    /// Bytes that were carried to and from its holder since the slot was granted.
    pub bytes: u64,
}

impl Granting {
    pub(super) fn new(keypair: &Keypair, config: &RelayServerConfig) -> Self {
        let (caps, terms) = (config.caps.clone(), config.table.clone());
        let mut table: Table<PeerId, Caps> =
            Table::new(Instant::now(), rand::random(), caps, terms);
        if let Some(asn) = config.asn.clone() {
            table = table.with_asn(move |address| asn.0(address));
        }
        Self {
            server: Mutex::new(Server::new(table, keypair.clone(), Vec::new())),
            names: Mutex::default(),
            carried: Mutex::default(),
            changed: Arc::default(),
        }
    }

    pub(crate) fn server(&self) -> MutexGuard<'_, Server<Caps>> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn names(&self) -> MutexGuard<'_, Names> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn carried(&self) -> MutexGuard<'_, BTreeMap<PeerId, Carried>> {
        self.carried.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn slots(&self) -> Vec<Slot> {
        let (server, carried) = (self.server(), self.carried());
        let slots = server.table().slots().map(|slot| Slot {
            peer: *slot.peer,
            address: slot.address(),
            state: slot.state.to_string(),
            expires: slot.expires,
            circuits: slot.circuits,
            bytes: carried.get(slot.peer).map_or(0, |carried| {
                carried.ended + carried.live.iter().map(|meter| bytes(meter)).sum::<u64>()
            }),
        });
        slots.collect()
    }

    #[cfg(feature = "metrics")]
    pub(crate) fn usage(&self) -> relay_slots::Usage {
        self.server().table().usage()
    }

    pub(crate) fn terms(&self) -> RelayTerms {
        let server = self.server();
        RelayTerms::of(server.table().admission(), server.table().config())
    }

    /// Other terms from now on. What is held is kept.
    pub(crate) fn set(&self, terms: &RelayTerms) -> Result<(), TermsError> {
        let mut server = self.server();
        let table = server.table_mut();
        let (mut caps, mut config) = (table.admission().clone(), table.config().clone());
        terms.apply(&mut caps, &mut config)?;
        *table.admission_mut() = caps;
        table.set_config(config);
        drop(server);
        self.changed.notify_one();
        Ok(())
    }

    /// A relay behind another relay is none: only where it listens itself may slots be used.
    pub(super) fn handle_listening(&self, mut addresses: Vec<Multiaddr>) {
        addresses.retain(|address| address::kind(address) != address::Kind::Circuit);
        self.server().set_addresses(addresses);
    }

    pub(super) fn handle_connected(&self, now: Instant, connection: &Connection) {
        let origin = match (connection.route(), address::ip(connection.address())) {
            (Route::Relayed(_), _) => Origin::Relayed,
            (Route::Direct, Some(ip)) => Origin::Address(ip),
            (Route::Direct, None) => Origin::Local,
        };
        let mut names = self.names();
        let mut server = self.server();
        let id = server
            .table_mut()
            .handle_connected(now, &connection.peer(), origin);
        names.ours.insert(id, connection.id());
        names.tables.insert(connection.id(), id);
        drop((server, names));
        self.changed.notify_one();
    }

    pub(super) fn handle_disconnected(&self, now: Instant, connection: &Connection) {
        let mut names = self.names();
        let Some(id) = names.tables.remove(&connection.id()) else {
            return;
        };
        names.ours.remove(&id);
        self.server().table_mut().handle_disconnected(now, id);
        drop(names);
        self.changed.notify_one();
    }

    pub(super) async fn serve(
        &self,
        node: &Arc<Shared>,
        connection: &Connection,
        mut stream: Stream,
    ) {
        let Some(id) = self.names().tables.get(&connection.id()).copied() else {
            return;
        };
        let counted = Counted {
            granting: self,
            meter: Arc::default(),
            of: OnceLock::new(),
        };
        let open = |to: TableId| {
            self.changed.notify_one();
            let counted = &counted;
            async move {
                let connection = self.connection(node, to);
                let connection = connection.ok_or_else(|| io::Error::other("it is gone"))?;
                counted.begin(connection.peer());
                let opened = connection.open(&[STOP_PROTOCOL]).await;
                opened.map(|(_, stream)| stream).map_err(io::Error::other)
            }
        };
        let relayed = driver::relay(&self.server, id, &mut stream, open, &counted.meter).await;
        self.changed.notify_one();
        match relayed {
            Relayed::Answered { refusal } => {
                if let Some(refusal) = refusal {
                    tracing::debug!(peer = %connection.peer(), %refusal, "a hop request");
                    #[cfg(feature = "metrics")]
                    node.metrics.relaying.refused();
                }
                let _ = stream.shutdown().await;
            }
            // Dropping both resets what is left of them.
            Relayed::Spliced { end, .. } => {
                tracing::debug!(peer = %connection.peer(), ?end, "a circuit is over");
                #[cfg(feature = "metrics")]
                node.metrics.relaying.ended(bytes(&counted.meter));
            }
            Relayed::Failed(error) => {
                tracing::debug!(peer = %connection.peer(), %error, "a hop stream failed");
            }
            _ => {}
        }
    }

    fn connection(&self, node: &Shared, id: TableId) -> Option<Connection> {
        let ours = self.names().ours.get(&id).copied();
        node.registry().get(ours?)
    }

    /// What the table wants done next.
    pub(super) fn next(&self, now: Instant) -> Result<Event<PeerId>, Option<Instant>> {
        let mut server = self.server();
        let table = server.table_mut();
        table.handle_timeout(now);
        table.poll_event().ok_or_else(|| table.poll_timeout())
    }
}

/// Counts a circuit for as long as it is there, however its task ends.
struct Counted<'a> {
    granting: &'a Granting,
    meter: Arc<Meter>,
    of: OnceLock<PeerId>,
}

impl Counted<'_> {
    fn begin(&self, peer: PeerId) {
        if self.of.set(peer).is_ok() {
            let mut carried = self.granting.carried();
            let live = &mut carried.entry(peer).or_default().live;
            live.push(Arc::clone(&self.meter));
        }
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        let Some(peer) = self.of.get() else { return };
        let server = self.granting.server();
        let mut carried = self.granting.carried();
        // It is not there any more if the slot was freed meanwhile.
        if let Some(of_peer) = carried.get_mut(peer) {
            of_peer.ended += bytes(&self.meter);
            of_peer
                .live
                .retain(|meter| !Arc::ptr_eq(meter, &self.meter));
            if of_peer.live.is_empty() && server.table().held_by(peer) == 0 {
                carried.remove(peer);
            }
        }
    }
}

pub(super) fn carry_out(node: &Arc<Shared>, event: Event<PeerId>) {
    let Some(granting) = &node.relay.granting else {
        return;
    };
    match event {
        Event::Probe { connection: id } => {
            let Some(connection) = granting.connection(node, id) else {
                return;
            };
            let (node, patience) = (Arc::clone(node), granting.server().table().config().answer);
            node.tasks.clone().spawn(async move {
                let answers = connection.answers(patience).await;
                let (Some(granting), now) = (&node.relay.granting, Instant::now()) else {
                    return;
                };
                let mut server = granting.server();
                match answers {
                    true => server.table_mut().handle_alive(now, id),
                    false => server.table_mut().handle_dead(now, id),
                }
                drop(server);
                granting.changed.notify_one();
            });
        }
        Event::Silent { connection: id, .. } => {
            if let Some(connection) = granting.connection(node, id) {
                connection.abort("it did not answer a probe");
            }
        }
        Event::Freed { peer, cause } => {
            tracing::debug!(%peer, ?cause, "a slot is free");
            let server = granting.server();
            if server.table().held_by(&peer) == 0 {
                granting.carried().remove(&peer);
            }
        }
        event => tracing::debug!(?event, "relay"),
    }
}
