//! Checks the one certificate of the other side, and keeps the peer id in it.

use std::sync::{Arc, OnceLock};

use libp2p_identity::{PeerId, PublicKey};
use rustls::{
    DigitallySignedStruct, DistinguishedName, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key},
    pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime},
    server::danger::{ClientCertVerified, ClientCertVerifier},
};
use x509_parser::{
    asn1_rs::{OctetString, Oid, Sequence, oid},
    prelude::{FromDer, X509Certificate},
};

use crate::{error::CertificateError, known::Known};

/// The certificate extension of the libp2p TLS spec.
const EXTENSION: Oid<'static> = oid!(1.3.6.1.4.1.53594.1.1);

/// The format of the peer's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Libp2p,
    RawPublicKey,
}

/// Verifies one handshake, on either side.
#[derive(Debug)]
pub(crate) struct Verifier {
    kind: Kind,
    expected: Option<PeerId>,
    algorithms: WebPkiSupportedAlgorithms,
    known: Arc<Known>,
    outcome: OnceLock<Result<Accepted, CertificateError>>,
}

/// An accepted certificate.
#[derive(Debug, Clone)]
pub(crate) struct Accepted {
    peer: PeerId,
    spki: SubjectPublicKeyInfoDer<'static>,
}

impl Verifier {
    pub(crate) fn new(
        kind: Kind,
        expected: Option<PeerId>,
        algorithms: WebPkiSupportedAlgorithms,
        known: Arc<Known>,
    ) -> Self {
        Self {
            kind,
            expected,
            algorithms,
            known,
            outcome: OnceLock::new(),
        }
    }

    /// Whose certificate it was, or why it was not accepted. `None` before there was one.
    pub(crate) fn outcome(&self) -> Option<Result<PeerId, CertificateError>> {
        let outcome = self.outcome.get()?;
        Some(
            outcome
                .as_ref()
                .map(|known| known.peer)
                .map_err(Clone::clone),
        )
    }

    fn judge(&self, certificate: &CertificateDer<'_>, others: usize) -> Result<(), rustls::Error> {
        let outcome = if others == 0 {
            self.read(certificate)
        } else {
            Err(CertificateError::Count { found: 1 + others })
        };
        match self.outcome.get_or_init(|| outcome) {
            Ok(_) => Ok(()),
            Err(_) => Err(rustls::CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    fn read(&self, certificate: &CertificateDer<'_>) -> Result<Accepted, CertificateError> {
        let accepted = match self.kind {
            Kind::Libp2p => libp2p(certificate, self.expected, &self.known)?,
            Kind::RawPublicKey => raw(certificate)?,
        };
        check(self.expected, accepted.peer)?;
        Ok(accepted)
    }

    fn verify_handshake(
        &self,
        message: &[u8],
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let Some(Ok(known)) = self.outcome.get() else {
            return Err(rustls::Error::NoCertificatesPresented);
        };
        // webpki does not read a certificate with a critical extension it does not know, so
        // the key is handed to it by itself.
        verify_tls13_signature_with_raw_key(message, &known.spki, signature, &self.algorithms)
    }
}

fn check(expected: Option<PeerId>, found: PeerId) -> Result<(), CertificateError> {
    match expected {
        Some(expected) if expected != found => Err(CertificateError::WrongPeer {
            expected: Box::new(expected),
            found: Box::new(found),
        }),
        _ => Ok(()),
    }
}

/// libp2p TLS specification: the extension's signature, the self-signature and the validity
/// are all checked by `parse`. That takes time, so the key is compared with the `expected` peer first.
pub(crate) fn libp2p(
    certificate: &CertificateDer<'_>,
    expected: Option<PeerId>,
    known: &Known,
) -> Result<Accepted, CertificateError> {
    let bad = |reason: String| CertificateError::Certificate(reason);
    let (rest, x509) =
        X509Certificate::from_der(certificate).map_err(|error| bad(error.to_string()))?;
    if !rest.is_empty() {
        return Err(bad(format!("{} bytes after its end", rest.len())));
    }
    // A certificate that was good before may have expired since.
    if !x509.validity().is_valid() {
        return Err(bad("not valid at this time".to_owned()));
    }
    if let Some(claimed) = claimed(&x509) {
        check(expected, claimed)?;
    }
    let verify = || libp2p_tls::certificate::parse(certificate).map(|verified| verified.peer_id());
    let peer = known
        .or_verify(certificate, verify)
        .map_err(|error| bad(error.to_string()))?;
    Ok(Accepted {
        peer,
        spki: SubjectPublicKeyInfoDer::from(x509.public_key().raw.to_vec()),
    })
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

fn raw(certificate: &CertificateDer<'_>) -> Result<Accepted, CertificateError> {
    let peer = crate::raw::decode(certificate).ok_or(CertificateError::RawKey {
        length: certificate.len(),
    })?;
    Ok(Accepted {
        peer,
        spki: SubjectPublicKeyInfoDer::from(certificate.to_vec()),
    })
}

fn tls12() -> rustls::Error {
    rustls::PeerIncompatible::Tls12NotOffered.into()
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.judge(certificate, intermediates.len())?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        _: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verify_handshake(message, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }

    fn requires_raw_public_keys(&self) -> bool {
        self.kind == Kind::RawPublicKey
    }
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.judge(certificate, intermediates.len())?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        _: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verify_handshake(message, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }

    fn requires_raw_public_keys(&self) -> bool {
        self.kind == Kind::RawPublicKey
    }
}
