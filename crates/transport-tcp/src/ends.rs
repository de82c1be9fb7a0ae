//! How a connection's streams end, in each direction.
//!
//! yamux reports FIN, RST and connection loss all as end of file; and it ends a stream in good order that was dropped
//! unfinished after its peer had ended. The frame headers on their way in and out tell these cases apart, and they tell when
//! an end was handed to the layer below.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
};

/// yamux's frame header: version, type, flags (2), stream (4), length or code (4).
pub(crate) const HEADER: usize = 12;
pub(crate) const DATA: u8 = 0;
const WINDOW_UPDATE: u8 = 1;

const SYN: u8 = 1;
const FIN: u8 = 4;
const RST: u8 = 8;

#[derive(Debug, Default)]
pub(crate) struct Ends {
    state: Mutex<State>,
    /// Bytes received on the connection, after decryption.
    received: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    /// The streams that exist. yamux bounds them.
    streams: BTreeMap<u32, Halves>,
    /// Streams that this side ends, until the frame that says so is written.
    ending: BTreeSet<u32>,
    /// Whether an end was written that is not yet flushed.
    unflushed: bool,
}

/// What is known of one stream's two halves.
#[derive(Debug, Default)]
struct Halves {
    /// Whether the peer has ended its half.
    ended: bool,
    sent: Sent,
    /// Waits for the end of this side's half to be flushed.
    waiter: Option<Waker>,
}

/// How far the end of this side's half has got.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Sent {
    #[default]
    No,
    Written,
    Flushed,
}

impl Ends {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many bytes the connection has received.
    pub(crate) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// This side opens a stream. The peer's streams begin with their first frame.
    pub(crate) fn open(&self, id: u32) {
        self.lock().streams.insert(id, Halves::default());
    }

    /// A stream is no longer of interest.
    pub(crate) fn forget(&self, id: u32) {
        self.lock().streams.remove(&id);
    }

    /// Whether the peer has ended its half, rather than reset the stream or gone away.
    pub(crate) fn has_ended(&self, id: u32) -> bool {
        self.lock().streams.get(&id).is_some_and(|it| it.ended)
    }

    /// This side is about to end its half.
    pub(crate) fn end(&self, id: u32) {
        self.lock().ending.insert(id);
    }

    /// No frame will say that this side ended its half.
    pub(crate) fn unend(&self, id: u32) {
        self.lock().ending.remove(&id);
    }

    /// Everything that was written has been handed to the layer below.
    pub(crate) fn flushed(&self) {
        let mut state = self.lock();
        if !std::mem::take(&mut state.unflushed) {
            return;
        }
        for stream in state.streams.values_mut() {
            if stream.sent == Sent::Written {
                stream.sent = Sent::Flushed;
                stream.waiter.take().into_iter().for_each(Waker::wake);
            }
        }
    }

    /// Nothing more will be written: nobody needs to wait.
    pub(crate) fn finish(&self) {
        for stream in self.lock().streams.values_mut() {
            stream.waiter.take().into_iter().for_each(Waker::wake);
        }
    }

    /// Ready once the end of this side's half has been handed to the layer below.
    pub(crate) fn poll_flushed(&self, id: u32, cx: &mut Context<'_>) -> Poll<()> {
        match self.lock().streams.get_mut(&id) {
            Some(stream) if stream.sent != Sent::Flushed => {
                stream.waiter = Some(cx.waker().clone());
                Poll::Pending
            }
            _ => Poll::Ready(()),
        }
    }

    /// A frame that is about to be read.
    fn note(&self, header: &[u8; HEADER]) {
        let [_, kind, _, flags, ..] = *header;
        if !matches!(kind, DATA | WINDOW_UPDATE) || flags & (SYN | FIN) == 0 || flags & RST != 0 {
            return;
        }
        let (id, ended) = (stream(header), flags & FIN != 0);
        let streams = &mut self.lock().streams;
        match flags & SYN != 0 {
            true => {
                let halves = Halves {
                    ended,
                    ..Halves::default()
                };
                streams.insert(id, halves);
            }
            false => {
                if let Some(stream) = streams.get_mut(&id) {
                    stream.ended |= ended;
                }
            }
        }
    }

