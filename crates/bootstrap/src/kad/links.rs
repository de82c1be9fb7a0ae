//! Chooses the connections to close among those that requests have opened. Otherwise, a node would stay connected to every peer
//! that it has ever asked.

use std::collections::BTreeMap;

/// The bound on connections that are in use, as a multiple of the limit.
const MOST_IN_USE: usize = 4;

/// The connections that requests have opened, in the order of their last request.
///
/// ```
/// use bootstrap::kad::Links;
///
/// let mut links = Links::new(1);
/// links.handle_opened("bob");
/// links.handle_opened("carol");
/// assert_eq!(links.poll_close(|_| false), Some("bob"));
/// assert_eq!(links.poll_close(|_| false), None);
/// ```
#[derive(Debug)]
pub struct Links<Id> {
    most: usize,
    /// The number of the last request to each peer.
    last: BTreeMap<Id, u64>,
    requests: u64,
}

impl<Id: Clone + Ord> Links<Id> {
    /// Keeps `most` connections open, and up to four times as many while they are in use.
    pub fn new(most: usize) -> Self {
        Self {
            most,
            last: BTreeMap::new(),
            requests: 0,
        }
    }

    /// A request has opened a connection to this peer.
    pub fn handle_opened(&mut self, peer: Id) {
        self.requests += 1;
        self.last.insert(peer, self.requests);
    }

    /// A request was sent to this peer. Peers whose connection no request has opened are ignored.
    pub fn handle_used(&mut self, peer: &Id) {
        if let Some(last) = self.last.get_mut(peer) {
            self.requests += 1;
            *last = self.requests;
        }
    }

    /// The last connection to this peer is gone.
    pub fn handle_disconnected(&mut self, peer: &Id) {
        self.last.remove(peer);
    }

    /// Returns the peer whose connection the host must close next. This is the peer that is not busy and whose last request is
    /// the oldest. If there are more than four times as many connections as the limit, a busy peer may be next. Call this method
    /// until it returns `None`.
    pub fn poll_close(&mut self, is_busy: impl Fn(&Id) -> bool) -> Option<Id> {
        if self.last.len() <= self.most {
            return None;
        }
        let mut oldest: Vec<(&u64, &Id)> = self.last.iter().map(|(id, last)| (last, id)).collect();
        oldest.sort_unstable();
        let crowded = self.last.len() > self.most.saturating_mul(MOST_IN_USE);
        let idle = oldest.iter().find(|(_, id)| !is_busy(id));
        let (_, peer) = idle.or(oldest.first().filter(|_| crowded))?;
        let peer = Id::clone(peer);
        self.last.remove(&peer);
        Some(peer)
    }

    /// The number of connections that requests have opened and that are still open.
    pub fn len(&self) -> usize {
        self.last.len()
    }

    /// Whether all connections that requests have opened are closed.
    pub fn is_empty(&self) -> bool {
        self.last.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beyond_the_limit_the_connection_with_the_oldest_request_is_closed() {
        let mut links = Links::new(2);
        (1..=3).for_each(|peer| links.handle_opened(peer));
        links.handle_used(&1);
        assert_eq!(links.poll_close(|_| false), Some(2));
        assert_eq!(links.poll_close(|_| false), None);
        links.handle_used(&2);
        assert_eq!(links.len(), 2, "no request has opened it");
        links.handle_disconnected(&3);
        links.handle_opened(4);
        assert_eq!(links.poll_close(|_| false), None);
    }

    #[test]
    fn a_busy_connection_is_passed_over_until_there_are_four_times_as_many() {
        let mut links = Links::new(2);
        (1..=8).for_each(|peer| links.handle_opened(peer));
        assert_eq!(links.poll_close(|_| true), None);
        assert_eq!(links.poll_close(|peer| *peer < 3), Some(3));
        (9..=10).for_each(|peer| links.handle_opened(peer));
        assert_eq!(links.len(), 9);
        assert_eq!(links.poll_close(|_| true), Some(1));
        assert_eq!(links.poll_close(|_| true), None);
    }
}
