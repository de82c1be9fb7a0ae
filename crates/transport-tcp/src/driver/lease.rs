//! A stream that is handed out: it counts until it is dropped.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use futures::io::AsyncWrite as _;

use super::{Half, Shared, Waiting};

/// A stream and its place under the connection's limits.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(crate) stream: yamux::Stream,
    waiting: Arc<Waiting>,
    place: Place,
    ending: Ending,
}

/// Whether we end our half of a stream.
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
            waiting,
            place,
            ending: Ending::No,
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
        ready!(Pin::new(&mut self.stream).poll_close(cx))?;
        self.ending = Ending::Done;
        // Reset or lost before: yamux has nothing to say of its end.
        if self.stream.is_closed() && !ends.has_ended(id) {
            ends.unend(id);
        }
        Poll::Ready(Ok(()))
    }

    /// What yamux calls the end of the stream: it is, if the peer said so.
    pub(crate) fn end_of_file(&self) -> io::Result<usize> {
        if self.place.shared.ends.has_ended(self.place.id) {
            return Ok(0);
        }
        Err(match self.place.shared.closed() {
            Some(reason) => io::Error::new(io::ErrorKind::ConnectionAborted, reason.to_string()),
            None => io::Error::new(io::ErrorKind::ConnectionReset, "the stream was reset"),
        })
    }

    /// Pending as long as the connection lives, and an error from then on.
    pub(crate) fn poll_ended<T>(&self, half: Half, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        let waker = match half {
            Half::Read => &self.waiting.reader,
            Half::Write => &self.waiting.writer,
        };
        waker.register(cx.waker());
        match self.place.shared.closed() {
            Some(reason) => Poll::Ready(Err(io::Error::new(
                io::ErrorKind::ConnectionAborted,
                reason.to_string(),
            ))),
            None => Poll::Pending,
        }
    }
}

#[derive(Debug)]
pub(super) struct Place {
    pub(super) shared: Arc<Shared>,
    pub(super) id: u32,
    pub(super) inbound: bool,
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.ending == Ending::Asked {
            self.place.shared.ends.unend(self.place.id);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.ends.forget(self.id);
        let mut state = self.shared.lock();
        state.waiting.remove(&self.id);
        match self.inbound {
            true => state.inbound -= 1,
            false => state.outbound -= 1,
        }
    }
}
