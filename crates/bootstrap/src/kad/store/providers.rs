//! The providers of keys.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::{Refusal, Shares, share};
use crate::kad::{
    key::{Distance, Key},
    message::{MAX_PROVIDER_KEY, PeerInfo},
    place::Site,
};

/// How many providers of one key are kept.
pub(super) const MAX_PER_KEY: usize = 64;

/// How many providers of one key may be in one subnet.
pub(super) const MAX_PER_SUBNET: usize = 8;

#[derive(Debug)]
pub(super) struct Provider<Id, A> {
    info: PeerInfo<Id, A>,
    site: Site,
    expires: Instant,
}

/// At most `most` provider records, and at most an eighth of them by one peer. If all places are taken, the site with the most
/// records makes room with the oldest of its records of the farthest key.
#[derive(Debug)]
pub(crate) struct Providers<Id, A> {
    local: Key,
    most: usize,
    expiry: Duration,
    /// By the key's distance from this node, so that the farthest is last.
    pub(super) keys: BTreeMap<Distance, Vec<Provider<Id, A>>>,
    pub(super) shares: Shares<Id>,
    len: usize,
}

impl<Id: Clone + Ord, A: Clone> Providers<Id, A> {
    pub(crate) fn new(local: Key, most: usize, expiry: Duration) -> Self {
        Self {
            local,
            most,
            expiry,
            keys: BTreeMap::new(),
            shares: Shares::new(),
            len: 0,
        }
    }

    /// Adds a provider. The caller has checked that the provider is the sender, and its addresses.
    pub(crate) fn add(
        &mut self,
        now: Instant,
        key: &[u8],
        info: PeerInfo<Id, A>,
        site: Site,
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
            self.shares.remove(&info.id, known.site, distance);
            self.shares.add(&info.id, site, distance);
            *known = Provider {
                info,
                site,
                expires,
            };
            return Ok(());
        }
        if self.shares.of_sender(&info.id) >= share(self.most) {
            return Err(Refusal::Full);
        }
        self.make_room_of_key(&distance, site)?;
        if self.len >= self.most {
            let displaced = self.shares.displaced(site, distance);
            let (from, displaced) = displaced.ok_or(Refusal::Full)?;
            self.displace(&displaced, from);
        }
        self.len += 1;
        self.shares.add(&info.id, site, distance);
        self.keys.entry(distance).or_default().push(Provider {
            info,
            site,
            expires,
        });
        Ok(())
    }

    /// A key with too many providers loses the oldest provider of the site that has most of them. A subnet whose share of the
    /// key is taken gets no further place.
    fn make_room_of_key(&mut self, distance: &Distance, site: Site) -> Result<(), Refusal> {
        let Some(providers) = self.keys.get(distance) else {
            return Ok(());
        };
        let count = |site: Site| providers.iter().filter(|known| known.site == site).count();
        let own = count(site);
        if matches!(site, Site::Subnet(_)) && own >= MAX_PER_SUBNET {
            return Err(Refusal::Full);
        }
        if providers.len() < MAX_PER_KEY {
            return Ok(());
        }
        let most = providers.iter().map(|known| count(known.site)).max();
        let largest = providers
            .iter()
            .filter(|known| Some(count(known.site)) == most);
        let oldest = largest.min_by_key(|known| known.expires);
        let from = match Some(own) == most {
            true => Some(site),
            false => oldest.map(|known| known.site),
        };
        if let Some(from) = from {
            self.displace(distance, from);
        }
        Ok(())
    }

    /// Removes the oldest provider that this site has at a key.
    fn displace(&mut self, distance: &Distance, site: Site) {
        let providers = self.keys.get(distance).into_iter().flatten();
        let of_site = providers.filter(|known| known.site == site);
        let oldest = of_site.min_by_key(|known| known.expires);
        if let Some(oldest) = oldest.map(|known| known.info.id.clone()) {
            self.retain(distance, |known| known.info.id != oldest);
        }
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
            self.shares.remove(&gone.info.id, gone.site, *distance);
        }
        if providers.is_empty() {
            self.keys.remove(distance);
        }
    }
}
