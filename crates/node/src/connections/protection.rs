//! The protection of a peer's connections from being closed for newcomers.

use std::{fmt, sync::Weak};

use libp2p_identity::PeerId;

use super::Connections;

/// Protects the connections of one peer until it is dropped.
///
/// If all inbound places are taken, the node closes an idle inbound connection to admit a newcomer. It never closes a
/// connection of a protected peer for that reason. Protect the peers that must stay connected even if they are idle. A peer
/// may be protected before it is connected, and more than once.
#[must_use = "dropping it ends the protection"]
pub struct Protection {
    connections: Weak<Connections>,
    peer: PeerId,
}

impl Protection {
    pub(super) fn new(connections: Weak<Connections>, peer: PeerId) -> Self {
        Self { connections, peer }
    }

    /// The protected peer.
    pub fn peer(&self) -> PeerId {
        self.peer
    }
}

impl Drop for Protection {
    fn drop(&mut self) {
        if let Some(connections) = self.connections.upgrade() {
            connections.map().limits.handle_unprotected(self.peer);
        }
    }
}

impl fmt::Debug for Protection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Protection")
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}
