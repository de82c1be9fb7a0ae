//! A connection that moves a few bytes at a time and makes its user wait before each.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use transport_tcp::{ByteStream, DialContext, DialError, Dialer, Target};

/// Halts the streams of `inner`: where they move all there is at once, a cut would find few places.
pub(crate) struct Halting<D> {
    pub(crate) inner: D,
    /// Bytes at a time.
    pub(crate) step: usize,
}

#[async_trait::async_trait]
impl<D: Dialer> Dialer for Halting<D> {
    async fn dial(&self, target: &Target, cx: &DialContext) -> Result<ByteStream, DialError> {
        let io = self.inner.dial(target, cx).await?;
        let step = self.step;
        let (reading, writing) = (Halt(0), Halt(0));
        Ok(ByteStream::boxed(Halted {
            io,
            step,
            reading,
            writing,
        }))
    }
}

struct Halted {
    io: ByteStream,
    step: usize,
    reading: Halt,
    writing: Halt,
}

struct Halt(u8);

impl Halt {
    /// Twice before each step: TLS asks again at once if something has moved since it asked last.
    fn poll_halt(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.0 = (self.0 + 1) % 3;
        if self.0 > 0 {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(())
    }
}

impl AsyncRead for Halted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.reading.poll_halt(cx));
        let room = buf.remaining().min(self.step);
        let mut part = buf.take(room);
        ready!(Pin::new(&mut self.io).poll_read(cx, &mut part))?;
        let n = part.filled().len();
        buf.advance(n);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Halted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.writing.poll_halt(cx));
        let part = &buf[..buf.len().min(self.step)];
        Pin::new(&mut self.io).poll_write(cx, part)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
