//! The map of all connections, from their first packet to their end.
//!
//! A connection is `Handshaking` until it is registered, and `Live` afterwards. One lock protects this change, so a
//! request to close the connection always finds an entry. Changes are queued under the same lock and delivered in
//! order.

mod outside;
mod permit;
mod protection;
#[cfg(all(test, feature = "tcp"))]
mod tests;

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError, atomic::AtomicU32},
    time::Instant,
};

use conn_state::{Closing, ConnectionId, Detail, Limits, LimitsConfig, SharedTracker};
use libp2p_identity::PeerId;
use tokio_util::sync::CancellationToken;

use crate::{
    connection::Connection,
    error::AttemptCause,
    part::{Change, Source},
};

pub(crate) use outside::OutsidePermit;
pub(crate) use permit::ConnectionPermit;
pub use protection::Protection;

/// Every connection of a node.
pub(crate) struct Connections {
    map: Mutex<Map>,
    tracker: SharedTracker<PeerId>,
    /// Locked while changes are delivered. It is never locked while the map is locked.
    delivery: Mutex<()>,
    observer: OnceLock<Observer>,
    /// The number of connections outside of the tracker, for their ids.
    outside: AtomicU32,
}

/// Receives every change, in order, while the map is not locked. The number counts the events of the tracker that happened before
/// the change.
pub(crate) type Observer = Box<dyn Fn(&Change, u64) + Send + Sync>;

struct Map {
    entries: BTreeMap<ConnectionId, Entry>,
    /// The live connections of each peer, oldest first.
    peers: BTreeMap<PeerId, Vec<ConnectionId>>,
    limits: Limits<ConnectionId, PeerId>,
    /// Changes that are not delivered yet. The caller that adds a change also delivers it, so the queue holds
    /// only the changes that happen during one delivery. The number is [`SharedTracker::position`] at the time of the change.
    pending: VecDeque<(u64, Change)>,
}

enum Entry {
    Handshaking(Handshake),
    Live(Connection),
}

/// Cancels a handshake from outside, with a reason.
#[derive(Debug, Clone, Default)]
struct Handshake {
    cancelled: CancellationToken,
    reason: Arc<OnceLock<Closing>>,
}

impl Handshake {
    fn cancel(&self, reason: Closing) {
        let _ = self.reason.set(reason);
        self.cancelled.cancel();
    }
}

impl Connections {
    pub(crate) fn new(tracker: SharedTracker<PeerId>, limits: LimitsConfig) -> Arc<Self> {
        let map = Map {
            entries: BTreeMap::new(),
            peers: BTreeMap::new(),
            limits: Limits::new(limits),
            pending: VecDeque::new(),
        };
        Arc::new(Self {
            map: Mutex::new(map),
            tracker,
            delivery: Mutex::new(()),
            observer: OnceLock::new(),
            outside: AtomicU32::new(0),
        })
    }

    /// Sets the observer, which receives the changes. Further calls have no effect.
    pub(crate) fn observe(&self, observer: Observer) {
        let _ = self.observer.set(observer);
    }

    pub(crate) fn tracker(&self) -> &SharedTracker<PeerId> {
        &self.tracker
    }

    fn map(&self) -> MutexGuard<'_, Map> {
        self.map.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts an inbound connection at the start of its handshake.
    pub(crate) fn begin_inbound(
        self: &Arc<Self>,
        source: Source,
    ) -> Result<ConnectionPermit, AttemptCause> {
        let now = Instant::now();
        let mut map = self.map();
        let id = self.tracker.handle_inbound(now)?;
        let (mut permitted, mut claimed) = (Ok(()), None);
        match source {
            Source::Validated(address) => permitted = map.limits.handle_inbound(now, id, address),
            Source::Relayed(relay) => permitted = map.limits.handle_circuit(now, id, relay),
            Source::Claimed(address) => claimed = Some(address),
        }
        map.cancel_displaced();
        let mut permit = self.begin(map, id, claimed);
        if let Err(refused) = permitted {
            permit.end(Closing::Refused, Some(Detail::new(&refused)));
            return Err(refused.into());
        }
        Ok(permit)
    }

    /// Counts a connection that this node dials. The limits per peer apply when the peer is known.
    pub(crate) fn begin_dial(
        self: &Arc<Self>,
        peer: Option<&PeerId>,
    ) -> Result<ConnectionPermit, AttemptCause> {
        let mut map = self.map();
        let id = self.tracker.handle_dialing(Instant::now(), peer)?;
        let counted = map.limits.handle_dialing(id);
        let mut permit = self.begin(map, id, None);
        if let Err(refused) = counted {
            permit.end(Closing::Refused, Some(Detail::new(&refused)));
            return Err(refused.into());
        }
        Ok(permit)
    }

