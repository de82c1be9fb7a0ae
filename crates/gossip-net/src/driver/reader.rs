//! Reads the streams that peers open.

use std::{sync::Arc, time::Duration};

use tokio::{io::AsyncReadExt, time::timeout};

use super::actor::Actor;
use crate::{
    AsyncRead, LinkId,
    wire::{Frames, Message},
};

/// How long a stream may take to bring its header.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// How much is read at once.
const PIECE_BYTES: usize = 16 << 10;

/// Reads one stream until its end. A dropped future loses at most one incomplete frame.
pub(super) async fn run(
    actor: Arc<Actor>,
    link: LinkId,
    index: u64,
    mut reader: Box<dyn AsyncRead + Send + Unpin>,
    limit: usize,
) {
    let mut frames = Frames::new(limit);
    let mut number = 0;
    loop {
        frames.buffer().reserve(PIECE_BYTES);
        let read = match frames.topic() {
            Some(_) => reader.read_buf(frames.buffer()).await,
            None => match timeout(HEADER_TIMEOUT, reader.read_buf(frames.buffer())).await {
                Ok(read) => read,
                Err(_) => {
                    actor.with(|state, now| state.core.handle_invalid(now, link));
                    return;
                }
            },
        };
        if !matches!(read, Ok(1..)) {
            return;
        }
        if !take_frames(&actor, link, index, &mut frames, &mut number) {
            return;
        }
        // A reader whose stream is always full must not starve others.
        tokio::task::coop::consume_budget().await;
    }
}

/// Hands all complete frames to the core. Returns false if the stream is of no further use.
fn take_frames(
    actor: &Arc<Actor>,
    link: LinkId,
    index: u64,
    frames: &mut Frames,
    number: &mut u64,
) -> bool {
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
    let Some(topic) = frames.topic().filter(|_| !arrived.is_empty()) else {
        if !is_ok {
            actor.with(|state, now| state.core.handle_invalid(now, link));
        }
        return is_ok;
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
    is_ok
}
