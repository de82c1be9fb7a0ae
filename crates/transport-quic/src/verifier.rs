//! Checks the one certificate of the other side, and remembers whose it is.

use std::sync::{Arc, OnceLock};

use libp2p_identity::PeerId;
use rustls::{
    DigitallySignedStruct, DistinguishedName, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key},
    pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime},
    server::danger::{ClientCertVerified, ClientCertVerifier},
};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::{error::CertificateError, known::Known};

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
        let known = match self.kind {
            Kind::Libp2p => libp2p(certificate, &self.known)?,
            Kind::RawPublicKey => raw(certificate)?,
        };
        match self.expected {
            Some(expected) if expected != known.peer => Err(CertificateError::WrongPeer {
                expected: Box::new(expected),
                found: Box::new(known.peer),
            }),
            _ => Ok(known),
        }
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

/// libp2p TLS specification: the extension's signature, the self-signature and the validity
/// are all checked by `parse`.
pub(crate) fn libp2p(
    certificate: &CertificateDer<'_>,
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
    let verify = || libp2p_tls::certificate::parse(certificate).map(|verified| verified.peer_id());
    let peer = known
        .or_verify(certificate, verify)
        .map_err(|error| bad(error.to_string()))?;
    Ok(Accepted {
        peer,
        spki: SubjectPublicKeyInfoDer::from(x509.public_key().raw.to_vec()),
    })
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
