//! One query: a lookup and the requests that follow it.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Instant,
};

use super::{
    key::Distance,
    lookup::Lookup,
    message::{PeerInfo, Record, Request},
    namers::Namers,
    store::Publication,
    validate::Namespaces,
    view::{Outcome, QueryError},
};

/// How many providers a query returns at most.
pub(super) const MAX_PROVIDERS: usize = 256;

#[derive(Debug)]
pub(super) struct Query<Id, A> {
    /// What is looked up.
    pub(super) key: Vec<u8>,
    pub(super) kind: Kind<Id, A>,
    pub(super) purpose: Purpose,
    pub(super) deadline: Instant,
    pub(super) stage: Stage<Id, A>,
}

/// Who wants the query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Host,
    /// The lookup of a key that nobody could foresee.
    Refresh,
    /// A publication that is due again.
    Republish,
}

#[derive(Debug)]
pub(super) enum Kind<Id, A> {
    Closest,
    Find {
        peer: Id,
        reached: bool,
        addresses: Vec<A>,
        namers: Namers,
    },
    Get(Values<Id, A>),
    Store(Publication),
    Providers {
        count: usize,
        found: BTreeMap<Id, (Vec<A>, Namers)>,
    },
}

#[derive(Debug)]
pub(super) enum Stage<Id, A> {
    /// No peer is known yet.
    Waiting,
    Looking(Lookup<Id, A>),
    Storing {
        left: VecDeque<PeerInfo<Id, A>>,
        waiting: usize,
        stored: usize,
        asked: usize,
    },
}

/// The values that a GET has found. Their number is at most the quorum. The value of this node itself is compared with the others,
/// but does not count as an answer, because the others may have a better one.
#[derive(Debug)]
pub(super) struct Values<Id, A> {
    pub(super) quorum: usize,
    /// The best value, with the longest time to live that its holders name. A holder may lie about this time.
    pub(super) best: Option<Record>,
    /// Whether this node itself has the best value.
    own: usize,
    /// The peers that have the best value, and those that have a worse one.
    holders: Vec<PeerInfo<Id, A>>,
    pub(super) stale: Vec<PeerInfo<Id, A>>,
}

impl<Id: Clone, A: Clone> Values<Id, A> {
    pub(super) fn new(quorum: usize) -> Self {
        Self {
            quorum,
            best: None,
            own: 0,
            holders: Vec::new(),
            stale: Vec::new(),
        }
    }

    /// A valid value of a peer, or of this node.
    pub(super) fn add(
        &mut self,
        holder: Option<PeerInfo<Id, A>>,
        record: Record,
        names: &Namespaces,
    ) {
        let order = match &self.best {
            Some(best) => names.compare(&record.key, &record.value, &best.value),
            None => std::cmp::Ordering::Greater,
        };
        if order.is_gt() {
            self.stale.append(&mut self.holders);
            (self.own, self.best) = (0, Some(record));
        } else if let Some(best) = self.best.as_mut().filter(|best| best.value == record.value) {
            best.ttl = best.ttl.zip(record.ttl).map(|(one, other)| one.max(other));
        }
        match holder {
            None => self.own = usize::from(order.is_ge()),
            Some(holder) if order.is_ge() => self.holders.push(holder),
            Some(holder) => self.stale.push(holder),
        }
    }

    /// How many peers have returned a value.
    fn answers(&self) -> usize {
        self.holders.len() + self.stale.len()
    }

    pub(super) fn holders(&self) -> usize {
        self.own + self.holders.len()
    }
}

impl<Id: Clone + Ord + Into<Vec<u8>>, A: Clone + PartialEq> Query<Id, A> {
    /// The request for a target of the lookup.
    pub(super) fn request(&self) -> Request<Id, A> {
        let key = self.key.clone();
        match self.kind {
            Kind::Get(_) => Request::GetValue { key },
            Kind::Providers { .. } => Request::GetProviders { key },
            Kind::Closest | Kind::Find { .. } | Kind::Store(_) => Request::FindNode { key },
        }
    }

    /// Whether no more answers are needed.
    pub(super) fn is_satisfied(&self) -> bool {
        match &self.kind {
            Kind::Closest | Kind::Store(_) => false,
            Kind::Find { reached, .. } => *reached,
            Kind::Get(values) => values.answers() >= values.quorum,
            Kind::Providers { count, found } => found.len() >= *count,
        }
    }

    /// Whether the query has a result although no peer can be asked: the value of this node itself.
    pub(super) fn has_own_result(&self) -> bool {
        matches!(&self.kind, Kind::Get(values) if values.best.is_some())
    }

