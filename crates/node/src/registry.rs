//! Which connections there are.

use std::collections::BTreeMap;

use conn_state::ConnectionId;
use libp2p_identity::PeerId;

use crate::Connection;

/// Every authenticated connection, by peer, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    peers: BTreeMap<PeerId, Vec<Connection>>,
    ids: BTreeMap<ConnectionId, PeerId>,
}

impl Registry {
    pub(crate) fn insert(&mut self, connection: Connection) {
        let peer = connection.peer();
        self.ids.insert(connection.id(), peer);
        self.peers.entry(peer).or_default().push(connection);
    }

    /// Forgets a connection and says how many others to its peer remain.
    pub(crate) fn remove(&mut self, peer: PeerId, id: ConnectionId) -> usize {
        self.ids.remove(&id);
        let Some(connections) = self.peers.get_mut(&peer) else {
            return 0;
        };
        connections.retain(|connection| connection.id() != id);
        let remaining = connections.len();
        if remaining == 0 {
            self.peers.remove(&peer);
        }
        remaining
    }

    /// The best connection to `peer` that is not known to be closed: one that is kept before one that is being drained,
    /// then a full one before a limited one, then the newest.
    pub(crate) fn best(&self, peer: PeerId) -> Option<Connection> {
        let live = self.peers.get(&peer)?.iter().filter(|c| !c.is_closed());
        // Of equals it is the last one.
        live.max_by_key(|c| (!c.is_draining(), !c.is_limited()))
            .cloned()
    }

    pub(crate) fn get(&self, id: ConnectionId) -> Option<Connection> {
        let connections = self.peers.get(self.ids.get(&id)?)?;
        connections.iter().find(|c| c.id() == id).cloned()
    }

    /// The best other connection to the same peer that is not being drained.
    pub(crate) fn successor(&self, of: &Connection) -> Option<Connection> {
        let others = self.peers.get(&of.peer())?.iter();
        let others = others.filter(|c| c.id() != of.id() && !c.is_closed() && !c.is_draining());
        others.max_by_key(|c| !c.is_limited()).cloned()
    }

    pub(crate) fn all(&self) -> Vec<Connection> {
        self.peers.values().flatten().cloned().collect()
    }
}
