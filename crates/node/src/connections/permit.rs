//! The permit of a connection: its entries in the map, the limits and the tracker.

use std::{net::IpAddr, sync::Arc, time::Instant};

use conn_state::{Closing, ConnectionId, Detail};

use super::{Connections, Handshake};
use crate::error::{AttemptCause, error_chain};

/// Counts a connection in the map, the limits and the tracker, from its first packet to its end. Dropping the permit
/// removes all three entries and reports the end of the connection.
pub(crate) struct ConnectionPermit {
    id: ConnectionId,
    connections: Arc<Connections>,
    pub(super) handshake: Handshake,
    /// The address under which the limits count the connection when the handshake has proved the address.
    pub(super) claimed: Option<IpAddr>,
    /// The reason that is reported when the connection ends.
    end: (Closing, Option<Detail>),
}

impl ConnectionPermit {
    pub(super) fn new(
        id: ConnectionId,
        connections: Arc<Connections>,
        handshake: Handshake,
        claimed: Option<IpAddr>,
    ) -> Self {
        Self {
            id,
            connections,
            handshake,
            claimed,
            end: (Closing::Local, None),
        }
    }

    pub(crate) fn id(&self) -> ConnectionId {
        self.id
    }

    /// Sets the reason that is reported when the connection ends.
    pub(crate) fn end(&mut self, closing: Closing, detail: Option<Detail>) {
        self.end = (closing, detail);
    }

    /// Runs a handshake until it ends or the tracker cancels it.
    pub(crate) async fn run<T>(
        &mut self,
        handshake: impl Future<Output = Result<T, AttemptCause>>,
    ) -> Result<T, AttemptCause> {
        let begun = Instant::now();
        let outcome = tokio::select! {
            outcome = handshake => outcome,
            () = self.handshake.cancelled.cancelled() => {
                let reason = self.handshake.reason.get().copied();
                let reason = reason.unwrap_or(Closing::Local);
                self.end = (reason, None);
                return Err(match reason {
                    Closing::TooLongTransient => AttemptCause::TimedOut { after: begun.elapsed() },
                    reason => AttemptCause::Closed(reason),
                });
            }
        };
        outcome.inspect_err(|cause| {
            self.end = (Closing::Handshake, Some(Detail::new(error_chain(cause))));
        })
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let (closing, detail) = std::mem::replace(&mut self.end, (Closing::Local, None));
        self.connections.forget(self.id, closing, detail);
    }
}
