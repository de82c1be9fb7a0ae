//! The phases of a connection, the permitted changes of phase, and the states of a peer.

use std::{fmt, time::Duration};

use crate::Route;

/// Identifies a connection within its tracker. No other connection of the same tracker ever has the same id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub(crate) u64);

impl ConnectionId {
    /// The id as a number, for a map or a core whose keys are numbers. The number contains a slot and the number of
    /// earlier uses of that slot.
    pub fn as_u64(self) -> u64 {
        self.0
    }

    /// The id from which [`Self::as_u64`] made this number. If no tracker made the number, trackers answer the id with
    /// [`TrackError::Unknown`](crate::TrackError::Unknown).
    ///
    /// ```
    /// use conn_state::ConnectionId;
    /// let id = ConnectionId::from_u64(3 << 32 | 7);
    /// assert_eq!((id.as_u64(), id.to_string().as_str()), (3 << 32 | 7, "7.3"));
    /// ```
    pub fn from_u64(number: u64) -> Self {
        Self(number)
    }
}

impl fmt::Display for ConnectionId {
    /// The slot, and how many connections used it before.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0 as u32, self.0 >> 32)
    }
}

/// Which end dialed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// The other end dialed.
    Inbound,
    /// This host dialed.
    Outbound,
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
        })
    }
}

/// The phase of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// The connection is being dialed, secured or multiplexed.
    Handshaking,
    /// The connection is up, through a relay that limits it.
    Limited,
    /// The connection is up.
    Established,
    /// The connection is up, but another one has replaced it. It closes once its streams have ended.
    Draining,
    /// The connection is gone.
    Closed,
}

impl Phase {
    /// All phases, in the order in which a connection may go through them.
    pub const ALL: [Self; 5] = [
        Self::Handshaking,
        Self::Limited,
        Self::Established,
        Self::Draining,
        Self::Closed,
    ];

    /// Whether a connection may go from this phase to `next`.
    ///
    /// ```
    /// use conn_state::Phase::*;
    /// assert!(Handshaking.may_become(Limited) && Handshaking.may_become(Established));
    /// assert!(Limited.may_become(Established) && Established.may_become(Limited));
    /// assert!(Established.may_become(Draining) && !Handshaking.may_become(Draining));
    /// // Its replacement broke before it was closed.
    /// assert!(Draining.may_become(Established));
    /// assert!(!Closed.may_become(Handshaking));
    /// ```
    pub fn may_become(self, next: Self) -> bool {
        use Phase::{Closed, Draining, Established, Handshaking, Limited};
        match (self, next) {
            (Handshaking, Limited | Established | Closed)
            | (Limited, Established | Draining | Closed)
            | (Established, Limited | Draining | Closed)
            | (Draining, Limited | Established | Closed) => true,
            (Handshaking, Handshaking | Draining)
            | (Limited, Handshaking | Limited)
            | (Established, Handshaking | Established)
            | (Draining, Handshaking | Draining)
            | (Closed, Handshaking | Limited | Established | Draining | Closed) => false,
        }
    }

    /// Whether the peer has proved its identity and streams may be used.
    pub fn is_up(self) -> bool {
        matches!(self, Self::Limited | Self::Established | Self::Draining)
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Handshaking => "handshaking",
            Self::Limited => "limited",
            Self::Established => "established",
            Self::Draining => "draining",
            Self::Closed => "closed",
        })
    }
}

/// The state of a peer. States are ordered from the worst to the best.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// There is no connection, or all connections are being drained.
    NotConnected,
    /// There are connections, but none of them is established.
    Transient(Reason),
    /// At least one connection is established.
    Connected,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 4] = [
        Self::NotConnected,
        Self::Transient(Reason::Handshaking),
        Self::Transient(Reason::Limited),
        Self::Connected,
    ];

    /// Whether the state is [`State::Transient`], for either reason.
    pub fn is_transient(self) -> bool {
        matches!(self, Self::Transient(_))
    }
}

/// Why a peer is only [`State::Transient`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// Its best connection is in its handshake.
    Handshaking,
    /// Its best connection is limited by a relay.
    Limited,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotConnected => "not connected",
            Self::Transient(Reason::Handshaking) => "transient (handshaking)",
            Self::Transient(Reason::Limited) => "transient (limited)",
            Self::Connected => "connected",
        })
    }
}

/// The current state of one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectionInfo {
    /// The connection's id.
    pub id: ConnectionId,
    /// The phase that the connection is in.
    pub phase: Phase,
    /// Which end dialed.
    pub direction: Direction,
    /// Whether the connection goes through a relay, and what the relay grants.
    pub route: Route,
    /// The time since the connection was accepted or its dial began.
    pub age: Duration,
    /// The time since the connection entered its phase.
    pub phase_age: Duration,
    /// The number of open streams that the host has reported.
    pub streams: u32,
}

impl ConnectionInfo {
    /// A direct connection of age zero without streams. All fields are public, so a test can set the others.
    pub fn new(id: ConnectionId, direction: Direction, phase: Phase) -> Self {
        Self {
            id,
            phase,
            direction,
            route: Route::Direct,
            age: Duration::ZERO,
            phase_age: Duration::ZERO,
            streams: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_through_the_phases_ends_closed_and_none_leads_back_to_the_handshake() {
        for from in Phase::ALL {
            assert_eq!(from.may_become(Phase::Closed), from != Phase::Closed);
            assert!(!from.may_become(Phase::Handshaking), "{from}");
            assert!(!from.may_become(from), "{from}");
        }
    }

    #[test]
    fn of_every_pair_of_phases_the_table_says_whether_one_may_become_the_other() {
        // From each row's phase to each column's, both in the order of `Phase::ALL`.
        let table = [
            [0, 1, 1, 0, 1],
            [0, 0, 1, 1, 1],
            [0, 1, 0, 1, 1],
            [0, 1, 1, 0, 1],
            [0, 0, 0, 0, 0],
        ];
        for (from, row) in Phase::ALL.into_iter().zip(table) {
            let may = Phase::ALL.map(|to| i32::from(from.may_become(to)));
            assert_eq!(may, row, "from {from}");
        }
    }

    #[test]
    fn states_are_ordered_from_worse_to_better() {
        assert!(State::ALL.is_sorted());
    }

    #[test]
    fn a_peer_is_transient_in_its_handshake_or_when_limited_and_in_no_other_state() {
        let transient = State::ALL.map(State::is_transient);
        assert_eq!(transient, [false, true, true, false]);
    }

    #[test]
    fn a_connection_is_up_from_the_end_of_its_handshake_until_it_closes() {
        let up = Phase::ALL.map(Phase::is_up);
        assert_eq!(up, [false, true, true, true, false]);
    }

    #[test]
    fn names_are_the_ones_that_logs_and_users_see() {
        let phases = Phase::ALL.map(|phase| phase.to_string());
        assert_eq!(
            phases,
            [
                "handshaking",
                "limited",
                "established",
                "draining",
                "closed"
            ]
        );
        let states = State::ALL.map(|state| state.to_string());
        let [none, handshaking, limited, connected] = states;
        assert_eq!((&*none, &*connected), ("not connected", "connected"));
        assert_eq!(handshaking, "transient (handshaking)");
        assert_eq!(limited, "transient (limited)");
        let directions = [Direction::Inbound, Direction::Outbound];
        let directions = directions.map(|direction| direction.to_string());
        assert_eq!(directions, ["inbound", "outbound"]);
        // The slot, and how often it was used before.
        assert_eq!(ConnectionId::from_u64(3 << 32 | 7).to_string(), "7.3");
    }
}
