//! TLS 1.3 for both flavours: mutual, no resumption, no SNI, no key log.
//!
//! The certificate and everything that connections can share are made once per endpoint. Each
//! connection gets its own verifier, because the verifier learns the id of the peer. rustls calls
//! the verifier once for the certificate and once for the signature of the handshake, so each
//! signature is checked exactly once.

use std::sync::Arc;

use libp2p_identity::{KeyType, Keypair, PeerId};
use quinn_proto::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::{
    SignatureScheme,
    client::{ResolvesClientCert, Resumption},
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    server::{ClientHello, NoServerSessionStorage, ResolvesServerCert},
    sign::CertifiedKey,
};

use crate::{
    config::Flavour,
    error::{BindError, TlsError},
    known::Known,
    verifier::{Kind, Verifier},
};

/// PKCS #8 version 1 around a 32-byte Ed25519 seed (RFC 8410 section 7).
const ED25519_PKCS8_PREFIX: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// Everything that the connections of one endpoint share.
#[derive(Debug)]
pub(crate) struct Tls {
    kind: Kind,
    alpn: Vec<Vec<u8>>,
    provider: Arc<CryptoProvider>,
    identity: Arc<Identity>,
    client: rustls::ClientConfig,
    known: Arc<Known>,
}

impl Tls {
    pub(crate) fn new(keypair: &Keypair, flavour: &Flavour) -> Result<Self, BindError> {
        let failed = |error| BindError::Tls(TlsError::of(error));
        let provider = Arc::new(provider());
        let (kind, alpn, identity) = match flavour {
            Flavour::Libp2p => {
                let (certificate, key) = libp2p_tls::certificate::generate(keypair)
                    .map_err(|error| BindError::Certificate(TlsError::of_certificate(error)))?;
                let identity =
                    Identity::new(&provider, certificate, key, Kind::Libp2p).map_err(failed)?;
                (Kind::Libp2p, vec![b"libp2p".to_vec()], identity)
            }
            Flavour::RawPublicKey { alpn } => {
                if alpn.is_empty() {
                    return Err(BindError::Setting {
                        setting: "flavour.alpn",
                        value: "[]".to_owned(),
                    });
                }
                let (key, spki) = raw_key(keypair)?;
                let identity =
                    Identity::new(&provider, spki, key, Kind::RawPublicKey).map_err(failed)?;
                (Kind::RawPublicKey, alpn.clone(), identity)
            }
        };
        let identity = Arc::new(identity);
        let known = Arc::<Known>::default();
        let client = client_config(&provider, kind, &identity, &alpn, &known).map_err(failed)?;
        Ok(Self {
            kind,
            alpn,
            provider,
            identity,
            client,
            known,
        })
    }

    /// A verifier for one connection.
    pub(crate) fn verifier(&self, expected: Option<PeerId>) -> Arc<Verifier> {
        let algorithms = self.provider.signature_verification_algorithms;
        let known = self.known.clone();
        Arc::new(Verifier::new(self.kind, expected, algorithms, known))
    }

    /// The dialer's side of one connection.
    pub(crate) fn client(
        &self,
        verifier: Arc<Verifier>,
    ) -> Result<QuicClientConfig, rustls::Error> {
        let mut config = self.client.clone();
        config.dangerous().set_certificate_verifier(verifier);
        QuicClientConfig::try_from(config).map_err(no_initial_suite)
    }

    /// The listener's side of one connection.
    pub(crate) fn server(
        &self,
        verifier: Arc<Verifier>,
    ) -> Result<QuicServerConfig, rustls::Error> {
        let mut config = rustls::ServerConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(self.identity.clone());
        config.alpn_protocols.clone_from(&self.alpn);
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        QuicServerConfig::try_from(config).map_err(no_initial_suite)
    }
}

fn client_config(
    provider: &Arc<CryptoProvider>,
    kind: Kind,
    identity: &Arc<Identity>,
    alpn: &[Vec<u8>],
    known: &Arc<Known>,
) -> Result<rustls::ClientConfig, rustls::Error> {
    let algorithms = provider.signature_verification_algorithms;
    let mut config = rustls::ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Verifier::new(
            kind,
            None,
            algorithms,
            known.clone(),
        )))
        .with_client_cert_resolver(identity.clone());
    config.alpn_protocols = alpn.to_vec();
    config.enable_sni = false;
    config.resumption = Resumption::disabled();
    Ok(config)
}

fn no_initial_suite(error: quinn_proto::crypto::rustls::NoInitialCipherSuite) -> rustls::Error {
    rustls::Error::General(error.to_string())
}

/// aws-lc-rs with the cipher suites in the order that is fast on this machine.
fn provider() -> CryptoProvider {
    use aws_lc_rs::cipher_suite::{
        TLS13_AES_128_GCM_SHA256 as AES_128, TLS13_AES_256_GCM_SHA384 as AES_256,
        TLS13_CHACHA20_POLY1305_SHA256 as CHACHA20,
    };
    CryptoProvider {
        cipher_suites: if cpu_has_aes() {
            vec![AES_128, AES_256, CHACHA20]
        } else {
            vec![CHACHA20, AES_128, AES_256]
        },
        ..aws_lc_rs::default_provider()
    }
}

fn cpu_has_aes() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::is_x86_feature_detected!("aes") && std::is_x86_feature_detected!("pclmulqdq");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("aes");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    return false;
}

/// The private key as PKCS #8 and the public key as SPKI.
fn raw_key(
    keypair: &Keypair,
) -> Result<(PrivateKeyDer<'static>, CertificateDer<'static>), BindError> {
    let found = keypair.key_type();
    let Ok(key) = keypair.clone().try_into_ed25519() else {
        return Err(BindError::KeyType { found });
    };
    debug_assert_eq!(found, KeyType::Ed25519);
    let mut pkcs8 = ED25519_PKCS8_PREFIX.to_vec();
    pkcs8.extend_from_slice(key.secret().as_ref());
    let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(pkcs8));
    let spki = crate::raw::encode(&key.public().to_bytes());
    Ok((private, CertificateDer::from(spki)))
}

/// This endpoint's certificate or raw key, shown to every peer.
#[derive(Debug)]
struct Identity {
    key: Arc<CertifiedKey>,
    kind: Kind,
}

impl Identity {
    fn new(
        provider: &CryptoProvider,
        certificate: CertificateDer<'static>,
        key: PrivateKeyDer<'static>,
        kind: Kind,
    ) -> Result<Self, rustls::Error> {
        let signer = provider.key_provider.load_private_key(key)?;
        Ok(Self {
            key: Arc::new(CertifiedKey::new(vec![certificate], signer)),
            kind,
        })
    }
}

impl ResolvesClientCert for Identity {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.key.clone())
    }

    fn only_raw_public_keys(&self) -> bool {
        self.kind == Kind::RawPublicKey
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl ResolvesServerCert for Identity {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.key.clone())
    }

    fn only_raw_public_keys(&self) -> bool {
        self.kind == Kind::RawPublicKey
    }
}