    /// What is to be written instead of this header: an end that nobody asked for is a reset.
    pub(crate) fn amend(&self, header: &mut [u8; HEADER]) {
        let [_, kind, _, flags, ..] = *header;
        if !matches!(kind, DATA | WINDOW_UPDATE) || flags & (FIN | RST) == 0 {
            return;
        }
        let mut state = self.lock();
        let id = stream(header);
        let asked = state.ending.remove(&id);
        if flags & FIN == 0 {
            return;
        }
        if !asked {
            header[3] = flags & !FIN | RST;
        } else if let Some(stream) = state.streams.get_mut(&id) {
            stream.sent = Sent::Written;
            state.unflushed = true;
        }
    }
}

fn stream(header: &[u8; HEADER]) -> u32 {
    let [_, _, _, _, a, b, c, d, ..] = *header;
    u32::from_be_bytes([a, b, c, d])
}

/// Finds the headers in what is read, however it comes in pieces.
#[derive(Debug, Default)]
pub(crate) struct Headers {
    header: [u8; HEADER],
    have: usize,
    /// The bytes of a frame's body that are still to come.
    body: usize,
}

impl Headers {
    pub(crate) fn note(&mut self, mut read: &[u8], ends: &Ends) {
        ends.received
            .fetch_add(read.len() as u64, Ordering::Relaxed);
        while !read.is_empty() {
            if self.body > 0 {
                let skipped = self.body.min(read.len());
                self.body -= skipped;
                read = &read[skipped..];
                continue;
            }
            let taken = (HEADER - self.have).min(read.len());
            self.header[self.have..self.have + taken].copy_from_slice(&read[..taken]);
            self.have += taken;
            read = &read[taken..];
            if self.have == HEADER {
                self.have = 0;
                ends.note(&self.header);
                let [_, kind, _, _, _, _, _, _, length @ ..] = self.header;
                if kind == DATA {
                    self.body = u32::from_be_bytes(length) as usize;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(kind: u8, flags: u8, id: u8, length: u8) -> [u8; HEADER] {
        [0, kind, 0, flags, 0, 0, 0, id, 0, 0, 0, length]
    }

    #[test]
    fn an_end_is_told_from_a_reset_in_pieces_of_any_length() {
        let frames = [
            [header(DATA, SYN, 1, 14).as_slice(), &[4; 14]].concat(),
            header(WINDOW_UPDATE, SYN | FIN, 3, 200).to_vec(),
            header(WINDOW_UPDATE, SYN, 5, 200).to_vec(),
            // What is no frame of a stream, though it has the bits.
            header(2, SYN | FIN, 5, 0).to_vec(),
            header(DATA, FIN, 1, 0).to_vec(),
            header(DATA, RST, 5, 0).to_vec(),
            // A stream that nobody has.
            header(DATA, FIN, 7, 0).to_vec(),
        ];
        let frames = frames.concat();
        for piece in 1..frames.len() {
            let (ends, mut headers) = (Ends::default(), Headers::default());
            for piece in frames.chunks(piece) {
                headers.note(piece, &ends);
            }
            let ended = [1, 3, 5, 7].map(|id| ends.has_ended(id));
            assert_eq!(ended, [true, true, false, false], "pieces of {piece}");
            for id in [1, 3, 5] {
                ends.forget(id);
            }
            assert!(ends.lock().streams.is_empty());
        }
    }

    #[test]
    fn an_end_that_nobody_asked_for_goes_out_as_a_reset() {
        let ends = Ends::default();
        let sent = |flags| {
            let mut header = header(DATA, flags, 1, 0);
            ends.amend(&mut header);
            header[3]
        };
        ends.end(1);
        assert_eq!((sent(FIN | 2), sent(FIN | 2)), (FIN | 2, RST | 2));
        assert_eq!(sent(SYN), SYN);
        ends.end(1);
        assert_eq!(sent(RST), RST);
        assert!(ends.lock().ending.is_empty());
        ends.end(1);
        ends.unend(1);
        assert_eq!(sent(FIN), RST);
    }

    #[test]
    fn an_end_counts_as_handed_over_when_it_was_written_and_flushed() {
        let ends = Ends::default();
        let mut cx = Context::from_waker(Waker::noop());
        ends.open(1);
        ends.end(1);
        ends.flushed();
        assert!(ends.poll_flushed(1, &mut cx).is_pending());
        ends.amend(&mut header(DATA, FIN, 1, 0));
        assert!(ends.poll_flushed(1, &mut cx).is_pending());
        ends.flushed();
        assert!(ends.poll_flushed(1, &mut cx).is_ready());
    }
}
