//! Proofs of identity that were verified before.
//!
//! A peer uses one certificate for as long as it runs. When it reconnects, the same bytes lead to
//! the same result, so they need not be verified again. Each handshake proves again that the peer
//! holds the key in the certificate.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use libp2p_identity::PeerId;

/// The number of proofs kept; the oldest is dropped first.
const MOST: usize = 256;
/// The longest proof kept, in bytes: all of them together stay below half a MiB. Proofs of
/// Ed25519 and ECDSA identities fit.
const LONGEST: usize = 2048;

#[derive(Debug, Default)]
pub(crate) struct Known(Mutex<Proofs>);

#[derive(Debug, Default)]
struct Proofs {
    peers: HashMap<Arc<[u8]>, PeerId>,
    order: VecDeque<Arc<[u8]>>,
}

impl Known {
    /// The owner of `proof`, as `verify` finds it now or found it before. Only a success is kept.
    pub(crate) fn or_verify<E>(
        &self,
        proof: &[u8],
        verify: impl FnOnce() -> Result<PeerId, E>,
    ) -> Result<PeerId, E> {
        let known = self.lock().peers.get(proof).copied();
        if let Some(peer) = known {
            return Ok(peer);
        }
        let peer = verify()?;
        if proof.len() <= LONGEST {
            self.lock().keep(proof.into(), peer);
        }
        Ok(peer)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Proofs> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Proofs {
    fn keep(&mut self, proof: Arc<[u8]>, peer: PeerId) {
        if self.peers.insert(Arc::clone(&proof), peer).is_some() {
            return;
        }
        self.order.push_back(proof);
        if self.order.len() > MOST
            && let Some(oldest) = self.order.pop_front()
        {
            self.peers.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn never() -> Result<PeerId, ()> {
        panic!("this proof is known")
    }

    #[test]
    fn a_proof_is_verified_once_and_another_one_for_itself() {
        let known = Known::default();
        let (one, two) = (PeerId::random(), PeerId::random());
        assert_eq!(known.or_verify(b"one", || Ok::<_, ()>(one)), Ok(one));
        assert_eq!(known.or_verify(b"one", never), Ok(one));
        assert_eq!(known.or_verify(b"two", || Ok::<_, ()>(two)), Ok(two));
    }

    #[test]
    fn a_failure_is_not_kept() {
        let known = Known::default();
        let peer = PeerId::random();
        assert_eq!(known.or_verify(b"one", || Err("forged")), Err("forged"));
        assert_eq!(known.or_verify(b"one", || Ok::<_, ()>(peer)), Ok(peer));
    }

    #[test]
    fn however_many_there_are_the_latest_256_are_kept_and_long_ones_never() {
        let known = Known::default();
        let peer = PeerId::random();
        for n in 0..10_000_u32 {
            known
                .or_verify(&n.to_be_bytes(), || Ok::<_, ()>(peer))
                .unwrap();
        }
        assert_eq!(known.lock().peers.len(), MOST);
        assert_eq!(known.lock().order.len(), MOST);
        known.or_verify(&9_744_u32.to_be_bytes(), never).unwrap();
        assert_eq!(known.or_verify(&9_743_u32.to_be_bytes(), || Err(1)), Err(1));
        known
            .or_verify(&[0; LONGEST + 1], || Ok::<_, ()>(peer))
            .unwrap();
        assert_eq!(known.or_verify(&[0; LONGEST + 1], || Err(2)), Err(2));
    }
}
