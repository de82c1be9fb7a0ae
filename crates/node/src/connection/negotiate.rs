//! The negotiation of a stream's protocol with [multistream-select 1.0].
//!
//! [multistream-select 1.0]: https://github.com/multiformats/multistream-select

use std::{io, sync::Arc, time::Duration};

use multistream_select::{NegotiationError, Version, dialer_select_proto, listener_select_proto};

use super::{Connection, RawStream, Stream};
use crate::error::OpenError;

/// Whether to wait for the peer's agreement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trust {
    /// Wait until the peer has agreed.
    Confirmed,
    /// Do not wait for the agreement. Works only for a single protocol.
    Optimistic,
}

pub(super) async fn outbound(
    connection: &Connection,
    protocols: &[&str],
    trust: Trust,
    deadline: Duration,
) -> Result<(String, Stream), OpenError> {
    let peer = connection.peer();
    let version = match trust {
        Trust::Confirmed => Version::V1,
        Trust::Optimistic => Version::V1Lazy,
    };
    let negotiation = async {
        let mut raw = connection.open_raw().await?;
        if trust == Trust::Optimistic {
            raw.expect_answer();
        }
        let home = raw.home();
        let owned = || protocols.iter().map(|p| (*p).to_owned());
        match dialer_select_proto(raw, owned().collect::<Vec<_>>(), version).await {
            Ok((protocol, stream)) => Ok((protocol, Stream::new(stream, home))),
            Err(NegotiationError::Failed) => Err(OpenError::Unsupported {
                peer,
                protocols: owned().collect(),
            }),
            Err(NegotiationError::ProtocolError(error)) => Err(OpenError::Negotiation {
                peer,
                source: Arc::new(io::Error::other(error)),
            }),
        }
    };
    let timed_out = OpenError::TimedOut {
        peer,
        after: deadline,
    };
    tokio::time::timeout(deadline, negotiation)
        .await
        .unwrap_or(Err(timed_out))
}

/// The protocols that a node accepts. The order has no meaning, because the other end proposes.
pub(crate) type Offered = Arc<[Arc<str>]>;

/// Answers proposals until one is acceptable. All proposals together may take the time `deadline`.
pub(crate) async fn inbound(
    raw: RawStream,
    offered: Offered,
    deadline: Duration,
) -> Option<(Arc<str>, Stream)> {
    let protocols: Vec<Named> = offered.iter().cloned().map(Named).collect();
    let home = raw.home();
    let negotiation = listener_select_proto(raw, protocols);
    match tokio::time::timeout(deadline, negotiation).await {
        Ok(Ok((protocol, stream))) => Some((protocol.0, Stream::new(stream, home))),
        Ok(Err(error)) => {
            tracing::debug!(%error, "the negotiation of an inbound stream failed");
            None
        }
        Err(_) => {
            tracing::debug!("an inbound stream did not negotiate its protocol in time");
            None
        }
    }
}

/// Wraps an `Arc<str>`, so that the negotiation needs no copy of the name.
#[derive(Clone)]
struct Named(Arc<str>);

impl AsRef<str> for Named {
    fn as_ref(&self) -> &str {
        &self.0
    }
}
