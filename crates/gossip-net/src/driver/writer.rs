//! Writes the core's messages for a link, on one stream per topic.

use std::{
    collections::{BTreeSet, HashMap, hash_map::Entry},
    io,
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

type BoxedStream = Box<dyn AsyncWrite + Send + Unpin>;
type Streams = HashMap<TopicId, BoxedStream>;

/// Writes until the link is closed. A dropped future loses what it has taken from the core, so the task ends only with its link.
pub(super) async fn run(actor: Weak<Actor>, link: LinkId, notify: Arc<Notify>) {
    let mut streams = Streams::new();
    loop {
        notify.notified().await;
        loop {
            let Some(actor) = actor.upgrade() else {
                return;
            };
            let batch = actor.with(|state, now| state.next_batch(now, link, BATCH_BYTES));
            if batch.is_empty() {
                break;
            }
            match write(&actor, link, &mut streams, batch).await {
                Ok(failed) => actor.with(|state, now| {
                    for topic in failed {
                        state.core.handle_stream_failed(now, link, topic);
                    }
                }),
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

/// Writes a batch. Frames of one topic that follow each other are written together. Returns the topics whose streams cannot be
/// written.
async fn write(
    actor: &Actor,
    link: LinkId,
    streams: &mut Streams,
    batch: Vec<Transmit>,
) -> Result<BTreeSet<TopicId>, Failure> {
    let mut failed = BTreeSet::new();
    let mut items = batch.into_iter().peekable();
    while let Some(item) = items.next() {
        match item {
            Transmit::Frame(topic, frame) => {
                let mut bytes = Vec::with_capacity(frame.len());
                let stream = match streams.entry(topic) {
                    Entry::Occupied(occupied) => occupied.into_mut(),
                    Entry::Vacant(vacant) => {
                        put_header(&mut bytes, &topic);
                        vacant.insert(open(actor, link).await?)
                    }
                };
                bytes.extend_from_slice(&frame);
                while let Some(Transmit::Frame(_, frame)) =
                    items.next_if(|next| matches!(next, Transmit::Frame(of, _) if *of == topic))
                {
                    bytes.extend_from_slice(&frame);
                }
                if let Err(error) = write_stream(stream, &bytes).await? {
                    tracing::debug!(?link, %error, "a stream cannot be written");
                    streams.remove(&topic);
                    // The peer may have refused this stream alone. A link that has ended opens no further stream.
                    if let Ok(Err(error)) = timeout(WRITE_TIMEOUT, actor.links.open(link)).await {
                        return Err(Failure::Link(error));
                    }
                    failed.insert(topic);
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
    Ok(failed)
}

async fn open(actor: &Actor, link: LinkId) -> Result<BoxedStream, Failure> {
    let opened = timeout(WRITE_TIMEOUT, actor.links.open(link)).await?;
    opened.map_err(Failure::Link)
}

/// Writes to a stream. The outer error says that the stream takes nothing, and the inner one that it has ended.
async fn write_stream(stream: &mut BoxedStream, bytes: &[u8]) -> Result<io::Result<()>, Elapsed> {
    for piece in bytes.chunks(PIECE_BYTES) {
        if let Err(error) = timeout(WRITE_TIMEOUT, stream.write_all(piece)).await? {
            return Ok(Err(error));
        }
    }
    timeout(WRITE_TIMEOUT, stream.flush()).await
}
