//! A byte stream for tests: it returns given pieces, and records each call.

use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, Waker},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

#[derive(Debug, Default)]
pub(crate) struct TestIo {
    /// The results of the next reads. An empty piece is the end of the stream. Without a piece, a read waits.
    pub(crate) pieces: VecDeque<Vec<u8>>,
    /// The length and the position of the buffer of each read that returned bytes or the end.
    pub(crate) reads: Vec<(usize, *const u8)>,
    /// How many bytes writes accept before a write waits.
    pub(crate) room: usize,
    /// The error of every write when there is no room.
    pub(crate) fault: Option<io::ErrorKind>,
    /// The bytes that each write accepted.
    pub(crate) writes: Vec<Vec<u8>>,
    /// How many of the writes were vectored.
    pub(crate) vectored: usize,
    pub(crate) is_vectored: bool,
    pub(crate) flushes: usize,
    pub(crate) shutdowns: usize,
}

impl TestIo {
    /// A stream that returns these pieces and accepts all writes.
    pub(crate) fn new<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Self {
        Self {
            pieces: pieces.into_iter().map(<[u8]>::to_vec).collect(),
            room: usize::MAX,
            ..Self::default()
        }
    }

    fn take(&mut self, bytes: impl Iterator<Item = u8>) -> Poll<io::Result<usize>> {
        let taken: Vec<u8> = bytes.take(self.room).collect();
        if self.room == 0 {
            return match self.fault {
                None => Poll::Pending,
                Some(fault) => Poll::Ready(Err(fault.into())),
            };
        }
        self.room -= taken.len();
        let n = taken.len();
        self.writes.push(taken);
        Poll::Ready(Ok(n))
    }
}

impl AsyncRead for TestIo {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let Some(mut piece) = this.pieces.pop_front() else {
            return Poll::Pending;
        };
        let place = buf.initialize_unfilled().as_ptr();
        this.reads.push((buf.remaining(), place));
        let rest = piece.split_off(piece.len().min(buf.remaining()));
        buf.put_slice(&piece);
        if !rest.is_empty() {
            this.pieces.push_front(rest);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for TestIo {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().take(buf.iter().copied())
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.vectored += 1;
        this.take(bufs.iter().flat_map(|buf| buf.iter().copied()))
    }

    fn is_write_vectored(&self) -> bool {
        self.is_vectored
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().flushes += 1;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().shutdowns += 1;
        Poll::Ready(Ok(()))
    }
}

/// The context of a task that is never woken.
pub(crate) fn cx() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

/// One read of at most `most` bytes.
pub(crate) fn read(
    stream: &mut (impl AsyncRead + Unpin),
    most: usize,
) -> Poll<Result<Vec<u8>, io::ErrorKind>> {
    let mut memory = vec![0; most];
    let mut buf = ReadBuf::new(&mut memory);
    let read = Pin::new(stream).poll_read(&mut cx(), &mut buf);
    let filled = buf.filled().to_vec();
    read.map(|read| read.map(|()| filled).map_err(|error| error.kind()))
}

/// One write of these pieces. Returns the number of accepted bytes.
pub(crate) fn write(
    stream: &mut (impl AsyncWrite + Unpin),
    pieces: &[&[u8]],
) -> Poll<Result<usize, io::ErrorKind>> {
    let pieces: Vec<IoSlice<'_>> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
    let written = Pin::new(stream).poll_write_vectored(&mut cx(), &pieces);
    written.map(|written| written.map_err(|error| error.kind()))
}

pub(crate) fn flush(stream: &mut (impl AsyncWrite + Unpin)) -> Poll<Result<(), io::ErrorKind>> {
    let flushed = Pin::new(stream).poll_flush(&mut cx());
    flushed.map(|flushed| flushed.map_err(|error| error.kind()))
}

pub(crate) fn shutdown(stream: &mut (impl AsyncWrite + Unpin)) -> Poll<Result<(), io::ErrorKind>> {
    let shut = Pin::new(stream).poll_shutdown(&mut cx());
    shut.map(|shut| shut.map_err(|error| error.kind()))
}
