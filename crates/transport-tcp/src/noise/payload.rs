//! The handshake payload: it ties the connection's static key to the peer's identity.

use std::io;

use libp2p_identity::{Keypair, PeerId, PublicKey, SigningError};
use prost::Message as _;

use crate::{NoiseError, known::Known, negotiate::YAMUX};

/// What an identity key signs, in front of the static key.
const PREFIX: &[u8] = b"noise-libp2p-static-key:";

#[derive(Clone, PartialEq, prost::Message)]
struct Payload {
    #[prost(bytes = "vec", optional, tag = "1")]
    identity_key: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "2")]
    identity_sig: Option<Vec<u8>>,
    #[prost(message, optional, tag = "4")]
    extensions: Option<Extensions>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Extensions {
    #[prost(bytes = "vec", repeated, tag = "1")]
    webtransport_certhashes: Vec<Vec<u8>>,
    #[prost(string, repeated, tag = "2")]
    stream_muxers: Vec<String>,
}

/// What a verified payload says.
#[derive(Debug)]
pub(crate) struct Remote {
    pub(crate) peer: PeerId,
    pub(crate) muxers: Vec<String>,
}

/// Our payload, ready to send: it is the same for every connection.
pub(crate) fn encode(identity: &Keypair, static_key: &[u8]) -> Result<Vec<u8>, SigningError> {
    let payload = Payload {
        identity_key: Some(identity.public().encode_protobuf()),
        identity_sig: Some(identity.sign(&[PREFIX, static_key].concat())?),
        extensions: Some(Extensions {
            webtransport_certhashes: Vec::new(),
            stream_muxers: vec![YAMUX.to_owned()],
        }),
    };
    Ok(payload.encode_to_vec())
}

/// Reads a peer's payload. Nothing in it counts unless the signature holds.
///
/// A verification takes time, so the key is compared with the `expected` peer first.
pub(crate) fn verify(
    payload: &[u8],
    static_key: &[u8],
    expected: Option<PeerId>,
    known: &Known,
) -> Result<Remote, NoiseError> {
    let payload = Payload::decode(payload)
        .map_err(|error| NoiseError::Payload(io::Error::new(io::ErrorKind::InvalidData, error)))?;
    let identity = payload.identity_key.ok_or(NoiseError::BadIdentity)?;
    let signature = payload.identity_sig.ok_or(NoiseError::BadSignature)?;
    let decode = || PublicKey::try_decode_protobuf(&identity).map_err(|_| NoiseError::BadIdentity);
    if let Some(expected) = expected {
        let found = decode()?.to_peer_id();
        if found != expected {
            return Err(NoiseError::WrongPeer {
                expected: Box::new(expected),
                found: Box::new(found),
            });
        }
    }
    // The lengths of the first two parts are told, so that no other three parts make the same proof.
    let lengths = [static_key.len(), identity.len()].map(usize::to_be_bytes);
    let proof = [lengths.as_flattened(), static_key, &identity, &signature].concat();
    let peer = known.or_verify(&proof, || {
        let identity = decode()?;
        match identity.verify(&[PREFIX, static_key].concat(), &signature) {
            true => Ok(identity.to_peer_id()),
            false => Err(NoiseError::BadSignature),
        }
    })?;
    let extensions = payload.extensions.unwrap_or_default();
    Ok(Remote {
        peer,
        muxers: extensions.stream_muxers,
    })
}
