//! The providers of keys.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::{Refusal, share};
use crate::kad::{
    key::{Distance, Key},
    message::{MAX_PROVIDER_KEY, PeerInfo},
    place::Subnet,
};

/// How many providers of one key are kept.
pub(super) const MAX_PER_KEY: usize = 64;

/// How many providers of one key may be in one subnet.
pub(super) const MAX_PER_SUBNET: usize = 8;

#[derive(Debug)]
pub(super) struct Provider<Id, A> {
    info: PeerInfo<Id, A>,
    subnet: Option<Subnet>,
    expires: Instant,
}

/// At most `most` provider records, and at most an eighth of them by one peer. If all places are taken, the providers of a key
/// that is nearer to this node displace those of the farthest key.
#[derive(Debug)]
pub(crate) struct Providers<Id, A> {
    local: Key,
    most: usize,
    expiry: Duration,
    /// By the key's distance from this node, so that the farthest is last.
    pub(super) keys: BTreeMap<Distance, Vec<Provider<Id, A>>>,
    pub(super) senders: BTreeMap<Id, usize>,
    len: usize,
}

impl<Id: Clone + Ord, A: Clone> Providers<Id, A> {
    pub(crate) fn new(local: Key, most: usize, expiry: Duration) -> Self {
        Self {
            local,
            most,
            expiry,
            keys: BTreeMap::new(),
            senders: BTreeMap::new(),
            len: 0,
        }
    }

    /// Adds a provider. The caller has checked that the provider is the sender, and its addresses.
    pub(crate) fn add(
        &mut self,
        now: Instant,
        key: &[u8],
        info: PeerInfo<Id, A>,
        subnet: Option<Subnet>,
    ) -> Result<(), Refusal> {
        if key.is_empty() || key.len() > MAX_PROVIDER_KEY {
            return Err(Refusal::Length);
        }
        let distance = Key::of(key).distance(&self.local);
        let expires = now + self.expiry;
        let known = self.keys.get_mut(&distance);
        let known =
            known.and_then(|providers| providers.iter_mut().find(|known| known.info.id == info.id));
        if let Some(known) = known {
            *known = Provider {
                info,
                subnet,
                expires,
            };
            return Ok(());
        }
        if self.senders.get(&info.id).copied().unwrap_or(0) >= share(self.most) {
            return Err(Refusal::Full);
        }
        self.make_room_of_key(&distance, subnet)?;
        if self.len >= self.most {
            let farthest = self.keys.last_key_value().map(|(farthest, _)| *farthest);
            match farthest.filter(|farthest| *farthest > distance) {
                Some(farthest) => self.retain(&farthest, |_| false),
                None => return Err(Refusal::Full),
            }
        }
        self.len += 1;
        *self.senders.entry(info.id.clone()).or_default() += 1;
        self.keys.entry(distance).or_default().push(Provider {
            info,
            subnet,
            expires,
        });
        Ok(())
    }

    /// The oldest provider makes room for a new one, within the subnet's share if that is taken.
    fn make_room_of_key(
        &mut self,
        distance: &Distance,
        subnet: Option<Subnet>,
    ) -> Result<(), Refusal> {
        let Some(providers) = self.keys.get(distance) else {
            return Ok(());
        };
        let of_subnet = |provider: &&Provider<Id, A>| subnet.is_some() && provider.subnet == subnet;
        if providers.iter().filter(of_subnet).count() >= MAX_PER_SUBNET {
            return Err(Refusal::Full);
        }
        if providers.len() >= MAX_PER_KEY {
            let oldest = providers.iter().min_by_key(|provider| provider.expires);
            let oldest = oldest.map(|provider| provider.info.id.clone());
            self.retain(distance, |provider| {
                Some(&provider.info.id) != oldest.as_ref()
            });
        }
        Ok(())
    }

    /// The providers of a key, at most `count`, from a random one on.
    pub(crate) fn get(
        &self,
        now: Instant,
        key: &[u8],
        count: usize,
        random: u64,
    ) -> Vec<PeerInfo<Id, A>> {
        let Some(providers) = self.keys.get(&Key::of(key).distance(&self.local)) else {
            return Vec::new();
        };
        let valid: Vec<_> = providers
            .iter()
            .filter(|provider| provider.expires > now)
            .collect();
        let first = usize::try_from(random % (valid.len().max(1) as u64)).unwrap_or(0);
        let rotated = valid
            .iter()
            .cycle()
            .skip(first)
            .take(valid.len().min(count));
        rotated.map(|provider| provider.info.clone()).collect()
    }

    pub(crate) fn expire(&mut self, now: Instant) {
        let keys: Vec<Distance> = self.keys.keys().copied().collect();
        keys.iter()
            .for_each(|key| self.retain(key, |provider| provider.expires > now));
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    fn retain(&mut self, distance: &Distance, keep: impl Fn(&Provider<Id, A>) -> bool) {
        let Some(providers) = self.keys.get_mut(distance) else {
            return;
        };
        for gone in providers.extract_if(.., |provider| !keep(provider)) {
            self.len -= 1;
            if let Some(count) = self.senders.get_mut(&gone.info.id) {
                *count -= 1;
                if *count == 0 {
                    self.senders.remove(&gone.info.id);
                }
            }
        }
        if providers.is_empty() {
            self.keys.remove(distance);
        }
    }
}
