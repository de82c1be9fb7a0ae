//! The values and provider records that this node publishes.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::kad::message::Record;

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

    fn is_value(&self) -> bool {
        matches!(self, Self::Value(_))
    }
}

/// The publications, with their times. A value and a provider record may have the same key.
#[derive(Debug, Default)]
pub(crate) struct Published(BTreeMap<(Vec<u8>, bool), Entry>);

#[derive(Debug)]
struct Entry {
    publication: Publication,
    /// When it was published last, and when it is published next.
    last: Instant,
    next: Instant,
    /// The pause after the last failure. Zero: the last attempt succeeded.
    pause: Duration,
}

impl Published {
    /// Adds a publication that is made now, and again after `interval`. Returns whether there is room.
    pub(crate) fn insert(
        &mut self,
        now: Instant,
        publication: Publication,
        interval: Duration,
        most: usize,
    ) -> bool {
        let key = (publication.key().to_vec(), publication.is_value());
        let room = self.0.len() < most || self.0.contains_key(&key);
        if room {
            let entry = Entry {
                publication,
                last: now,
                next: now + interval,
                pause: Duration::ZERO,
            };
            self.0.insert(key, entry);
        }
        room
    }

    pub(crate) fn value(&self, key: &[u8]) -> Option<&Record> {
        match self
            .0
            .get(&(key.to_vec(), true))
            .map(|entry| &entry.publication)
        {
            Some(Publication::Value(record)) => Some(record),
            _ => None,
        }
    }

    pub(crate) fn provides(&self, key: &[u8]) -> bool {
        self.0.contains_key(&(key.to_vec(), false))
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// An attempt has ended. If it failed, the next one follows after `least`, and after twice as long each time, up to `most`:
    /// the other peers may have a better value.
    pub(crate) fn attempted(
        &mut self,
        now: Instant,
        publication: &Publication,
        stored: bool,
        (least, most): (Duration, Duration),
    ) {
        let key = (publication.key().to_vec(), publication.is_value());
        let Some(entry) = self.0.get_mut(&key) else {
            return;
        };
        entry.pause = match stored {
            true => Duration::ZERO,
            false => entry.pause.saturating_mul(2).max(least).min(most),
        };
        if !stored {
            entry.next = entry.next.min(now + entry.pause);
        }
    }

    /// The addresses of this node have changed: its provider records are due, each at most once per `pause`.
    pub(crate) fn readdress(&mut self, now: Instant, pause: Duration) {
        let entries = self.0.values_mut();
        for entry in entries.filter(|entry| !entry.publication.is_value()) {
            entry.next = entry.next.min((entry.last + pause).max(now));
        }
    }

    /// Returns whether anything was published under the key.
    pub(crate) fn remove(&mut self, key: &[u8]) -> bool {
        let value = self.0.remove(&(key.to_vec(), true)).is_some();
        self.0.remove(&(key.to_vec(), false)).is_some() || value
    }

    /// When the next publication is due. `providers`: whether provider records count, which need an address of this node.
    pub(crate) fn next(&self, providers: bool) -> Option<Instant> {
        let entries = self.0.values();
        let ready = entries.filter(|entry| providers || entry.publication.is_value());
        ready.map(|entry| entry.next).min()
    }

    /// The publication that is due, if one is. It is due again after `interval`.
    pub(crate) fn due(
        &mut self,
        now: Instant,
        interval: Duration,
        providers: bool,
    ) -> Option<Publication> {
        let entries = self.0.values_mut();
        let ready = entries.filter(|entry| providers || entry.publication.is_value());
        let first = ready.min_by_key(|entry| entry.next);
        let entry = first.filter(|entry| entry.next <= now)?;
        (entry.last, entry.next) = (now, now + interval);
        Some(entry.publication.clone())
    }
}
