//! The connection ids by which packets find a connection of an endpoint.
//!
//! The endpoint also chooses an id for each Retry, and quinn does not check whether a connection has that id already. quinn's own
//! recognisable ids have 24 random bits. With 40,000 ids in use, one Retry in 400 would name the id of another connection. The
//! dialer's packets would go to that connection, and the handshake would get no answer. The ids here have 64 random bits.

use std::sync::Arc;

use quinn_proto::{ConnectionId, ConnectionIdGenerator, InvalidCid, RandomConnectionIdGenerator};

use crate::hmac::hmac;

/// Random bytes at the beginning of an id.
const RANDOM: usize = 8;

/// Bytes at the end of an id. The endpoint recognises its own ids by them, even after a restart. A packet with any other id gets
/// no stateless reset, because the endpoint sends at most 1,000 resets per second.
const CHECK: usize = 4;

/// The length of every id in bytes.
pub(crate) const LENGTH: usize = RANDOM + CHECK;

/// Chooses ids, and recognises ids that another generator with the same key has chosen.
pub(crate) struct ConnectionIds {
    key: Arc<[u8; 32]>,
    random: RandomConnectionIdGenerator,
}

impl ConnectionIds {
    pub(crate) fn new(key: Arc<[u8; 32]>) -> Self {
        let random = RandomConnectionIdGenerator::new(RANDOM);
        Self { key, random }
    }

    fn check(&self, random: &[u8]) -> Option<[u8; CHECK]> {
        hmac(&*self.key, random)?.first_chunk().copied()
    }
}

impl ConnectionIdGenerator for ConnectionIds {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut id = self.random.generate_cid().to_vec();
        id.extend(self.check(&id).unwrap_or_default());
        ConnectionId::new(&id)
    }

    fn validate(&self, id: &ConnectionId) -> Result<(), InvalidCid> {
        match id.split_last_chunk() {
            Some((random, check)) if self.check(random) == Some(*check) => Ok(()),
            _ => Err(InvalidCid),
        }
    }

    fn cid_len(&self) -> usize {
        LENGTH
    }

    fn cid_lifetime(&self) -> Option<std::time::Duration> {
        None
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn with_key(key: u8) -> ConnectionIds {
        ConnectionIds::new(Arc::new([key; 32]))
    }

    #[test]
    fn no_two_of_many_ids_are_equal() {
        let mut ids = with_key(7);
        let many: HashSet<ConnectionId> = (0..40_000).map(|_| ids.generate_cid()).collect();
        assert_eq!(many.len(), 40_000);
        assert!(many.iter().all(|id| id.len() == ids.cid_len()));
    }

    #[test]
    fn an_id_is_recognised_with_the_same_key_and_unchanged_only() {
        let (mut ids, after_a_restart, another) = (with_key(7), with_key(7), with_key(8));
        let id = ids.generate_cid();
        assert!(ids.validate(&id).is_ok());
        assert!(after_a_restart.validate(&id).is_ok());
        assert!(another.validate(&id).is_err());
        for place in 0..LENGTH {
            let mut changed = id.to_vec();
            changed[place] ^= 1;
            assert!(
                ids.validate(&ConnectionId::new(&changed)).is_err(),
                "{place}"
            );
        }
        assert!(ids.validate(&ConnectionId::new(&id[1..])).is_err());
        assert!(ids.validate(&ConnectionId::new(&[])).is_err());
    }
}
