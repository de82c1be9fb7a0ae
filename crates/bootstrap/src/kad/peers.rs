//! The connected peers. The host limits their number.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::{key::Key, message::PeerInfo};

/// A connected peer that did not answer is asked again after this time.
const AGAIN: Duration = Duration::from_secs(5);

#[derive(Debug)]
struct Connected<A> {
    key: Key,
    addresses: Vec<A>,
    /// Whether the peer says that it serves. `None`: it has not said anything yet.
    serves: Option<bool>,
    /// Whether its connection is being probed.
    suspect: bool,
    /// When it was last asked only to learn whether it answers.
    asked: Option<Instant>,
}

#[derive(Debug)]
pub(crate) struct Peers<Id, A> {
    peers: BTreeMap<Id, Connected<A>>,
    ids: BTreeMap<Key, Id>,
}

impl<Id: Clone + Ord, A: Clone> Peers<Id, A> {
    pub(crate) fn new() -> Self {
        Self {
            peers: BTreeMap::new(),
            ids: BTreeMap::new(),
        }
    }

    pub(crate) fn connect(&mut self, id: &Id, key: Key) {
        self.ids.insert(key, id.clone());
        let new = || Connected {
            key,
            addresses: Vec::new(),
            serves: None,
            suspect: false,
            asked: None,
        };
        self.peers.entry(id.clone()).or_insert_with(new);
    }

    pub(crate) fn disconnect(&mut self, id: &Id) {
        if let Some(peer) = self.peers.remove(id) {
            self.ids.remove(&peer.key);
        }
    }

    pub(crate) fn identify(&mut self, id: &Id, addresses: Vec<A>, serves: bool) {
        if let Some(peer) = self.peers.get_mut(id) {
            (peer.addresses, peer.serves) = (addresses, Some(serves));
        }
    }

    pub(crate) fn suspect(&mut self, id: &Id, suspect: bool) {
        if let Some(peer) = self.peers.get_mut(id) {
            peer.suspect = suspect;
        }
    }

    pub(crate) fn is_connected(&self, id: &Id) -> bool {
        self.peers.contains_key(id)
    }

    pub(crate) fn is_suspect(&self, id: &Id) -> bool {
        self.peers.get(id).is_some_and(|peer| peer.suspect)
    }

    pub(crate) fn addresses(&self, id: &Id) -> &[A] {
        self.peers.get(id).map_or(&[], |peer| &peer.addresses)
    }

    /// The connected peer with this key.
    pub(crate) fn info(&self, key: &Key) -> Option<PeerInfo<Id, A>> {
        let id = self.ids.get(key)?;
        Some(PeerInfo::new(id.clone(), self.addresses(id).to_vec()))
    }

    /// A server that was not asked lately. It counts as asked from then on.
    pub(crate) fn next_to_ask(
        &mut self,
        now: Instant,
        wanted: impl Fn(&Id) -> bool,
    ) -> Option<PeerInfo<Id, A>> {
        let (id, peer) = self.peers.iter_mut().find(|(id, peer)| {
            let lately = peer
                .asked
                .is_some_and(|at| now.saturating_duration_since(at) < AGAIN);
            peer.serves == Some(true) && !peer.suspect && !lately && wanted(id)
        })?;
        peer.asked = Some(now);
        Some(PeerInfo::new(id.clone(), peer.addresses.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connected_server_is_asked_every_five_seconds_unless_its_connection_is_probed() {
        let (mut peers, now) = (Peers::<u8, ()>::new(), Instant::now());
        let next = |peers: &mut Peers<u8, ()>, after| {
            let next = peers.next_to_ask(now + Duration::from_secs(after), |_| true);
            next.map(|info| info.id)
        };
        peers.identify(&1, vec![()], true);
        assert_eq!(next(&mut peers, 0), None, "it is not connected");
        (1..=3).for_each(|id| peers.connect(&id, Key::of([id])));
        peers.identify(&1, vec![()], true);
        peers.identify(&2, vec![()], false);
        assert_eq!(next(&mut peers, 0), Some(1));
        assert_eq!(next(&mut peers, 4), None);
        assert_eq!(next(&mut peers, 5), Some(1));
        peers.suspect(&1, true);
        assert_eq!(next(&mut peers, 20), None);
        peers.suspect(&1, false);
        assert_eq!(next(&mut peers, 20), Some(1));
        peers.disconnect(&1);
        assert_eq!(next(&mut peers, 40), None);
    }
}
