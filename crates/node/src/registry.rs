//! Which connections there are.

use std::collections::BTreeMap;

use libp2p_identity::PeerId;

use crate::{Connection, ConnectionId};

/// Every authenticated connection, by peer, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    peers: BTreeMap<PeerId, Vec<Connection>>,
}

impl Registry {
    pub(crate) fn insert(&mut self, connection: Connection) {
        let peer = connection.peer();
        self.peers.entry(peer).or_default().push(connection);
    }

    /// Forgets a connection and says how many others to its peer remain.
    pub(crate) fn remove(&mut self, peer: PeerId, id: ConnectionId) -> usize {
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

    /// The newest connection to `peer` that is not known to be closed: the one most likely alive.
    pub(crate) fn newest(&self, peer: PeerId) -> Option<Connection> {
        let connections = self.peers.get(&peer)?;
        connections.iter().rev().find(|c| !c.is_closed()).cloned()
    }

    pub(crate) fn all(&self) -> Vec<Connection> {
        self.peers.values().flatten().cloned().collect()
    }
}
