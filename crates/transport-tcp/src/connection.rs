//! The handle of a connection.

use std::{fmt, sync::Arc};

use crate::{
    CloseReason, Link, PeerId, Security, Stream, StreamError,
    driver::{Shared, Wish},
    handle::Handle,
};

/// A secured and multiplexed connection. Clones are handles to the same connection.
///
/// Each connection has a task that drives it. Every handle and every [`Stream`] keeps the connection open. If you drop the last
/// of them, [`Connection::close`] starts in the background: finished streams are delivered within
/// [`close_timeout`](crate::UpgradeConfig::close_timeout), if the runtime lives long enough.
#[derive(Clone)]
pub struct Connection {
    handle: Arc<Handle>,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("peer", &self.peer())
            .field("via", &self.via())
            .field("closed", &self.handle.shared.closed())
            .finish()
    }
}

impl Connection {
    pub(crate) fn new(
        shared: Arc<Shared>,
        peer: PeerId,
        security: Security,
        link: Option<Link>,
    ) -> Self {
        Self {
            handle: Arc::new(Handle {
                shared,
                peer,
                security,
                link,
            }),
        }
    }

    /// The peer at the other end.
    pub fn peer(&self) -> PeerId {
        self.handle.peer
    }

    /// The security protocol.
    pub fn security(&self) -> Security {
        self.handle.security
    }

    /// The TCP connection below, if a [`ByteStream`](crate::ByteStream) over a TCP socket was upgraded. The kernel knows
    /// its round-trip time.
    pub fn link(&self) -> Option<Link> {
        self.handle.link
    }

    /// The protocol of the muxer.
    pub fn muxer(&self) -> &'static str {
        crate::negotiate::YAMUX
    }

    /// The layers in one word: `tcp/tls/yamux` or `tcp/noise/yamux`.
    pub fn via(&self) -> &'static str {
        match self.handle.security {
            Security::Tls => "tcp/tls/yamux",
            Security::Noise => "tcp/noise/yamux",
        }
    }

    /// How many bytes the connection has received so far, including frame headers. Any growth shows that the peer is alive.
    pub fn received_bytes(&self) -> u64 {
        self.handle.shared.received()
    }

    /// Opens a stream. It is announced to the peer with the first bytes written.
    ///
    /// Waits while the peer has not acknowledged 256 earlier streams. Cancel-safe.
    pub async fn open(&self) -> Result<Stream, StreamError> {
        let shared = &self.handle.shared;
        let lease = match shared.request().await {
            Ok(answer) => answer?,
            Err(_) => {
                let reason = shared.over().unwrap_or(CloseReason::Stopped);
                return Err(StreamError::Closed(reason));
            }
        };
        Ok(Stream::new(lease, self.handle.clone()))
    }

    /// The next stream that the peer opened. `None`: no stream is left, and the connection is closed or this side is closing it.
    /// Cancel-safe: dropping the future loses no stream.
    pub async fn accept(&self) -> Option<Stream> {
        let shared = &self.handle.shared;
        loop {
            let arrived = shared.arrived.notified();
            // Closed is looked at first: what arrives before the end is then found after it.
            let closed = shared.over().is_some();
            if let Some(lease) = shared.take() {
                return Some(Stream::new(lease, self.handle.clone()));
            }
            if closed {
                return None;
            }
            arrived.await;
        }
    }

    /// Starts a graceful close and returns at once; [`Connection::closed`] waits for its end.
    ///
    /// From now on, streams neither read nor write. Received bytes that were not read are discarded, except on streams that the
    /// peer has finished. The connection delivers all bytes that were written to streams before, and then tells the peer. It
    /// closes the socket when the peer has closed its side. After [`close_timeout`](crate::UpgradeConfig::close_timeout) the
    /// connection is dropped in any case.
    pub fn close(&self) {
        self.handle.shared.wish(Wish::Close);
    }

    /// Drops the connection at once. Unsent bytes are lost.
    pub fn abort(&self) {
        self.handle.shared.wish(Wish::Abort);
    }

    /// Waits for the end of the connection. Cancel-safe.
    pub async fn closed(&self) -> CloseReason {
        self.handle.shared.wait_closed().await
    }

    /// Whether the connection has ended.
    pub fn is_closed(&self) -> bool {
        self.handle.shared.closed().is_some()
    }
}
