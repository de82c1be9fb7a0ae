//! TLS 1.3 as the libp2p TLS specification requires: mutual authentication, one self-signed
//! certificate, no server names.
//!
//! The crate libp2p-tls creates the certificate, and this module creates the configuration. The
//! configuration reads no environment variables, so no key ever reaches a key log.

use std::{
    io,
    sync::{Arc, OnceLock},
};

use libp2p_identity::PublicKey;
use libp2p_tls::certificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, OtherError,
    ServerConfig, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{
        CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs, aws_lc_rs::cipher_suite,
        verify_tls13_signature_with_raw_key,
    },
    pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime},
    server::danger::{ClientCertVerified, ClientCertVerifier},
    sign::{CertifiedKey, SingleCertAndKey},
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};
use x509_parser::{
    asn1_rs::{OctetString, Oid, Sequence, oid},
    prelude::{FromDer, X509Certificate},
};

use crate::{Keypair, PeerId, UpgradeError, known::Known, negotiate::YAMUX, security::Secured};

/// The protocol that says no more than "libp2p"; it comes last (libp2p TLS spec, ALPN).
const LIBP2P: &[u8] = b"libp2p";

/// The certificate extension of the libp2p TLS spec.
const EXTENSION: Oid<'static> = oid!(1.3.6.1.4.1.53594.1.1);

/// Ciphertext that waits for the socket: some writes of the muxer.
const WRITE_BUFFER: usize = 128 * 1024;

/// What all connections of one identity share.
#[derive(Debug)]
pub(crate) struct Tls {
    provider: Arc<CryptoProvider>,
    key: Arc<SingleCertAndKey>,
    client: ClientConfig,
    known: Arc<Known>,
}

impl Tls {
    pub(crate) fn new(identity: &Keypair) -> Result<Self, io::Error> {
        let provider = Arc::new(provider());
        let (certificate, key) = certificate::generate(identity).map_err(io::Error::other)?;
        let key = provider.key_provider.load_private_key(key);
        // Not `from_der`: that parses with webpki, see `verify_handshake`.
        let key = CertifiedKey::new(vec![certificate], key.map_err(io::Error::other)?);
        let key = Arc::new(SingleCertAndKey::from(key));
        // Every connection puts its own verifier in its place.
        let known = Arc::<Known>::default();
        let verifier = Arc::new(Verifier::new(None, &provider, &known));
        let mut client = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(io::Error::other)?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_client_cert_resolver(key.clone());
        client.alpn_protocols = alpn();
        client.enable_sni = false;
        client.resumption = Resumption::disabled();
        let this = Self {
            provider,
            key,
            client,
            known,
        };
        this.server_config(this.verifier(None))
            .map_err(io::Error::other)?;
        Ok(this)
    }

    /// rustls takes a server's verifier in the builder only. Building costs about a microsecond:
    /// the certificate and the provider are shared.
    fn server_config(&self, verifier: Arc<Verifier>) -> Result<ServerConfig, rustls::Error> {
        let mut server = ServerConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(self.key.clone());
        server.alpn_protocols = alpn();
        server.send_tls13_tickets = 0;
        server.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        Ok(server)
    }

    fn verifier(&self, expected: Option<PeerId>) -> Arc<Verifier> {
        Arc::new(Verifier::new(expected, &self.provider, &self.known))
    }

    pub(crate) async fn connect<S>(
        &self,
        io: S,
        expected: Option<PeerId>,
    ) -> Result<Secured<TlsStream<S>>, UpgradeError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let verifier = self.verifier(expected);
        let mut config = self.client.clone();
        config
            .dangerous()
            .set_certificate_verifier(verifier.clone());
        // SNI is off; rustls wants a name all the same.
        let nobody = ServerName::IpAddress(std::net::Ipv4Addr::UNSPECIFIED.into());
        let connector = TlsConnector::from(Arc::new(config));
        let handshake = connector.connect_with(nobody, io, |session| {
            session.set_buffer_limit(Some(WRITE_BUFFER));
        });
        match handshake.await {
            Ok(stream) => secured(stream.into(), &verifier),
            Err(error) => Err(verifier.explain(error)),
        }
    }

    pub(crate) async fn accept<S>(&self, io: S) -> Result<Secured<TlsStream<S>>, UpgradeError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let verifier = self.verifier(None);
        let config = self.server_config(verifier.clone());
        let config = config.map_err(|error| UpgradeError::Tls(io::Error::other(error)))?;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let handshake = acceptor.accept_with(io, |session| {
            session.set_buffer_limit(Some(WRITE_BUFFER));
        });
        match handshake.await {
            Ok(stream) => secured(stream.into(), &verifier),
            Err(error) => Err(verifier.explain(error)),
        }
    }
}

fn secured<S>(
    stream: TlsStream<S>,
    verifier: &Verifier,
) -> Result<Secured<TlsStream<S>>, UpgradeError> {
    let Some(peer) = verifier.found.get().copied() else {
        let error = io::Error::other("handshake ended without a certificate");
        return Err(UpgradeError::Tls(error));
    };
    let muxer_settled = stream.get_ref().1.alpn_protocol() == Some(YAMUX.as_bytes());
    Ok(Secured {
        stream,
        peer,
        muxer_settled,
    })
}

