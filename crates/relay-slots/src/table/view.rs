//! The events and lists that a table returns to its host.

use std::{
    fmt,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    id::{CircuitId, ConnectionId},
    meter::Meter,
    scope::Origin,
};

/// A slot was granted or renewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Granted {
    /// When the slot expires, unless it is renewed.
    pub expires: Instant,
    /// Whether the peer held this slot before.
    pub renewed: bool,
}

/// A circuit was admitted. The host now opens a stop stream over the connection.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Opening {
    /// The circuit. It counts against the caps from now on.
    pub circuit: CircuitId,
    /// The connection to the destination.
    pub connection: ConnectionId,
    /// Counts the bytes that the circuit carries. The host adds to this meter, and the table sums the meters of each
    /// slot.
    pub meter: Arc<Meter>,
}

/// An action for the host, or a notice.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event<Id> {
    /// Probe the other end of this connection, then call [`crate::Table::handle_alive`] or [`crate::Table::handle_dead`].
    Probe {
        /// The connection.
        connection: ConnectionId,
        /// How long the answer may take: [`crate::TableConfig::answer`].
        within: Duration,
    },
    /// The other end did not answer the probe. Close this connection.
    Silent {
        /// The peer at the other end.
        peer: Id,
        /// The connection.
        connection: ConnectionId,
    },
    /// A slot was freed. [`crate::Table::handle_release`] does not cause this event, because its caller knows the slot.
    Freed {
        /// The peer that held it.
        peer: Id,
        /// The cause.
        cause: FreeCause,
    },
    /// A circuit has ended. Reset what is left of its two streams.
    CircuitEnded {
        /// The circuit.
        circuit: CircuitId,
        /// The cause.
        cause: EndCause,
    },
}

/// Why a slot was freed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FreeCause {
    /// The peer did not renew it in time.
    Expired,
    /// The peer did not come back within the grace.
    Abandoned,
}

/// Why a circuit ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EndCause {
    /// The destination took longer than [`crate::TableConfig::opening`].
    Unanswered,
    /// The circuit was open for [`crate::TableConfig::circuit_duration`].
    Expired,
    /// A connection that carried the circuit was closed.
    Gone,
}

/// The state of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "lowercase")
)]
#[non_exhaustive]
pub enum SlotState {
    /// The peer is connected and has recently sent something.
    Active,
    /// The peer was silent and is being probed.
    Probing,
    /// The peer is gone. Its slot is kept until the grace is over.
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

/// A slot at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SlotView<'a, Id> {
    /// The peer that holds it.
    pub peer: &'a Id,
    /// Its state.
    pub state: SlotState,
    /// The origin at which the slot is counted. The last 64 bits of an IPv6 address are zero.
    pub origin: Origin,
    /// The connection that keeps the slot. `None` during the grace.
    pub connection: Option<ConnectionId>,
    /// When the slot expires, unless it is renewed.
    pub expires: Instant,
    /// The number of circuits to its peer.
    pub circuits: usize,
    /// Bytes that circuits to its peer have carried, in both directions, since the peer's first slot was granted.
    pub bytes: u64,
}

impl<Id> SlotView<'_, Id> {
    /// The address where the slot is counted, if it is counted at an address.
    pub fn address(&self) -> Option<IpAddr> {
        match self.origin {
            Origin::Address(address) => Some(address),
            Origin::Local | Origin::Relayed => None,
        }
    }
}

/// How many of each thing a table holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Usage {
    /// Peers with a connection or a slot.
    pub peers: usize,
    /// Connections.
    pub connections: usize,
    /// Slots.
    pub slots: usize,
    /// Circuits, open or opening.
    pub circuits: usize,
    /// Addresses, networks and autonomous systems with a slot.
    pub scopes: usize,
    /// Pairs of a subnet and a destination with a circuit between them.
    pub pairs: usize,
    /// Peers and subnets whose request rates are remembered.
    pub buckets: usize,
    /// Timers that are set.
    pub timers: usize,
    /// Events that the host has not taken yet.
    pub events: usize,
}

impl Usage {
    /// Whether the table holds nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_slot_that_is_counted_at_an_address_has_one() {
        let address = IpAddr::from([192, 0, 2, 1]);
        let view = |origin| SlotView {
            peer: &7,
            state: SlotState::Active,
            origin,
            connection: None,
            expires: Instant::now(),
            circuits: 0,
            bytes: 0,
        };
        let at = |origin| view(origin).address();
        assert_eq!(at(Origin::Address(address)), Some(address));
        assert_eq!((at(Origin::Local), at(Origin::Relayed)), (None, None));
    }

    #[test]
    fn a_table_that_holds_one_thing_of_any_kind_is_not_empty() {
        assert!(Usage::default().is_empty());
        let one = Usage {
            events: 1,
            ..Usage::default()
        };
        assert!(!one.is_empty());
    }

    #[test]
    fn states_have_the_names_that_users_see() {
        let all = [SlotState::Active, SlotState::Probing, SlotState::Grace];
        let names = all.map(|state| state.to_string());
        assert_eq!(names, ["active", "probing", "grace"]);
    }
}
