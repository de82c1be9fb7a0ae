//! Agreeing on a stream's protocol: [multistream-select 1.0].
//!
//! [multistream-select 1.0]: https://github.com/multiformats/multistream-select

use std::{sync::Arc, time::Duration};

use multistream_select::{NegotiationError, Version, dialer_select_proto, listener_select_proto};

use crate::{Connection, OpenError, Stream, stream::RawStream};

/// Whether to wait for the peer's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trust {
    /// Wait until the peer has agreed.
    Confirmed,
    /// Take its agreement for granted. Only for a single protocol.
    Optimistic,
}

pub(crate) async fn outbound(
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
        let raw = connection.open_raw().await?;
        let owned = || protocols.iter().map(|p| (*p).to_owned());
        match dialer_select_proto(raw, owned().collect::<Vec<_>>(), version).await {
            Ok((protocol, stream)) => Ok((protocol, Stream::new(stream))),
            Err(NegotiationError::Failed) => Err(OpenError::Unsupported {
                peer,
                protocols: owned().collect(),
            }),
            Err(NegotiationError::ProtocolError(error)) => Err(OpenError::Negotiation {
                peer,
                reason: error.to_string(),
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

/// The protocols a node answers to, in no order of preference: the dialer proposes.
pub(crate) type Offered = Arc<[Arc<str>]>;

/// Answers proposals until one fits. However many protocols a peer proposes, it has until `deadline`.
pub(crate) async fn inbound(
    raw: RawStream,
    offered: Offered,
    deadline: Duration,
) -> Option<(Arc<str>, Stream)> {
    let protocols: Vec<Named> = offered.iter().cloned().map(Named).collect();
    let negotiation = listener_select_proto(raw, protocols);
    match tokio::time::timeout(deadline, negotiation).await {
        Ok(Ok((protocol, stream))) => Some((protocol.0, Stream::new(stream))),
        Ok(Err(error)) => {
            tracing::debug!(%error, "inbound stream failed to negotiate");
            None
        }
        Err(_) => {
            tracing::debug!("inbound stream did not negotiate in time");
            None
        }
    }
}

/// Lets an `Arc<str>` be proposed without copying it.
#[derive(Clone)]
struct Named(Arc<str>);

impl AsRef<str> for Named {
    fn as_ref(&self) -> &str {
        &self.0
    }
}
