//! A circuit whose bytes are counted against the relay's limit.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Instant,
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::wire::Limit;

/// What a relay allows a circuit, and how much of that is used. Each direction may carry all of the limit's bytes.
#[derive(Debug)]
pub struct Allowance {
    limit: Option<Limit>,
    until: Option<Instant>,
    read: AtomicU64,
    written: AtomicU64,
}

/// What is left of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Remaining {
    /// When the relay ends the circuit. `None`: the duration is unlimited.
    pub until: Option<Instant>,
    /// Bytes, in the direction that has less left. `None`: the bytes are unlimited.
    pub bytes: Option<u64>,
}

impl Allowance {
    /// The allowance of a circuit that opens at `now`. `None`: the relay does not limit it.
    pub fn new(limit: Option<Limit>, now: Instant) -> Self {
        let duration = limit.and_then(|limit| limit.duration);
        Self {
            limit,
            until: duration.and_then(|duration| now.checked_add(duration)),
            read: AtomicU64::new(0),
            written: AtomicU64::new(0),
        }
    }

    /// The limit that the relay told. `None`: the relay does not limit the circuit.
    pub fn limit(&self) -> Option<Limit> {
        self.limit
    }

    /// What is left of the limit. `None`: the relay does not limit the circuit.
    pub fn remaining(&self) -> Option<Remaining> {
        let used = self.bytes_read().max(self.bytes_written());
        self.limit.map(|limit| Remaining {
            until: self.until,
            bytes: limit.data.map(|bytes| bytes.saturating_sub(used)),
        })
    }

    /// Bytes that were read from the circuit.
    pub fn bytes_read(&self) -> u64 {
        self.read.load(Relaxed)
    }

    /// Bytes that were written to the circuit.
    pub fn bytes_written(&self) -> u64 {
        self.written.load(Relaxed)
    }
}

/// A stream that counts its bytes in an [`Allowance`], which others may read meanwhile. It holds nothing back: the relay
/// enforces its limit.
#[derive(Debug)]
pub struct MeteredStream<S> {
    inner: S,
    allowance: Arc<Allowance>,
}

impl<S> MeteredStream<S> {
    /// Counts the bytes of `inner` in `allowance`.
    pub fn new(inner: S, allowance: Arc<Allowance>) -> Self {
        Self { inner, allowance }
    }

    /// The allowance, to be shared.
    pub fn allowance(&self) -> &Arc<Allowance> {
        &self.allowance
    }

    fn count(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = written {
            self.allowance.written.fetch_add(bytes as u64, Relaxed);
        }
        written
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for MeteredStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(cx, buf);
        let read = buf.filled().len() - before;
        self.allowance.read.fetch_add(read as u64, Relaxed);
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for MeteredStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.count(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.count(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
