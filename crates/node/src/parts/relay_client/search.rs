//! The search for relays among the peers that another part of the node offers.
//!
//! relay-slots chooses the peers and the times. This file finds out whether an offered peer is a relay, and closes the connections
//! that were opened only for this.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use conn_state::{Closing, ConnectionId};
use libp2p_identity::PeerId;
use multiaddr::Multiaddr;
use relay_slots::wire::HOP_PROTOCOL;
use tokio_util::sync::CancellationToken;

use super::RelayClient;
use crate::{
    connection::Connection,
    dial_budget::DialBudget,
    error::{DialError, error_chain},
    part::{Change, RELAYS},
};

/// The connections that the search has opened, and the budget of all its dials. relay-slots bounds the number of offered peers.
#[derive(Debug, Default)]
pub(super) struct Search {
    opened: Mutex<BTreeMap<PeerId, Opened>>,
    /// The addresses of offered peers may be host names, which lead to many addresses.
    budget: DialBudget,
}

#[derive(Debug)]
struct Opened {
    connection: ConnectionId,
    /// Whether the connection is no longer needed.
    released: bool,
}

impl Search {
    fn opened(&self) -> MutexGuard<'_, BTreeMap<PeerId, Opened>> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection is needed. `is_new`: the search has opened it.
    fn need(&self, connection: &Connection, is_new: bool) {
        let (mut all, peer) = (self.opened(), connection.peer());
        let needed = Opened {
            connection: connection.id(),
            released: false,
        };
        let is_known = |opened: &Opened| opened.connection == needed.connection;
        if is_new || all.get(&peer).is_some_and(is_known) {
            all.insert(peer, needed);
        }
    }

    /// The connection that the search has opened to this peer, if it is no longer needed.
    fn unneeded(&self, peer: &PeerId) -> Option<ConnectionId> {
        let all = self.opened();
        let opened = all.get(peer).filter(|opened| opened.released)?;
        Some(opened.connection)
    }
}

impl RelayClient {
    /// Passes what other parts tell about possible relays to relay-slots.
    pub(super) fn note_offers(&self, change: &Change) {
        match change {
            Change::Offered {
                purpose: RELAYS,
                peer,
                addresses,
            } => {
                self.client.handle_offered(*peer, addresses);
                let connection = self.cx.unlimited(peer);
                if let Some(info) = connection.and_then(|one| one.identified()) {
                    let is_relay = info.supports(HOP_PROTOCOL);
                    self.client.handle_identified(peer, is_relay);
                }
            }
            // Over a limited connection, a peer does not tell all of its protocols.
            Change::Identified { connection, info } if !connection.is_limited() => {
                let peer = connection.peer();
                let is_relay = info.supports(HOP_PROTOCOL);
                self.client.handle_identified(&peer, is_relay);
            }
            Change::Disconnected { connection, .. } => {
                let (peer, id) = (connection.peer(), connection.id());
                let mut all = self.search.opened();
                if all.get(&peer).is_some_and(|one| one.connection == id) {
                    all.remove(&peer);
                }
            }
            _ => {}
        }
    }

    /// Finds out whether an offered peer is a relay.
    pub(super) fn examine(
        self: &Arc<Self>,
        relay: PeerId,
        addresses: Vec<Multiaddr>,
        stop: CancellationToken,
    ) {
        let this = Arc::clone(self);
        self.cx.spawn(async move {
            let look = this.look(relay, addresses);
            let examine = this.client.examine(relay, look);
            stop.run_until_cancelled(examine).await;
        });
    }

    async fn look(&self, relay: PeerId, addresses: Vec<Multiaddr>) -> Option<bool> {
        let connection = match self.connect_to(relay, addresses).await {
            Ok(connection) => connection,
            Err(error) => {
                let error = error_chain(&error);
                tracing::debug!(%relay, %error, "an offered peer could not be reached");
                return None;
            }
        };
        if let Some(info) = connection.identified() {
            return Some(info.supports(HOP_PROTOCOL));
        }
        let info = connection.identify().await.ok()?;
        Some(info.supports(HOP_PROTOCOL))
    }

    /// An unlimited connection to a relay.
    pub(super) async fn connect_to(
        &self,
        relay: PeerId,
        addresses: Vec<Multiaddr>,
    ) -> Result<Connection, DialError> {
        let is_configured = self.candidates.iter().any(|(known, _)| *known == relay);
        if is_configured {
            let budget = DialBudget::default();
            let cx = &self.cx;
            return cx.connect_directly(relay, addresses, None, budget).await;
        }
        let before = self.cx.connection(&relay).map(|best| best.id());
        self.search.budget.renew(Instant::now());
        let budget = self.search.budget.clone();
        let connected = self.cx.connect_directly(relay, addresses, None, budget);
        let connection = connected.await?;
        let is_new = before != Some(connection.id());
        self.search.need(&connection, is_new);
        Ok(connection)
    }

    /// The search no longer needs a connection to this peer.
    pub(super) fn release(&self, peer: &PeerId) {
        if let Some(opened) = self.search.opened().get_mut(peer) {
            opened.released = true;
        }
        self.close_unneeded(peer);
    }

    /// Closes the connection that the search has opened to this peer, unless it is needed, or a stream is open on it.
    pub(super) fn close_unneeded(&self, peer: &PeerId) {
        let unneeded = self.search.unneeded(peer);
        let connection = unneeded.and_then(|id| self.cx.connection_by_id(id));
        let is_idle = |one: &Connection| one.usage().idle_since().is_some();
        if let Some(connection) = connection.filter(is_idle) {
            self.cx.close(connection.id(), Closing::Unneeded);
        }
    }
}
