//! The writing side between yamux and the cipher. It joins small writes, and ends a connection after yamux has reported
//! a violation of the protocol.
//!
//! yamux writes the 12-byte header of a frame and its body separately. With a cipher, each of these writes would cause
//! its own record and system call. Small writes therefore wait here for the next large write or for a flush.
//!
//! When a peer violates the protocol, yamux sends a go-away frame, but continues to serve the peer until the peer
//! leaves. This module notices the go-away frame when it is sent, and reads no byte of the peer afterwards.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::{
    ends::Ends,
    error::Violation,
    header::{DATA, GO_AWAY, Header, LENGTH, WINDOW_UPDATE},
    intake::Intake,
    unread::Unread,
};

/// Up to this length a write waits: headers and the frames of a ping.
const SMALL: usize = 1024;
/// What may wait in all.
const STASH: usize = 8 * 1024;

/// Reads that may go before a flush. A peer that never pauses must not hold back our answers.
const READS_FIRST: u8 = 32;

#[derive(Debug)]
pub(crate) struct Coalesce<S> {
    io: S,
    stash: Vec<u8>,
    sent: usize,
    /// What is still to come of the body of the frame being written.
    body: usize,
    condemned: bool,
    /// Whether this side has closed.
    shut: bool,
    /// yamux wants a flush, and so many reads have gone before it.
    flush_owed: Option<u8>,
    intake: Intake,
    ends: Arc<Ends>,
    unread: Arc<Unread>,
}

impl<S> Coalesce<S> {
    pub(crate) fn new(io: S, ends: Arc<Ends>, unread: Arc<Unread>) -> Self {
        Self {
            io,
            stash: Vec::new(),
            sent: 0,
            body: 0,
            condemned: false,
            shut: false,
            flush_owed: None,
            intake: Intake::new(ends.clone(), unread.clone()),
            ends,
            unread,
        }
    }

    /// Follows the frames as they are written. yamux writes a header in one piece, and a small piece
    /// is always taken whole.
    fn observe(&mut self, written: &[u8]) {
        if self.body > 0 {
            self.body = self.body.saturating_sub(written.len());
        } else if let Ok(header) = <[u8; LENGTH]>::try_from(written) {
            let header = Header(header);
            match header.kind() {
                DATA => self.body = header.number() as usize,
                WINDOW_UPDATE => self.unread.grant(header.stream(), header.number()),
                GO_AWAY => self.condemned |= header.number() != 0,
                _ => {}
            }
        }
    }

    /// Tells the peer that it violated the protocol, unless a frame for it has been written in part.
    fn condemn(&mut self) {
        if self.body == 0 {
            self.stash.extend(Header::protocol_error().0);
            self.flush_owed.get_or_insert(0);
        }
        self.condemned = true;
    }

    fn advance(&mut self, n: usize) {
        self.sent += n;
        if self.sent == self.stash.len() {
            self.stash = Vec::new();
            self.sent = 0;
        }
    }
}

impl<S: AsyncWrite + Unpin> Coalesce<S> {
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.stash.is_empty() {
            let rest = &self.stash[self.sent..];
            match ready!(Pin::new(&mut self.io).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                n => self.advance(n),
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_owed(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.flush_owed.is_some() {
            ready!(self.poll_drain(cx))?;
            ready!(Pin::new(&mut self.io).poll_flush(cx))?;
            self.flush_owed = None;
            self.ends.flushed();
        }
        Poll::Ready(Ok(()))
    }

    /// Reads until the peer has closed as well. A socket that is closed while bytes for it are still coming answers them
    /// with a reset, and that destroys what the peer's kernel has not yet received or handed on (RFC 1122 section
    /// 4.2.2.13).
    fn poll_last_bytes(&mut self, cx: &mut Context<'_>) -> Poll<()>
    where
        S: AsyncRead,
    {
        let mut bytes = [0; 1024];
        loop {
            let mut buf = ReadBuf::new(&mut bytes);
            match ready!(Pin::new(&mut self.io).poll_read(cx, &mut buf)) {
                Ok(()) if !buf.filled().is_empty() => {}
                _ => return Poll::Ready(()),
            }
        }
    }

    fn poll_take(&mut self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if buf.len() <= SMALL {
            if self.stash.len() + buf.len() > STASH {
                ready!(self.poll_drain(cx))?;
            }
            self.stash.extend_from_slice(buf);
            return Poll::Ready(Ok(buf.len()));
        }
        while !self.stash.is_empty() {
            let waiting = self.stash.len() - self.sent;
            let both = [IoSlice::new(&self.stash[self.sent..]), IoSlice::new(buf)];
            match ready!(Pin::new(&mut self.io).poll_write_vectored(cx, &both))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                n if n > waiting => {
                    self.advance(waiting);
                    return Poll::Ready(Ok(n - waiting));
                }
                n => self.advance(n),
            }
        }
        Pin::new(&mut self.io).poll_write(cx, buf)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> futures::io::AsyncRead for Coalesce<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.condemned {
            // The peer may learn why, if it takes the go-away at once.
            let _ = this.poll_owed(cx)?;
            return Poll::Ready(Err(Violation::Refused.into()));
        }
        if this.flush_owed == Some(READS_FIRST) {
            // Whether or not it gets done: reading must not wait for a peer that does not read.
            let _ = this.poll_owed(cx)?;
        }
        match this.intake.poll_read(cx, &mut this.io, buf) {
            Poll::Pending => {}
            Poll::Ready(Err(error)) if this.intake.is_violated() => {
                this.condemn();
                let _ = this.poll_owed(cx)?;
                return Poll::Ready(Err(error));
            }
            done => {
                this.flush_owed = this.flush_owed.map(|reads| READS_FIRST.min(reads + 1));
                return done;
            }
        }
        ready!(this.poll_owed(cx))?;
        Poll::Pending
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> futures::io::AsyncWrite for Coalesce<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let amended;
        let buf = match <[u8; LENGTH]>::try_from(buf) {
            Ok(header) if this.body == 0 => {
                // There must be room for it, so that it is not amended twice.
                if this.stash.len() + LENGTH > STASH {
                    ready!(this.poll_drain(cx))?;
                }
                amended = this.ends.amend(Header(header));
                &amended.0
            }
            _ => buf,
        };
        let written = ready!(this.poll_take(cx, buf))?;
        this.observe(&buf[..written]);
        Poll::Ready(Ok(written))
    }

    /// yamux flushes after each frame and reads last of all: what it has to say by then goes out
    /// in one piece, when there is nothing left to read.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().flush_owed.get_or_insert(0);
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.shut {
            ready!(this.poll_drain(cx))?;
            ready!(Pin::new(&mut this.io).poll_shutdown(cx))?;
            this.shut = true;
            this.ends.flushed();
        }
        this.poll_last_bytes(cx).map(Ok)
    }
}

#[cfg(test)]
mod tests;
