//! First packets of QUIC v1, made by hand: their keys are public (RFC 9001, section 5.2), so anyone can send any frames in them.

use std::sync::Arc;

use rustls::{
    crypto::aws_lc_rs::{cipher_suite::TLS13_AES_128_GCM_SHA256, kx_group},
    quic::{ClientConnection, Keys, Version},
    {ClientConfig, Side, pki_types::ServerName},
};
use transport_quic::Keypair;

/// A first packet has at least this length (RFC 9000, section 14.1).
const LENGTH: usize = 1200;

/// The id that the sender chooses for itself.
pub const SOURCE: [u8; 8] = *b"attacker";

/// The first message of a TLS handshake, with these bytes as its transport parameters.
pub fn client_hello(parameters: Vec<u8>) -> Vec<u8> {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    // The message fits into one packet without a post-quantum key.
    provider.kx_groups = vec![kx_group::X25519];
    let client = libp2p_tls::make_client_config(&Keypair::generate_ed25519(), None).unwrap();
    let mut config = ClientConfig::builder_with_provider(provider.into())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_client_cert_resolver(client.client_auth_cert_resolver.clone());
    config.alpn_protocols = vec![b"libp2p".to_vec()];
    let name = ServerName::try_from("node").unwrap();
    let config = Arc::new(config);
    let mut tls = ClientConnection::new(config, Version::V1, name, parameters).unwrap();
    let mut message = Vec::new();
    assert!(tls.write_hs(&mut message).is_none());
    message
}

/// A CRYPTO frame (RFC 9000, section 19.6).
pub fn crypto(offset: u64, data: &[u8]) -> Vec<u8> {
    [&[6][..], &varint(offset), &varint(data.len() as u64), data].concat()
}

/// A transport parameter (RFC 9000, section 18).
pub fn parameter(id: u64, value: &[u8]) -> Vec<u8> {
    [&varint(id)[..], &varint(value.len() as u64), value].concat()
}

/// A variable-length integer (RFC 9000, section 16).
pub fn varint(n: u64) -> Vec<u8> {
    match n {
        0..64 => vec![n as u8],
        64..16_384 => (n as u16 | 0x4000).to_be_bytes().to_vec(),
        16_384..0x4000_0000 => (n as u32 | 0x8000_0000).to_be_bytes().to_vec(),
        _ => (n | 0xc000_0000_0000_0000).to_be_bytes().to_vec(),
    }
}

/// Seals frames in an Initial packet for this destination id (RFC 9001, section 5).
pub fn seal(destination: [u8; 8], number: u32, frames: &[u8]) -> Vec<u8> {
    let suite = TLS13_AES_128_GCM_SHA256.tls13().unwrap();
    let keys = Keys::initial(
        Version::V1,
        suite,
        suite.quic.unwrap(),
        &destination,
        Side::Client,
    );
    let mut header = vec![0xc3, 0, 0, 0, 1, 8];
    header.extend(destination);
    header.push(SOURCE.len() as u8);
    header.extend(SOURCE);
    // No token. The length has two bytes, the packet number four.
    header.push(0);
    let tag = 16;
    let payload = LENGTH - header.len() - 2 - 4 - tag;
    assert!(frames.len() <= payload, "{} bytes do not fit", frames.len());
    header.extend(((4 + payload + tag) as u16 | 0x4000).to_be_bytes());
    let at = header.len();
    header.extend(number.to_be_bytes());
    // PADDING frames are zeros.
    let mut sealed = frames.to_vec();
    sealed.resize(payload, 0);
    let packet = &keys.local.packet;
    let tag = packet.encrypt_in_place(number.into(), &header, &mut sealed);
    sealed.extend(tag.unwrap().as_ref());
    let (first, rest) = header.split_at_mut(1);
    let number = &mut rest[at - 1..];
    let protect = &keys.local.header;
    protect
        .encrypt_in_place(&sealed[..16], &mut first[0], number)
        .unwrap();
    [header, sealed].concat()
}
