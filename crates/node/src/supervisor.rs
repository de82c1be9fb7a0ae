//! Carries out the tracker's actions.

use std::{
    sync::{Arc, Weak},
    time::Instant,
};

use conn_state::{Action, ConnectionId, Policy};
use libp2p_identity::PeerId;

use crate::core::Core;

/// Runs until the node is gone. The task does not keep the node alive while it waits.
pub(crate) async fn run(core: Weak<Core>) {
    let Some((tracker, stopping)) = core.upgrade().map(|core| {
        let tracker = core.connections.tracker().clone();
        (tracker, core.stopping.clone())
    }) else {
        return;
    };
    loop {
        let action = tokio::select! {
            action = tracker.next_action() => action,
            () = stopping.cancelled() => return,
        };
        let Some(core) = core.upgrade() else { return };
        tracing::debug!(?action, "the tracker asks for an action");
        match action {
            Action::Probe(id) => probe(&core, id),
            Action::Drain(id) => core.connections.drain(id),
            Action::Resume(id) => core.connections.resume(id),
            Action::Close(id, reason) => core.connections.close(id, reason),
            _ => {}
        }
    }
}

fn probe(core: &Arc<Core>, id: ConnectionId) {
    let Some(connection) = core.connections.get(id) else {
        return;
    };
    let tracker = core.connections.tracker().clone();
    // A late answer still counts, because the tracker then decides again.
    let policy: &dyn Policy<PeerId> = &core.config.state;
    let within = policy.probe() + policy.patience();
    core.tasks.spawn(async move {
        if connection.answers(within).await {
            tracker.handle_alive(Instant::now(), id);
        }
    });
}
