//! Serves the requests of peers. The core decides; this file reads and writes.

use std::{sync::Arc, sync::atomic::Ordering::Relaxed, time::Duration};

use bootstrap::kad::{Reply, Request, wire::MAX_MESSAGE};
use tokio::{
    io::AsyncWriteExt,
    time::{Instant, timeout},
};

use super::{Kademlia, messages::Messages};
use crate::{connection::Stream, part::InboundStream};

/// The streams of one connection that are served at the same time. Each keeps at most one request of 16 KiB and one answer of
/// 16 KiB. Further streams are reset.
pub(super) const MAX_SERVED: usize = 16;
/// The time in which the next request must arrive. go-libp2p keeps a stream for a minute.
const NEXT: Duration = Duration::from_secs(60);
/// The time in which the peer must take an answer.
const TAKING: Duration = Duration::from_secs(10);

pub(super) async fn serve(part: Arc<Kademlia>, inbound: InboundStream) {
    let InboundStream {
        connection,
        mut stream,
        ..
    } = inbound;
    let mut messages = Messages::new(MAX_MESSAGE);
    loop {
        let body = match timeout(NEXT, messages.next(&mut stream)).await {
            Ok(Ok(Some(body))) => body,
            // The peer has finished, or it broke off, or it is silent.
            Ok(Ok(None)) => break,
            Ok(Err(_)) | Err(_) => return,
        };
        let Ok(request) = Request::decode(&body) else {
            part.counters.refused.fetch_add(1, Relaxed);
            tracing::debug!(peer = %connection.peer(), "a request of the DHT is malformed: the stream is reset");
            return;
        };
        let now = Instant::now().into_std();
        let (peer, remote) = (connection.peer(), connection.address());
        let reply = part
            .lock()
            .handle_request(now, &peer, Some(remote), request.clone());
        match reply {
            Reply::Answer(response) => {
                let Ok(bytes) = response.encode(&request) else {
                    return;
                };
                if !matches!(
                    timeout(TAKING, write(&mut stream, &bytes)).await,
                    Ok(Ok(()))
                ) {
                    return;
                }
            }
            Reply::Silence => {}
            Reply::Refuse(refusal) => {
                part.counters.refused.fetch_add(1, Relaxed);
                tracing::debug!(%peer, %refusal, "a request of the DHT is refused: the stream is reset");
                return;
            }
            _ => return,
        }
        part.counters.served.fetch_add(1, Relaxed);
    }
    let _ = timeout(TAKING, stream.shutdown()).await;
}

async fn write(stream: &mut Stream, bytes: &[u8]) -> std::io::Result<()> {
    stream.write_all(bytes).await?;
    stream.flush().await
}