    fn begin(
        self: &Arc<Self>,
        mut map: MutexGuard<'_, Map>,
        id: ConnectionId,
        claimed: Option<std::net::IpAddr>,
    ) -> ConnectionPermit {
        let handshake = Handshake::default();
        map.entries
            .insert(id, Entry::Handshaking(handshake.clone()));
        ConnectionPermit::new(id, Arc::clone(self), handshake, claimed)
    }

    /// The other end has sent something that advanced the handshake.
    pub(crate) fn note_advanced(&self, id: ConnectionId) {
        self.map().limits.handle_advanced(id);
    }

    /// Protects the connections of `peer` from being closed for newcomers.
    pub(crate) fn protect(self: &Arc<Self>, peer: PeerId) -> Protection {
        self.map().limits.handle_protected(peer);
        Protection::new(Arc::downgrade(self), peer)
    }

    /// Whether the connections of `peer` are protected.
    pub(crate) fn is_protected(&self, peer: &PeerId) -> bool {
        self.map().limits.is_protected(peer)
    }

    /// Changes the entry of a connection from `Handshaking` to `Live`, and delivers `Connected` before it returns. If the
    /// connection takes the place of an idle one, closes that one.
    pub(crate) fn register(
        &self,
        permit: &mut ConnectionPermit,
        connection: &Connection,
    ) -> Result<(), AttemptCause> {
        let (id, peer, now) = (permit.id(), connection.peer(), Instant::now());
        let mut map = self.map();
        if let Some(reason) = permit.handshake.reason.get() {
            return Err(AttemptCause::Closed(*reason));
        }
        let (limits, usage) = (&mut map.limits, connection.usage());
        let permitted = match permit.claimed.take() {
            Some(at) => limits.handle_inbound_authenticated(now, id, at, peer, usage),
            None => limits.handle_authenticated(now, id, peer, usage),
        };
        let trimmed = map.cancel_displaced();
        let permitted = permitted.map_err(AttemptCause::from).and_then(|()| {
            let path = connection.tracked_path();
            let tracked = self.tracker.handle_authenticated(now, id, &peer, path);
            tracked.map_err(AttemptCause::from)
        });
        if permitted.is_ok() {
            map.entries.insert(id, Entry::Live(connection.clone()));
            map.peers.entry(peer).or_default().push(id);
            let connection = connection.clone();
            self.add(&mut map, Change::Connected { connection });
        }
        drop(map);
        for (trimmed, reason) in trimmed {
            trimmed.close_for(reason);
        }
        if let Err(refused) = permitted {
            permit.end(Closing::Refused, Some(Detail::new(&refused)));
            return Err(refused);
        }
        self.settle();
        Ok(())
    }

    /// Removes a connection from the map, the limits and the tracker, at any stage.
    fn forget(&self, id: ConnectionId, closing: Closing, detail: Option<Detail>) {
        let now = Instant::now();
        let mut map = self.map();
        let entry = map.entries.remove(&id);
        map.limits.handle_closed(id);
        if let Err(error) = self.tracker.handle_closed(now, id, closing, detail.clone()) {
            tracing::error!(%error, "a connection ended that the tracker did not know");
        }
        if let Some(Entry::Live(connection)) = entry {
            let remaining = map.remove_from_peer(connection.peer(), id);
            let ended = Change::Disconnected {
                connection,
                closing,
                detail,
                remaining,
            };
            self.add(&mut map, ended);
        }
        drop(map);
        self.deliver();
    }

    /// Closes a connection, or ends its handshake.
    pub(crate) fn close(&self, id: ConnectionId, reason: Closing) {
        let connection = match self.map().entries.get(&id) {
            None => return,
            Some(Entry::Live(connection)) => connection.clone(),
            Some(Entry::Handshaking(handshake)) => return handshake.cancel(reason),
        };
        connection.close_for(reason);
    }

    /// Drains a connection: new streams use the best other connection to the same peer.
    pub(crate) fn drain(&self, id: ConnectionId) {
        let mut map = self.map();
        let Some(connection) = map.live(id) else {
            return;
        };
        let best = self
            .tracker
            .best(&connection.peer())
            .filter(|best| *best != id);
        let successor = best.and_then(|best| map.live(best));
        connection.drain(successor.clone());
        let draining = Change::Draining {
            connection,
            successor,
        };
        self.add(&mut map, draining);
        drop(map);
        self.deliver();
    }

