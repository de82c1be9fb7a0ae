//! An optimistic negotiation: if this side offers one protocol only, it need not wait for the answer.
//!
//! The offer is sent before the first bytes written, and the answer is removed from the first bytes read. On the wire this is
//! multistream-select 1.0 with one round trip less. A refusal ends the stream, as in a normal negotiation.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::NegotiateError;

const HEADER: &str = "/multistream/1.0.0";

#[derive(Debug)]
pub(crate) struct Presume<S> {
    io: S,
    open: Option<Box<Open>>,
}

/// What is still to be written and to be read. Both ends say the same.
#[derive(Debug)]
struct Open {
    talk: Vec<u8>,
    written: usize,
    read: usize,
}

impl<S> Presume<S> {
    pub(crate) fn new(io: S) -> Self {
        Self { io, open: None }
    }

    /// Assumes that the peer agrees to `protocol`.
    pub(crate) fn presume(&mut self, protocol: &str) {
        let mut talk = Vec::new();
        for message in [HEADER, protocol] {
            // A security protocol's name is short enough for a varint of one byte.
            talk.push(message.len() as u8 + 1);
            talk.extend_from_slice(message.as_bytes());
            talk.push(b'\n');
        }
        self.open = Some(Box::new(Open {
            talk,
            written: 0,
            read: 0,
        }));
    }

    fn close_if_done(&mut self) {
        let done = |open: &Open| open.written == open.talk.len() && open.read == open.talk.len();
        if self.open.as_deref().is_some_and(done) {
            self.open = None;
        }
    }
}

impl Open {
    fn unwritten(&self) -> &[u8] {
        &self.talk[self.written..]
    }

    /// How many of `bytes` belong to the answer.
    fn check(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let awaited = &self.talk[self.read..];
        let n = awaited.len().min(bytes.len());
        if awaited[..n] != bytes[..n] {
            return Err(io::Error::other(NegotiateError::NoneInCommon));
        }
        self.read += n;
        Ok(n)
    }
}

