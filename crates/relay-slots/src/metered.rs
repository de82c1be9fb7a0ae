//! A circuit that ends at the limit that its relay announced.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep_until},
};

use crate::wire::Limit;

/// The limit of a circuit, and the bytes that it has carried. Each direction may carry all bytes of the limit.
#[derive(Debug)]
pub struct Allowance {
    limit: Option<Limit>,
    until: Option<Instant>,
    read: AtomicU64,
    written: AtomicU64,
}

/// The rest of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Remaining {
    /// When the circuit ends. `None`: the duration is unlimited.
    pub until: Option<Instant>,
    /// The remaining bytes, in the direction with fewer remaining bytes. `None`: the bytes are unlimited.
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

    /// The limit that the relay announced. `None`: the relay does not limit the circuit.
    pub fn limit(&self) -> Option<Limit> {
        self.limit
    }

    /// The rest of the limit. `None`: the relay does not limit the circuit.
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

/// A circuit has reached the limit that its relay announced, but the relay has not ended the circuit. This error is the source
/// of an [`io::Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LimitReached {
    /// [`Limit::data`] is used up in one direction.
    #[error("the circuit has carried the {limit} bytes that its relay allows")]
    Data {
        /// The limit, in bytes.
        limit: u64,
    },
    /// [`Limit::duration`] is over.
    #[error("the circuit has lasted the {limit:?} that its relay allows")]
    Duration {
        /// The limit.
        limit: Duration,
    },
}

impl From<LimitReached> for io::Error {
    fn from(reached: LimitReached) -> Self {
        Self::new(io::ErrorKind::QuotaExceeded, reached)
    }
}

/// A stream that counts its bytes in an [`Allowance`] and ends at the limit. Other tasks can read the allowance.
///
/// An honest relay resets the circuit at its limit. A hostile relay could announce a limit and keep the circuit open forever.
/// This stream therefore fails with [`LimitReached`] at the first byte beyond the limit, in either direction. It also fails when
/// the time is over, even if both ends are silent. The stream needs a tokio runtime with a timer.
#[derive(Debug)]
pub struct MeteredStream<S> {
    inner: S,
    allowance: Arc<Allowance>,
    /// Two timers: one wakes the reader and one wakes the writer when the time is over. They may be two tasks.
    ends: [Option<Pin<Box<Sleep>>>; 2],
}

/// The index of a direction's timer.
const READER: usize = 0;
const WRITER: usize = 1;

impl<S> MeteredStream<S> {
    /// Counts the bytes of `inner` in `allowance`.
    pub fn new(inner: S, allowance: Arc<Allowance>) -> Self {
        let ends = [None, None];
        Self {
            inner,
            allowance,
            ends,
        }
    }

    /// The shared allowance.
    pub fn allowance(&self) -> &Arc<Allowance> {
        &self.allowance
    }

    fn count(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = written {
            self.allowance.written.fetch_add(bytes as u64, Relaxed);
        }
        written
    }

    /// Returns an error if the time is over. Otherwise wakes the caller when the time is over.
    fn check_time(&mut self, cx: &mut Context<'_>, who: usize) -> Result<(), LimitReached> {
        let Some((until, limit)) = self.allowance.until.zip(self.allowance.limit) else {
            return Ok(());
        };
        let end = self.ends[who].get_or_insert_with(|| Box::pin(sleep_until(until.into())));
        let is_over = end.is_elapsed() || end.as_mut().poll(cx).is_ready();
        let limit = limit.duration.unwrap_or_default();
        match is_over {
            true => Err(LimitReached::Duration { limit }),
            false => Ok(()),
        }
    }

    /// How many bytes of `wanted` may still be carried in a direction that has carried `used`.
    fn room(&self, used: u64, wanted: usize) -> usize {
        let left = self.data().map(|data| data.saturating_sub(used));
        let left = left.and_then(|left| usize::try_from(left).ok());
        left.map_or(wanted, |left| wanted.min(left))
    }

    fn data(&self) -> Option<u64> {
        self.allowance.limit?.data
    }

    fn data_reached(&self) -> io::Error {
        let limit = self.data().unwrap_or_default();
        LimitReached::Data { limit }.into()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for MeteredStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check_time(cx, READER)?;
        let (before, wanted) = (buf.filled().len(), buf.remaining());
        let room = self.room(self.allowance.bytes_read(), wanted);
        if room == wanted {
            let polled = Pin::new(&mut self.inner).poll_read(cx, buf);
            let read = buf.filled().len() - before;
            self.allowance.read.fetch_add(read as u64, Relaxed);
            return polled;
        }
        // A read of one byte beyond the limit shows whether the stream ends at the limit.
        let mut excess = [0];
        let room = match room {
            0 => &mut excess,
            room => buf.initialize_unfilled_to(room),
        };
        let mut part = ReadBuf::new(room);
        ready!(Pin::new(&mut self.inner).poll_read(cx, &mut part))?;
        let read = part.filled().len();
        if self.room(self.allowance.bytes_read(), read) < read {
            return Poll::Ready(Err(self.data_reached()));
        }
        buf.advance(read);
        self.allowance.read.fetch_add(read as u64, Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for MeteredStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check_time(cx, WRITER)?;
        let room = self.room(self.allowance.bytes_written(), buf.len());
        if room == 0 && !buf.is_empty() {
            return Poll::Ready(Err(self.data_reached()));
        }
        let written = Pin::new(&mut self.inner).poll_write(cx, &buf[..room]);
        self.count(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wanted = bufs.iter().map(|buf| buf.len()).sum();
        if self.room(self.allowance.bytes_written(), wanted) < wanted {
            let first = bufs.iter().find(|buf| !buf.is_empty());
            return self.poll_write(cx, first.map_or(&[], |buf| buf));
        }
        self.check_time(cx, WRITER)?;
        let written = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.count(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check_time(cx, WRITER)?;
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