    /// Ends the draining: new streams use the connection again.
    pub(crate) fn resume(&self, id: ConnectionId) {
        let mut map = self.map();
        let Some(connection) = map.live(id) else {
            return;
        };
        connection.resume();
        self.add(&mut map, Change::Resumed { connection });
        drop(map);
        self.deliver();
    }

    /// The live connection with this id.
    pub(crate) fn get(&self, id: ConnectionId) -> Option<Connection> {
        self.map().live(id)
    }

    /// The best live connection to `peer` for new streams. The tracker chooses.
    pub(crate) fn best(&self, peer: &PeerId) -> Option<Connection> {
        let map = self.map();
        let best = self.tracker.best(peer).and_then(|best| map.live(best));
        best.filter(|best| !best.is_closing()).or_else(|| {
            // The best connection is about to end and is still in the map.
            let others = map.peers.get(peer)?.iter().rev();
            others
                .filter_map(|id| map.live(*id))
                .find(|other| !other.is_closing())
        })
    }

    /// Every live connection, in the order of their ids.
    pub(crate) fn all(&self) -> Vec<Connection> {
        let map = self.map();
        let live = map.entries.values().filter_map(|entry| match entry {
            Entry::Live(connection) => Some(connection.clone()),
            Entry::Handshaking(_) => None,
        });
        live.collect()
    }

    /// Delivers a change that does not come from the map itself. Drops a change about a connection that has left the map, because
    /// nothing may follow [`Change::Disconnected`].
    pub(crate) fn report(&self, change: Change) {
        let mut map = self.map();
        if let Change::Identified { connection, .. } | Change::Pong { connection, .. } = &change
            && map.live(connection.id()).is_none()
        {
            return;
        }
        self.add(&mut map, change);
        drop(map);
        self.deliver();
    }

    fn add(&self, map: &mut Map, change: Change) {
        map.pending.push_back((self.tracker.position(), change));
    }

    /// Returns when every change so far is delivered. A part must not call this method during a delivery.
    pub(crate) fn settle(&self) {
        let turn = self.delivery.lock();
        self.deliver_all(turn.unwrap_or_else(PoisonError::into_inner));
        self.deliver();
    }

    /// Delivers the pending changes. If a delivery is running, it delivers these changes too.
    fn deliver(&self) {
        loop {
            let turn = match self.delivery.try_lock() {
                Ok(turn) => turn,
                Err(TryLockError::Poisoned(turn)) => turn.into_inner(),
                Err(TryLockError::WouldBlock) => return,
            };
            self.deliver_all(turn);
            // Another caller may have added a change before this delivery released its lock.
            if self.map().pending.is_empty() {
                return;
            }
        }
    }

    fn deliver_all(&self, _turn: MutexGuard<'_, ()>) {
        loop {
            let next = self.map().pending.pop_front();
            let Some((position, change)) = next else {
                return;
            };
            if let Some(observer) = self.observer.get() {
                observer(&change, position);
            }
        }
    }
}

impl Map {
    /// Cancels the handshakes that newcomers have displaced. Returns the live connections that lost their
    /// places.
    fn cancel_displaced(&mut self) -> Vec<(Connection, Closing)> {
        let mut trimmed = Vec::new();
        while let Some((id, reason)) = self.limits.poll_action() {
            match self.entries.get(&id) {
                Some(Entry::Handshaking(handshake)) => handshake.cancel(reason),
                Some(Entry::Live(connection)) => trimmed.push((connection.clone(), reason)),
                None => {}
            }
        }
        trimmed
    }

    fn live(&self, id: ConnectionId) -> Option<Connection> {
        match self.entries.get(&id)? {
            Entry::Live(connection) => Some(connection.clone()),
            Entry::Handshaking(_) => None,
        }
    }

    /// Removes a connection from the peer's list. Returns the number of remaining connections to the peer.
    fn remove_from_peer(&mut self, peer: PeerId, id: ConnectionId) -> usize {
        let Some(ids) = self.peers.get_mut(&peer) else {
            return 0;
        };
        ids.retain(|other| *other != id);
        let remaining = ids.len();
        if remaining == 0 {
            self.peers.remove(&peer);
        }
        remaining
    }
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections").finish_non_exhaustive()
    }
}
