//! How a connection gets to the other end, and what is left of what that allows it.

use conn_state::Route;

#[cfg(feature = "relay")]
pub(crate) use circuit::{Allowance, Rationed};

/// How a connection gets to the other end.
#[derive(Debug, Clone)]
pub(crate) enum Path {
    Direct,
    /// Over a circuit of a relay.
    #[cfg(feature = "relay")]
    Circuit(std::sync::Arc<Allowance>),
}

impl Path {
    /// The same for the tracker, as it is now.
    pub(crate) fn route(&self) -> Route {
        match self {
            Self::Direct => Route::Direct,
            #[cfg(feature = "relay")]
            Self::Circuit(allowance) => Route::Relayed(allowance.left()),
        }
    }

    pub(crate) fn is_direct(&self) -> bool {
        matches!(self, Self::Direct)
    }

    /// The layers of a connection, given those that its transport tells of.
    pub(crate) fn via(&self, layers: &'static str) -> &'static str {
        match (self, layers) {
            (Self::Direct, layers) => layers,
            #[cfg(feature = "relay")]
            (Self::Circuit(_), "tcp/noise/yamux") => "relay/noise/yamux",
            #[cfg(feature = "relay")]
            (Self::Circuit(_), _) => "relay/tls/yamux",
        }
    }
}

#[cfg(feature = "relay")]
mod circuit {
    use std::{
        io,
        pin::Pin,
        sync::{
            Arc,
            atomic::{AtomicU64, Ordering},
        },
        task::{Context, Poll},
    };

    use conn_state::Limit;
    use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

    /// What a relay allows a circuit, and how much of it is used: each direction has all of the bytes for itself.
    #[derive(Debug)]
    pub(crate) struct Allowance {
        limit: Option<Limit>,
        read: AtomicU64,
        written: AtomicU64,
    }

    impl Allowance {
        pub(crate) fn new(limit: Option<Limit>) -> Arc<Self> {
            Arc::new(Self {
                limit,
                read: AtomicU64::new(0),
                written: AtomicU64::new(0),
            })
        }

        /// What is left, in the direction that has less.
        pub(crate) fn left(&self) -> Option<Limit> {
            let read = self.read.load(Ordering::Relaxed);
            let used = read.max(self.written.load(Ordering::Relaxed));
            self.limit.map(|limit| Limit {
                bytes: limit.bytes.map(|bytes| bytes.saturating_sub(used)),
                ..limit
            })
        }
    }

    /// A circuit whose bytes are counted.
    #[derive(Debug)]
    pub(crate) struct Rationed<S> {
        pub(crate) inner: S,
        pub(crate) allowance: Arc<Allowance>,
    }

    impl<S: AsyncRead + Unpin> AsyncRead for Rationed<S> {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            let before = buf.filled().len();
            let polled = Pin::new(&mut self.inner).poll_read(cx, buf);
            let read = buf.filled().len() - before;
            self.allowance
                .read
                .fetch_add(read as u64, Ordering::Relaxed);
            polled
        }
    }

    impl<S: AsyncWrite + Unpin> AsyncWrite for Rationed<S> {
        fn poll_write(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buf: &[u8],
        ) -> Poll<io::Result<usize>> {
            let polled = Pin::new(&mut self.inner).poll_write(cx, buf);
            if let Poll::Ready(Ok(written)) = polled {
                let all = &self.allowance.written;
                all.fetch_add(written as u64, Ordering::Relaxed);
            }
            polled
        }

        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.inner).poll_flush(cx)
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.inner).poll_shutdown(cx)
        }
    }
}
