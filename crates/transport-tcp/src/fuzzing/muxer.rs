//! Fuzzing of the muxer's reading side with the frames of a peer.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use tokio::io::{AsyncRead, ReadBuf};

use crate::{
    header::{DATA, FIN, GO_AWAY, Header, LENGTH, RST, SYN, WINDOW_UPDATE},
    intake::Intake,
    unread::{FEW, LARGE, PIECE, Unread, WINDOW},
};

/// The reading side of a muxer. The first byte is the maximum number of bytes per read, and the rest is a script. Each
/// instruction has five bytes: the kind of event, the stream, and three bytes of arguments.
///
/// Each byte that the peer sends on an open stream must come out once and in order, and a stream never costs more
/// frames than its unread bytes justify.
pub fn yamux_frames(data: &[u8]) {
    let Some((pace, script)) = data.split_first() else {
        return;
    };
    let mut muxer = Muxer::new(usize::from(*pace) * 17 + 1);
    let (instructions, _) = script.as_chunks();
    for [what, id, a, b, flags] in instructions {
        let (id, number) = (u32::from(id % 8), u32::from_be_bytes([0, 0, *a, *b]));
        match what % 8 {
            0..4 => muxer.data(id, flags & 15, number),
            4 => {
                let kind = 1 + flags / 16 % 3;
                muxer.say(Header::new(kind, flags & 15, id, number));
            }
            5 => muxer.read(id, number as usize),
            6 => muxer.forget(id),
            _ => muxer.grant(id, number),
        }
        if !muxer.pump() {
            return;
        }
    }
    muxer.drain();
}

/// A model of the parts of yamux and the application that handle received frames.
struct Muxer {
    wire: Wire,
    unread: Arc<Unread>,
    intake: Intake,
    /// The bytes of a header that yamux has, and then the number of bytes of the body that have not arrived.
    header: Vec<u8>,
    body: usize,
    streams: BTreeMap<u32, Stream>,
}

/// An open stream.
#[derive(Default)]
struct Stream {
    sent: usize,
    arrived: usize,
    /// The most bytes that the peer may have sent.
    credit: usize,
    /// The frames that yamux holds.
    frames: VecDeque<usize>,
    ended: bool,
    begun: bool,
    end_arrived: bool,
}

#[derive(Default)]
struct Wire {
    bytes: VecDeque<u8>,
    pace: usize,
    over: bool,
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.bytes.is_empty() && !self.over {
            return Poll::Pending;
        }
        let n = buf.remaining().min(self.pace).min(self.bytes.len());
        self.bytes
            .drain(..n)
            .for_each(|byte| buf.put_slice(&[byte]));
        Poll::Ready(Ok(()))
    }
}

/// Whether the reading side has paused with work left. The wire wakes nobody.
#[derive(Default)]
struct Paused(AtomicBool);

impl Wake for Paused {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Muxer {
    fn new(pace: usize) -> Self {
        let unread = Arc::<Unread>::default();
        Self {
            wire: Wire {
                pace,
                ..Wire::default()
            },
            intake: Intake::new(Arc::default(), unread.clone()),
            unread,
            header: Vec::new(),
            body: 0,
            streams: BTreeMap::new(),
        }
    }

    fn data(&mut self, id: u32, flags: u8, length: u32) {
        self.say(Header::new(DATA, flags, id, length));
        let (reset, length) = (flags & RST != 0, length as usize);
        let stream = self.streams.get_mut(&id).filter(|_| !reset);
        let first = stream.as_ref().map_or(0, |stream| stream.sent);
        self.wire
            .bytes
            .extend((first..first + length).map(|n| (n % 251) as u8));
        if let Some(stream) = stream.filter(|stream| !stream.ended) {
            stream.sent += length;
            stream.ended |= flags & FIN != 0;
        }
    }

    fn say(&mut self, header: Header) {
        self.wire.bytes.extend(header.0);
        if !header.is_of_stream() {
            return;
        }
        if header.has(SYN) && !header.has(RST) {
            let new = || Stream {
                credit: WINDOW,
                ..Stream::default()
            };
            self.streams.entry(header.stream()).or_insert_with(new);
        }
        let ends_now = header.has(RST) || header.kind() == WINDOW_UPDATE && header.has(FIN);
        if let Some(stream) = self.streams.get_mut(&header.stream()) {
            stream.ended |= ends_now;
        }
    }

