//! The transport phase: u16-prefixed Noise messages as a byte stream.
//!
//! Reading ahead lets one system call bring several messages, and one write of the layer above
//! becomes one system call with all its messages. Both buffers exist only while they hold
//! something.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use snow::TransportState;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::io::poll_read_buf;

use super::{MAX_MESSAGE, PREFIX, TAG};

/// Plaintext of one message.
const MAX_PLAIN: usize = MAX_MESSAGE - TAG;
/// Ciphertext that is read at once: room for the message under way and the next.
const READ: usize = 2 * (PREFIX + MAX_MESSAGE);
/// Ciphertext that waits for the socket.
const WRITE: usize = 4 * (PREFIX + MAX_MESSAGE);

pub(crate) struct NoiseStream<S> {
    io: S,
    state: TransportState,
    incoming: Incoming,
    /// Ciphertext, from `sent` on still to be written.
    outgoing: Vec<u8>,
    sent: usize,
    /// Set by the first message that does not decrypt: the stream is then dead for good.
    broken: bool,
}

#[derive(Default)]
struct Incoming {
    /// Ciphertext, from `parsed` on not yet decrypted.
    raw: Vec<u8>,
    parsed: usize,
    /// Plaintext, from `taken` on not yet read.
    plain: Vec<u8>,
    taken: usize,
}

impl<S> NoiseStream<S> {
    /// `read` is what has been read from `io` past the handshake.
    pub(crate) fn new(io: S, state: TransportState, read: Vec<u8>) -> Self {
        Self {
            io,
            state,
            incoming: Incoming {
                raw: read,
                ..Incoming::default()
            },
            outgoing: Vec::new(),
            sent: 0,
            broken: false,
        }
    }
}

impl Incoming {
    /// The next whole message: where it begins and ends in `raw`.
    fn message(&self) -> Option<std::ops::Range<usize>> {
        let rest = &self.raw[self.parsed..];
        let prefix = rest.get(..PREFIX)?;
        let length = usize::from(u16::from_be_bytes([prefix[0], prefix[1]]));
        let begin = self.parsed + PREFIX;
        (rest.len() >= PREFIX + length).then_some(begin..begin + length)
    }

    /// Decrypts the next message, if it is all here. Gives whether it was.
    fn decrypt(&mut self, state: &mut TransportState) -> Result<bool, snow::Error> {
        let Some(message) = self.message() else {
            return Ok(false);
        };
        self.parsed = message.end;
        let message = &self.raw[message];
        // The cipher works in place on a copy, and wants room for the tag in it.
        self.plain.resize(message.len(), 0);
        self.taken = 0;
        let length = state.read_message(message, &mut self.plain)?;
        self.plain.truncate(length);
        Ok(true)
    }

    fn take(&mut self, buf: &mut ReadBuf<'_>) {
        let rest = &self.plain[self.taken..];
        let n = rest.len().min(buf.remaining());
        buf.put_slice(&rest[..n]);
        self.taken += n;
    }

    /// Makes room behind the part of a message that is already here.
    fn prepare(&mut self) {
        self.raw.drain(..self.parsed);
        self.parsed = 0;
        self.raw.reserve_exact(READ - self.raw.len());
    }

    /// Nothing came: what is empty is given back.
    fn rest(&mut self) {
        self.plain = Vec::new();
        self.taken = 0;
        if self.raw.is_empty() {
            self.raw = Vec::new();
        }
    }
}

fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "noise message does not decrypt")
}

impl<S: AsyncRead + Unpin> AsyncRead for NoiseStream<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.incoming.taken < this.incoming.plain.len() {
                this.incoming.take(buf);
                return Poll::Ready(Ok(()));
            }
            if this.broken {
                return Poll::Ready(Err(broken()));
            }
            match this.incoming.decrypt(&mut this.state) {
                Ok(true) => continue,
                Ok(false) => {}
                Err(_) => {
                    this.broken = true;
                    this.incoming = Incoming::default();
                    continue;
                }
            }
            this.incoming.prepare();
            let read = poll_read_buf(Pin::new(&mut this.io), cx, &mut this.incoming.raw);
            if !matches!(read, Poll::Ready(Ok(1..))) {
                this.incoming.rest();
            }
            if ready!(read)? == 0 {
                return match this.incoming.raw.is_empty() {
                    true => Poll::Ready(Ok(())),
                    false => Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                };
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> NoiseStream<S> {
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.outgoing.len() {
            let rest = &self.outgoing[self.sent..];
            match ready!(Pin::new(&mut self.io).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                n => self.sent += n,
            }
        }
        self.outgoing = Vec::new();
        self.sent = 0;
        Poll::Ready(Ok(()))
    }

    /// Encrypts as much of `buf` as there is room for.
    fn encrypt(&mut self, buf: &[u8]) -> io::Result<usize> {
        let mut done = 0;
        for plain in buf.chunks(MAX_PLAIN) {
            let begin = self.outgoing.len();
            let length = plain.len() + TAG;
            if begin + PREFIX + length > WRITE {
                break;
            }
            let prefix = u16::try_from(length).map_err(io::Error::other)?;
            self.outgoing.extend_from_slice(&prefix.to_be_bytes());
            self.outgoing.resize(begin + PREFIX + length, 0);
            let message = &mut self.outgoing[begin + PREFIX..];
            self.state
                .write_message(plain, message)
                .map_err(io::Error::other)?;
            done += plain.len();
        }
        Ok(done)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for NoiseStream<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if !this.outgoing.is_empty() {
            ready!(this.poll_drain(cx))?;
        }
        let mut done = 0;
        for buf in bufs {
            let n = this.encrypt(buf)?;
            done += n;
            if n < buf.len() {
                break;
            }
        }
        // What the socket does not take now is owed from here on: `poll_flush` waits for it.
        match this.poll_drain(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(done)),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_drain(cx))?;
        Pin::new(&mut this.io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_drain(cx))?;
        Pin::new(&mut this.io).poll_shutdown(cx)
    }
}
