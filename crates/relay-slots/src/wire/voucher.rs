//! Reservation vouchers (circuit relay v2 spec, section "Reservation Vouchers") in signed envelopes (libp2p RFC 0002).

use libp2p_identity::{Keypair, PeerId, PublicKey, SigningError};
use prost::Message as _;

use super::ProtobufError;

/// The signed bytes begin with this.
const DOMAIN: &[u8] = b"libp2p-relay-rsvp";

/// The multicodec `libp2p-relay-rsvp` as go-libp2p writes it: as plain bytes, not as a varint.
const CODEC: &[u8] = &[0x03, 0x02];

/// A relay's signed statement that a peer holds a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Voucher {
    /// The relay.
    pub relay: PeerId,
    /// The peer that holds the slot.
    pub peer: PeerId,
    /// When the slot expires, in seconds since 1970.
    pub expiration: u64,
}

/// Why a voucher is not valid, or could not be signed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VoucherError {
    /// The key cannot sign.
    #[error("cannot sign the voucher")]
    Signing(#[from] SigningError),
    /// The bytes are not a signed envelope, or the envelope holds no voucher.
    #[error("the envelope or the voucher is not valid protobuf")]
    Protobuf(#[from] ProtobufError),
    /// The envelope holds something other than a voucher.
    #[error("the envelope has the type {codec:02x?}, which is not a voucher's")]
    Codec {
        /// Its type.
        codec: Vec<u8>,
    },
    /// The key in the envelope cannot be read.
    #[error("the public key in the envelope cannot be read")]
    Key(#[from] libp2p_identity::DecodingError),
    /// The signer is not the relay.
    #[error("signed by {signer}, not by the relay {relay}")]
    Signer {
        /// The signer.
        signer: PeerId,
        /// The relay.
        relay: PeerId,
    },
    /// The signature is wrong.
    #[error("the signature of {relay} is not valid")]
    Signature {
        /// The relay whose signature it should be.
        relay: PeerId,
    },
    /// The voucher names another relay or another peer, or none.
    #[error("the voucher is not from {relay} for {peer}")]
    Names {
        /// The relay that it should name.
        relay: PeerId,
        /// The peer that it should name.
        peer: PeerId,
    },
    /// The voucher has expired.
    #[error("the voucher expired at {expiration}, and the time is {now}")]
    Expired {
        /// In seconds since 1970.
        expiration: u64,
        /// In seconds since 1970.
        now: u64,
    },
}

#[derive(Clone, PartialEq, prost::Message)]
struct Envelope {
    #[prost(bytes = "vec", tag = "1")]
    public_key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    payload_type: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    payload: Vec<u8>,
    #[prost(bytes = "vec", tag = "5")]
    signature: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Payload {
    #[prost(bytes = "vec", tag = "1")]
    relay: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    peer: Vec<u8>,
    #[prost(uint64, tag = "3")]
    expiration: u64,
}

impl Voucher {
    /// Puts the voucher into an envelope and signs it with the relay's key.
    ///
    /// # Errors
    ///
    /// The key cannot sign.
    pub fn seal(&self, relay: &Keypair) -> Result<Vec<u8>, VoucherError> {
        let payload = Payload {
            relay: self.relay.to_bytes(),
            peer: self.peer.to_bytes(),
            expiration: self.expiration,
        };
        let payload = payload.encode_to_vec();
        let envelope = Envelope {
            public_key: relay.public().encode_protobuf(),
            payload_type: CODEC.to_vec(),
            signature: relay.sign(&signed(&payload))?,
            payload,
        };
        Ok(envelope.encode_to_vec())
    }

    /// Opens an envelope that `relay` sealed for `peer`, and checks it at `now`, in seconds since 1970.
    ///
    /// # Errors
    ///
    /// The voucher is not valid.
    pub fn open(
        envelope: &[u8],
        relay: PeerId,
        peer: PeerId,
        now: u64,
    ) -> Result<Self, VoucherError> {
        let envelope = Envelope::decode(envelope).map_err(ProtobufError)?;
        if envelope.payload_type != CODEC {
            let codec = envelope.payload_type;
            return Err(VoucherError::Codec { codec });
        }
        let key = PublicKey::try_decode_protobuf(&envelope.public_key)?;
        let signer = key.to_peer_id();
        // Verifying takes time, and is only worth it for the relay's own key.
        if signer != relay {
            return Err(VoucherError::Signer { signer, relay });
        }
        if !key.verify(&signed(&envelope.payload), &envelope.signature) {
            return Err(VoucherError::Signature { relay });
        }
        let payload = Payload::decode(envelope.payload.as_slice()).map_err(ProtobufError)?;
        let names = (
            PeerId::from_bytes(&payload.relay),
            PeerId::from_bytes(&payload.peer),
        );
        if !matches!(names, (Ok(by), Ok(of)) if by == relay && of == peer) {
            return Err(VoucherError::Names { relay, peer });
        }
        let expiration = payload.expiration;
        if expiration <= now {
            return Err(VoucherError::Expired { expiration, now });
        }
        Ok(Self {
            relay,
            peer,
            expiration,
        })
    }
}

/// The signed bytes: each part, preceded by its length (RFC 0002, "Signature Production").
fn signed(payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in [DOMAIN, CODEC, payload] {
        // Writing into a vector cannot fail.
        let _ = prost::encode_length_delimiter(part.len(), &mut bytes);
        bytes.extend_from_slice(part);
    }
    bytes
}
