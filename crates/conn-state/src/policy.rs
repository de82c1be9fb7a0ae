//! The rules that hold unless the host has its own.

use std::time::Duration;

use crate::{Direction, Phase, Policy, Reason, Route};

/// A connection in a contest for its peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Contender {
    /// Which end dialed.
    pub direction: Direction,
    /// [`Phase::Limited`] or [`Phase::Established`].
    pub phase: Phase,
    /// How long ago its handshake began.
    pub age: Duration,
    /// How long ago its handshake ended.
    pub up_for: Duration,
}

/// Two connections to one peer.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Contest<'a, Id> {
    /// Who we are.
    pub local: &'a Id,
    /// Who the peer is.
    pub remote: &'a Id,
    /// The one that was there.
    pub old: Contender,
    /// The one that came.
    pub new: Contender,
    /// Whether the old one has answered since the new one came: `None` while that is not known.
    pub old_answers: Option<bool>,
}

impl<Id> Contest<'_, Id> {
    /// Whether the peer began the new one before the old one's handshake ended: both live, nobody need be asked. Of a dial
    /// of ours that cannot be said, for it may have been repeated until a peer was there that knows nothing of the old one.
    pub fn is_simultaneous(&self) -> bool {
        self.new.direction == Direction::Inbound && self.old.up_for <= self.new.age
    }
}

/// What comes of a [`Contest`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Both stay.
    Both,
    /// It depends on whether the old one still answers: it is probed, and the contest is held again.
    Probe,
    /// The old one stays, the new one is drained.
    Old,
    /// The new one stays, the old one is drained; and closed, if it was probed and stays silent.
    New,
}

/// The rules of this project.
///
/// - What a relay limits is transient; a relayed connection that it does not limit is a full one.
/// - A handshake may take 30 s in all, as a last resort behind the transport's own deadlines. A limited connection may
///   last as long as its relay allows.
/// - A full connection is kept and a limited one drained, whoever dialed.
/// - Of two dials in opposite directions that both live, the dial of the lower id stays: both ends decide alike without a
///   message.
/// - Of two dials in the same direction the dialer keeps the newer. The other end leaves that to it: the two ends need
///   not have seen them end in the same order.
/// - Nothing new is given up for an old one of which it is not certain that it lives. If that is in doubt it is probed,
///   and gives way if it does not answer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recommended {
    /// How long a handshake may take. Default 30 s.
    pub handshake: Duration,
    /// How long a limited connection may last. Default without end: its relay sees to that.
    pub limited: Option<Duration>,
    /// Handshaking and limited connections in all. Default 1,024.
    pub max_transient: usize,
    /// The same to one peer. Default 32: several dials at once, each over some of the peer's addresses.
    pub max_transient_per_peer: usize,
    /// How long a probe may stay unanswered. Default 500 ms: with a round trip of 200 ms a lost packet is sent again in
    /// that time, and a new connection is there to use meanwhile.
    pub probe: Duration,
    /// How long a connection that did not answer may go on being silent until it is closed; the new one is in its place
    /// meanwhile. Default 3 s: a busy or slow peer answers in that time, and what goes on over its connection is not lost.
    pub patience: Duration,
    /// How long nothing must go on over a drained connection until it is closed. Default 1 s, some round trips of a slow
    /// path: what was written last is on its way, and the other end may be about to open a stream on it for as long as it
    /// has not seen the connection that is kept.
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
            // We would not have dialed again if the first one were of use.
            (Outbound, Outbound) => Verdict::New,
            _ if !lives => Verdict::Probe,
            (Inbound, Inbound) => Verdict::Both,
            (one, _) if one == lower_dials => Verdict::Old,
            _ => Verdict::New,
        }
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
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn contender(direction: Direction, age: Duration, up_for: Duration) -> Contender {
        Contender {
            direction,
            phase: Phase::Established,
            age,
            up_for,
        }
    }

    fn arbitrate(local: u8, old: Contender, new: Contender, answers: Option<bool>) -> Verdict {
        let contest = Contest {
            local: &local,
            remote: &5,
            old,
            new,
            old_answers: answers,
        };
        Recommended::default().arbitrate(&contest)
    }

    #[test]
    fn of_dials_that_crossed_the_lower_ids_stays_whichever_came_first() {
        use Direction::{Inbound, Outbound};
        let old = |direction| contender(direction, 10 * MS, 2 * MS);
        let new = |direction| contender(direction, 9 * MS, MS);
        let verdict = |local, one, other| arbitrate(local, old(one), new(other), None);
        assert_eq!(verdict(1, Outbound, Inbound), Verdict::Old);
        assert_eq!(verdict(9, Outbound, Inbound), Verdict::New);
        // Our dial may have reached a peer that had forgotten the old one.
        assert_eq!(verdict(1, Inbound, Outbound), Verdict::Probe);
        assert_eq!(verdict(9, Inbound, Outbound), Verdict::Probe);
        let answered = |local, one, other| arbitrate(local, old(one), new(other), Some(true));
        assert_eq!(answered(1, Inbound, Outbound), Verdict::New);
        assert_eq!(answered(9, Inbound, Outbound), Verdict::Old);
    }

    #[test]
    fn an_old_one_is_probed_before_it_is_believed_or_given_up() {
        use Direction::{Inbound, Outbound};
        for local in [1, 9] {
            for (one, other) in [(Outbound, Inbound), (Inbound, Outbound), (Inbound, Inbound)] {
                let old = contender(one, 1000 * MS, 990 * MS);
                let new = contender(other, 10 * MS, Duration::ZERO);
                assert_eq!(arbitrate(local, old, new, None), Verdict::Probe);
                assert_eq!(arbitrate(local, old, new, Some(false)), Verdict::New);
            }
        }
    }

    #[test]
    fn of_our_own_two_dials_the_newer_stays_and_of_the_peers_two_it_decides() {
        use Direction::{Inbound, Outbound};
        let at = |direction, up| contender(direction, up + 10 * MS, up);
        let (old, new) = (at(Outbound, 500 * MS), at(Outbound, Duration::ZERO));
        assert_eq!(arbitrate(1, old, new, None), Verdict::New);
        let (old, new) = (at(Inbound, 500 * MS), at(Inbound, Duration::ZERO));
        assert_eq!(arbitrate(1, old, new, Some(true)), Verdict::Both);
    }

    #[test]
    fn a_full_connection_wins_over_a_limited_one_on_either_side() {
        use Direction::{Inbound, Outbound};
        let full = contender(Outbound, 10 * MS, MS);
        let limited = Contender {
            phase: Phase::Limited,
            ..contender(Inbound, 500 * MS, 400 * MS)
        };
        assert_eq!(arbitrate(9, limited, full, None), Verdict::New);
        assert_eq!(arbitrate(9, full, limited, Some(true)), Verdict::Old);
        // It may be dead, and what a relay limits all that there is.
        let full = contender(Outbound, 1000 * MS, 990 * MS);
        assert_eq!(arbitrate(9, full, limited, None), Verdict::Probe);
    }
}
