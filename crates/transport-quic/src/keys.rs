//! Secrets that are derived from the identity, and are therefore the same after a restart.
//!
//! A stateless reset (RFC 9000 section 10.3) works only if the restarted node still recognises the connection id in the
//! packet and still computes the token that it promised for the id. quinn validates ids with one key and computes
//! tokens with another key. This module derives both keys.

use std::{fmt, sync::Arc};

use libp2p_identity::Keypair;
use quinn_proto::{
    ConnectionIdGenerator, EndpointConfig, RandomConnectionIdGenerator, crypto::CryptoError,
};

use crate::{
    connection_ids::{self, ConnectionIds},
    hmac::hmac,
};

const RESET_DOMAIN: &[u8] = b"bowline quic stateless reset key";
const CONNECTION_ID_DOMAIN: &[u8] = b"bowline quic connection id key";

/// What an endpoint needs to recognise its former self's connections.
#[derive(Clone)]
pub(crate) struct EndpointKeys {
    reset: [u8; 32],
    connection_id: [u8; 32],
}

impl EndpointKeys {
    pub(crate) fn of(keypair: &Keypair) -> Option<Self> {
        Some(Self {
            reset: secret(keypair, RESET_DOMAIN)?,
            connection_id: secret(keypair, CONNECTION_ID_DOMAIN)?,
        })
    }

    /// The token of the stateless reset that ends a connection which sends to this id of the endpoint.
    pub(crate) fn reset_token(&self, id: &[u8]) -> Option<[u8; 16]> {
        hmac(&self.reset, id)?.first_chunk().copied()
    }

    /// The endpoint configuration that uses them, or random ones where there are none.
    pub(crate) fn endpoint_config(keys: Option<Self>) -> EndpointConfig {
        let Some(keys) = keys else {
            let mut config = EndpointConfig::default();
            config.cid_generator(|| -> Box<dyn ConnectionIdGenerator> {
                Box::new(RandomConnectionIdGenerator::new(connection_ids::LENGTH))
            });
            return config;
        };
        let mut config = EndpointConfig::new(Arc::new(ResetKey(keys.reset)));
        let key = Arc::new(keys.connection_id);
        config.cid_generator(move || -> Box<dyn ConnectionIdGenerator> {
            Box::new(ConnectionIds::new(Arc::clone(&key)))
        });
        config
    }
}

impl fmt::Debug for EndpointKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndpointKeys").finish_non_exhaustive()
    }
}

/// 32 secret bytes for `domain`. RSA has no key bytes to derive from, but its signatures
/// (PKCS #1 v1.5) are deterministic and secret while nobody else gets this domain signed.
fn secret(keypair: &Keypair, domain: &[u8]) -> Option<[u8; 32]> {
    keypair.derive_secret(domain).or_else(|| {
        let signature = keypair.sign(domain).ok()?;
        hmac(domain, &signature)
    })
}

/// HMAC-SHA256 key for reset tokens.
struct ResetKey([u8; 32]);

impl quinn_proto::crypto::HmacKey for ResetKey {
    fn sign(&self, data: &[u8], out: &mut [u8]) {
        if let Some(tag) = hmac(&self.0, data) {
            out.copy_from_slice(&tag);
        }
    }

    fn signature_len(&self) -> usize {
        32
    }

    fn verify(&self, data: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
        let tag = hmac(&self.0, data).ok_or(CryptoError)?;
        // Fold instead of `==`, so that the time taken says nothing about the tag.
        let differing = tag
            .iter()
            .zip(signature)
            .fold(0, |acc, (a, b)| acc | (a ^ b));
        if differing == 0 && signature.len() == tag.len() {
            Ok(())
        } else {
            Err(CryptoError)
        }
    }
}

#[cfg(test)]
mod tests {
    use quinn_proto::crypto::HmacKey;

    use super::*;

    #[test]
    fn keys_are_the_same_after_a_restart_and_differ_between_identities() {
        let keypair = Keypair::generate_ed25519();
        let encoded = keypair.to_protobuf_encoding().unwrap();
        let again = Keypair::from_protobuf_encoding(&encoded).unwrap();
        let (a, b) = (
            EndpointKeys::of(&keypair).unwrap(),
            EndpointKeys::of(&again).unwrap(),
        );
        assert_eq!((a.reset, a.connection_id), (b.reset, b.connection_id));
        let other = EndpointKeys::of(&Keypair::generate_ed25519()).unwrap();
        assert_ne!(a.reset, other.reset);
        assert_ne!(a.connection_id, other.connection_id);
    }

    #[test]
    fn every_kind_of_identity_has_keys() {
        for keypair in [
            Keypair::generate_ed25519(),
            Keypair::generate_secp256k1(),
            Keypair::generate_ecdsa(),
        ] {
            assert!(EndpointKeys::of(&keypair).is_some());
        }
    }

    #[test]
    fn a_tag_verifies_whole_and_unchanged_only() {
        let key = ResetKey([7; 32]);
        let mut tag = [0; 32];
        key.sign(b"data", &mut tag);
        assert!(key.verify(b"data", &tag).is_ok());
        assert!(key.verify(b"data", &tag[..31]).is_err());
        assert!(key.verify(b"Data", &tag).is_err());
        tag[31] ^= 1;
        assert!(key.verify(b"data", &tag).is_err());
    }
}
