//! The choice of the candidates to dial, and the time of each dial.

use std::time::{Duration, Instant};

use super::{
    Rejoin,
    book::Key,
    entry::Entry,
    view::{AttemptId, RejoinEvent},
};

/// A dial lives at least that long, so that it does not end when it starts.
const SHORTEST: Duration = Duration::from_millis(1);

/// A dial in flight.
#[derive(Debug)]
pub(super) struct Attempt<A> {
    pub(super) key: Key,
    pub(super) until: Instant,
    addresses: Vec<A>,
}

/// A dial that is to come. The order is that of the dials.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Next {
    /// When the dial may start: an ordinary dial also waits for [`crate::RejoinConfig::dial_interval`].
    pub(super) at: Instant,
    /// The end of the candidate's backoff.
    due: Instant,
    key: Key,
    is_urgent: bool,
}

impl<Id: Clone + Ord, A: Clone + PartialEq> Rejoin<Id, A> {
    /// Starts the dials that are due, the one that has waited longest first. So no candidate starves.
    pub(super) fn start_due(&mut self, now: Instant) {
        while let Some(next) = self.next_dial().filter(|next| next.at <= now) {
            if !next.is_urgent {
                let (interval, burst) = (self.config.dial_interval, self.config.dial_burst);
                self.pace.take(now, interval, burst);
            }
            self.start(now, next.key);
        }
    }

    /// The dial that comes next. None if there is no room for a dial, or none is needed.
    pub(super) fn next_dial(&self) -> Option<Next> {
        if self.attempts.len() >= self.config.max_in_flight {
            return None;
        }
        let missing = self.need().peers;
        // Twice as many as are missing, since some will fail.
        let ordinary = missing > 0 && self.peers_in_flight() < missing.saturating_mul(2);
        let ready_at = self.pace.ready_at(self.config.dial_interval);
        let dial = |(key, entry): (Key, &Entry<Id, A>)| {
            let due = entry.due?;
            // A candidate that is lost now may be an ordinary one when its dial is due.
            let is_urgent = entry.is_urgent(due);
            let paced = ready_at.filter(|_| !is_urgent);
            let at = paced.map_or(due, |ready| ready.max(due));
            (is_urgent || ordinary).then_some(Next {
                at,
                due,
                key,
                is_urgent,
            })
        };
        self.book.iter().filter_map(dial).min()
    }

    /// The ordinary candidates with a dial in flight.
    fn peers_in_flight(&self) -> usize {
        let mut keys: Vec<Key> = self.attempts.values().map(|attempt| attempt.key).collect();
        keys.sort_unstable();
        keys.dedup();
        let ordinary = |key: &Key| {
            let entry = self.book.get(*key);
            entry.is_some_and(|entry| !entry.is_kept() && entry.lost_until.is_none())
        };
        keys.iter().filter(|key| ordinary(key)).count()
    }

    /// Dials a candidate and schedules its next dial, which does not wait for the end of this one.
    pub(super) fn start(&mut self, now: Instant, key: Key) {
        let of_peer = self
            .attempts
            .iter()
            .filter(|(_, attempt)| attempt.key == key);
        let of_peer: Vec<AttemptId> = of_peer.map(|(id, _)| *id).collect();
        let room = self.config.max_per_peer.max(1) - 1;
        for attempt in &of_peer[..of_peer.len().saturating_sub(room)] {
            self.give_up(*attempt);
            self.events
                .push_back(RejoinEvent::Abandon { attempt: *attempt });
        }
        let isolated = self.peers.heard() == 0;
        let Some(entry) = self.book.get_mut(key) else {
            return;
        };
        if entry.lost_until.is_some_and(|until| until <= now) {
            entry.lost_until = None;
        }
        let cap = cap(&self.config, entry, now, isolated);
        entry.dials += 1;
        entry.failures = entry.failures.saturating_add(1);
        entry.due = Some(after(now, entry.backoff.next(cap, &mut self.jitter)));
        let attempt = AttemptId(self.next_attempt);
        self.next_attempt += 1;
        let until = after(now, self.config.attempt.max(SHORTEST));
        let addresses = entry.to_dial(now);
        let (peer, origin) = (entry.peer.clone(), entry.origin());
        let dial = Attempt {
            key,
            until,
            addresses: addresses.clone(),
        };
        self.attempts.insert(attempt, dial);
        self.events.push_back(RejoinEvent::Dial {
            attempt,
            peer,
            addresses,
            origin,
            until,
        });
    }

    /// A dial has found nobody.
    pub(super) fn give_up(&mut self, attempt: AttemptId) {
        let dial = self.attempts.remove(&attempt);
        if let Some(dial) = dial
            && let Some(entry) = self.book.get_mut(dial.key)
        {
            entry.fail(&dial.addresses);
        }
    }

