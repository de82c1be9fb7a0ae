//! The choice of the signatures of peers that the node verifies.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use conn_state::{Budget, Rate};
use libp2p_identity::{KeyType, PeerId, PublicKey};

/// The length of the protobuf encoding of a 2,048-bit RSA key with the longest exponent that is accepted.
const RSA_2048: usize = 304;

/// The number of peers with large keys whose budgets are remembered. Beyond this number, unknown peers get no verification.
const MAX_PEERS: usize = 1_024;

/// Limits the verification of signatures with RSA keys of more than 2,048 bits. A peer may have a key of up to 8,192 bits. One
/// verification with such a key takes as long as ten with a usual key.
///
/// A peer may cause 4 such verifications at once and then one per 10 s. All peers together may cause 16 at once and then one
/// per second.
pub(crate) struct SignatureBudget(Mutex<Budget<PeerId>>);

impl Default for SignatureBudget {
    fn default() -> Self {
        let (per_peer, in_all) = (
            Rate::new(4, Duration::from_secs(10)),
            Rate::new(16, Duration::from_secs(1)),
        );
        Self(Mutex::new(Budget::new(per_peer, in_all, MAX_PEERS)))
    }
}

impl SignatureBudget {
    /// Whether a signature of `peer` may be verified with its `key`, whose protobuf encoding has `length` bytes.
    pub(super) fn permits(&self, peer: PeerId, key: &PublicKey, length: usize) -> bool {
        if key.key_type() != KeyType::RSA || length <= RSA_2048 {
            return true;
        }
        let mut budget = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        budget.take(Instant::now(), peer).is_ok()
    }
}

impl std::fmt::Debug for SignatureBudget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SignatureBudget")
    }
}