    /// A peer has named others: one of them may be the peer that is looked for. `namer` is the distance of the peer from the key.
    pub(super) fn note_named(&mut self, namer: Distance, named: &[PeerInfo<Id, A>]) {
        let Kind::Find {
            peer,
            addresses,
            namers,
            ..
        } = &mut self.kind
        else {
            return;
        };
        for info in named.iter().filter(|info| info.id == *peer) {
            namers.learn(addresses, info.addresses.clone(), Some(namer));
        }
    }

    pub(super) fn note_providers(&mut self, namer: Distance, providers: Vec<PeerInfo<Id, A>>) {
        let Kind::Providers { found, .. } = &mut self.kind else {
            return;
        };
        for provider in providers {
            if found.len() < MAX_PROVIDERS || found.contains_key(&provider.id) {
                let (addresses, namers) = found.entry(provider.id).or_default();
                namers.learn(addresses, provider.addresses, Some(namer));
            }
        }
    }

    /// The outcome at the end of the lookup or of the storing.
    pub(super) fn outcome(&mut self, k: usize) -> Result<Outcome<Id, A>, QueryError> {
        let answered = match &self.stage {
            Stage::Looking(lookup) => lookup.answerers().count(),
            _ => 0,
        };
        let not_found = QueryError::NotFound { asked: answered };
        match &mut self.kind {
            Kind::Closest => self.closest(k),
            Kind::Find {
                peer,
                reached,
                addresses,
                ..
            } if *reached || !addresses.is_empty() => Ok(Outcome::Found {
                peer: PeerInfo::new(peer.clone(), std::mem::take(addresses)),
                reached: *reached,
            }),
            Kind::Get(values) => match values.best.take() {
                Some(record) => Ok(Outcome::Value {
                    record,
                    holders: values.holders(),
                }),
                None => Err(not_found),
            },
            Kind::Store(_) => match self.stage {
                Stage::Storing {
                    stored: 0, asked, ..
                } => Err(QueryError::NotStored { asked }),
                Stage::Storing { stored, asked, .. } => Ok(Outcome::Stored { stored, asked }),
                _ => Err(QueryError::NotStored { asked: 0 }),
            },
            Kind::Providers { found, .. } if !found.is_empty() => {
                let found = std::mem::take(found).into_iter();
                Ok(Outcome::Providers {
                    providers: found
                        .map(|(id, (addresses, _))| PeerInfo::new(id, addresses))
                        .collect(),
                })
            }
            Kind::Find { .. } | Kind::Providers { .. } => Err(not_found),
        }
    }

    fn closest(&self, k: usize) -> Result<Outcome<Id, A>, QueryError> {
        let Stage::Looking(lookup) = &self.stage else {
            return Err(QueryError::NotFound { asked: 0 });
        };
        Ok(Outcome::Closest {
            peers: lookup
                .answerers()
                .take(k)
                .map(|answerer| answerer.info.clone())
                .collect(),
            hops: lookup.answerers().next().map_or(0, |nearest| nearest.hops),
            requests: lookup.requests(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::kad::validate::Validator;

    fn record(value: &str, ttl: Option<u64>) -> Record {
        let mut record = Record::new(b"/a/k".to_vec(), value.into());
        record.ttl = ttl.map(Duration::from_secs);
        record
    }

    fn peer(id: u32) -> Option<PeerInfo<u32, ()>> {
        Some(PeerInfo::new(id, vec![()]))
    }

    #[test]
    fn the_best_value_has_the_longest_time_to_live_of_its_holders() {
        let names = Namespaces::new().with("a", Validator::new(|_, _| true));
        let mut values = Values::new(9);
        for (id, value, ttl) in [(1, "1", None), (2, "2", Some(1)), (3, "2", Some(600))] {
            values.add(peer(id), record(value, ttl), &names);
        }
        assert_eq!(values.best, Some(record("2", Some(600))));
        values.add(peer(4), record("2", None), &names);
        values.add(peer(5), record("2", Some(1)), &names);
        assert_eq!(values.best, Some(record("2", None)));
        assert_eq!((values.holders(), values.stale.len()), (4, 1));
    }

    #[test]
    fn the_own_value_is_compared_but_is_no_answer() {
        let names = Namespaces::new().with("a", Validator::new(|_, _| true));
        for (own, best, holders) in [("2", "2", 1), ("1", "1", 2), ("0", "1", 1)] {
            let mut values = Values::new(1);
            values.add(None, record(own, None), &names);
            assert_eq!(values.answers(), 0);
            values.add(peer(1), record("1", None), &names);
            assert_eq!(values.best, Some(record(best, None)));
            assert_eq!((values.answers(), values.holders()), (1, holders));
        }
    }
}
