//! The two spellings of a peer's id: libp2p's peer id, and the key inside.

use gossip_net::{Id, IdError};
use libp2p_identity::PeerId;

/// The key of a peer.
///
/// # Errors
///
/// The peer's key is not an Ed25519 key.
pub(super) fn key_of(peer: &PeerId) -> Result<Id, IdError> {
    Id::from_peer_id(&peer.to_bytes())
}

/// The peer with this key. Each key has a peer id, so the result is always `Some`.
pub(super) fn peer_of(id: &Id) -> Option<PeerId> {
    PeerId::from_bytes(&id.to_peer_id()).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is a test's verdict")]

    use libp2p_identity::Keypair;

    use super::*;

    #[test]
    fn the_key_of_a_peer_leads_back_to_the_peer() {
        let peer = Keypair::generate_ed25519().public().to_peer_id();
        let key = key_of(&peer).unwrap();
        assert_eq!(peer_of(&key), Some(peer));
    }

    #[test]
    fn a_peer_without_an_ed25519_key_has_no_key_for_gossip() {
        let peer = Keypair::generate_ecdsa().public().to_peer_id();
        assert_eq!(key_of(&peer), Err(IdError::NotEd25519));
    }
}
