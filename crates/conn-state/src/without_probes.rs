//! A policy for hosts that cannot probe.

use std::time::Duration;

use crate::{Contest, Phase, Policy, Reason, Recommended, Route, Verdict};

/// Wraps a policy for a host that cannot find out whether a connection still answers, because it has no ping and sees no packets.
///
/// A tracker takes a connection with an unanswered probe for dead. If the host does not probe, every old connection would look
/// dead, and live connections would be drained and closed. With this policy, both connections stay in each case in which `P`
/// would ask for a probe. A dead connection therefore stays until its transport reports the end. New streams use the newest
/// connection, which [`Tracker::best`](crate::Tracker::best) returns.
///
/// ```
/// use conn_state::{Recommended, Tracker, TrackerConfig, WithoutProbes};
/// # let now = std::time::Instant::now();
/// let policy = WithoutProbes(Recommended::default());
/// let tracker = Tracker::new(now, "alice", policy, TrackerConfig::default());
/// # drop(tracker);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WithoutProbes<P = Recommended>(pub P);

impl<Id, P: Policy<Id>> Policy<Id> for WithoutProbes<P> {
    fn phase(&self, route: Route) -> Phase {
        self.0.phase(route)
    }

    fn arbitrate(&self, contest: &Contest<'_, Id>) -> Verdict {
        match self.0.arbitrate(contest) {
            Verdict::Probe => Verdict::Both,
            verdict => verdict,
        }
    }

    fn max_age(&self, reason: Reason) -> Option<Duration> {
        self.0.max_age(reason)
    }

    fn max_transient(&self) -> usize {
        self.0.max_transient()
    }

    fn max_limited(&self) -> usize {
        self.0.max_limited()
    }

    fn max_transient_per_peer(&self) -> usize {
        self.0.max_transient_per_peer()
    }

    fn probe(&self) -> Duration {
        self.0.probe()
    }

    fn patience(&self) -> Duration {
        self.0.patience()
    }

    fn quiet(&self) -> Duration {
        self.0.quiet()
    }

    fn drain(&self) -> Duration {
        self.0.drain()
    }
}
