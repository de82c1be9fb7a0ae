//! The steps of a query: waiting for a peer, looking up, and storing.

use std::time::Instant;

use super::{
    Kad,
    key::Key,
    keys_where,
    lookup::{Ask, Limits, Lookup},
    message::{PeerInfo, Request},
    pending::Wants,
    query::{Kind, Purpose, Query, Stage},
    store::Publication,
    table::Entry,
    view::{KadEvent, Outcome, QueryError, QueryId},
};

type Ended<Id, A> = Result<Outcome<Id, A>, QueryError>;

impl<Id: Clone + Ord + Into<Vec<u8>>, A: Clone + PartialEq> Kad<Id, A> {
    /// Lets all queries proceed that have news. Every public method that changes anything ends with this.
    pub(super) fn settle(&mut self, now: Instant) {
        loop {
            while let Some(id) = self.touched.pop_first() {
                self.proceed(now, id);
            }
            self.trim_requests();
            self.tend(now);
            if self.touched.is_empty() {
                break;
            }
        }
        if self.serves != self.serving.serves() {
            self.serves = self.serving.serves();
            self.events.push_back(KadEvent::Serve(self.serves));
        }
    }

    /// Queries that wait for a peer try again.
    pub(super) fn touch_waiting(&mut self) {
        let is_waiting = |query: &Query<Id, A>| matches!(query.stage, Stage::Waiting);
        self.touched.extend(keys_where(&self.queries, is_waiting));
    }

    /// Ends the queries whose time is over, with what they have.
    pub(super) fn expire_queries(&mut self, now: Instant) {
        for id in keys_where(&self.queries, |query| query.deadline <= now) {
            if let Some(mut query) = self.queries.remove(&id) {
                let answered = match &query.stage {
                    Stage::Looking(lookup) => lookup.answerers().next().is_some(),
                    Stage::Storing { .. } => true,
                    Stage::Waiting => false,
                };
                let result = match query.outcome(self.config.k) {
                    Ok(Outcome::Closest { peers, .. }) if peers.is_empty() => {
                        Err(QueryError::NoPeers(self.config.query_timeout))
                    }
                    Err(_) if !answered => Err(QueryError::NoPeers(self.config.query_timeout)),
                    result => result,
                };
                self.end(now, id, query, result);
            }
        }
    }

    pub(super) fn queries_due(&self) -> Option<Instant> {
        self.queries.values().map(|query| query.deadline).min()
    }

    fn proceed(&mut self, now: Instant, id: QueryId) {
        let Some(mut query) = self.queries.remove(&id) else {
            return;
        };
        match self.advance(now, id, &mut query) {
            Some(result) => self.end(now, id, query, result),
            None => {
                self.queries.insert(id, query);
            }
        }
    }

    /// Returns the result if the query has ended.
    fn advance(
        &mut self,
        now: Instant,
        id: QueryId,
        query: &mut Query<Id, A>,
    ) -> Option<Ended<Id, A>> {
        loop {
            if query.is_satisfied() {
                return Some(query.outcome(self.config.k));
            }
            let request = query.request();
            match &mut query.stage {
                Stage::Waiting => match self.lookup(now, &query.key) {
                    Some(lookup) => query.stage = Stage::Looking(lookup),
                    None => return self.without_peers(query),
                },
                Stage::Looking(lookup) => {
                    self.ask(now, id, lookup, &request);
                    if !lookup.is_done() {
                        return None;
                    }
                    if self.seed_again(lookup) || lookup.scout() {
                        continue;
                    }
                    if lookup.answerers().next().is_none() {
                        // All known peers are gone. New ones may come.
                        self.upkeep.join_now(now);
                        self.upkeep.try_later(now);
                        let result = self.without_peers(query);
                        query.stage = Stage::Waiting;
                        return result;
                    }
                    // The place of this node is known to attackers, a random key is not.
                    if query.purpose == Purpose::Refresh && Key::of(&query.key) != self.local_key {
                        let distances = lookup.answerers().take(self.config.k);
                        self.size
                            .measured(now, distances.map(|answerer| answerer.distance));
                    }
                    if !matches!(query.kind, Kind::Store(_)) {
                        return Some(query.outcome(self.config.k));
                    }
                    let left = lookup.nearest(self.config.replication);
                    query.stage = Stage::Storing {
                        left: left.into(),
                        waiting: 0,
                        stored: 0,
                        asked: 0,
                    };
                }
                Stage::Storing { .. } => {
                    self.store_more(now, id, query);
                    let is_over = matches!(&query.stage, Stage::Storing { left, waiting: 0, .. } if left.is_empty());
                    return is_over.then(|| query.outcome(self.config.k));
                }
            }
        }
    }

