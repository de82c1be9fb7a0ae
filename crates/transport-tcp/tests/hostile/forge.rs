//! Certificates that are almost as they ought to be.

use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use transport_tcp::Keypair;

use crate::support::Presented;

const OID: [u64; 9] = [1, 3, 6, 1, 4, 1, 53594, 1, 1];

/// A certificate with its key, before it is signed.
pub(crate) struct Forge {
    pub(crate) key: KeyPair,
    pub(crate) params: CertificateParams,
}

impl Forge {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        Self {
            key: KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap(),
            params,
        }
    }

    pub(crate) fn extended(mut self, content: Vec<u8>) -> Self {
        let mut extension = CustomExtension::from_oid_content(&OID, content);
        extension.set_criticality(true);
        self.params.custom_extensions.push(extension);
        self
    }

    /// The extension as it ought to be: `signer` vouches for this certificate's key.
    pub(crate) fn signed_key(&self, named: &Keypair, signer: &Keypair) -> Vec<u8> {
        let signed = [b"libp2p-tls-handshake:", &self.key.public_key_der()[..]].concat();
        signed_key(
            &named.public().encode_protobuf(),
            &signer.sign(&signed).unwrap(),
        )
    }

    pub(crate) fn honest(identity: &Keypair) -> Self {
        let this = Self::new();
        let content = this.signed_key(identity, identity);
        this.extended(content)
    }

    pub(crate) fn finish(self) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let private = self.private();
        let certificate = self.params.self_signed(&self.key).unwrap();
        (certificate.into(), private)
    }

    pub(crate) fn private(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.serialize_der()).into()
    }

    pub(crate) fn presented(self) -> Presented {
        let (certificate, key) = self.finish();
        Presented::new(vec![certificate], key)
    }
}

/// DER: tag, length, content.
pub(crate) fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = match content.len() {
        0..128 => vec![content.len() as u8],
        128..256 => vec![0x81, content.len() as u8],
        _ => [vec![0x82], (content.len() as u16).to_be_bytes().to_vec()].concat(),
    };
    [vec![tag], length, content.to_vec()].concat()
}

/// `SEQUENCE { OCTET STRING, OCTET STRING }`
pub(crate) fn signed_key(key: &[u8], signature: &[u8]) -> Vec<u8> {
    der(0x30, &[der(4, key), der(4, signature)].concat())
}

/// An RSA public key of 16,384 bits, as SubjectPublicKeyInfo. Nobody holds the private one:
/// whoever gets as far as to check a signature has already lost.
pub(crate) fn huge_rsa() -> Vec<u8> {
    let modulus = [vec![0, 0xc5], vec![0x5b; 2047]].concat();
    let numbers = der(0x30, &[der(2, &modulus), der(2, &[1, 0, 1])].concat());
    let algorithm = [6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 13, 1, 1, 1, 5, 0];
    let bits = der(3, &[vec![0], numbers].concat());
    der(0x30, &[der(0x30, &algorithm), bits].concat())
}
