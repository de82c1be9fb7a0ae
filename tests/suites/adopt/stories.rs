//! What peers on rust-libp2p learn of their connections, from conn-state.

mod direct;
mod readers;
mod relayed;

use anyhow::Result;
use tests::harness::process::Deadline;

use crate::swarms::{self, Change, Swarm};

const DIALING: Change = ("transient (handshaking)", &["dialing"]);
const LIMITED: Change = ("transient (limited)", &["authenticated"]);
const CONNECTED: Change = ("connected", &["authenticated"]);
const CLOSED_HERE: Change = ("not connected", &["closed by this host"]);
/// If something arrived that was not read any more, TCP resets the connection, and the goodbye may be lost.
const CLOSED_THERE: Change = ("not connected", &["closed by the peer", "connection lost"]);

#[derive(Clone, Copy, Debug)]
pub(crate) enum Story {
    Direct,
    DirectLost,
    RelayedDrained,
    RelayKilled,
    RelayKilledUnderDirect,
    TooLong,
    Grant,
    Crossing,
    Answers,
    Late,
    Slow,
    Denied,
    Strangers,
    TooSlow,
    Dead,
}

impl Story {
    pub(crate) const ALL: [Self; 15] = [
        Self::Direct,
        Self::DirectLost,
        Self::RelayedDrained,
        Self::RelayKilled,
        Self::RelayKilledUnderDirect,
        Self::TooLong,
        Self::Grant,
        Self::Crossing,
        Self::Answers,
        Self::Late,
        Self::Slow,
        Self::Denied,
        Self::Strangers,
        Self::TooSlow,
        Self::Dead,
    ];

    /// The program, the way to the peer and the case, for tables.
    pub(crate) fn names(self) -> [&'static str; 3] {
        let (target, case) = match self {
            Self::Direct => ("direct", "connected, closed"),
            Self::DirectLost => ("relayed", "then direct, which is lost"),
            Self::RelayedDrained => ("relayed", "then direct, which replaces it"),
            Self::RelayKilled => ("relayed", "the relay is killed"),
            Self::RelayKilledUnderDirect => ("relayed", "then direct, the relay is killed"),
            Self::TooLong => ("relayed", "limited for too long"),
            Self::Grant => ("relayed", "what the relay grants"),
            Self::Crossing => ("direct", "both dial at once"),
            Self::Answers => ("direct", "then the other end dials"),
            Self::Late => ("direct", "a late reader"),
            Self::Slow => ("direct", "a slow reader"),
            Self::Denied => ("direct", "another behaviour denies it"),
            Self::Strangers => ("direct", "too many strangers"),
            Self::TooSlow => ("direct", "handshaking for too long"),
            Self::Dead => ("direct", "nobody listens"),
        };
        [swarms::NAME, target, case]
    }

    /// Nothing, if the program was not named.
    pub(crate) fn run(self, deadline: Deadline) -> Option<Result<()>> {
        std::env::var_os("PEER_ADOPT")?;
        Some(match self {
            Self::Direct => direct::is_connected_and_closed(deadline),
            Self::DirectLost => relayed::falls_back(deadline),
            Self::RelayedDrained => relayed::is_replaced(deadline),
            Self::RelayKilled => relayed::ends_with_its_relay(deadline),
            Self::RelayKilledUnderDirect => relayed::outlives_the_relay(deadline),
            Self::TooLong => relayed::is_reaped(deadline),
            Self::Grant => relayed::knows_the_grant(deadline),
            Self::Crossing => direct::one_is_left(deadline),
            Self::Answers => direct::the_old_one_answers(deadline),
            Self::Late => readers::begins_with_a_snapshot(deadline),
            Self::Slow => readers::misses_and_is_told(deadline),
            Self::Denied => direct::was_never_there(deadline),
            Self::Strangers => direct::counts_strangers(deadline),
            Self::TooSlow => direct::is_denied_when_up(deadline),
            Self::Dead => direct::is_dialed_in_vain(deadline),
        })
    }
}

/// A listener and a dialer, each with the other's name.
struct Pair {
    listener: Swarm,
    dialer: Swarm,
    /// The listener's.
    there: String,
    /// The dialer's.
    here: String,
}

impl Pair {
    fn start(at_listener: &[&str], at_dialer: &[&str], deadline: Deadline) -> Result<Self> {
        let listener = Swarm::listener(at_listener, deadline)?;
        let dialer = Swarm::dialer(at_dialer, deadline)?;
        let (there, here) = (listener.peer_id(), dialer.peer_id());
        Ok(Self {
            listener,
            dialer,
            there,
            here,
        })
    }

    /// Connects them through a relay. Each then is transient to the other.
    fn relayed(&mut self, (seconds, bytes): (u32, u32), deadline: Deadline) -> Result<Swarm> {
        let relay = Swarm::relay(seconds, bytes, deadline)?;
        let address = self.listener.reserve(&relay)?;
        self.dialer.connect(&address)?;
        self.dialer.goes_through(&self.there, &[DIALING, LIMITED])?;
        // It knew nobody before the handshake was over.
        self.listener.goes_through(&self.here, &[LIMITED])?;
        Ok(relay)
    }

    /// Connects them directly, on top of a relayed connection. The dial does not make it worse meanwhile.
    fn improved(&mut self) -> Result<String> {
        let connection = self.dialer.connect(&self.listener.address()?)?;
        self.dialer.goes_through(&self.there, &[CONNECTED])?;
        self.listener.goes_through(&self.here, &[CONNECTED])?;
        Ok(connection)
    }

    fn close(&mut self, connection: &str) -> Result<()> {
        self.dialer.tell(&format!("close {connection}"))
    }

    fn both(&mut self, at_dialer: &[Change], at_listener: &[Change]) -> Result<()> {
        self.dialer.goes_through(&self.there, at_dialer)?;
        self.listener.goes_through(&self.here, at_listener)
    }

    /// And nothing more was said.
    fn is_settled(&mut self) -> Result<()> {
        self.dialer.is_settled(&self.there)?;
        self.listener.is_settled(&self.here)
    }
}
