//! The count and the rate of the inbound connections from each address.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use crate::{LimitsConfig, Refused, prefix::Prefix};

/// A rate of zero means one connection in this time.
const NEVER: Duration = Duration::from_secs(u32::MAX as u64);

/// How many expired addresses are forgotten per admitted connection. An address expires when it has no connection and its
/// whole burst. With two, the memory shrinks after a flood.
const FORGOTTEN_PER_ADMISSION: usize = 2;

/// Every address that has a connection, or has not regained its whole burst.
#[derive(Debug, Default)]
pub(crate) struct Addresses {
    known: BTreeMap<Prefix, Address>,
    /// Addresses without connections, by the time at which they expire.
    leaving: BTreeSet<(Instant, Prefix)>,
    /// How many entries were checked.
    #[cfg(test)]
    pub(crate) inspected: usize,
}

/// A count and a token bucket. The bucket is the time at which it is full: each connection moves it by one period.
#[derive(Debug)]
struct Address {
    open: usize,
    full_at: Instant,
}

impl Addresses {
    pub(crate) fn len(&self) -> usize {
        self.known.len()
    }

    #[cfg(test)]
    pub(crate) fn open(&self) -> usize {
        self.known.values().map(|address| address.open).sum()
    }

    /// When the bucket would be full if the address had one more connection.
    pub(crate) fn check(
        &mut self,
        now: Instant,
        prefix: Prefix,
        config: &LimitsConfig,
    ) -> Result<Instant, Refused> {
        self.inspect();
        let has_room = self.known.len() < config.max_tracked_addresses || self.has_leaving(now);
        let full_at = match self.known.get(&prefix) {
            Some(address) if address.open >= config.max_per_address => {
                let limit = config.max_per_address;
                return Err(Refused::TooManyFromAddress { prefix, limit });
            }
            Some(address) => address.full_at.max(now),
            None if config.max_per_address == 0 => {
                return Err(Refused::TooManyFromAddress { prefix, limit: 0 });
            }
            None if !has_room => {
                let limit = config.max_tracked_addresses;
                return Err(Refused::TooManyAddresses { limit });
            }
            None => now,
        };
        let period = period(config.rate_per_address);
        let burst = period.saturating_mul(config.burst_per_address);
        let next = full_at.checked_add(period);
        next.filter(|next| *next - now <= burst && config.burst_per_address > 0)
            .ok_or(Refused::TooFastFromAddress { prefix })
    }

    /// Counts a connection that [`Self::check`] has allowed.
    pub(crate) fn admit(&mut self, now: Instant, prefix: Prefix, full_at: Instant) {
        if !self.known.contains_key(&prefix) {
            self.forget(now);
        }
        let address = self
            .known
            .entry(prefix)
            .or_insert(Address { open: 0, full_at });
        if address.open == 0 {
            self.leaving.remove(&(address.full_at, prefix));
        }
        address.open += 1;
        address.full_at = full_at;
    }

    pub(crate) fn close(&mut self, prefix: Prefix) {
        if let Some(address) = self.known.get_mut(&prefix) {
            address.open -= 1;
            if address.open == 0 {
                self.leaving.insert((address.full_at, prefix));
            }
        }
    }

    /// Whether an address has expired.
    fn has_leaving(&mut self, now: Instant) -> bool {
        self.inspect();
        self.leaving.first().is_some_and(|(at, _)| *at <= now)
    }

    fn forget(&mut self, now: Instant) {
        for _ in 0..FORGOTTEN_PER_ADMISSION {
            if !self.has_leaving(now) {
                return;
            }
            if let Some((_, prefix)) = self.leaving.pop_first() {
                self.known.remove(&prefix);
            }
        }
    }

    fn inspect(&mut self) {
        #[cfg(test)]
        {
            self.inspected += 1;
        }
    }
}

/// The time in which an address regains one connection of its burst.
fn period(rate: f64) -> Duration {
    let period = Duration::try_from_secs_f64(rate.recip());
    period.unwrap_or(NEVER).min(NEVER)
}
