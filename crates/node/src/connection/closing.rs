//! How a connection ends.

use std::sync::Arc;

use conn_state::Closing;

use super::Connection;

impl Connection {
    /// Starts to close the connection and returns at once. Streams that were finished are delivered, within the transport's
    /// `close_timeout`; streams that are still open break. [`Self::closed`] waits for the end.
    pub fn close(&self) {
        self.close_for(Closing::Local);
    }

    /// Closes the connection at once. What the peer has not acknowledged may be lost.
    pub fn abort(&self) {
        self.abort_for(Closing::Local);
    }

    /// Waits until the connection is closed, and says why.
    pub async fn closed(&self) -> Closing {
        self.closed_with_detail().await.0
    }

    /// Closes the connection for `reason`: gracefully, unless the reason is that the peer is silent.
    pub(crate) fn close_for(&self, reason: Closing) {
        match reason {
            Closing::Unresponsive | Closing::Silent | Closing::Violation => self.abort_for(reason),
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

    /// The first reason stands.
    fn note(&self, reason: Closing) {
        if !self.is_closed() {
            let _ = self.0.closing.set(reason);
        }
    }

    /// Like [`Self::closed`], with what the transport adds to the reason.
    pub(crate) async fn closed_with_detail(&self) -> (Closing, Option<Arc<str>>) {
        let (by_transport, detail) = self.0.muxed.closed().await;
        match self.0.closing.get() {
            Some(closing) => (*closing, None),
            None => (by_transport, Some(detail)),
        }
    }
}