fn alpn() -> Vec<Vec<u8>> {
    vec![YAMUX.into(), LIBP2P.into()]
}

/// aws-lc-rs, with the cipher that this CPU is fastest at in front. The smaller AES key is
/// the faster one and no attack on it is within reach.
fn provider() -> CryptoProvider {
    let (aes_128, aes_256, chacha) = (
        cipher_suite::TLS13_AES_128_GCM_SHA256,
        cipher_suite::TLS13_AES_256_GCM_SHA384,
        cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    );
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites = match cpu_has_aes() {
        true => vec![aes_128, aes_256, chacha],
        false => vec![chacha, aes_128, aes_256],
    };
    provider
}

fn cpu_has_aes() -> bool {
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    return std::arch::is_x86_feature_detected!("aes")
        && std::arch::is_x86_feature_detected!("pclmulqdq");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("aes");
    #[allow(unreachable_code)]
    false
}

/// Verifies one peer's certificate and remembers whose it is.
#[derive(Debug)]
struct Verifier {
    expected: Option<PeerId>,
    /// The peer in the certificate. If it is not the expected peer, its signature was not verified.
    found: OnceLock<PeerId>,
    algorithms: WebPkiSupportedAlgorithms,
    known: Arc<Known>,
}

impl Verifier {
    fn new(expected: Option<PeerId>, provider: &CryptoProvider, known: &Arc<Known>) -> Self {
        Self {
            expected,
            found: OnceLock::new(),
            algorithms: provider.signature_verification_algorithms,
            known: known.clone(),
        }
    }

    /// The spec's checks: exactly one certificate, valid now, self-signed, with an
    /// extension in which the identity key signs the certificate's.
    fn verify_certificate(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
    ) -> Result<(), rustls::Error> {
        if !intermediates.is_empty() {
            return Err(rustls::Error::General(format!(
                "expected one certificate, got {}",
                intermediates.len() + 1
            )));
        }
        // A certificate that was good before may have expired since.
        let parsed = parse(certificate)?;
        if !parsed.validity().is_valid() {
            return Err(CertificateError::Expired.into());
        }
        // A verification takes time, so the signature of an unexpected peer is not verified.
        if let (Some(expected), Some(claimed)) = (self.expected, claimed(&parsed))
            && expected != claimed
        {
            self.found.get_or_init(|| claimed);
            return Err(CertificateError::ApplicationVerificationFailure.into());
        }
        let verify = || certificate::parse(certificate).map(|verified| verified.peer_id());
        let peer = self.known.or_verify(certificate, verify).map_err(other)?;
        let peer = *self.found.get_or_init(|| peer);
        match self.expected {
            Some(expected) if expected != peer => Err(rustls::Error::InvalidCertificate(
                CertificateError::ApplicationVerificationFailure,
            )),
            _ => Ok(()),
        }
    }

    /// The certificate itself has been verified; what is left is that the peer holds its key.
    /// webpki would refuse the critical extension of libp2p, hence the bare key.
    fn verify_handshake(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let parsed = parse(certificate)?;
        let key = SubjectPublicKeyInfoDer::from(parsed.public_key().raw);
        verify_tls13_signature_with_raw_key(message, &key, signed, &self.algorithms)
    }

    /// rustls knows no more than that the application refused; this knows why.
    fn explain(&self, error: io::Error) -> UpgradeError {
        match (self.expected, self.found.get()) {
            (Some(expected), Some(found)) if expected != *found => UpgradeError::WrongPeer {
                expected: Box::new(expected),
                found: Box::new(*found),
            },
            _ => UpgradeError::Tls(error),
        }
    }
}

/// The peer whose key is in the libp2p extension. The signature has not been verified yet.
fn claimed(certificate: &X509Certificate<'_>) -> Option<PeerId> {
    let extensions = certificate.extensions().iter();
    let mut libp2p = extensions.filter(|extension| extension.oid == EXTENSION);
    // SEQUENCE { OCTET STRING key, OCTET STRING signature }
    let (_, signed_key) = Sequence::from_der(libp2p.next()?.value).ok()?;
    let (_, key) = OctetString::from_der(&signed_key.content).ok()?;
    let key = PublicKey::try_decode_protobuf(key.as_ref()).ok()?;
    Some(key.to_peer_id())
}

fn parse<'a>(certificate: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, rustls::Error> {
    let bad = rustls::Error::InvalidCertificate(CertificateError::BadEncoding);
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| bad)?;
    Ok(parsed)
}

fn other(error: certificate::ParseError) -> rustls::Error {
    CertificateError::Other(OtherError(Arc::new(error))).into()
}

const NO_TLS12: rustls::Error =
    rustls::Error::PeerIncompatible(rustls::PeerIncompatible::Tls12NotOfferedOrEnabled);

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.verify_certificate(end_entity, intermediates)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(NO_TLS12)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verify_handshake(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.verify_certificate(end_entity, intermediates)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(NO_TLS12)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verify_handshake(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
