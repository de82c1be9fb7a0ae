//! Writes the core's messages for a link, on one stream per topic.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::{
    io::AsyncWriteExt,
    sync::Notify,
    time::{error::Elapsed, timeout},
};

use super::actor::Actor;
use crate::{AsyncWrite, LinkError, LinkId, TopicId, Transmit, wire::put_header};

/// How much is taken from the core at once.
const BATCH_BYTES: usize = 64 << 10;
/// How much is written at once. The write of each piece has its own deadline.
const PIECE_BYTES: usize = 8 << 10;
/// How long the write of one piece may take.
const WRITE_TIMEOUT: Duration = Duration::from_secs(3);

type Streams = HashMap<TopicId, Box<dyn AsyncWrite + Send + Unpin>>;

/// Writes until the link is closed. A dropped future loses what it has taken from the core, so the task ends only with its link.
pub(super) async fn run(actor: Weak<Actor>, link: LinkId, notify: Arc<Notify>) {
    let mut streams = Streams::new();
    loop {
        notify.notified().await;
        loop {
            let Some(actor) = actor.upgrade() else {
                return;
            };
            let batch = actor.with(|state, now| state.core.poll_transmit(now, link, BATCH_BYTES));
            if batch.is_empty() {
                break;
            }
            match write(&actor, link, &mut streams, batch).await {
                Ok(()) => {}
                Err(Failure::Stalled) => {
                    actor.with(|state, now| state.core.handle_stalled(now, link));
                    return;
                }
                Err(Failure::Link(error)) => {
                    tracing::debug!(?link, %error, "a link cannot be written");
                    actor.links.close(link, "the link cannot be written");
                    actor.with(|state, now| state.core.handle_link_closed(now, link));
                    return;
                }
            }
            tokio::task::coop::consume_budget().await;
        }
    }
}

enum Failure {
    Stalled,
    Link(LinkError),
}

impl From<Elapsed> for Failure {
    fn from(_: Elapsed) -> Self {
        Self::Stalled
    }
}

impl<E: Into<LinkError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Link(error.into())
    }
}

/// Writes a batch. Frames of one topic that follow each other are written together.
async fn write(
    actor: &Actor,
    link: LinkId,
    streams: &mut Streams,
    batch: Vec<Transmit>,
) -> Result<(), Failure> {
    let mut items = batch.into_iter().peekable();
    while let Some(item) = items.next() {
        match item {
            Transmit::Frame(topic, frame) => {
                let mut bytes = Vec::with_capacity(frame.len());
                if let Entry::Vacant(vacant) = streams.entry(topic) {
                    vacant.insert(timeout(WRITE_TIMEOUT, actor.links.open(link)).await??);
                    put_header(&mut bytes, &topic);
                }
                bytes.extend_from_slice(&frame);
                while let Some(Transmit::Frame(_, frame)) =
                    items.next_if(|next| matches!(next, Transmit::Frame(of, _) if *of == topic))
                {
                    bytes.extend_from_slice(&frame);
                }
                if let Some(stream) = streams.get_mut(&topic) {
                    for piece in bytes.chunks(PIECE_BYTES) {
                        timeout(WRITE_TIMEOUT, stream.write_all(piece))
                            .await?
                            .map_err(LinkError::from)?;
                    }
                    timeout(WRITE_TIMEOUT, stream.flush())
                        .await?
                        .map_err(LinkError::from)?;
                }
            }
            Transmit::Finish(topic) => {
                if let Some(mut stream) = streams.remove(&topic) {
                    // The peer may be gone, which ends the stream as well.
                    let _ = timeout(WRITE_TIMEOUT, stream.shutdown()).await?;
                }
            }
        }
    }
    Ok(())
}
