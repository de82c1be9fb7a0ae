//! An inbound handshake that waits for a decision.

use std::{
    fmt,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use quinn_proto::TransportErrorCode;
use tokio::time::timeout;

use crate::{
    connection::Connection,
    endpoint::Inner,
    error::{AcceptError, CertificateError},
    verifier::Verifier,
};

/// TLS alert `certificate_required` (RFC 8446 section 6).
const CERTIFICATE_REQUIRED: u8 = 116;

/// Counts as a handshake in progress until dropped.
#[derive(Debug)]
pub(crate) struct HalfOpen(Arc<AtomicUsize>);

impl HalfOpen {
    pub(crate) fn new(count: Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for HalfOpen {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An inbound handshake. Dropping it refuses the peer.
pub struct Incoming {
    quinn: quinn::Incoming,
    endpoint: Arc<Inner>,
    half_open: HalfOpen,
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming")
            .field("remote_addr", &self.remote_addr())
            .field("validated", &self.validated())
            .finish_non_exhaustive()
    }
}

impl Incoming {
    pub(crate) fn new(quinn: quinn::Incoming, endpoint: Arc<Inner>, half_open: HalfOpen) -> Self {
        Self {
            quinn,
            endpoint,
            half_open,
        }
    }

    /// Where it comes from; only proved if [`validated`](Self::validated).
    #[must_use]
    pub fn remote_addr(&self) -> SocketAddr {
        let address = self.quinn.remote_address();
        SocketAddr::new(address.ip().to_canonical(), address.port())
    }

    /// Whether the peer has proved that it receives at its address (RFC 9000 section 8.1).
    #[must_use]
    pub fn validated(&self) -> bool {
        self.quinn.remote_address_validated()
    }

    /// Runs the handshake. Dropping the future cancels it.
    ///
    /// # Errors
    ///
    /// [`AcceptError`], at the latest after [`Config::handshake_timeout`](crate::Config).
    pub async fn accept(self) -> Result<Connection, AcceptError> {
        let address = self.remote_addr();
        let Self {
            quinn,
            endpoint,
            half_open,
        } = self;
        let verifier = endpoint.tls.verifier(None);
        let config = endpoint
            .server_config(verifier.clone())
            .map_err(AcceptError::Tls)?;
        let after = endpoint.config.handshake_timeout;
        let outcome = match quinn.accept_with(Arc::new(config)) {
            Ok(connecting) => timeout(after, connecting)
                .await
                .map_err(|_| AcceptError::Timeout { address, after })?,
            Err(error) => Err(error),
        };
        drop(half_open);
        match (outcome, verifier.outcome()) {
            (Ok(quinn), Some(Ok(peer))) => Ok(endpoint.connection(quinn, peer)),
            (Ok(_), _) => Err(AcceptError::Authentication {
                address,
                source: CertificateError::Missing,
            }),
            (Err(source), _) => Err(accept_error(address, &verifier, source)),
        }
    }

    /// Tells the peer that it is not wanted.
    pub fn refuse(self) {
        self.quinn.refuse();
    }

    /// Says nothing at all.
    pub fn ignore(self) {
        self.quinn.ignore();
    }
}

fn accept_error(
    address: SocketAddr,
    verifier: &Verifier,
    source: quinn::ConnectionError,
) -> AcceptError {
    if let Some(Err(source)) = verifier.outcome() {
        return AcceptError::Authentication { address, source };
    }
    match source {
        quinn::ConnectionError::TransportError(error)
            if error.code == TransportErrorCode::crypto(CERTIFICATE_REQUIRED) =>
        {
            AcceptError::Authentication {
                address,
                source: CertificateError::Missing,
            }
        }
        source => AcceptError::Handshake { address, source },
    }
}