impl<S: AsyncWrite + Unpin> Presume<S> {
    /// Writes what is left of the offer, and `bufs` behind it; the number returned is of the latter.
    fn poll_offer(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        while let Some(open) = self
            .open
            .as_deref_mut()
            .filter(|o| !o.unwritten().is_empty())
        {
            let offer = open.unwritten().len();
            let mut all = Vec::with_capacity(bufs.len() + 1);
            all.push(IoSlice::new(open.unwritten()));
            all.extend_from_slice(bufs);
            let n = ready!(Pin::new(&mut self.io).poll_write_vectored(cx, &all))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            open.written += n.min(offer);
            if n > offer {
                return Poll::Ready(Ok(n - offer));
            }
        }
        Poll::Ready(Ok(0))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Presume<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while let Some(open) = this.open.as_deref_mut().filter(|o| o.read < o.talk.len()) {
            let begin = buf.filled().len();
            ready!(Pin::new(&mut this.io).poll_read(cx, buf))?;
            let end = buf.filled().len();
            if begin == end {
                return Poll::Ready(Ok(()));
            }
            let filled = buf.filled_mut();
            let answer = open.check(&filled[begin..])?;
            filled.copy_within(begin + answer.., begin);
            buf.set_filled(end - answer);
            this.close_if_done();
            if end - answer > begin {
                return Poll::Ready(Ok(()));
            }
        }
        Pin::new(&mut this.io).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Presume<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.open.is_some() {
            let taken = ready!(this.poll_offer(cx, &[IoSlice::new(buf)]))?;
            this.close_if_done();
            if taken > 0 {
                return Poll::Ready(Ok(taken));
            }
        }
        Pin::new(&mut this.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.open.is_some() {
            let taken = ready!(this.poll_offer(cx, bufs))?;
            this.close_if_done();
            if taken > 0 {
                return Poll::Ready(Ok(taken));
            }
        }
        Pin::new(&mut this.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_offer(cx, &[]))?;
        Pin::new(&mut this.io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;
    use crate::test_io::{TestIo, flush, read, shutdown, write};

    const TALK: &[u8] = b"\x13/multistream/1.0.0\n\x0b/tls/1.0.0\n";

    #[tokio::test]
    async fn the_offer_goes_ahead_of_what_is_written_and_the_answer_is_taken_out() {
        // A pipe of one byte splits everything wherever it can be split.
        for capacity in [1, 7, 20, 33, 4096] {
            let (near, mut far) = duplex(capacity);
            let mut near = Presume::new(near);
            near.presume("/tls/1.0.0");
            let (read, mut write) = tokio::io::split(near);
            let writer = async move {
                write.write_all(b"hello").await.unwrap();
                write.flush().await.unwrap();
                write
            };
            let peer = async {
                let mut heard = vec![0; TALK.len() + 5];
                far.read_exact(&mut heard).await.unwrap();
                far.write_all(&[TALK, b"world"].concat()).await.unwrap();
                heard
            };
            let reader = async move {
                let mut read = read;
                let mut answer = [0; 5];
                read.read_exact(&mut answer).await.unwrap();
                answer
            };
            let (_write, heard, answer) = tokio::join!(writer, peer, reader);
            assert_eq!(heard, [TALK, b"hello"].concat());
            assert_eq!(&answer, b"world");
        }
    }

    #[tokio::test]
    async fn a_refusal_is_told_apart_from_a_broken_stream() {
        let (near, mut far) = duplex(4096);
        let mut near = Presume::new(near);
        near.presume("/tls/1.0.0");
        far.write_all(b"\x13/multistream/1.0.0\n\x03na\n")
            .await
            .unwrap();
        let error = near.read_exact(&mut [0; 1]).await.unwrap_err();
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
        assert!(
            matches!(inner, Some(NegotiateError::NoneInCommon)),
            "{error}"
        );
    }

    /// A stream that offers TLS to a peer which sends these pieces.
    fn offering<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Presume<TestIo> {
        let mut stream = Presume::new(TestIo::new(pieces));
        stream.presume("/tls/1.0.0");
        stream
    }

    #[test]
    fn what_comes_with_the_answer_is_given_at_once() {
        let mut stream = offering([&[TALK, b"world"].concat()[..]]);
        assert_eq!(read(&mut stream, 100), Poll::Ready(Ok(b"world".to_vec())));
        assert!(read(&mut stream, 100).is_pending());
        // An end within the answer is an end.
        let mut stream = offering([&TALK[..9], b""]);
        assert_eq!(read(&mut stream, 100), Poll::Ready(Ok(Vec::new())));
    }

    #[test]
    fn nothing_is_kept_of_the_negotiation_once_both_have_said_everything() {
        for read_first in [true, false] {
            let mut stream = offering([TALK]);
            if read_first {
                assert!(read(&mut stream, 100).is_pending());
                assert!(stream.open.is_some(), "the offer is not written");
            }
            assert_eq!(write(&mut stream, &[b"a"]), Poll::Ready(Ok(1)));
            assert_eq!(stream.open.is_some(), !read_first);
            assert!(read(&mut stream, 100).is_pending());
            assert!(stream.open.is_none());
        }
    }

    #[test]
    fn the_offer_and_the_first_pieces_are_one_write() {
        for is_vectored in [false, true] {
            let mut stream = offering([]);
            stream.io.is_vectored = is_vectored;
            assert_eq!(stream.is_write_vectored(), is_vectored);
            assert_eq!(write(&mut stream, &[b"a", b"bc"]), Poll::Ready(Ok(3)));
            assert_eq!(stream.io.writes, [[TALK, b"abc"].concat()]);
            assert_eq!(write(&mut stream, &[b"d", b"ef"]), Poll::Ready(Ok(3)));
            assert_eq!(stream.io.writes[1], b"def");
        }
    }

    #[test]
    fn a_write_of_which_only_the_offer_fits_takes_nothing_and_repeats_nothing() {
        for room in [1, TALK.len() - 1, TALK.len(), TALK.len() + 1] {
            let mut stream = offering([]);
            stream.io.room = room;
            let written = write(&mut stream, &[b"ab", b"c"]);
            let taken = match room > TALK.len() {
                true => Poll::Ready(Ok(1)),
                false => Poll::Pending,
            };
            assert_eq!(written, taken, "{room}");
            stream.io.room = usize::MAX;
            let rest = if taken.is_ready() { &b"b"[..] } else { b"ab" };
            let written = write(&mut stream, &[rest, b"c"]);
            assert_eq!(written, Poll::Ready(Ok(rest.len() + 1)));
            assert_eq!(stream.io.writes.concat(), [TALK, b"abc"].concat());
        }
    }

    #[test]
    fn a_flush_sends_the_offer_and_both_a_flush_and_an_end_reach_the_stream_below() {
        let mut stream = offering([]);
        stream.io.room = 5;
        assert!(flush(&mut stream).is_pending());
        assert_eq!(stream.io.flushes, 0);
        stream.io.room = usize::MAX;
        assert_eq!(flush(&mut stream), Poll::Ready(Ok(())));
        assert_eq!(
            (stream.io.writes.concat(), stream.io.flushes),
            (TALK.to_vec(), 1)
        );
        assert_eq!(shutdown(&mut stream), Poll::Ready(Ok(())));
        assert_eq!(stream.io.shutdowns, 1);
    }
}
