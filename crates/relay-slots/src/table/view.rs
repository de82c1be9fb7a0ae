//! What a table tells of itself.

use std::{fmt, hash::Hash, net::IpAddr, time::Instant};

use super::{Origin, Table, circuits::DESTINATION, slab::NONE};
use crate::Admission;

/// A connection, as the table names it. Not used again before 2³² others were named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub(super) u64);

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A circuit, as the table names it. Not used again before 2³² others were named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CircuitId(pub(super) u64);

impl fmt::Display for CircuitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A slot was granted or renewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Granted {
    /// Until when, unless it is renewed.
    pub expires: Instant,
    /// Whether its peer held it before.
    pub renewed: bool,
}

/// A circuit was admitted: the host opens a stop stream over the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Opening {
    /// The circuit, which counts from now on.
    pub circuit: CircuitId,
    /// The connection that leads to the destination.
    pub connection: ConnectionId,
}

/// What the host is to do, or to know.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event<Id> {
    /// Find out whether anyone is there, and say [`crate::Table::handle_alive`] or [`crate::Table::handle_dead`].
    Probe {
        /// The connection.
        connection: ConnectionId,
    },
    /// It did not answer the probe: close it.
    Silent {
        /// Who is at its other end, or was.
        peer: Id,
        /// The connection.
        connection: ConnectionId,
    },
    /// A slot is free. A release is not told: who released it knows.
    Freed {
        /// Whose it was.
        peer: Id,
        /// Why.
        cause: FreeCause,
    },
    /// A circuit is gone: reset what is left of its two streams.
    CircuitEnded {
        /// The circuit.
        circuit: CircuitId,
        /// Why.
        cause: EndCause,
    },
}

/// Why a slot was freed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FreeCause {
    /// It was not renewed in time.
    Expired,
    /// Its peer did not come back within the grace.
    Abandoned,
}

/// Why a circuit ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EndCause {
    /// The destination took longer than [`crate::TableConfig::opening`].
    Unanswered,
    /// It was open for [`crate::TableConfig::circuit_duration`].
    Expired,
    /// A connection that carried it was closed.
    Gone,
}

/// What a slot is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SlotState {
    /// Its peer is there.
    Active,
    /// Its peer was silent and is being probed.
    Probing,
    /// Its peer is gone, and may come back.
    Grace,
}

impl fmt::Display for SlotState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Active => "active",
            Self::Probing => "probing",
            Self::Grace => "grace",
        })
    }
}

/// A slot as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SlotView<'a, Id> {
    /// Whose.
    pub peer: &'a Id,
    /// In what state.
    pub state: SlotState,
    /// Where it is counted. Of an IPv6 address the last 64 bits are zero.
    pub origin: Origin,
    /// What keeps it.
    pub connection: Option<ConnectionId>,
    /// Until when, unless it is renewed.
    pub expires: Instant,
    /// Circuits that end at its peer.
    pub circuits: usize,
}

impl<Id> SlotView<'_, Id> {
    /// Where it is counted, if that is an address.
    pub fn address(&self) -> Option<IpAddr> {
        match self.origin {
            Origin::Address(address) => Some(address),
            Origin::Local | Origin::Relayed => None,
        }
    }
}

/// How many of everything a table holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Usage {
    /// Peers with a connection or a slot.
    pub peers: usize,
    /// Connections.
    pub connections: usize,
    /// Slots.
    pub slots: usize,
    /// Circuits, whether open or opening.
    pub circuits: usize,
    /// Addresses, networks and autonomous systems with a slot.
    pub scopes: usize,
    /// Subnets with a circuit, and its destination.
    pub pairs: usize,
    /// Peers and subnets whose rates are remembered.
    pub buckets: usize,
    /// Timers that are set.
    pub timers: usize,
    /// Events that the host did not yet take.
    pub events: usize,
}

impl Usage {
    /// Whether there is nothing at all.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl<Id: Eq + Hash + Clone, A: Admission<Id>> Table<Id, A> {
    /// The slots, in an order that means nothing but is always the same.
    pub fn slots(&self) -> impl Iterator<Item = SlotView<'_, Id>> {
        self.slots.iter().map(|(_, slot)| {
            let (peer, kept) = (&self.peers[slot.peer], slot.connection);
            SlotView {
                peer: &peer.id,
                state: slot.state,
                origin: slot.place().origin(),
                connection: (kept != NONE).then(|| self.connection_id(kept)),
                expires: self.instant(slot.expires).unwrap_or(self.start),
                circuits: peer.circuits[DESTINATION] as usize,
            }
        })
    }

    /// How many slots a peer has.
    pub fn held_by(&self, peer: &Id) -> usize {
        let found = self.peers.find(peer);
        found.map_or(0, |peer| self.peers[peer].slots as usize)
    }

    /// How many of everything there are.
    pub fn usage(&self) -> Usage {
        Usage {
            peers: self.peers.len(),
            connections: self.connections.len(),
            slots: self.slots.len(),
            circuits: self.circuits.len(),
            scopes: self.slots_at.len(),
            pairs: self.pairs.len(),
            buckets: self.buckets.len(),
            timers: self.timers.len(),
            events: self.events.len(),
        }
    }

    /// How many bytes all that takes up, with what is kept free for more and without what an `Id` points at. None if there
    /// is nothing.
    pub fn bytes(&self) -> usize {
        let kept = [
            self.peers.bytes(),
            self.connections.bytes(),
            self.slots.bytes(),
            self.circuits.bytes(),
            self.slots_at.bytes(),
            self.pairs.bytes(),
            self.buckets.bytes(),
            self.timers.bytes(),
            self.events.capacity() * size_of::<Event<Id>>(),
        ];
        kept.into_iter().sum()
    }
}