    /// No peer can be asked: the query ends with the value of this node itself, or it waits.
    fn without_peers(&self, query: &mut Query<Id, A>) -> Option<Ended<Id, A>> {
        let ends = query.has_own_result();
        ends.then(|| query.outcome(self.config.k))
    }

    /// A lookup from the entries nearest to the key. `None`: the table is empty.
    fn lookup(&self, now: Instant, key: &[u8]) -> Option<Lookup<Id, A>> {
        let target = Key::of(key);
        let mut seeds = self.seeds(&target, |_| true);
        if seeds.is_empty() {
            // Failing entries are the last resort.
            let all = self.table.closest(&target, self.config.k, |_| true);
            seeds = all.into_iter().map(|entry| entry.info.clone()).collect();
        }
        let limits = Limits {
            k: self.config.k,
            alpha: self.config.alpha,
            beta: self.config.beta,
            reach: self.size.reach(now, self.config.k),
        };
        (self.table.len() > 0).then(|| Lookup::new(target, self.local_key, limits, seeds))
    }

    /// The nearest entries that can be asked and that `accepts` takes.
    fn seeds(&self, target: &Key, accepts: impl Fn(&Key) -> bool) -> Vec<PeerInfo<Id, A>> {
        let usable = |entry: &Entry<Id, A>| {
            !entry.is_failing() && !self.peers.is_suspect(&entry.info.id) && accepts(&entry.key)
        };
        let nearest = self.table.closest(target, self.config.k, usable);
        nearest
            .into_iter()
            .map(|entry| entry.info.clone())
            .collect()
    }

    /// Adds the next entries of the table to a lookup that would end with too few peers: an answer names at most k peers, and
    /// many of them may be gone. Returns whether there are any.
    fn seed_again(&self, lookup: &mut Lookup<Id, A>) -> bool {
        lookup.is_short() && {
            let seeds = self.seeds(&lookup.target(), |key| !lookup.knows(key));
            lookup.seed(seeds)
        }
    }

    fn ask(
        &mut self,
        now: Instant,
        id: QueryId,
        lookup: &mut Lookup<Id, A>,
        request: &Request<Id, A>,
    ) {
        while let Some((distance, ask, peer)) = lookup.next() {
            let message = match ask {
                Ask::Target => request.clone(),
                Ask::Itself => Request::FindNode {
                    key: peer.id.clone().into(),
                },
            };
            let wants = Wants::Lookup(id, distance, ask);
            // A peer that others have named with further addresses is asked there. A connected one is only slow.
            if self.peers.is_connected(&peer.id) && self.is_in_flight(wants) {
                lookup.slow(distance, ask);
                continue;
            }
            self.withdraw(wants);
            if !self.send(now, wants, peer, message) {
                lookup.skip(distance, ask);
            }
        }
    }

    fn store_more(&mut self, now: Instant, id: QueryId, query: &mut Query<Id, A>) {
        let (
            Kind::Store(publication),
            Stage::Storing {
                left,
                waiting,
                asked,
                ..
            },
        ) = (&query.kind, &mut query.stage)
        else {
            return;
        };
        while *waiting < self.config.k
            && let Some(peer) = left.pop_front()
        {
            let message = match publication {
                Publication::Value(record) => Request::PutValue {
                    record: record.clone(),
                },
                Publication::Provider(key) => Request::AddProvider {
                    key: key.clone(),
                    providers: vec![self.local.clone()],
                },
            };
            *asked += 1;
            *waiting += usize::from(self.send(now, Wants::Store(id), peer, message));
        }
    }

    fn end(&mut self, now: Instant, id: QueryId, mut query: Query<Id, A>, result: Ended<Id, A>) {
        self.cancel_unwanted(id);
        if let (Kind::Get(values), Ok(Outcome::Value { record, .. })) = (&mut query.kind, &result) {
            let stale: Vec<PeerInfo<Id, A>> = std::mem::take(&mut values.stale);
            for peer in stale {
                let record = record.clone();
                self.send(now, Wants::Repair, peer, Request::PutValue { record });
            }
        }
        if let Kind::Store(publication) = &query.kind {
            let pauses = (self.config.refresh, self.config.republish);
            self.published
                .attempted(now, publication, result.is_ok(), pauses);
        }
        match query.purpose {
            Purpose::Host => self.events.push_back(KadEvent::Done { query: id, result }),
            Purpose::Refresh => self.upkeep.refreshed(id),
            Purpose::Republish => self.upkeep.republished(id),
        }
    }
}
