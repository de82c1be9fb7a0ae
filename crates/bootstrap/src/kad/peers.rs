//! The connected peers. The host limits their number.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::{key::Key, message::PeerInfo};

/// A connected peer that was asked in vain is asked again after this time, and then after twice as long each time.
const AGAIN: Duration = Duration::from_secs(5);

/// The longest of these times: the peer may have been unreachable together with all others.
const LONGEST: Duration = Duration::from_secs(30);

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
    /// How long it is not asked after that.
    pause: Duration,
}

impl<A> Connected<A> {
    fn may_be_asked(&self, now: Instant) -> bool {
        let asked = self.asked;
        let lately = asked.is_some_and(|at| now.saturating_duration_since(at) < self.pause);
        self.serves == Some(true) && !self.suspect && !lately
    }

    fn ask(&mut self, now: Instant) {
        self.pause = match self.asked {
            Some(_) => (self.pause * 2).min(LONGEST),
            None => AGAIN,
        };
        self.asked = Some(now);
    }
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
            pause: AGAIN,
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

    /// A peer that is in the routing table has answered.
    pub(crate) fn answered(&mut self, id: &Id) {
        if let Some(peer) = self.peers.get_mut(id) {
            peer.pause = AGAIN;
        }
    }

    /// Whether this server may be asked now. It counts as asked from then on. A peer without a connection may always be asked.
    pub(crate) fn begin_to_ask(&mut self, now: Instant, id: &Id) -> bool {
        let Some(peer) = self.peers.get_mut(id) else {
            return true;
        };
        let may = peer.may_be_asked(now);
        if may {
            peer.ask(now);
        }
        may
    }

    /// The server that was asked longest ago, if it may be asked again. It counts as asked from then on.
    pub(crate) fn next_to_ask(
        &mut self,
        now: Instant,
        wanted: impl Fn(&Id) -> bool,
    ) -> Option<PeerInfo<Id, A>> {
        let peers = self.peers.iter_mut();
        let ready = peers.filter(|(id, peer)| peer.may_be_asked(now) && wanted(id));
        // `None` is less than any time.
        let (id, peer) = ready.min_by_key(|(_, peer)| peer.asked)?;
        peer.ask(now);
        Some(PeerInfo::new(id.clone(), peer.addresses.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(peers: &mut Peers<u8, ()>, at: Instant) -> Option<u8> {
        peers.next_to_ask(at, |_| true).map(|info| info.id)
    }

    #[test]
    fn a_connected_server_is_asked_again_and_again_unless_its_connection_is_probed() {
        let (mut peers, now) = (Peers::<u8, ()>::new(), Instant::now());
        let at = |after| now + Duration::from_secs(after);
        peers.identify(&1, vec![()], true);
        assert_eq!(next(&mut peers, at(0)), None, "it is not connected");
        (1..=3).for_each(|id| peers.connect(&id, Key::of([id])));
        peers.identify(&1, vec![()], true);
        peers.identify(&2, vec![()], false);
        assert_eq!(next(&mut peers, at(0)), Some(1));
        assert_eq!(next(&mut peers, at(4)), None);
        assert!(!peers.begin_to_ask(at(4), &1) && peers.begin_to_ask(at(4), &9));
        assert_eq!(next(&mut peers, at(5)), Some(1));
        peers.suspect(&1, true);
        assert_eq!(next(&mut peers, at(20)), None);
        peers.suspect(&1, false);
        assert!(peers.begin_to_ask(at(20), &1));
        peers.disconnect(&1);
        assert_eq!(next(&mut peers, at(60)), None);
    }

    #[test]
    fn a_server_that_is_asked_in_vain_is_asked_ever_less_and_holds_up_no_other() {
        let (mut peers, now) = (Peers::<u8, ()>::new(), Instant::now());
        let mut asked = [0; 2];
        for second in 0..3600 {
            if second == 100 {
                peers.connect(&0, Key::of([0]));
                peers.identify(&0, vec![()], true);
                assert_eq!(next(&mut peers, now + Duration::from_secs(second)), Some(0));
            }
            if second == 0 {
                peers.connect(&1, Key::of([1]));
                peers.identify(&1, vec![()], true);
            }
            if let Some(id) = next(&mut peers, now + Duration::from_secs(second)) {
                asked[usize::from(id)] += 1;
            }
        }
        assert!(
            asked.iter().all(|asked| (100..130).contains(asked)),
            "{asked:?}"
        );
        let later = now + Duration::from_secs(7200);
        for at in [later, later + AGAIN] {
            assert!(next(&mut peers, at).is_some() && next(&mut peers, at).is_some());
            assert_eq!(next(&mut peers, at + AGAIN / 2), None);
            // A server that has answered is asked again after five seconds.
            (0..2).for_each(|id| peers.answered(&id));
        }
        // Of two servers, the one that was asked longer ago is next.
        let (mut peers, first) = (Peers::<u8, ()>::new(), now);
        for id in 0..3 {
            peers.connect(&id, Key::of([id]));
            peers.identify(&id, vec![()], true);
        }
        let order = (0..9).map(|turn| next(&mut peers, first + Duration::from_secs(turn * 700)));
        let order: Vec<u8> = order.flatten().collect();
        assert_eq!(order, [0, 1, 2, 0, 1, 2, 0, 1, 2]);
    }
}
