//! A peer made of plain quinn and rustls, which can be told to misbehave.

use std::{net::SocketAddr, sync::Arc};

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::{
    DigitallySignedStruct, DistinguishedName, SignatureScheme,
    client::{
        ResolvesClientCert,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime},
    server::{
        ClientHello, ResolvesServerCert,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    sign::CertifiedKey,
};
use transport_quic::Keypair;

/// What it shows of itself.
#[derive(Debug, Clone)]
pub struct Face {
    pub chain: Vec<CertificateDer<'static>>,
    /// PKCS #8
    pub key: Vec<u8>,
    pub alpn: Vec<Vec<u8>>,
    pub raw: bool,
    /// Shows no certificate as a client.
    pub anonymous: bool,
}

impl Face {
    pub fn libp2p(certificate: Vec<u8>, key: &rcgen::KeyPair) -> Self {
        Self {
            chain: vec![certificate.into()],
            key: key.serialize_der(),
            alpn: vec![b"libp2p".to_vec()],
            raw: false,
            anonymous: false,
        }
    }

    /// A raw Ed25519 key (RFC 7250), as the RFC's readers and not as the crate builds it.
    pub fn raw(keypair: &Keypair, alpn: &[u8]) -> Self {
        let key = keypair.clone().try_into_ed25519().unwrap();
        let spki = b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00";
        let pkcs8 = b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20";
        Self {
            chain: vec![[spki.as_slice(), &key.public().to_bytes()].concat().into()],
            key: [pkcs8.as_slice(), key.secret().as_ref()].concat(),
            alpn: vec![alpn.to_vec()],
            raw: true,
            anonymous: false,
        }
    }

    fn shown(&self) -> Arc<Shown> {
        let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.clone()));
        let signer = provider().key_provider.load_private_key(der).unwrap();
        Arc::new(Shown {
            key: Arc::new(CertifiedKey::new(self.chain.clone(), signer)),
            face: self.clone(),
        })
    }

    pub fn client(&self) -> quinn::ClientConfig {
        let mut config = rustls::ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Trusting(self.raw)))
            .with_client_cert_resolver(self.shown());
        config.alpn_protocols.clone_from(&self.alpn);
        config.enable_sni = false;
        quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(config).unwrap()))
    }

    fn server(&self) -> quinn::ServerConfig {
        let mut config = rustls::ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_client_cert_verifier(Arc::new(Trusting(self.raw)))
            .with_cert_resolver(self.shown());
        config.alpn_protocols.clone_from(&self.alpn);
        quinn::ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(config).unwrap()))
    }

    pub fn endpoint(&self) -> quinn::Endpoint {
        let mut endpoint = quinn::Endpoint::server(self.server(), super::localhost()).unwrap();
        endpoint.set_default_client_config(self.client());
        endpoint
    }

    /// Dials and waits until the connection is settled one way or the other.
    pub async fn dial(&self, address: SocketAddr) -> (quinn::Endpoint, Option<quinn::Connection>) {
        let endpoint = self.endpoint();
        let connecting = endpoint.connect(address, "foreign").unwrap();
        let connection = super::within(connecting).await.ok();
        (endpoint, connection)
    }
}

pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

#[derive(Debug)]
struct Shown {
    key: Arc<CertifiedKey>,
    face: Face,
}

impl ResolvesClientCert for Shown {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        (!self.face.anonymous).then(|| self.key.clone())
    }

    fn only_raw_public_keys(&self) -> bool {
        self.face.raw
    }

    fn has_certs(&self) -> bool {
        !self.face.anonymous
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.key.clone())
    }

    fn only_raw_public_keys(&self) -> bool {
        self.face.raw
    }
}

/// Believes everybody; the flag asks for raw public keys.
#[derive(Debug)]
struct Trusting(bool);

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        unreachable!()
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider()
            .signature_verification_algorithms
            .supported_schemes()
    }

    fn requires_raw_public_keys(&self) -> bool {
        self.0
    }
}

impl ClientCertVerifier for Trusting {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        unreachable!()
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider()
            .signature_verification_algorithms
            .supported_schemes()
    }

    fn requires_raw_public_keys(&self) -> bool {
        self.0
    }
}
