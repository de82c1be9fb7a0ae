//! Serves the streams that a peer opens on one connection.

use std::sync::Arc;

use crate::{
    connection::{Connection, RawStream, negotiate_inbound},
    core::Core,
    part::InboundStream,
};

/// Serves the peer's streams until the connection is closed.
///
/// Streams beyond [`crate::Config::max_inbound_streams`] are reset and never queued. Dropping the future does not
/// change the connection.
pub(crate) async fn run(core: &Arc<Core>, connection: &Connection) {
    let mut numbers = 0..;
    while let Some(raw) = connection.accept_raw().await {
        let number = numbers.next().unwrap_or(u64::MAX);
        spawn_stream(core, connection, raw, number);
    }
}

fn spawn_stream(core: &Arc<Core>, connection: &Connection, raw: RawStream, number: u64) {
    let Some(permit) = connection.permit_stream(core.config.max_inbound_streams) else {
        tracing::debug!(peer = %connection.peer(), "a peer opened too many streams: a stream is reset");
        return;
    };
    let (connection, router) = (connection.clone(), Arc::clone(&core.router));
    let timeout = core.config.negotiation_timeout;
    core.tasks.spawn(async move {
        let offered = router.offered(connection.is_limited());
        let negotiated = negotiate_inbound(raw, offered, timeout).await;
        let Some((protocol, stream)) = negotiated else {
            return;
        };
        let stream = stream.with_permit(permit);
        router
            .dispatch(InboundStream {
                connection,
                protocol,
                stream,
                number,
            })
            .await;
    });
}