    /// Abandons the dials of a candidate.
    pub(super) fn abandon_all(&mut self, key: Key) {
        let events = &mut self.events;
        self.attempts.retain(|attempt, of| {
            if of.key == key {
                events.push_back(RejoinEvent::Abandon { attempt: *attempt });
            }
            of.key != key
        });
    }

    /// A peer is no longer connected: its candidates are due after a delay. A bootstrap peer whose connection had lasted may
    /// have been lost by many nodes at this moment: their delays are spread over the whole cap. After a change of this node's
    /// own network, the loss is its own.
    pub(super) fn reschedule_gone(
        &mut self,
        now: Instant,
        peer: &Id,
        stayed: Duration,
        lasted: bool,
    ) {
        let (config, isolated) = (&self.config, self.peers.heard() == 0);
        let own = self
            .changed
            .is_some_and(|at| now.saturating_duration_since(at) < config.lost_window);
        for (_, entry) in self.book.of_mut(peer) {
            entry.see(now);
            if lasted {
                entry.longest = entry.longest.max(Some(stayed));
                if entry.is_shared() {
                    entry.lost_until = None;
                    entry.backoff.reset();
                    if !own {
                        entry.backoff.raise(cap(config, entry, now, isolated));
                    }
                } else {
                    entry.lose(now, config.lost_window);
                    entry.backoff.reset();
                }
            }
            let cap = cap(config, entry, now, isolated);
            entry.due = Some(after(now, entry.backoff.redraw(cap, &mut self.jitter)));
        }
        self.bound_lost(now);
    }

    /// The oldest losses beyond [`crate::RejoinConfig::max_lost`] are ordinary candidates again.
    fn bound_lost(&mut self, now: Instant) {
        let max = self.config.max_lost;
        let lost = self.book.iter_mut().map(|(_, entry)| entry);
        let mut lost: Vec<_> = lost
            .filter(|entry| !entry.is_kept() && entry.is_lost(now))
            .collect();
        lost.sort_by_key(|entry| std::cmp::Reverse(entry.lost_until));
        for entry in lost.into_iter().skip(max) {
            entry.lost_until = None;
        }
    }

    /// No peer is connected any more: no candidate waits longer than the cap of an isolated node. Bootstrap peers that were not
    /// dialed, because enough peers were connected, are not dialed in lockstep with other nodes either.
    pub(super) fn reschedule_isolated(&mut self, now: Instant) {
        let config = &self.config;
        let own = self
            .changed
            .is_some_and(|at| now.saturating_duration_since(at) < config.lost_window);
        for (_, entry) in self.book.iter_mut() {
            let Some(due) = entry.due else {
                continue;
            };
            let cap = cap(config, entry, now, true);
            if due <= now && entry.is_shared() && !own {
                entry.due = Some(after(now, self.jitter.up_to(cap)));
            } else if due > after(now, cap) {
                entry.due = Some(after(now, entry.backoff.redraw(cap, &mut self.jitter)));
            }
        }
    }

    /// A candidate has a new address: it is dialed soon, unless it is connected.
    pub(super) fn hasten(&mut self, now: Instant, key: Key) {
        let cap = self.config.lost_cap;
        if let Some(entry) = self.book.get_mut(key)
            && let Some(due) = entry.due
        {
            entry.due = Some(due.min(after(now, entry.backoff.redraw(cap, &mut self.jitter))));
        }
    }

    /// The network has changed: every candidate may be reachable now.
    pub(super) fn redial_all(&mut self, now: Instant) {
        (self.changed, self.redial) = (Some(now), None);
        let (window, max) = (self.config.lost_window, self.config.max_lost);
        let mut recent = 0;
        for (_, entry) in self
            .book
            .iter_mut()
            .filter(|(_, entry)| entry.due.is_some())
        {
            entry.backoff.reset();
            entry.due = Some(now);
            // A peer that was lost before the change gets its quick pace again.
            if entry.longest.is_some() && !entry.is_shared() && recent < max {
                entry.lose(now, window);
                recent += 1;
            }
        }
    }
}

/// The longest delay of a candidate in its situation.
fn cap<Id: Clone + Ord, A: Clone + PartialEq>(
    config: &crate::RejoinConfig,
    entry: &Entry<Id, A>,
    now: Instant,
    isolated: bool,
) -> Duration {
    match () {
        () if entry.is_lost(now) => config.lost_cap,
        () if isolated => config.isolated_cap,
        () => config.cap,
    }
}

/// `now + wait`. A time that no clock can say is a year away.
pub(super) fn after(now: Instant, wait: Duration) -> Instant {
    const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
    let at = now.checked_add(wait).or_else(|| now.checked_add(YEAR));
    at.unwrap_or(now)
}
