//! Reads from the socket in large pieces for a reader that asks for small ones.
//!
//! rustls reads 4 KiB at a time, and multistream-select reads one byte at a time. Each of these
//! reads would otherwise be a system call.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::buffer::{Buffer, CAPACITY};

#[derive(Debug)]
pub(crate) struct ReadAhead<S> {
    io: S,
    buffer: Buffer,
}

impl<S> ReadAhead<S> {
    pub(crate) fn new(io: S) -> Self {
        Self {
            io,
            buffer: Buffer::default(),
        }
    }

    pub(crate) fn get_mut(&mut self) -> &mut S {
        &mut self.io
    }

    /// The stream and what was read from it and not yet taken.
    pub(crate) fn into_parts(self) -> (S, Buffer) {
        (self.io, self.buffer)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ReadAhead<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.buffer.is_empty() {
            if buf.remaining() >= CAPACITY {
                return Pin::new(&mut this.io).poll_read(cx, buf);
            }
            ready!(this.buffer.poll_fill(cx, &mut this.io, CAPACITY))?;
        }
        this.buffer.give(buf, CAPACITY);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ReadAhead<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_io::{TestIo, cx, flush, read, shutdown, write};

    #[test]
    fn many_small_reads_cost_one_read_of_the_socket() {
        let mut stream = ReadAhead::new(TestIo::new([&b"hello"[..], b"!"]));
        for byte in b"hello!" {
            assert_eq!(read(&mut stream, 1), Poll::Ready(Ok(vec![*byte])));
        }
        assert!(read(&mut stream, 1).is_pending());
        let asked: Vec<usize> = stream.io.reads.iter().map(|(most, _)| *most).collect();
        assert_eq!(asked, [CAPACITY; 2]);
    }

    #[test]
    fn a_read_that_takes_a_whole_buffer_gets_its_bytes_without_a_copy() {
        for (most, straight) in [
            (CAPACITY - 1, false),
            (CAPACITY, true),
            (CAPACITY + 1, true),
        ] {
            let mut stream = ReadAhead::new(TestIo::new([&b"hello"[..]]));
            let mut memory = vec![0; most];
            let place = memory.as_ptr();
            let mut buf = ReadBuf::new(&mut memory);
            let read = Pin::new(&mut stream).poll_read(&mut cx(), &mut buf);
            assert!(matches!(read, Poll::Ready(Ok(()))));
            assert_eq!(buf.filled(), b"hello");
            assert_eq!(stream.io.reads[0].1 == place, straight, "{most} bytes");
        }
    }

    #[test]
    fn a_large_read_first_gets_what_was_read_ahead() {
        let mut stream = ReadAhead::new(TestIo::new([&b"hello"[..], b"world"]));
        assert_eq!(read(&mut stream, 1), Poll::Ready(Ok(b"h".to_vec())));
        assert_eq!(
            read(&mut stream, CAPACITY),
            Poll::Ready(Ok(b"ello".to_vec()))
        );
        assert_eq!(read(&mut stream, 2), Poll::Ready(Ok(b"wo".to_vec())));
        let (io, rest) = stream.into_parts();
        assert_eq!((rest.bytes(), io.pieces.len()), (&b"rld"[..], 0));
    }

    #[test]
    fn the_end_of_the_socket_is_the_end() {
        let mut stream = ReadAhead::new(TestIo::new([&b"a"[..], b""]));
        assert_eq!(read(&mut stream, 9), Poll::Ready(Ok(b"a".to_vec())));
        assert_eq!(read(&mut stream, 9), Poll::Ready(Ok(Vec::new())));
    }

    #[test]
    fn what_is_written_goes_straight_to_the_socket() {
        for is_vectored in [false, true] {
            let mut stream = ReadAhead::new(TestIo::new([]));
            stream.get_mut().is_vectored = is_vectored;
            assert_eq!(stream.is_write_vectored(), is_vectored);
            assert_eq!(write(&mut stream, &[b"a", b"bc"]), Poll::Ready(Ok(3)));
            let one = Pin::new(&mut stream).poll_write(&mut cx(), b"d");
            assert!(matches!(one, Poll::Ready(Ok(1))));
            assert_eq!(stream.io.writes, [&b"abc"[..], b"d"]);
            assert_eq!((stream.io.vectored, stream.io.flushes), (1, 0));
            assert_eq!(flush(&mut stream), Poll::Ready(Ok(())));
            assert_eq!((stream.io.flushes, stream.io.shutdowns), (1, 0));
            assert_eq!(shutdown(&mut stream), Poll::Ready(Ok(())));
            assert_eq!((stream.io.flushes, stream.io.shutdowns), (1, 1));
        }
    }
}
