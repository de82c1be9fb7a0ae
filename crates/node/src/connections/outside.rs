//! The permit of a connection that a part holds on a socket of its own.
//!
//! Such a connection counts in the limits, like any other connection. The tracker does not know it, because its peer may also have
//! a libp2p connection, and the two connections must not replace each other.

use std::{
    net::IpAddr,
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use conn_state::{Closing, ConnectionId, Usage};
use libp2p_identity::PeerId;

use super::{Connections, Entry, Handshake};
use crate::{error::AttemptCause, part::Source};

/// The slot in the ids of these connections. A tracker never has so many connections, so no id of a tracker has this slot.
const SLOT: u64 = u32::MAX as u64;

/// Counts a connection in the limits, from its first packet to its end. Dropping the permit ends the count.
pub(crate) struct OutsidePermit {
    id: ConnectionId,
    connections: Arc<Connections>,
    /// Tells that the node closes the connection, even after the handshake.
    handshake: Handshake,
    /// The address under which the limits count the connection when the handshake has proved the address.
    claimed: Option<IpAddr>,
    usage: Usage,
}

impl Connections {
    /// Counts a connection at the start of its handshake. `source` is the other end of an inbound connection, and `None` if this
    /// node dials.
    pub(crate) fn begin_outside(
        self: &Arc<Self>,
        source: Option<Source>,
    ) -> Result<OutsidePermit, AttemptCause> {
        let (mut map, now) = (self.map(), Instant::now());
        let number = self.outside.fetch_add(1, Ordering::Relaxed);
        let id = ConnectionId::from_u64(u64::from(number) << 32 | SLOT);
        let (mut permitted, mut claimed) = (Ok(()), None);
        match source {
            None => permitted = map.limits.handle_dialing(id),
            Some(Source::Validated(ip)) => permitted = map.limits.handle_inbound(now, id, ip),
            Some(Source::Relayed(relay)) => permitted = map.limits.handle_circuit(now, id, relay),
            Some(Source::Claimed(ip)) => claimed = Some(ip),
        }
        // A connection that was displaced stays in the map until its owner has closed it.
        let trimmed = map.cancel_displaced();
        let handshake = Handshake::default();
        if permitted.is_ok() {
            let entry = Entry::Handshaking(handshake.clone());
            map.entries.insert(id, entry);
        }
        drop(map);
        for (connection, reason) in trimmed {
            connection.close_for(reason);
        }
        permitted?;
        Ok(OutsidePermit {
            id,
            connections: Arc::clone(self),
            handshake,
            claimed,
            usage: Usage::new(now),
        })
    }
}

impl OutsidePermit {
    /// An id that no other connection of the node has.
    pub(crate) fn id(&self) -> ConnectionId {
        self.id
    }

    /// The handshake has proved the peer.
    ///
    /// # Errors
    ///
    /// A limit refuses the connection, or the connection has lost its place. The caller closes the connection.
    pub(crate) fn authenticate(&mut self, peer: PeerId) -> Result<(), AttemptCause> {
        if let Some(reason) = self.handshake.reason.get() {
            return Err(AttemptCause::Closed(*reason));
        }
        let (mut map, now) = (self.connections.map(), Instant::now());
        let (limits, usage) = (&mut map.limits, &self.usage);
        let permitted = match self.claimed.take() {
            Some(at) => limits.handle_inbound_authenticated(now, self.id, at, peer, usage),
            None => limits.handle_authenticated(now, self.id, peer, usage),
        };
        let trimmed = map.cancel_displaced();
        drop(map);
        for (connection, reason) in trimmed {
            connection.close_for(reason);
        }
        permitted.map_err(AttemptCause::from)
    }

    /// Waits until the node closes the connection, which the owner must then do. Cancel-safe.
    pub(crate) async fn cancelled(&self) -> Closing {
        self.handshake.cancelled.cancelled().await;
        let reason = self.handshake.reason.get().copied();
        reason.unwrap_or(Closing::Local)
    }
}

impl Drop for OutsidePermit {
    fn drop(&mut self) {
        let mut map = self.connections.map();
        map.entries.remove(&self.id);
        map.limits.handle_closed(self.id);
    }
}
