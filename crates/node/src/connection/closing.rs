//! The end of a connection.

use conn_state::{Closing, Detail};

use super::Connection;

impl Connection {
    /// Starts a graceful close and returns at once. The connection delivers its finished streams, within the
    /// transport's `close_timeout`. Streams that are still open break. [`Self::closed`] waits for the end. The node
    /// opens no more streams on the connection, and a dial of the peer opens a new connection.
    pub fn close(&self) {
        self.close_for(Closing::Local);
    }

    /// Closes the connection at once. Bytes that the peer has not acknowledged may be lost.
    pub fn abort(&self) {
        self.abort_for(Closing::Local);
    }

    /// Waits until the connection is closed, and returns the reason.
    pub async fn closed(&self) -> Closing {
        self.closed_with_detail().await.0
    }

    /// Closes the connection for `reason`. The close is graceful unless the peer is silent or has violated a protocol.
    pub(crate) fn close_for(&self, reason: Closing) {
        match reason {
            Closing::Unresponsive | Closing::Silent | Closing::Stale | Closing::Violation => {
                self.abort_for(reason)
            }
            _ => {
                self.note(reason);
                self.0.muxed.close(reason);
            }
        }
    }

    pub(crate) fn abort_for(&self, reason: Closing) {
        self.note(reason);
        self.0.muxed.abort(reason);
    }

    /// Whether the connection has ended, or this node has begun to close it.
    pub(crate) fn is_closing(&self) -> bool {
        self.0.closing.get().is_some() || self.is_closed()
    }

    /// Stores the reason, unless an earlier reason exists.
    fn note(&self, reason: Closing) {
        if !self.is_closed() {
            let _ = self.0.closing.set(reason);
        }
    }

    /// Like [`Self::closed`], but also returns the transport's text about the reason.
    pub(crate) async fn closed_with_detail(&self) -> (Closing, Option<Detail>) {
        let (by_transport, detail) = self.0.muxed.closed().await;
        match self.0.closing.get() {
            Some(closing) => (*closing, None),
            None => (by_transport, detail),
        }
    }
}
