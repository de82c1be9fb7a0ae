//! The queries of a tracker.

use std::{hash::Hash, time::Instant};

use super::{Tracker, between};
use crate::{ConnectionId, ConnectionInfo, Event, Phase, State, history::Record};

impl<Id: Eq + Hash + Clone> Tracker<Id> {
    /// The state of `peer`.
    pub fn state(&self, peer: &Id) -> State {
        let slot = self.peers.find(peer);
        let peer = slot.and_then(|slot| self.peers.get(slot));
        peer.map_or(State::NotConnected, |peer| peer.state)
    }

    /// The connections to `peer`, including those that are being drained.
    pub fn connections(&self, now: Instant, peer: &Id) -> Vec<ConnectionInfo> {
        let now = self.nanos(now);
        let slot = self.peers.find(peer);
        let of_peer = slot.into_iter().flat_map(|slot| self.of_peer(slot));
        of_peer.map(|slot| self.info(now, slot)).collect()
    }

    /// One connection. `None`: the connection is gone.
    pub fn connection(&self, now: Instant, id: ConnectionId) -> Option<ConnectionInfo> {
        let slot = self.connections.find(id)?;
        Some(self.info(self.nanos(now), slot))
    }

    /// The best connection to `peer` for new streams. A draining connection comes last, because it may be silent. An unlimited
    /// connection comes before a limited one, a direct connection before a relayed one, and the latest handshake first.
    ///
    /// A connection that the host was told to close is never the best one.
    pub fn best(&self, peer: &Id) -> Option<ConnectionId> {
        self.best_that(peer, Phase::is_up)
    }

    /// Like [`Self::best`], but only among established connections. The result is `None` exactly if the peer is not
    /// [`State::Connected`].
    pub fn best_unlimited(&self, peer: &Id) -> Option<ConnectionId> {
        self.best_that(peer, |phase| phase == Phase::Established)
    }

    fn best_that(&self, peer: &Id, may: impl Fn(Phase) -> bool) -> Option<ConnectionId> {
        let of_peer = self.of_peer(self.peers.find(peer)?);
        let usable = of_peer.filter(|slot| {
            let connection = &self.connections[*slot];
            may(connection.phase) && !connection.closing
        });
        let best = usable.max_by_key(|slot| {
            let connection = &self.connections[*slot];
            let is_unlimited = self.up_phase(connection.route()) == Phase::Established;
            let is_kept = connection.phase != Phase::Draining;
            let is_direct = !connection.relayed;
            let id = self.connections.id(*slot);
            (is_kept, is_unlimited, is_direct, connection.up, id)
        });
        best.map(|slot| self.connections.id(slot))
    }

    fn info(&self, now: u64, slot: u32) -> ConnectionInfo {
        let connection = &self.connections[slot];
        ConnectionInfo {
            id: self.connections.id(slot),
            phase: connection.phase,
            direction: connection.direction,
            route: connection.route(),
            age: between(connection.opened, now),
            phase_age: between(connection.since, now),
            streams: connection.streams(),
        }
    }

    /// Every peer that is not [`State::NotConnected`], with its state.
    pub fn peers(&self) -> impl Iterator<Item = (&Id, State)> {
        let peers = (0..self.peers.slots()).filter_map(|slot| self.peers.get(slot as u32));
        let present = peers.filter(|peer| peer.state != State::NotConnected);
        present.map(|peer| (&peer.id, peer.state))
    }

    /// The number of connections, including those whose peer is not known yet.
    pub fn len(&self) -> usize {
        self.connections.len()
    }

    /// Whether there are no connections.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of remembered peers: those with a connection, and those with an event in the history.
    pub fn remembered(&self) -> usize {
        self.peers.len()
    }

    /// The latest events of `peer`, oldest first, at most [`crate::TrackerConfig::history_per_peer`].
    pub fn history(&self, peer: &Id) -> Vec<Event<Id>> {
        let slot = self.peers.find(peer);
        let mut place = slot.and_then(|slot| self.peers.get(slot)?.latest);
        let mut events = Vec::new();
        while let Some(record) = place.and_then(|place| self.history.get(place)) {
            if events.len() >= self.config.history_per_peer {
                break;
            }
            events.extend(self.event(record));
            place = Some(record.previous);
        }
        events.reverse();
        events
    }

    pub(crate) fn event(&self, record: &Record) -> Option<Event<Id>> {
        Some(Event {
            peer: self.peers.get(record.slot)?.id.clone(),
            number: record.number,
            from: record.from,
            to: record.to,
            cause: record.cause,
            detail: record.detail.clone(),
            connection: record.connection,
            at: self.instant(record.at),
        })
    }
}
