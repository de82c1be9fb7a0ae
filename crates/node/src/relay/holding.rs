//! Slots that this node holds at relays.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use libp2p_identity::PeerId;
use multiaddr::{Multiaddr, Protocol};
use relay_slots::{
    Answer, Client, ClientEvent, Status, driver,
    wire::{HOP_PROTOCOL, Reservation},
};
use tokio::{io::AsyncWriteExt, sync::Notify};

use super::RelayConfig;
use crate::{Connection, Event, address, dial, shared::Shared};

pub(super) struct Holding {
    client: Mutex<Client>,
    relays: BTreeMap<PeerId, Vec<Multiaddr>>,
    /// Under which addresses others reach us through each relay.
    announced: Mutex<BTreeMap<PeerId, Vec<Multiaddr>>>,
    pub(super) changed: Arc<Notify>,
}

impl Holding {
    pub(super) fn new(config: &RelayConfig) -> Self {
        let (now, mut relays) = (Instant::now(), BTreeMap::<_, Vec<_>>::new());
        let mut client = Client::new(rand::random(), config.client.clone());
        for at in &config.reserve_at {
            match address::peer(at) {
                Some(relay) => {
                    client.handle_candidate(now, relay, at, None);
                    relays.entry(relay).or_default().push(at.clone());
                }
                None => {
                    tracing::warn!(%at, "not asked for a slot: it does not say who the relay is")
                }
            }
        }
        Self {
            client: Mutex::new(client),
            relays,
            announced: Mutex::default(),
            changed: Arc::default(),
        }
    }

    fn client(&self) -> MutexGuard<'_, Client> {
        self.client.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a circuit from this relay is to be accepted.
    pub(super) fn accept(&self, relay: &PeerId) -> Result<(), Status> {
        self.client().accept(relay)
    }

    pub(super) fn handle_disconnected(&self, now: Instant, peer: PeerId) {
        self.client().handle_disconnected(now, &peer);
        self.changed.notify_one();
    }

    pub(super) fn next(&self, now: Instant) -> Result<ClientEvent, Option<Instant>> {
        let mut client = self.client();
        client.handle_timeout(now);
        client.poll_event().ok_or_else(|| client.poll_timeout())
    }

    /// Asks one relay for a slot, or for more time.
    async fn ask(&self, node: &Arc<Shared>, relay: PeerId) -> Answer {
        let there = node.registry().best(relay);
        let connection = match there {
            Some(connection) => connection,
            None => {
                let at = self.relays.get(&relay).cloned().unwrap_or_default();
                match dial::dial(node, at).await {
                    Ok(connection) => connection,
                    Err(error) => return Answer::Failed(error.to_string()),
                }
            }
        };
        if let Some(rtt) = connection.rtt() {
            self.client().handle_rtt(&relay, rtt);
        }
        let mut stream = match connection.open(&[HOP_PROTOCOL]).await {
            Ok((_, stream)) => stream,
            Err(error) => return Answer::Failed(error.to_string()),
        };
        let mut answer = driver::reserve(&mut stream, relay, node.peer_id).await;
        let _ = stream.shutdown().await;
        if let Answer::Granted { reservation, .. } = &mut answer {
            complete(reservation, &connection);
        }
        answer
    }

    /// Others are told that we are behind this relay, or no longer.
    fn announce(&self, node: &Arc<Shared>, relay: PeerId, addresses: Vec<Multiaddr>) {
        let mut announced = self
            .announced
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let before = announced.remove(&relay).unwrap_or_default();
        if before == addresses {
            announced.insert(relay, before);
            return;
        }
        let mut listening = node.write_listening();
        listening.retain(|address| !before.contains(address));
        for address in &addresses {
            if !listening.contains(address) {
                listening.push(address.clone());
            }
        }
        drop(listening);
        for address in addresses.iter().filter(|address| !before.contains(address)) {
            let address = address.clone().with(Protocol::P2p(node.peer_id));
            node.emit(Event::Listening { address });
        }
        if !addresses.is_empty() {
            announced.insert(relay, addresses);
        }
        drop(announced);
        node.push_identify();
    }
}

/// A relay that does not say where it is, is where we reached it.
fn complete(reservation: &mut Reservation, connection: &Connection) {
    if reservation.addresses.is_empty() {
        let at = connection.address().clone();
        reservation
            .addresses
            .push(at.with(Protocol::P2p(connection.peer())));
    }
}

/// Where others reach us through this relay.
fn circuits(relay: PeerId, reservation: &Reservation) -> Vec<Multiaddr> {
    let ours = |address: &Multiaddr| {
        let named = address.clone().with_p2p(relay).ok()?;
        let circuit = named.with(Protocol::P2pCircuit);
        (address::kind(&circuit) == address::Kind::Circuit).then_some(circuit)
    };
    reservation.addresses.iter().filter_map(ours).collect()
}

pub(super) fn carry_out(node: &Arc<Shared>, event: ClientEvent) {
    let Some(holding) = &node.relay.holding else {
        return;
    };
    tracing::debug!(?event, "reservation");
    match &event {
        ClientEvent::Ask { relay } => {
            let (relay, node) = (*relay, Arc::clone(node));
            node.tasks.clone().spawn(async move {
                let Some(holding) = &node.relay.holding else {
                    return;
                };
                let answer = holding.ask(&node, relay).await;
                let unix = SystemTime::now().duration_since(UNIX_EPOCH);
                let unix = unix.map_or(0, |since| since.as_secs());
                holding
                    .client()
                    .handle_answer(Instant::now(), unix, &relay, answer);
                holding.changed.notify_one();
            });
            return;
        }
        ClientEvent::Granted {
            relay, reservation, ..
        }
        | ClientEvent::Renewed {
            relay, reservation, ..
        } => {
            holding.announce(node, *relay, circuits(*relay, reservation));
        }
        ClientEvent::Lost { relay, .. } => holding.announce(node, *relay, Vec::new()),
        _ => {}
    }
    node.emit(Event::Reservation { event });
}
