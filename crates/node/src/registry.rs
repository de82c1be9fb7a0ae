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

    /// The newest connection to `peer` that is kept and not known to be closed, else one that is being drained.
    pub(crate) fn newest(&self, peer: PeerId) -> Option<Connection> {
        let connections = self.peers.get(&peer)?;
        let mut live = connections.iter().rev().filter(|c| !c.is_closed());
        let kept = live.clone().find(|c| !c.is_draining());
        kept.or_else(|| live.next()).cloned()
    }

    pub(crate) fn get(&self, id: ConnectionId) -> Option<Connection> {
        let connections = self.peers.get(self.ids.get(&id)?)?;
        connections.iter().find(|c| c.id() == id).cloned()
    }

    /// Another connection to the same peer that is not being drained.
    pub(crate) fn successor(&self, of: &Connection) -> Option<Connection> {
        let connections = self.peers.get(&of.peer())?;
        let mut others = connections.iter().rev().filter(|c| c.id() != of.id());
        others.find(|c| !c.is_closed() && !c.is_draining()).cloned()
    }

    pub(crate) fn all(&self) -> Vec<Connection> {
        self.peers.values().flatten().cloned().collect()
    }
}
