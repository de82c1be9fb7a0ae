//! The questions to a policy, and the recommended policy.

use std::time::Duration;

use crate::{Direction, Phase, Policy, Reason, Route};

/// One of two connections to the same peer. A policy may keep both or only one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Contender {
    /// Which end dialed.
    pub direction: Direction,
    /// [`Phase::Limited`] or [`Phase::Established`].
    pub phase: Phase,
    /// How long ago the handshake began.
    pub age: Duration,
    /// How long ago the handshake ended.
    pub up_for: Duration,
}

impl Contender {
    /// A connection whose handshake began `age` ago and ended `up_for` ago.
    pub fn new(direction: Direction, phase: Phase, age: Duration, up_for: Duration) -> Self {
        Self {
            direction,
            phase,
            age,
            up_for,
        }
    }
}

/// Two connections to one peer.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Contest<'a, Id> {
    /// This host.
    pub local: &'a Id,
    /// The peer.
    pub remote: &'a Id,
    /// The connection that was authenticated first.
    pub old: Contender,
    /// The connection that came later.
    pub new: Contender,
    /// Whether the old connection has answered since the new connection was authenticated. `None`: this is not known yet.
    pub old_answers: Option<bool>,
    /// Whether both connections lead to the same socket of the peer: [`Path::remote`](crate::Path::remote) is known for both
    /// and equal. Either the peer dialed twice from that socket, or both ends dialed at once, or the peer restarted.
    pub same_remote: bool,
}

impl<'a, Id> Contest<'a, Id> {
    /// A contest in which [`Self::old_answers`] and [`Self::same_remote`] are not known.
    pub fn new(local: &'a Id, remote: &'a Id, old: Contender, new: Contender) -> Self {
        Self {
            local,
            remote,
            old,
            new,
            old_answers: None,
            same_remote: false,
        }
    }

    /// Sets [`Self::old_answers`].
    pub fn with_old_answers(mut self, answers: Option<bool>) -> Self {
        self.old_answers = answers;
        self
    }

    /// Sets [`Self::same_remote`].
    pub fn with_same_remote(mut self, same: bool) -> Self {
        self.same_remote = same;
        self
    }

    /// Whether the peer began the new connection before the handshake of the old connection ended. Both connections are then
    /// alive, and no probe is needed.
    ///
    /// The answer is no for two kinds of connections. The dial of an outbound connection may have been repeated until a restarted
    /// peer answered, which does not know the old connection. A peer that restarts at once may dial again from the same socket
    /// before this host has handled the end of the old handshake.
    pub fn is_simultaneous(&self) -> bool {
        let is_from_peer = self.new.direction == Direction::Inbound && !self.same_remote;
        is_from_peer && self.old.up_for <= self.new.age
    }
}

/// The outcome of a [`Contest`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Both connections stay.
    Both,
    /// The decision depends on whether the old connection still answers. The host probes the old connection, and the contest is
    /// repeated with [`Contest::old_answers`].
    Probe,
    /// The old connection stays, and the new one is drained.
    Old,
    /// The new connection stays, and the old one is drained. If the old connection did not answer a probe, it is also closed
    /// soon: see [`Policy::patience`].
    New,
}

/// The recommended rules.
///
/// - A connection that a relay limits is transient. A connection without a limit is called *full*, even if it uses a relay.
/// - A full connection is kept and a limited one is drained, whichever end dialed.
/// - If both ends have dialed and both connections are alive, the dial of the peer with the lower id stays. Both ends therefore
///   keep the same connection without a message about it.
/// - If one end has dialed twice, the dialer keeps the newer connection. The other end keeps both connections until the dialer
///   closes one, because the two ends may have seen the handshakes end in different orders.
/// - An old connection that may be dead never displaces a new connection. In doubt the old connection is probed, and the new
///   connection replaces it if it does not answer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recommended {
    /// How long a handshake may take. Default 30 s: a last resort behind the transport's own deadlines.
    pub handshake: Duration,
    /// How long a limited connection may last. Default unlimited, because the relay ends the connection.
    pub limited: Option<Duration>,
    /// How many connections may be handshaking or limited. Default 1,024. At most half of them may be limited.
    pub max_transient: usize,
    /// How many connections to one peer may be handshaking or limited. Default 32, which suffices for several dials at once, each
    /// to several of the peer's addresses.
    pub max_transient_per_peer: usize,
    /// How long a probe may stay unanswered. Default 500 ms: with a round trip of 200 ms, a lost packet is sent again in this
    /// time. The new connection can be used during the probe.
    pub probe: Duration,
    /// How long a connection with an unanswered probe may stay silent before it is closed. Default 3 s: a busy or slow peer
    /// answers in this time, and its streams are not lost. The new connection is already in use during this time.
    pub patience: Duration,
    /// How long a draining connection must be without a stream before it is closed. Default 1 s, which is several round trips of
    /// a slow path. The last bytes may still be on their way, and the other end may still open a stream until it learns of the
    /// connection that is kept.
    pub quiet: Duration,
    /// How long draining may take. Default 30 s.
    pub drain: Duration,
}

