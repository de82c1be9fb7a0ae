//! Ed25519 keys as SubjectPublicKeyInfo, the "certificate" of RFC 7250.

use libp2p_identity::{PeerId, PublicKey, ed25519};

/// DER before the 32 key bytes: SEQUENCE { SEQUENCE { OID 1.3.101.112 }, BIT STRING }
/// (RFC 8410 section 4).
const PREFIX: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// The SPKI of an Ed25519 key.
pub(crate) fn encode(key: &[u8; 32]) -> Vec<u8> {
    [PREFIX.as_slice(), key].concat()
}

/// The owner of the key in an SPKI; `None` unless it is 44 bytes of an Ed25519 key.
pub(crate) fn decode(spki: &[u8]) -> Option<PeerId> {
    let key = spki.strip_prefix(&PREFIX)?;
    let key: &[u8; 32] = key.try_into().ok()?;
    let key = ed25519::PublicKey::try_from_bytes(key).ok()?;
    Some(PublicKey::from(key).to_peer_id())
}

#[cfg(test)]
mod tests {
    use libp2p_identity::Keypair;
    use proptest::prelude::*;

    use super::*;

    fn key() -> (PeerId, Vec<u8>) {
        let keypair = Keypair::generate_ed25519();
        let public = keypair.public().try_into_ed25519().unwrap();
        (keypair.public().to_peer_id(), encode(&public.to_bytes()))
    }

    #[test]
    fn a_key_survives_the_way_there_and_back() {
        let (peer, spki) = key();
        assert_eq!(spki.len(), 44);
        assert_eq!(decode(&spki), Some(peer));
    }

    #[test]
    fn no_byte_may_be_missing_added_or_different_before_the_key() {
        let (_, spki) = key();
        assert_eq!(decode(&spki[..43]), None);
        assert_eq!(decode(&[&spki[..], &[0]].concat()), None);
        for index in 0..PREFIX.len() {
            let mut changed = spki.clone();
            changed[index] ^= 1;
            assert_eq!(decode(&changed), None);
        }
        assert_eq!(decode(&[]), None);
    }

    proptest! {
        #[test]
        fn any_bytes_decode_or_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            decode(&bytes);
            decode(&[PREFIX.as_slice(), &bytes].concat());
        }
    }
}
