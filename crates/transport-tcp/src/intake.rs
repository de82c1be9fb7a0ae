//! The reading side between yamux and the cipher. It parses the peer's frames, and joins small frames that would cost yamux
//! more memory than their payload.
//!
//! Backpressure: this side reads only when yamux reads. Joined bytes count against the credit that yamux gave the peer. A
//! frame that exceeds this credit is an error as soon as its header has arrived.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, ReadBuf};

use crate::{
    ends::Ends,
    header::{DATA, FIN, GO_AWAY, Header, LENGTH, RST, SYN},
    unread::{Fate, PIECE, Unread},
};

/// Steps that one poll may take without bytes for yamux. yamux must also get time to write.
const STEPS: usize = 64;

/// The bytes that are read at once of a body that is joined or skipped.
const SCRAP: usize = 1024;

#[derive(Debug)]
pub(crate) struct Intake {
    ends: Arc<Ends>,
    unread: Arc<Unread>,
    /// The header that is being read, or the last header that was read.
    header: Header,
    have: usize,
    /// The destination of the body after `header`, and the number of its bytes that have not arrived.
    fate: Fate,
    body: usize,
    /// The header that yamux is reading, and the number of bytes that yamux has read of it.
    given: Header,
    given_at: usize,
    /// The number of bytes that yamux still expects of the body after `given`.
    piece: usize,
    /// Joined bytes on their way to yamux.
    joined: Option<Joined>,
    /// A header that yamux gets after `joined`.
    then: Option<Header>,
    /// The end of the stream below, until yamux has learnt of it.
    end: Option<io::Result<()>>,
    violated: bool,
}

#[derive(Debug)]
struct Joined {
    id: u32,
    bytes: Box<[u8]>,
    at: usize,
}

impl Intake {
    pub(crate) fn new(ends: Arc<Ends>, unread: Arc<Unread>) -> Self {
        Self {
            ends,
            unread,
            header: Header::default(),
            have: 0,
            fate: Fate::Skip,
            body: 0,
            given: Header::default(),
            given_at: LENGTH,
            piece: 0,
            joined: None,
            then: None,
            end: None,
            violated: false,
        }
    }

    /// Whether the peer violated the protocol.
    pub(crate) fn is_violated(&self) -> bool {
        self.violated
    }