    fn read(&mut self, id: u32, most: usize) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        let mut n = 0;
        while let Some(front) = stream.frames.front_mut() {
            let read = (*front).min(most - n);
            (*front, n) = (*front - read, n + read);
            if *front > 0 {
                break;
            }
            stream.frames.pop_front();
        }
        self.unread.read(id, n);
    }

    fn forget(&mut self, id: u32) {
        self.unread.forget(id);
        self.streams.remove(&id);
    }

    fn grant(&mut self, id: u32, credit: u32) {
        self.unread.grant(id, credit);
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.credit += credit as usize;
        }
    }

    /// Reads all available bytes. Returns whether the connection lives on.
    fn pump(&mut self) -> bool {
        let mut memory = [0; 4096];
        let paused = Arc::<Paused>::default();
        let waker = Waker::from(Arc::clone(&paused));
        let mut cx = Context::from_waker(&waker);
        loop {
            let wanted = match self.body {
                0 => LENGTH - self.header.len(),
                body => body.min(memory.len()),
            };
            let read = &mut memory[..wanted];
            match self.intake.poll_read(&mut cx, &mut self.wire, read) {
                Poll::Ready(Ok(0)) => return false,
                Poll::Ready(Ok(n)) => {
                    if !self.arrive(n, &memory) {
                        return false;
                    }
                }
                Poll::Ready(Err(_)) => {
                    let beyond = |it: &Stream| it.sent > it.credit;
                    assert!(self.streams.values().any(beyond), "refused");
                    return false;
                }
                // It also pauses between its steps, and wakes itself then.
                Poll::Pending if paused.0.swap(false, Ordering::Relaxed) => {}
                Poll::Pending => break,
            }
        }
        for stream in self.streams.values() {
            let most = FEW + 2 + stream.credit / LARGE;
            assert!(stream.frames.len() <= most, "too many frames");
        }
        true
    }

    fn arrive(&mut self, n: usize, memory: &[u8]) -> bool {
        if self.body > 0 {
            self.body -= n;
            self.arrive_body(&memory[..n]);
            return true;
        }
        self.header.extend_from_slice(&memory[..n]);
        let Ok(header) = <[u8; LENGTH]>::try_from(&*self.header) else {
            return true;
        };
        let header = Header(header);
        if header.kind() != DATA {
            self.header.clear();
            return header.kind() != GO_AWAY && self.arrive_flags(header);
        }
        self.body = header.number() as usize;
        assert!(self.body <= PIECE, "a long frame");
        if self.body == 0 {
            self.header.clear();
        } else if let Some(stream) = self.streams.get_mut(&header.stream()) {
            stream.frames.push_back(self.body);
        }
        self.arrive_flags(header)
    }

    fn arrive_body(&mut self, bytes: &[u8]) {
        let id = u32::from(self.header[7]);
        if self.body == 0 {
            self.header.clear();
        }
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        for byte in bytes {
            assert_eq!(usize::from(*byte), stream.arrived % 251, "out of order");
            stream.arrived += 1;
        }
    }

    /// yamux ends the connection for a stream that begins twice.
    fn arrive_flags(&mut self, header: Header) -> bool {
        let known = self.streams.get_mut(&header.stream());
        let Some(stream) = known.filter(|_| header.is_of_stream()) else {
            return true;
        };
        let begins = header.has(SYN) && !header.has(RST);
        if begins && std::mem::replace(&mut stream.begun, true) {
            return false;
        }
        assert!(!stream.end_arrived || self.body == 0, "bytes after the end");
        stream.end_arrived |= header.has(FIN | RST);
        true
    }

    /// The reader takes everything, and the connection ends.
    fn drain(&mut self) {
        self.wire.over = true;
        while self.pump() {}
        let in_flight = self.body > 0;
        for stream in self.streams.values() {
            let all = stream.arrived == stream.sent;
            assert!(all || in_flight, "bytes were lost");
        }
    }
}
