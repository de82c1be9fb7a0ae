//! The node's own tasks: to fill its table, look up its neighbourhood, check old entries and publish again.

use std::time::{Duration, Instant};

use super::{
    Kad,
    key::{Key, preimage},
    query::{Kind, Purpose, Query, Stage},
    size::ENOUGH,
    table::Entry,
    view::{KadEvent, QueryId},
};
use crate::Backoff;

/// The delays between two requests for a join.
const JOIN_BASE: Duration = Duration::from_millis(500);
const JOIN_CAP: Duration = Duration::from_secs(30);

/// While the table is low, the connected servers are looked at this often.
const LOW_TICK: Duration = Duration::from_secs(1);

/// While few peers are known, the node looks itself up again after this time, then after four times as long, and so on.
const PACE: Duration = Duration::from_secs(2);

/// While a query waits although the table is not low, a few entries are asked after this time, then after twice as long, and so
/// on: this node may be offline.
const WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(16);

/// Buckets beyond this one are filled by lookups of the node itself. A key in bucket b costs 2ᵇ⁺¹ hashes on average.
const DEEPEST: u32 = 12;

/// How many checks there are in one interval of refreshing.
const CHECKS: u32 = 20;

#[derive(Debug)]
pub(super) struct Upkeep {
    join: Backoff,
    /// When the host is asked for peers again.
    join_at: Instant,
    /// When a low table is looked at again. `None`: the table is not low.
    low_at: Option<Instant>,
    /// When the node looks itself up.
    self_at: Instant,
    /// How long it waits before the time after that while few peers are known: they may be as new.
    pace: Duration,
    check_at: Instant,
    /// When entries are asked because a query waits, and how long that takes the next time.
    wait_at: Option<Instant>,
    wait: Duration,
    /// When a random key may be looked up only to measure the size of the network.
    measure_at: Instant,
    refresh: Option<QueryId>,
    republish: Option<QueryId>,
}

impl Upkeep {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            join: Backoff::new(JOIN_BASE),
            join_at: now,
            low_at: Some(now),
            self_at: now,
            pace: PACE,
            check_at: now,
            wait_at: None,
            wait: WAIT,
            measure_at: now,
            refresh: None,
            republish: None,
        }
    }

    /// The node looks itself up as soon as it can.
    pub(super) fn look_again(&mut self, now: Instant) {
        (self.self_at, self.pace) = (self.self_at.min(now), PACE);
    }

    /// The known peers are gone: the host is asked at once.
    pub(super) fn join_now(&mut self, now: Instant) {
        if self.low_at.is_none() {
            self.join.reset();
            self.join_at = now;
            self.low_at = Some(now);
        }
    }

    /// A query has met no peer that answers. It tries again when an entry answers.
    pub(super) fn try_later(&mut self, now: Instant) {
        self.wait_at = self.wait_at.or(Some(now + self.wait));
    }

    /// An entry has answered.
    pub(super) fn answered(&mut self) {
        (self.wait_at, self.wait) = (None, WAIT);
    }

    pub(super) fn refreshed(&mut self, query: QueryId) {
        self.refresh = self.refresh.filter(|refresh| *refresh != query);
    }

    pub(super) fn republished(&mut self, query: QueryId) {
        self.republish = self.republish.filter(|republish| *republish != query);
    }
}

