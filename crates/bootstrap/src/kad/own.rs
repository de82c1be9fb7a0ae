//! What this node publishes: its own values and provider records.

use std::{cmp::Ordering, time::Instant};

use super::{
    Kad, check_key,
    message::{MAX_KEY, MAX_PROVIDER_KEY, Record},
    query::Kind,
    store::Publication,
    view::{QueryError, QueryId},
};

impl<Id: Clone + Ord + Into<Vec<u8>>, A: Clone + PartialEq> Kad<Id, A> {
    /// Stores a value at the peers near its key, which are chosen as for [`Kad::get`]. The node stores the value again every
    /// [`super::KadConfig::republish`] until [`Kad::unpublish`]. It repeats a failed attempt after
    /// [`super::KadConfig::refresh`], and doubles this pause each time.
    ///
    /// # Errors
    ///
    /// The value is not acceptable, this node knows a better one, or too many queries are running.
    pub fn put(
        &mut self,
        now: Instant,
        key: Vec<u8>,
        value: Vec<u8>,
    ) -> Result<QueryId, QueryError> {
        check_key(&key, MAX_KEY)?;
        let record = Record::new(key, value);
        if !record.fits() {
            return Err(QueryError::ValueLength {
                length: record.value.len(),
            });
        }
        if !self.names.is_valid(&record.key, &record.value) {
            return Err(QueryError::Invalid);
        }
        let known = self.own_value(now, &record.key);
        if known.is_some_and(|known| self.is_better(&known, &record)) {
            return Err(QueryError::Worse);
        }
        self.publish(now, Publication::Value(record))
    }

    /// Tells the peers near a key that this node provides the key. The node repeats this every [`super::KadConfig::republish`],
    /// and when its addresses have changed, until [`Kad::unpublish`].
    ///
    /// # Errors
    ///
    /// The key has no acceptable length, this node has no address, or too many queries are running.
    pub fn provide(&mut self, now: Instant, key: Vec<u8>) -> Result<QueryId, QueryError> {
        check_key(&key, MAX_PROVIDER_KEY)?;
        if self.local.addresses.is_empty() {
            return Err(QueryError::NoAddress);
        }
        self.publish(now, Publication::Provider(key))
    }

    /// Stops publishing a key. Other peers keep the key until it expires. Returns whether the node published it.
    pub fn unpublish(&mut self, key: &[u8]) -> bool {
        self.published.remove(key)
    }

    /// The best value that this node publishes or keeps for others.
    pub(super) fn own_value(&self, now: Instant, key: &[u8]) -> Option<Record> {
        let published = self.published.value(key).cloned();
        match (published, self.values.get(now, key)) {
            (Some(own), Some(other)) if self.is_better(&other, &own) => Some(other),
            (own, other) => own.or(other),
        }
    }

    fn is_better(&self, one: &Record, other: &Record) -> bool {
        self.names.compare(&one.key, &one.value, &other.value) == Ordering::Greater
    }

    /// Whether provider records can be published.
    pub(super) fn can_provide(&self) -> bool {
        !self.local.addresses.is_empty()
    }

    fn publish(&mut self, now: Instant, publication: Publication) -> Result<QueryId, QueryError> {
        self.check_queries()?;
        let (interval, most) = (self.config.republish, self.config.max_published);
        if !self
            .published
            .insert(now, publication.clone(), interval, most)
        {
            return Err(QueryError::TooManyPublished { limit: most });
        }
        self.start_for_host(now, publication.key().to_vec(), Kind::Store(publication))
    }
}
