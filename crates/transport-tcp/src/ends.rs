//! The ends of a connection's streams, in each direction.
//!
//! yamux reports FIN, RST and connection loss all as end of file. It also sends a normal end for a stream that was dropped
//! unfinished after the peer had finished its direction. The frame headers in both directions tell these cases apart, and show
//! when the end of a stream was passed to the layer below.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
};

use crate::header::{FIN, Header, RST};

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

    /// Counts received bytes.
    pub(crate) fn receive(&self, n: usize) {
        self.received.fetch_add(n as u64, Ordering::Relaxed);
    }

    /// The peer opens a stream.
    pub(crate) fn begin(&self, id: u32) {
        self.lock().streams.insert(id, Halves::default());
    }

    /// The peer has ended its half, and everything before the end has been read from the connection.
    pub(crate) fn end_of_peer(&self, id: u32) {
        if let Some(stream) = self.lock().streams.get_mut(&id) {
            stream.ended = true;
        }
    }

    /// What is to be written instead of this header: an end that nobody asked for is a reset.
    pub(crate) fn amend(&self, header: Header) -> Header {
        if !header.is_of_stream() || !header.has(FIN | RST) {
            return header;
        }
        let mut state = self.lock();
        let id = header.stream();
        let asked = state.ending.remove(&id);
        if !header.has(FIN) {
            return header;
        }
        if !asked {
            return header.with_flags(header.flags() & !FIN | RST);
        }
        if let Some(stream) = state.streams.get_mut(&id) {
            stream.sent = Sent::Written;
            state.unflushed = true;
        }
        header
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::header::{DATA, SYN};

    #[test]
    fn an_end_that_nobody_asked_for_goes_out_as_a_reset() {
        let ends = Ends::default();
        let sent = |flags| {
            let header = Header::new(DATA, flags, 1, 0);
            ends.amend(header).flags()
        };
        ends.end(1);
        assert_eq!((sent(FIN | 2), sent(FIN | 2)), (FIN | 2, RST | 2));
        assert_eq!(sent(FIN | RST), RST);
        ends.end(1);
        // Frames that do not end the stream change nothing.
        assert_eq!(sent(SYN), SYN);
        let ping = Header::new(2, FIN, 1, 7);
        assert_eq!(ends.amend(ping), ping);
        assert_eq!(sent(FIN), FIN);
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
        ends.amend(Header::new(DATA, FIN, 1, 0));
        assert!(ends.poll_flushed(1, &mut cx).is_pending());
        ends.flushed();
        assert!(ends.poll_flushed(1, &mut cx).is_ready());
    }

    #[test]
    fn what_is_received_is_counted() {
        let ends = Ends::default();
        assert_eq!(ends.received(), 0);
        ends.receive(3);
        ends.receive(4);
        assert_eq!(ends.received(), 7);
    }

    #[test]
    fn the_end_of_the_peers_half_is_known_until_the_stream_is_forgotten() {
        let ends = Ends::default();
        ends.end_of_peer(1);
        assert!(!ends.has_ended(1), "there is no such stream");
        ends.begin(1);
        ends.open(3);
        ends.end_of_peer(1);
        assert!(ends.has_ended(1) && !ends.has_ended(3));
        ends.forget(1);
        assert!(!ends.has_ended(1));
        assert_eq!(ends.lock().streams.len(), 1);
    }

    #[test]
    fn who_waits_for_a_flush_is_woken_by_it_or_by_the_end_of_the_connection() {
        use std::sync::{Arc, atomic::AtomicUsize};

        #[derive(Default)]
        struct Task(AtomicUsize);

        impl std::task::Wake for Task {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }

        for flushes in [true, false] {
            let (ends, task) = (Ends::default(), Arc::new(Task::default()));
            let waker = Waker::from(Arc::clone(&task));
            ends.open(1);
            ends.end(1);
            ends.amend(Header::new(DATA, FIN, 1, 0));
            let waits = ends.poll_flushed(1, &mut Context::from_waker(&waker));
            assert!(waits.is_pending());
            match flushes {
                true => ends.flushed(),
                false => ends.finish(),
            }
            assert_eq!(task.0.load(Ordering::Relaxed), 1);
        }
    }
}
