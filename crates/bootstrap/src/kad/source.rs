//! The routing table as a source of candidates.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use super::{Kad, key::Key};
use crate::{Candidate, Found, Need, Origin, PeerSource};

/// Which entries the source has named.
#[derive(Debug, Default)]
pub(super) struct Offers {
    need: Need,
    /// The named entries. They are in the routing table.
    named: BTreeSet<Key>,
    waker: Option<Waker>,
}

impl Offers {
    pub(super) fn left(&mut self, key: &Key) {
        self.named.remove(key);
    }

    pub(super) fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl<Id: Clone + Ord + Into<Vec<u8>>, A: Clone + PartialEq> Kad<Id, A> {
    /// An entry that is not connected and was not named since the node was last isolated.
    fn next_offer(&mut self) -> Option<Candidate<Id, A>> {
        if self.offers.need.peers == 0 {
            return None;
        }
        let named = &self.offers.named;
        let mut unnamed = self.table.iter().filter(|entry| {
            !entry.is_failing()
                && !named.contains(&entry.key)
                && !self.peers.is_connected(&entry.info.id)
        });
        let entry = unnamed.next()?;
        let (key, info) = (entry.key, entry.info.clone());
        self.offers.named.insert(key);
        Some(Candidate::new(
            Some(info.id),
            info.addresses,
            Origin::Routing,
        ))
    }
}

/// Names the peers of the routing table while the node needs peers, each once, and all again when the node is isolated or its
/// network has changed.
impl<Id, A> PeerSource<Id, A> for Arc<Mutex<Kad<Id, A>>>
where
    Id: Clone + Ord + Into<Vec<u8>> + Send,
    A: Clone + PartialEq + Send,
{
    fn poll_found(&mut self, cx: &mut Context<'_>) -> Poll<Option<Found<Id, A>>> {
        let mut kad = lock(self);
        match kad.next_offer() {
            Some(candidate) => Poll::Ready(Some(Found::Candidate(candidate))),
            None => {
                kad.offers.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    fn handle_need(&mut self, need: Need) {
        let offers = &mut lock(self).offers;
        if need.isolated && !offers.need.isolated {
            offers.named.clear();
        }
        offers.need = need;
    }

    fn handle_changed(&mut self) {
        lock(self).offers.named.clear();
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
