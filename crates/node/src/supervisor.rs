//! Does what the tracker wants done.

use std::{
    sync::{Arc, Weak},
    time::Instant,
};

use conn_state::{Action, Closing, ConnectionId, Policy, SharedTracker};
use libp2p_identity::PeerId;
use tokio_util::sync::CancellationToken;

use crate::shared::Shared;

/// Runs until the node stops. It holds no node while it waits.
pub(crate) async fn run(
    node: Weak<Shared>,
    tracker: SharedTracker<PeerId>,
    stopping: CancellationToken,
) {
    loop {
        let action = tokio::select! {
            action = tracker.next_action() => action,
            () = stopping.cancelled() => return,
        };
        let Some(node) = node.upgrade() else { return };
        tracing::debug!(?action, "as the tracker wants");
        match action {
            Action::Probe(id) => probe(&node, id),
            Action::Drain(id) => drain(&node, id),
            Action::Resume(id) => {
                if let Some(connection) = node.registry().get(id) {
                    connection.resume();
                }
            }
            Action::Close(id, closing) => close(&node, id, closing),
            _ => {}
        }
    }
}

fn probe(node: &Arc<Shared>, id: ConnectionId) {
    let Some(connection) = node.registry().get(id) else {
        return;
    };
    let tracker = node.tracker.clone();
    // Late is better than never: the tracker then judges anew.
    let policy: &dyn Policy<PeerId> = &node.config.state;
    let patience = policy.probe() + policy.patience();
    node.tasks.spawn(async move {
        if connection.answers(patience).await {
            tracker.handle_alive(Instant::now(), id);
        }
    });
}

fn drain(node: &Shared, id: ConnectionId) {
    let registry = node.registry();
    if let Some(connection) = registry.get(id) {
        connection.drain(registry.successor(&connection));
    }
}

fn close(node: &Shared, id: ConnectionId, closing: Closing) {
    if let Some(handshake) = node.handshakes().get(&id) {
        handshake.cancel();
    }
    if let Some(connection) = node.registry().get(id) {
        node.tasks
            .spawn(async move { connection.close_for(closing).await });
    }
}