    /// The next bytes for yamux.
    pub(crate) fn poll_read<S>(
        &mut self,
        cx: &mut Context<'_>,
        io: &mut S,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>>
    where
        S: AsyncRead + Unpin,
    {
        for _ in 0..STEPS {
            if self.given_at < LENGTH {
                return Poll::Ready(Ok(self.give_header(buf)));
            }
            if self.piece > 0 {
                return self.poll_piece(cx, io, buf);
            }
            if self.next_frame() {
                continue;
            }
            if let Some(end) = self.end.take() {
                return Poll::Ready(end.map(|()| 0));
            }
            match self.body {
                0 => ready!(self.poll_header(cx, io))?,
                _ => ready!(self.poll_scrap(cx, io))?,
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn give_header(&mut self, buf: &mut [u8]) -> usize {
        let rest = &self.given.0[self.given_at..];
        let n = rest.len().min(buf.len());
        buf[..n].copy_from_slice(&rest[..n]);
        self.given_at += n;
        n
    }

    fn poll_piece<S>(
        &mut self,
        cx: &mut Context<'_>,
        io: &mut S,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>>
    where
        S: AsyncRead + Unpin,
    {
        let n = self.piece.min(buf.len());
        if let Some(joined) = &mut self.joined {
            buf[..n].copy_from_slice(&joined.bytes[joined.at..][..n]);
            joined.at += n;
            self.piece -= n;
            self.joined.take_if(|it| it.at == it.bytes.len());
            return Poll::Ready(Ok(n));
        }
        let n = ready!(self.poll_io(cx, io, &mut buf[..n]))?;
        self.piece -= n;
        self.took(n);
        Poll::Ready(Ok(n))
    }

    /// Begins to pass the next frame to yamux, if there is one.
    fn next_frame(&mut self) -> bool {
        if self.joined.is_none() {
            let due = self.unread.next_due();
            self.joined = due.map(|(id, bytes)| Joined { id, bytes, at: 0 });
        }
        if let Some(joined) = self.joined.take_if(|it| !self.unread.has(it.id)) {
            // This side has dropped the stream in the meantime.
            drop(joined);
            return true;
        }
        if let Some(joined) = &self.joined {
            self.piece = PIECE.min(joined.bytes.len() - joined.at);
            let header = Header::new(DATA, 0, joined.id, self.piece as u32);
            self.give(header);
            return true;
        }
        if let Some(then) = self.then.take() {
            self.give(then);
            return true;
        }
        self.body > 0 && self.fate == Fate::Pass && self.next_piece()
    }

    /// Begins to pass the next piece of a long frame to yamux.
    fn next_piece(&mut self) -> bool {
        if !self.unread.has(self.header.stream()) {
            self.fate = Fate::Skip;
            return false;
        }
        self.pass(self.header.flags() & FIN);
        true
    }

    /// Passes the first or the next piece of the current frame to yamux.
    fn pass(&mut self, flags: u8) {
        self.piece = self.body.min(PIECE);
        let flags = match self.piece < self.body {
            true => flags & !FIN,
            false => flags,
        };
        let header = self.header.with_flags(flags);
        self.give(header.with_number(self.piece as u32));
    }

    fn give(&mut self, header: Header) {
        self.given = header;
        self.given_at = 0;
    }

    fn poll_header<S>(&mut self, cx: &mut Context<'_>, io: &mut S) -> Poll<io::Result<()>>
    where
        S: AsyncRead + Unpin,
    {
        let mut header = self.header.0;
        match ready!(self.poll_io(cx, io, &mut header[self.have..])) {
            Ok(0) if self.have == 0 => self.finish(Ok(())),
            Ok(0) => self.finish(Err(io::ErrorKind::UnexpectedEof.into())),
            Err(error) => self.finish(Err(error)),
            Ok(n) => {
                self.header.0 = header;
                self.have += n;
                if self.have == LENGTH {
                    self.have = 0;
                    self.begin()?;
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Continues to read a body that is joined or skipped.
    fn poll_scrap<S>(&mut self, cx: &mut Context<'_>, io: &mut S) -> Poll<io::Result<()>>
    where
        S: AsyncRead + Unpin,
    {
        let mut scrap = [0; SCRAP];
        let n = self.body.min(SCRAP);
        match ready!(self.poll_io(cx, io, &mut scrap[..n])) {
            Ok(0) => self.finish(Err(io::ErrorKind::UnexpectedEof.into())),
            Err(error) => self.finish(Err(error)),
            Ok(n) => {
                if self.fate == Fate::Join {
                    self.unread.join(self.header.stream(), &scrap[..n]);
                }
                self.took(n);
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_io<S>(
        &mut self,
        cx: &mut Context<'_>,
        io: &mut S,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>>
    where
        S: AsyncRead + Unpin,
    {
        let mut buf = ReadBuf::new(buf);
        ready!(Pin::new(io).poll_read(cx, &mut buf))?;
        let n = buf.filled().len();
        self.ends.receive(n);
        Poll::Ready(Ok(n))
    }

    /// The stream below has ended: yamux gets the joined bytes, and then learns of the end.
    fn finish(&mut self, end: io::Result<()>) {
        self.unread.end_all();
        self.end = Some(end);
    }

    /// A frame begins.
    fn begin(&mut self) -> io::Result<()> {
        let header = self.header;
        if !header.is_of_stream() {
            if header.kind() == GO_AWAY {
                self.unread.end_all();
            }
            self.then = Some(header);
            return Ok(());
        }
        let (id, is_reset) = (header.stream(), header.has(RST));
        if header.has(SYN) && !is_reset {
            self.ends.begin(id);
            self.unread.open(id);
        }
        if header.kind() == DATA {
            return self.begin_data(is_reset);
        }
        self.then = Some(header);
        if header.has(FIN | RST) {
            self.end_stream();
        }
        Ok(())
    }

    fn begin_data(&mut self, is_reset: bool) -> io::Result<()> {
        let header = self.header;
        self.body = header.number() as usize;
        // yamux takes no body from a reset.
        self.fate = match is_reset {
            true => Fate::Skip,
            false => {
                let fate = self.unread.frame(header.stream(), self.body);
                self.violated = fate.is_err();
                fate?
            }
        };
        match self.fate {
            Fate::Pass => self.pass(header.flags()),
            // The flags are passed before the bytes, except for the end, which is passed after them.
            Fate::Join | Fate::Skip if header.flags() & !(FIN | RST) != 0 => {
                let flags = header.flags() & !(FIN | RST);
                self.then = Some(header.with_flags(flags).with_number(0));
            }
            Fate::Join | Fate::Skip => {}
        }
        self.took(0);
        Ok(())
    }

    /// Counts bytes of a body that have been processed.
    fn took(&mut self, n: usize) {
        self.body -= n;
        if self.body > 0 || !self.header.has(FIN | RST) {
            return;
        }
        if self.fate != Fate::Pass {
            self.then = Some(self.header.with_number(0));
        }
        self.end_stream();
    }

    /// The peer has ended or reset the stream of the frame that was read.
    fn end_stream(&mut self) {
        let id = self.header.stream();
        if !self.header.has(RST) {
            self.ends.end_of_peer(id);
        }
        if let Some(bytes) = self.unread.end(id) {
            self.joined = Some(Joined { id, bytes, at: 0 });
        }
    }
}

#[cfg(test)]
mod tests;
