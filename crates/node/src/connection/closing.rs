//! How a connection ends.

use conn_state::Closing;

use super::{Connection, Muxed, on_muxed};

impl Connection {
    /// Closes it. Streams that are open break; what was flushed before is on its way.
    pub async fn close(&self) {
        match self.0.muxed {
            #[cfg(feature = "tcp")]
            Muxed::Tcp(ref connection) => connection.close().await,
            #[cfg(feature = "quic")]
            Muxed::Quic(ref connection) => {
                connection.close(transport_quic::CloseCode::SHUTDOWN, "closed");
            }
        }
    }

    /// Closes it at once because the peer does not answer.
    pub(crate) fn abort(&self, reason: &str) {
        match self.0.muxed {
            #[cfg(feature = "tcp")]
            Muxed::Tcp(ref connection) => connection.abort(),
            #[cfg(feature = "quic")]
            Muxed::Quic(ref connection) => {
                connection.close(transport_quic::CloseCode::COLLECTED, reason);
            }
        }
    }

    /// Closes it for a reason of the tracker's. What was flushed before is on its way.
    pub(crate) async fn close_for(&self, closing: Closing) {
        let _ = self.0.closing.set(closing);
        match self.0.muxed {
            #[cfg(feature = "tcp")]
            Muxed::Tcp(ref connection) => match closing {
                Closing::Unresponsive => connection.abort(),
                _ => connection.close().await,
            },
            #[cfg(feature = "quic")]
            Muxed::Quic(ref connection) => {
                let code = match closing {
                    Closing::Superseded | Closing::Unresponsive => {
                        transport_quic::CloseCode::SUPPLANTED
                    }
                    _ => transport_quic::CloseCode::COLLECTED,
                };
                connection.close(code, &closing.to_string());
            }
        }
    }

    /// Waits until it is closed and says why.
    pub async fn closed(&self) -> String {
        on_muxed!(self.0.muxed, connection => connection.closed().await.to_string())
    }

    /// The same in the tracker's terms.
    pub(crate) async fn closed_how(&self) -> Closing {
        let by_transport = match self.0.muxed {
            #[cfg(feature = "tcp")]
            Muxed::Tcp(ref connection) => match connection.closed().await {
                transport_tcp::CloseReason::Remote => Closing::Remote,
                transport_tcp::CloseReason::Failed(_) => Closing::Failed,
                _ => Closing::Local,
            },
            #[cfg(feature = "quic")]
            Muxed::Quic(ref connection) => match connection.closed().await {
                transport_quic::CloseReason::Peer { .. } => Closing::Remote,
                transport_quic::CloseReason::Local => Closing::Local,
                _ => Closing::Failed,
            },
        };
        self.0.closing.get().copied().unwrap_or(by_transport)
    }
}
