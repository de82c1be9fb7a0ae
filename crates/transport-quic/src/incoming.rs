//! An inbound handshake that waits for a decision.

use std::{fmt, net::SocketAddr, sync::Arc};

use quinn_proto::TransportErrorCode;
use tokio::time::timeout;

use crate::{
    connection::{Connection, canonical},
    context::HalfOpen,
    error::{AcceptError, CertificateError, CloseReason},
    verifier::Verifier,
};

/// TLS alert `certificate_required` (RFC 8446 section 6).
const CERTIFICATE_REQUIRED: u8 = 116;

/// An inbound handshake. Dropping it refuses the peer.
///
/// A source address may be forged until the dialer has proved that it receives packets there. Count
/// a handshake against a limit per address only after this proof: before [`accept`](Self::accept)
/// if [`is_validated`](Self::is_validated) is true, and otherwise when `accept` has returned a
/// connection. If the host has no room for a handshake whose address is not validated, it calls
/// [`retry`](Self::retry).
pub struct Incoming {
    /// In a box because `retry` may give it back.
    quinn: Box<quinn::Incoming>,
    half_open: HalfOpen,
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming")
            .field("remote_addr", &self.remote_addr())
            .field("is_validated", &self.is_validated())
            .finish_non_exhaustive()
    }
}

impl Incoming {
    pub(crate) fn new(quinn: quinn::Incoming, half_open: HalfOpen) -> Self {
        let quinn = Box::new(quinn);
        Self { quinn, half_open }
    }

    /// The source address. It is proved only if [`is_validated`](Self::is_validated) is true.
    #[must_use]
    pub fn remote_addr(&self) -> SocketAddr {
        canonical(self.quinn.remote_address())
    }

    /// Whether the dialer has sent a token, which proves that it receives packets at its address
    /// (RFC 9000 section 8.1).
    #[must_use]
    pub fn is_validated(&self) -> bool {
        self.quinn.remote_address_validated()
    }

    /// Asks the dialer to prove its address, which takes one round trip. If the dialer receives
    /// packets at the address, it returns as a new, validated [`Incoming`].
    ///
    /// # Errors
    ///
    /// Returns the handshake if its address is validated already.
    pub fn retry(self) -> Result<(), Self> {
        let Self { quinn, half_open } = self;
        let id = quinn.orig_dst_cid();
        match quinn.retry() {
            Ok(()) => {
                half_open.context.meter().handle_asked(id);
                Ok(())
            }
            Err(error) => Err(Self {
                quinn: Box::new(error.into_incoming()),
                half_open,
            }),
        }
    }

    /// Runs the handshake. A successful handshake validates the dialer's address. Dropping the
    /// future cancels the handshake.
    ///
    /// # Errors
    ///
    /// [`AcceptError`], at the latest after [`Config::handshake_timeout`](crate::Config).
    pub async fn accept(self) -> Result<Connection, AcceptError> {
        let address = self.remote_addr();
        let Self { quinn, half_open } = self;
        let context = Arc::clone(&half_open.context);
        let verifier = context.tls.verifier(None);
        let config = context
            .server_config(verifier.clone(), address)
            .map_err(AcceptError::Tls)?;
        let after = context.config.handshake_timeout;
        let outcome = match quinn.accept_with(Arc::new(config)) {
            Ok(connecting) => timeout(after, connecting)
                .await
                .map_err(|_| AcceptError::Timeout { address, after })?,
            Err(error) => Err(error),
        };
        drop(half_open);
        match (outcome, verifier.outcome()) {
            (Ok(quinn), Some(Ok(peer))) => Ok(context.connection(quinn, peer)),
            (Ok(_), _) => Err(AcceptError::Authentication {
                address,
                source: CertificateError::Missing,
            }),
            (Err(source), _) => Err(accept_error(address, &verifier, source)),
        }
    }

    /// Tells the peer that it is refused.
    pub fn refuse(self) {
        self.quinn.refuse();
    }

    /// Drops the handshake without an answer.
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
        source => AcceptError::Handshake {
            address,
            source: CloseReason::of(source),
        },
    }
}
