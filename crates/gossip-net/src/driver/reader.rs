//! Reads the streams that peers open.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::AsyncReadExt,
    time::{Instant, timeout_at},
};

use super::actor::Actor;
use crate::{
    AsyncRead, LinkId,
    wire::{Frames, Message},
};

/// How long the header of a stream, or a frame, may take from its first byte to its last. A frame may take longer by its length.
const FRAME_TIMEOUT: Duration = Duration::from_secs(10);
/// A frame may take one second more for each so many bytes.
const MIN_RATE: usize = 8 << 10;
/// How much is read at once from a stream that was silent. The next piece is larger.
const FIRST_PIECE: usize = 512;
/// How much is read at once from a busy stream.
const MAX_PIECE: usize = 16 << 10;
/// How many bytes of incomplete frames a link may have, or four frames of the longest size.
const MAX_HELD: usize = 512 << 10;

/// The bytes of incomplete frames of all streams of one link.
#[derive(Debug, Default)]
pub(super) struct Held(AtomicUsize);

/// The share of one stream.
struct Share {
    of: Arc<Held>,
    bytes: usize,
}

impl Share {
    /// Changes the share. Returns the bytes of all streams.
    fn set(&mut self, bytes: usize) -> usize {
        let all = &self.of.0;
        all.fetch_add(bytes, Ordering::Relaxed);
        let before = all.fetch_sub(self.bytes, Ordering::Relaxed);
        let now = before - self.bytes;
        self.bytes = bytes;
        now
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.set(0);
    }
}

/// A stream of a link.
pub(super) struct Stream {
    pub(super) link: LinkId,
    pub(super) index: u64,
    pub(super) reader: Box<dyn AsyncRead + Send + Unpin>,
    pub(super) held: Arc<Held>,
}

/// Reads one stream until its end. `limit` is the length of the longest frame. A dropped future loses at most one incomplete
/// frame.
pub(super) async fn run(actor: Arc<Actor>, stream: Stream, limit: usize) {
    let Stream {
        link,
        index,
        mut reader,
        held: of,
    } = stream;
    let mut share = Share { of, bytes: 0 };
    let mut frames = Frames::new(limit);
    let (mut number, mut piece) = (0, FIRST_PIECE);
    // When the incomplete header or frame has begun.
    let mut begun = Some(Instant::now());
    loop {
        frames.release();
        frames.buffer().reserve(piece);
        let due = begun.map(|begun| begun + frame_timeout(frames.length()));
        let reading = reader.read_buf(frames.buffer());
        let read = match due {
            None => reading.await,
            Some(due) => match timeout_at(due, reading).await {
                Ok(read) => read,
                Err(_) => break,
            },
        };
        let Ok(read @ 1..) = read else {
            return;
        };
        piece = match read < piece {
            true => FIRST_PIECE,
            false => (4 * piece).min(MAX_PIECE),
        };
        let had_header = frames.topic().is_some();
        let Some(complete) = take_frames(&actor, link, index, &mut frames, &mut number) else {
            return;
        };
        if share.set(frames.held()) > MAX_HELD.max(4 * limit) {
            break;
        }
        let goes_on = complete == 0 && had_header == frames.topic().is_some();
        begun = match frames.held() {
            0 => None,
            _ if goes_on => Some(begun.unwrap_or_else(Instant::now)),
            _ => Some(Instant::now()),
        };
        // A reader whose stream is always full must not starve others.
        tokio::task::coop::consume_budget().await;
    }
    actor.with(|state, now| state.core.handle_invalid(now, link));
}

fn frame_timeout(length: usize) -> Duration {
    FRAME_TIMEOUT + Duration::from_secs((length / MIN_RATE) as u64)
}

/// Hands all complete frames to the core, and returns their number. `None`: the stream is of no further use.
fn take_frames(
    actor: &Arc<Actor>,
    link: LinkId,
    index: u64,
    frames: &mut Frames,
    number: &mut u64,
) -> Option<usize> {
    let mut arrived = Vec::new();
    let is_ok = loop {
        match frames.next_frame() {
            Ok(Some(frame)) => arrived.push(frame),
            Ok(None) => break true,
            Err(error) => {
                tracing::debug!(?link, %error, "a stream is given up");
                break false;
            }
        }
    };
    let complete = is_ok.then_some(arrived.len());
    let Some(topic) = frames.topic().filter(|_| !arrived.is_empty()) else {
        if !is_ok {
            actor.with(|state, now| state.core.handle_invalid(now, link));
        }
        return complete;
    };
    actor.with(|state, now| arrived.retain(|frame| state.core.admit(now, link, frame)));
    // Hashing and checking ids take most of the time, and need no lock.
    let decoded = arrived
        .iter()
        .map(|frame| Message::decode(frame))
        .collect::<Vec<_>>();
    actor.with(|state, now| {
        for message in decoded {
            *number += 1;
            match message {
                Ok(message) => {
                    state
                        .core
                        .handle_message(now, link, (index, *number), topic, message)
                }
                Err(error) => {
                    tracing::trace!(?link, %error, "an invalid frame");
                    state.core.handle_invalid(now, link);
                }
            }
        }
        if !is_ok {
            state.core.handle_invalid(now, link);
        }
    });
    complete
}
