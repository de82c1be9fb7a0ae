//! The addresses that this node announces, by announcer.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use libp2p_identity::PeerId;
use multiaddr::Multiaddr;

/// The source of announced addresses. The list of all announced addresses has the order of this enum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Announcer {
    /// A listener, by its number.
    Listener(u64),
    /// A relay at which this node holds a slot.
    Relay(PeerId),
}

/// The addresses at which peers reach this node, without its id.
#[derive(Debug, Default)]
pub(crate) struct Local {
    addresses: Mutex<BTreeMap<Announcer, Vec<Multiaddr>>>,
}

impl Local {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Announcer, Vec<Multiaddr>>> {
        self.addresses
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces the addresses of `announcer`. Returns the addresses that no announcer announced before. `None`: the
    /// list has not changed.
    pub(crate) fn announce(
        &self,
        announcer: Announcer,
        addresses: Vec<Multiaddr>,
    ) -> Option<Vec<Multiaddr>> {
        let mut all = self.lock();
        let before = flatten(&all);
        if addresses.is_empty() {
            all.remove(&announcer);
        } else {
            all.insert(announcer, addresses);
        }
        let after = flatten(&all);
        if before == after {
            return None;
        }
        let is_new = |address: &Multiaddr| !before.contains(address);
        Some(after.into_iter().filter(is_new).collect())
    }

    /// All addresses without duplicates. The addresses of listeners come first.
    pub(crate) fn addresses(&self) -> Vec<Multiaddr> {
        flatten(&self.lock())
    }
}

fn flatten(all: &BTreeMap<Announcer, Vec<Multiaddr>>) -> Vec<Multiaddr> {
    let mut flat: Vec<Multiaddr> = Vec::new();
    for address in all.values().flatten() {
        if !flat.contains(address) {
            flat.push(address.clone());
        }
    }
    flat
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_announcer_replaces_its_own_addresses_only_and_a_new_address_is_told_once() {
        let local = Local::default();
        let a: Multiaddr = "/ip4/192.0.2.1/tcp/1".parse().unwrap();
        let b: Multiaddr = "/ip4/192.0.2.1/tcp/2".parse().unwrap();
        assert_eq!(
            local.announce(Announcer::Listener(0), vec![a.clone()]),
            Some(vec![a.clone()])
        );
        assert_eq!(
            local.announce(Announcer::Listener(1), vec![a.clone()]),
            None
        );
        let both = vec![a.clone(), b.clone()];
        assert_eq!(
            local.announce(Announcer::Listener(1), both.clone()),
            Some(vec![b.clone()])
        );
        assert_eq!(local.addresses(), both);
        assert_eq!(
            local.announce(Announcer::Listener(1), Vec::new()),
            Some(Vec::new())
        );
        assert_eq!(local.addresses(), [a]);
    }
}
