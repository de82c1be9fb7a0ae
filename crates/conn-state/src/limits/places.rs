//! The inbound connections after their handshake, and the choice of the connection to trim.
//!
//! The host does not call this module when a stream opens or closes. A search checks a connection again only when the connection
//! can have been idle for long enough. Each connection is checked at most once per
//! [`LimitsConfig::trim_idle`](crate::LimitsConfig::trim_idle), and once more when it is trimmed. A newcomer therefore costs
//! little even if many connections are open.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use super::ranked::Ranked;
use crate::Usage;

/// Replaces a duration that is too long to be added to the time.
const FAR: Duration = Duration::from_secs(3_600);

/// The inbound connections after their handshake.
#[derive(Debug)]
pub(super) struct Places<Id, Group> {
    known: BTreeMap<Id, Place<Group>>,
    /// Connections that cannot be trimmed before this time.
    waiting: BTreeSet<(Instant, Id)>,
    /// Connections that had been idle for long enough when they were checked. Within a group, the longest idle comes first.
    idle: Ranked<Group, (Instant, Id)>,
    #[cfg(test)]
    pub(super) looked_at: usize,
}

#[derive(Debug)]
struct Place<Group> {
    group: Group,
    usage: Usage,
    /// The connection's key in `waiting` or in `idle`.
    at: Instant,
    is_idle: bool,
}

impl<Id, Group> Default for Places<Id, Group> {
    fn default() -> Self {
        Self {
            known: BTreeMap::new(),
            waiting: BTreeSet::new(),
            idle: Ranked::default(),
            #[cfg(test)]
            looked_at: 0,
        }
    }
}

impl<Id: Ord + Copy, Group: Ord + Clone> Places<Id, Group> {
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    pub(super) fn insert(&mut self, now: Instant, id: Id, group: Group, usage: Usage) {
        let place = Place {
            group,
            usage,
            at: now,
            is_idle: false,
        };
        self.known.insert(id, place);
        self.waiting.insert((now, id));
    }

    pub(super) fn remove(&mut self, id: Id) {
        if let Some(place) = self.known.remove(&id) {
            match place.is_idle {
                true => self.idle.remove(&place.group, &(place.at, id)),
                false => drop(self.waiting.remove(&(place.at, id))),
            }
        }
    }

    /// The connection to trim: in the group with the most idle connections, the connection that has been idle for longest.
    pub(super) fn longest_idle(
        &mut self,
        now: Instant,
        after: Duration,
        is_protected: impl Fn(&Id) -> bool,
    ) -> Option<Id> {
        while let Some((at, id)) = self.waiting.first().copied()
            && at <= now
        {
            self.look(now, after, id, &is_protected);
        }
        while let Some((_, (_, id))) = self.idle.largest() {
            self.look(now, after, id, &is_protected);
            if self.known.get(&id).is_some_and(|place| place.is_idle) {
                return Some(id);
            }
        }
        None
    }

    /// Checks a connection, and moves it to `waiting` or `idle`.
    fn look(&mut self, now: Instant, after: Duration, id: Id, is_protected: &impl Fn(&Id) -> bool) {
        #[cfg(test)]
        {
            self.looked_at += 1;
        }
        let Some(place) = self.known.get_mut(&id) else {
            return;
        };
        match place.is_idle {
            true => self.idle.remove(&place.group, &(place.at, id)),
            false => drop(self.waiting.remove(&(place.at, id))),
        }
        let since = match is_protected(&id) {
            true => now,
            false => place.usage.idle_since().unwrap_or(now),
        };
        let ripe = since.checked_add(after).unwrap_or(now + FAR);
        place.is_idle = ripe <= now && since < now;
        match place.is_idle {
            true => {
                place.at = since;
                self.idle.insert(&place.group, (since, id));
            }
            false => {
                // Later than now, so that no search checks it twice.
                place.at = ripe.max(now + Duration::from_nanos(1));
                self.waiting.insert((place.at, id));
            }
        }
    }
}
