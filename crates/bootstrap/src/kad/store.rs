//! The values and providers that this node keeps for other peers, and the keys that it publishes itself. Each of these
//! has a bound.

mod providers;
mod shares;
mod values;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

pub(crate) use providers::Providers;
use shares::Shares;
pub(crate) use values::Values;

use super::message::Record;

/// How much of the store one sender may take.
const SHARE: usize = 8;

/// The reason why a value or a provider is not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The node is a client and serves nobody.
    #[error("this node does not serve")]
    Client,
    /// The key is empty or too long, or the value is too long.
    #[error("the key or the value is too long, or the key is empty")]
    Length,
    /// No namespace is known for the key, or its validator refuses the value.
    #[error("the value is not valid in its namespace")]
    Invalid,
    /// A better value is stored under the key.
    #[error("a better value is stored already")]
    Worse,
    /// The sender's share of the store is used up, or the store is full and the sender's subnet has as many entries as any other.
    #[error("the store has no room for this entry")]
    Full,
    /// An ADD_PROVIDER does not name its sender with an address.
    #[error("the sender is not named as provider with an address that counts")]
    NotSender,
}

/// What this node publishes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Publication {
    Value(Record),
    Provider(Vec<u8>),
}

impl Publication {
    pub(crate) fn key(&self) -> &[u8] {
        match self {
            Self::Value(record) => &record.key,
            Self::Provider(key) => key,
        }
    }
}

/// What this node publishes, with the time of the next publication. A value and a provider may have the same key.
#[derive(Debug, Default)]
pub(crate) struct Published(BTreeMap<(Vec<u8>, bool), (Publication, Instant)>);

impl Published {
    /// Returns whether there is room.
    pub(crate) fn insert(&mut self, publication: Publication, next: Instant, most: usize) -> bool {
        let key = (
            publication.key().to_vec(),
            matches!(publication, Publication::Value(_)),
        );
        let room = self.0.len() < most || self.0.contains_key(&key);
        if room {
            self.0.insert(key, (publication, next));
        }
        room
    }

    pub(crate) fn value(&self, key: &[u8]) -> Option<&Record> {
        match self.0.get(&(key.to_vec(), true)) {
            Some((Publication::Value(record), _)) => Some(record),
            _ => None,
        }
    }

    pub(crate) fn provides(&self, key: &[u8]) -> bool {
        self.0.contains_key(&(key.to_vec(), false))
    }

    /// A publication has failed: it is due again at `next`, if it was not withdrawn.
    pub(crate) fn retry(&mut self, publication: &Publication, next: Instant) {
        let is_value = matches!(publication, Publication::Value(_));
        if let Some((_, due)) = self.0.get_mut(&(publication.key().to_vec(), is_value)) {
            *due = next;
        }
    }

    /// Returns whether anything was published under the key.
    pub(crate) fn remove(&mut self, key: &[u8]) -> bool {
        let value = self.0.remove(&(key.to_vec(), true)).is_some();
        self.0.remove(&(key.to_vec(), false)).is_some() || value
    }

    pub(crate) fn next(&self) -> Option<Instant> {
        self.0.values().map(|(_, next)| *next).min()
    }

    /// The publication that is due, if one is. It is due again after `interval`.
    pub(crate) fn due(&mut self, now: Instant, interval: Duration) -> Option<Publication> {
        let due = self.0.values_mut().filter(|(_, next)| *next <= now);
        let (publication, next) = due.min_by_key(|(_, next)| *next)?;
        *next = now + interval;
        Some(publication.clone())
    }
}

/// How many entries of a store with room for `most` one sender may have.
fn share(most: usize) -> usize {
    (most / SHARE).max(1)
}

#[cfg(test)]
mod tests;