impl<Id: Clone + Ord + Into<Vec<u8>>, A: Clone + PartialEq> Kad<Id, A> {
    /// Does what is due. Call this at the time that [`Kad::poll_timeout`] returns.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.expire_requests(now);
        self.expire_queries(now);
        if self.upkeep.check_at <= now {
            self.upkeep.check_at = now + self.config.refresh / CHECKS;
            self.check(now);
        }
        if self.upkeep.wait_at.is_some_and(|at| at <= now) {
            self.upkeep.wait_at = None;
            self.ask_entries(now);
        }
        self.settle(now);
    }

    /// When to call [`Kad::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        let upkeep = &self.upkeep;
        let idle = upkeep.refresh.is_none() && self.table.len() > 0;
        let refresh = idle.then_some(upkeep.self_at);
        let republish = self.published.next(self.can_provide());
        let republish = republish.filter(|_| upkeep.republish.is_none());
        let due = [
            self.requests_due(),
            self.queries_due(),
            upkeep.low_at,
            refresh,
            republish,
            Some(upkeep.check_at),
            upkeep.wait_at,
        ];
        due.into_iter().flatten().min()
    }

    /// Whether the table has too few entries that answer.
    pub(super) fn is_low(&self) -> bool {
        let healthy = self.table.iter().filter(|entry| !entry.is_failing());
        healthy.take(self.config.min_peers).count() < self.config.min_peers
    }

    /// Everything that need not wait for a check.
    pub(super) fn tend(&mut self, now: Instant) {
        if self.is_low() {
            self.fill(now);
        } else if self.upkeep.low_at.take().is_some() {
            self.upkeep.join.reset();
            self.upkeep.join_at = now;
        }
        if self.upkeep.refresh.is_none() && self.table.len() > 0 {
            self.refresh(now);
        }
        let (interval, providers) = (self.config.republish, self.can_provide());
        if self.upkeep.republish.is_none()
            && let Some(publication) = self.published.due(now, interval, providers)
        {
            let key = publication.key().to_vec();
            self.upkeep.republish =
                Some(self.start(now, key, Kind::Store(publication), Purpose::Republish));
        }
    }

    /// Re-admits connected servers, and asks the host for more.
    fn fill(&mut self, now: Instant) {
        while self.may_probe() {
            let (table, requests) = (&self.table, &self.requests);
            let wanted = |id: &Id| {
                let known = table.get(&Key::of(id.clone().into()));
                let is_asked = requests.values().any(|pending| pending.is_of(id));
                !is_asked && known.is_none_or(|entry| entry.is_failing())
            };
            let Some(peer) = self.peers.next_to_ask(now, wanted) else {
                break;
            };
            self.probe(now, peer);
        }
        let upkeep = &mut self.upkeep;
        if upkeep.join_at <= now {
            upkeep.join_at = now + upkeep.join.next(JOIN_CAP, &mut self.jitter).max(JOIN_BASE);
            self.events.push_back(KadEvent::Join);
            self.touch_waiting();
        }
        let join_at = self.upkeep.join_at;
        if self.upkeep.low_at.is_none_or(|at| at <= now) {
            self.upkeep.low_at = Some((now + LOW_TICK).min(join_at));
        }
    }

    /// Asks α entries whether they answer, while a query waits for a peer. If one does, the query tries again.
    fn ask_entries(&mut self, now: Instant) {
        let is_waiting = |query: &Query<Id, A>| matches!(query.stage, Stage::Waiting);
        if !self.queries.values().any(is_waiting) {
            return self.upkeep.answered();
        }
        let anywhere = Key::of(self.jitter.next_u64().to_be_bytes());
        let usable = |entry: &Entry<Id, A>| {
            let id = &entry.info.id;
            !self.peers.is_suspect(id) && !self.is_asked(id)
        };
        let mut entries = self.table.closest(&anywhere, self.config.k, usable);
        entries.sort_by_key(|entry| entry.is_failing());
        let entries = entries.into_iter().take(self.config.alpha);
        let entries: Vec<_> = entries.map(|entry| entry.info.clone()).collect();
        for entry in entries {
            self.probe(now, entry);
        }
        let upkeep = &mut self.upkeep;
        upkeep.wait = (upkeep.wait * 2).min(LONGEST_WAIT);
        upkeep.wait_at = Some(now + upkeep.wait);
    }

    /// Starts the lookup of this node, of a bucket or of a random key, if one is due.
    fn refresh(&mut self, now: Instant) {
        let key = if self.upkeep.self_at <= now {
            let is_small = self.table.len() < 2 * self.config.k;
            let most = self.config.refresh;
            let interval = if is_small {
                most.min(self.upkeep.pace)
            } else {
                most
            };
            self.upkeep.pace = interval * 4;
            // The intervals of nodes that started together drift apart.
            self.upkeep.self_at = now + interval - self.jitter.up_to(interval / 5);
            self.local.id.clone().into()
        } else {
            let untouched = self.table.untouched(now, self.config.bucket_refresh);
            let index = match untouched.filter(|index| *index <= DEEPEST) {
                Some(index) => index,
                None if self.upkeep.measure_at <= now && self.size.measurements(now) < ENOUGH => {
                    self.upkeep.measure_at = now + self.config.refresh / CHECKS;
                    0
                }
                None => return,
            };
            self.table.touch(now, index);
            let jitter = &mut self.jitter;
            let Some(key) = preimage(&self.local_key, index, 16 << index, || jitter.next_u64())
            else {
                return;
            };
            key
        };
        self.upkeep.refresh = Some(self.start(now, key, Kind::Closest, Purpose::Refresh));
    }

    /// Asks an entry that was silent for long and a connected server that the table has room for, and forgets what has expired.
    fn check(&mut self, now: Instant) {
        let age = self.config.refresh * 3;
        let quietest = self.table.quietest(now, age, |key| {
            self.requests.values().any(|pending| pending.has_key(key))
        });
        if let Some(peer) = quietest.map(|entry| entry.info.clone()) {
            self.probe(now, peer);
        }
        let table = &self.table;
        let wanted = |id: &Id| table.wants(&Key::of(id.clone().into()));
        if self.may_probe()
            && let Some(peer) = self.peers.next_to_ask(now, wanted)
        {
            self.probe(now, peer);
        }
        self.values.expire(now);
        self.providers.expire(now);
    }
}