impl Default for Recommended {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(30),
            limited: None,
            max_transient: 1024,
            max_transient_per_peer: 32,
            probe: Duration::from_millis(500),
            patience: Duration::from_secs(3),
            quiet: Duration::from_secs(1),
            drain: Duration::from_secs(30),
        }
    }
}

impl Recommended {
    /// Sets [`Self::handshake`] and [`Self::limited`].
    pub fn with_max_ages(mut self, handshake: Duration, limited: Option<Duration>) -> Self {
        (self.handshake, self.limited) = (handshake, limited);
        self
    }

    /// Sets [`Self::max_transient`] and [`Self::max_transient_per_peer`].
    pub fn with_max_transient(mut self, in_all: usize, per_peer: usize) -> Self {
        (self.max_transient, self.max_transient_per_peer) = (in_all, per_peer);
        self
    }

    /// Sets [`Self::probe`] and [`Self::patience`].
    pub fn with_probe(mut self, probe: Duration, patience: Duration) -> Self {
        (self.probe, self.patience) = (probe, patience);
        self
    }

    /// Sets [`Self::quiet`] and [`Self::drain`].
    pub fn with_drain(mut self, quiet: Duration, at_most: Duration) -> Self {
        (self.quiet, self.drain) = (quiet, at_most);
        self
    }
}

impl<Id: Ord> Policy<Id> for Recommended {
    fn phase(&self, route: Route) -> Phase {
        match route {
            Route::Direct | Route::Relayed(None) => Phase::Established,
            Route::Relayed(Some(_)) => Phase::Limited,
        }
    }

    fn arbitrate(&self, contest: &Contest<'_, Id>) -> Verdict {
        use Direction::{Inbound, Outbound};
        let (old, new) = (&contest.old, &contest.new);
        if contest.old_answers == Some(false) {
            return Verdict::New;
        }
        let lives = contest.old_answers.is_some() || contest.is_simultaneous();
        match (old.phase, new.phase) {
            (Phase::Limited, Phase::Established) => return Verdict::New,
            (Phase::Established, Phase::Limited) if lives => return Verdict::Old,
            (Phase::Established, Phase::Limited) => return Verdict::Probe,
            _ => {}
        }
        let lower_dials = match contest.local < contest.remote {
            true => Outbound,
            false => Inbound,
        };
        match (old.direction, new.direction) {
            // This host would not have dialed again if the first connection were of use.
            (Outbound, Outbound) => Verdict::New,
            _ if !lives => Verdict::Probe,
            (Inbound, Inbound) => Verdict::Both,
            (one, _) if one == lower_dials => Verdict::Old,
            _ => Verdict::New,
        }
    }

    fn max_age(&self, reason: Reason) -> Option<Duration> {
        match reason {
            Reason::Handshaking => Some(self.handshake),
            Reason::Limited => self.limited,
        }
    }

    fn max_transient(&self) -> usize {
        self.max_transient
    }

    fn max_transient_per_peer(&self) -> usize {
        self.max_transient_per_peer
    }

    fn probe(&self) -> Duration {
        self.probe
    }

    fn patience(&self) -> Duration {
        self.patience
    }

    fn quiet(&self) -> Duration {
        self.quiet
    }

    fn drain(&self) -> Duration {
        self.drain
    }
}

#[cfg(test)]
mod tests;
