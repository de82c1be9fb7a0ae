//! A stream that a caller has taken. It counts until it is dropped.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
};

use futures::{
    StreamExt,
    io::{AsyncRead as _, AsyncWrite as _},
};

use super::{Half, Shared, Waiting};

/// A stream and its place under the connection's limits.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(crate) stream: yamux::Stream,
    /// Bytes that were taken out of the muxer, and the number of those that have been read.
    rest: (Box<[u8]>, usize),
    waiting: Arc<Waiting>,
    place: Place,
    ending: Ending,
    /// Whether the stream was reset or lost before this side could end its half.
    reset: bool,
}

/// Whether this side has ended its half of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    No,
    Asked,
    Done,
}

impl Lease {
    pub(super) fn new(stream: yamux::Stream, waiting: Arc<Waiting>, place: Place) -> Self {
        Self {
            stream,
            rest: Default::default(),
            waiting,
            place,
            ending: Ending::No,
            reset: false,
        }
    }

    /// Ends our half. Asked again, yamux would end it again.
    pub(crate) fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let (ends, id) = (&self.place.shared.ends, self.place.id);
        match self.ending {
            Ending::Done => return Poll::Ready(Ok(())),
            Ending::Asked => {}
            Ending::No => {
                ends.end(id);
                self.ending = Ending::Asked;
            }
        }
        if let Err(error) = ready!(Pin::new(&mut self.stream).poll_close(cx)) {
            return Poll::Ready(Err(self.explain(error)));
        }
        self.ending = Ending::Done;
        // Reset or lost before: yamux writes no end.
        if self.stream.is_closed() && !ends.has_ended(id) {
            ends.unend(id);
            self.reset = true;
        }
        Poll::Ready(Ok(()))
    }

    /// Reads bytes that were taken out of the muxer.
    pub(crate) fn read_rest(&mut self, buf: &mut [u8]) -> Option<usize> {
        let (bytes, at) = &mut self.rest;
        let n = buf.len().min(bytes.len() - *at);
        if n == 0 {
            return None;
        }
        buf[..n].copy_from_slice(&bytes[*at..][..n]);
        *at += n;
        if *at > bytes.len() / 2 {
            self.rest = (bytes[*at..].into(), 0);
        }
        Some(n)
    }

    /// Counts bytes that were read from the muxer. The muxer keeps a frame until bytes after it are read.
    pub(crate) fn handle_read(&mut self, n: usize) {
        let Some(rest) = self.place.handle_read(n) else {
            return;
        };
        let mut cx = Context::from_waker(Waker::noop());
        if rest > 0 {
            let mut bytes = vec![0; rest];
            let taken = Pin::new(&mut self.stream).poll_read(&mut cx, &mut bytes);
            if let Poll::Ready(Ok(n)) = taken {
                bytes.truncate(n);
                self.place.handle_read(n);
                self.rest = (bytes.into(), 0);
            }
        }
        let _ = Pin::new(&mut self.stream).poll_read(&mut cx, &mut []);
    }

    /// What yamux calls the end of the stream: it is, if the peer said so.
    pub(crate) fn end_of_file(&self) -> io::Result<usize> {
        if self.place.shared.ends.has_ended(self.place.id) {
            return Ok(0);
        }
        Err(self.lost())
    }

    /// Why a stream ended that nobody has ended in order.
    fn lost(&self) -> io::Error {
        match self.place.shared.over() {
            Some(reason) => io::Error::new(io::ErrorKind::ConnectionAborted, reason),
            None => io::Error::new(io::ErrorKind::ConnectionReset, "the stream was reset"),
        }
    }

    /// The muxer's error, which says no more than that the connection is closed, in words that fit.
    pub(crate) fn explain(&self, error: io::Error) -> io::Error {
        match error.kind() {
            io::ErrorKind::WriteZero if self.place.shared.over().is_some() => self.lost(),
            io::ErrorKind::WriteZero if self.ending != Ending::No => {
                io::Error::new(io::ErrorKind::BrokenPipe, "the stream is shut down")
            }
            io::ErrorKind::WriteZero => self.lost(),
            _ => error,
        }
    }

    /// Ready once everything, the end of this side's half included, was handed to the layer below.
    pub(crate) fn poll_flushed(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let (shared, id) = (&self.place.shared, self.place.id);
        if self.ending != Ending::Done {
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the stream is not shut down",
            )));
        }
        if shared.ends.poll_flushed(id, cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        // Reset by the peer, which the muxer knows, or lost with its connection.
        match self.reset || shared.closed().is_some() {
            true => Poll::Ready(Err(self.lost())),
            false => Poll::Pending,
        }
    }

    /// The connection's state, which outlives it.
    pub(crate) fn shared(&self) -> &Shared {
        &self.place.shared
    }

    /// Pending as long as the connection lives, and an error from then on.
    pub(crate) fn poll_ended<T>(&self, half: Half, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        let waker = match half {
            Half::Read => &self.waiting.reader,
            Half::Write => &self.waiting.writer,
        };
        waker.register(cx.waker());
        match self.place.shared.over() {
            Some(_) => Poll::Ready(Err(self.lost())),
            None => Poll::Pending,
        }
    }
}

impl Shared {
    /// A stream is dropped. yamux keeps its unread bytes until it has sent the reset, and it cannot send the reset to a peer
    /// that reads nothing.
    pub(super) fn discard(&self, stream: &mut yamux::Stream) {
        let id = stream.id().val();
        self.ends.forget(id);
        if self.unread.forget(id) {
            let mut cx = Context::from_waker(Waker::noop());
            while let Poll::Ready(Some(Ok(_))) = stream.poll_next_unpin(&mut cx) {}
        }
    }
}

#[derive(Debug)]
pub(super) struct Place {
    pub(super) shared: Arc<Shared>,
    pub(super) id: u32,
    pub(super) inbound: bool,
}

impl Place {
    /// Bytes were read from the muxer. Returns the number of bytes that must also be taken out of the muxer.
    fn handle_read(&self, n: usize) -> Option<usize> {
        let read = self.shared.unread.read(self.id, n);
        if read.is_due {
            self.shared.driver.wake();
        }
        read.rest
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.ending == Ending::Asked {
            self.place.shared.ends.unend(self.place.id);
        }
        self.place.shared.discard(&mut self.stream);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.waiting.remove(&self.id);
        match self.inbound {
            true => state.inbound -= 1,
            false => state.outbound -= 1,
        }
    }
}
