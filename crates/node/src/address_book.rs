//! The known addresses of peers. This file wraps conn-state's address book and adds multiaddrs, a lock and the clock.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use conn_state::{AddressBook as Core, AddressBookConfig, Outcome, Source};
use libp2p_identity::PeerId;
use multiaddr::{Multiaddr, Protocol};

use crate::address;

/// The addresses of peers. Each address is stored without the peer's id.
pub(crate) struct AddressBook(Mutex<Core<PeerId, Multiaddr>>);

impl AddressBook {
    pub(crate) fn new(config: AddressBookConfig) -> Self {
        Self(Mutex::new(Core::new(config, |address: &Multiaddr| {
            address.len()
        })))
    }

    fn lock(&self) -> MutexGuard<'_, Core<PeerId, Multiaddr>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers `addresses` of `peer`. Ignores an address that names another peer or that the node cannot dial.
    pub(crate) fn learn(&self, peer: &PeerId, source: Source, addresses: &[Multiaddr]) {
        let of_peer = addresses.iter().filter_map(|address| plain(address, peer));
        let now = Instant::now();
        let mut book = self.lock();
        book.handle_timeout(now);
        book.handle_learned(now, peer, source, of_peer, None);
    }

    /// Records whether a dial of `address` succeeded.
    pub(crate) fn note_outcome(&self, peer: &PeerId, address: &Multiaddr, outcome: Outcome) {
        if let Some(address) = plain(address, peer) {
            self.lock()
                .handle_outcome(Instant::now(), peer, &address, outcome);
        }
    }

    /// The addresses of `peer`, best first.
    pub(crate) fn addresses(&self, peer: &PeerId) -> Vec<Multiaddr> {
        let known = self.lock().addresses(Instant::now(), peer);
        known.into_iter().map(|known| known.address).collect()
    }
}

/// The address without the id of `peer` at its end.
fn plain(address: &Multiaddr, peer: &PeerId) -> Option<Multiaddr> {
    let mut plain = address.clone();
    if let Some(Protocol::P2p(named)) = address.iter().last() {
        if named != *peer {
            return None;
        }
        plain.pop();
    }
    let dialable = !matches!(
        address::kind(&plain),
        address::Kind::Unsupported | address::Kind::Peer
    );
    dialable.then_some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_kept_without_its_peer_and_never_for_another_one() {
        let book = AddressBook::new(AddressBookConfig::default());
        let (alice, bob) = (PeerId::random(), PeerId::random());
        let plain: Multiaddr = "/ip4/192.0.2.1/tcp/1".parse().unwrap();
        let of_bob = plain.clone().with(Protocol::P2p(bob));
        book.learn(&alice, Source::Identify, std::slice::from_ref(&of_bob));
        assert!(book.addresses(&alice).is_empty());
        let foreign: Multiaddr = "/ip4/192.0.2.1/tcp/1/ws".parse().unwrap();
        book.learn(&bob, Source::Identify, &[of_bob, foreign]);
        assert_eq!(book.addresses(&bob), [plain]);
    }

    #[test]
    fn what_worked_comes_before_what_was_only_told_and_what_failed_comes_last() {
        let book = AddressBook::new(AddressBookConfig::default());
        let peer = PeerId::random();
        let addresses: Vec<Multiaddr> = (1..4)
            .map(|port| format!("/ip4/192.0.2.1/tcp/{port}").parse().unwrap())
            .collect();
        book.learn(&peer, Source::Identify, &addresses);
        book.note_outcome(&peer, &addresses[2], Outcome::Connected);
        book.note_outcome(&peer, &addresses[0], Outcome::Failed);
        let known = book.addresses(&peer);
        assert_eq!((&known[0], &known[2]), (&addresses[2], &addresses[0]));
    }
}
