//! The protection of peers from displacement.

use super::{Limits, counts::decrease};

impl<Id: Ord + Copy, Peer: Ord + Clone> Limits<Id, Peer> {
    /// Protects `peer`: its connections are not trimmed until [`Self::handle_unprotected`] has been called as often as this
    /// method.
    pub fn handle_protected(&mut self, peer: Peer) {
        *self.protected.entry(peer).or_default() += 1;
    }

    /// Ends one protection of `peer`. After the last one, the peer's connections can be trimmed again, at most
    /// [`crate::LimitsConfig::trim_idle`] later.
    pub fn handle_unprotected(&mut self, peer: Peer) {
        decrease(&mut self.protected, peer);
    }

    /// Whether `peer` is protected.
    pub fn is_protected(&self, peer: &Peer) -> bool {
        self.protected.contains_key(peer)
    }
}
