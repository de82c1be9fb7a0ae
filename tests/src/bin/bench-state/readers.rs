//! Those who read what comes about.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};

use conn_state::Update;
use libp2p_identity::PeerId;
use tokio::runtime::Runtime;
use tokio::sync::broadcast;
use tokio::task::JoinHandle;

use crate::stores::{Broadcast, Shared, Watches};

/// What one reader saw.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Seen {
    pub(crate) events: u64,
    /// What it was told that it missed.
    pub(crate) missed: u64,
}

/// Reads until it has got to this many, seen and missed.
pub(crate) fn of_shared(store: &Shared, runtime: &Runtime, until: u64) -> JoinHandle<Seen> {
    let (_, mut updates) = store.tracker.subscribe();
    runtime.spawn(async move {
        let mut seen = Seen::default();
        while seen.events + seen.missed < until {
            match updates.next().await {
                Update::Event(event) => {
                    seen.events += 1;
                    black_box(event);
                }
                Update::Lagged { missed, snapshot } => {
                    seen.missed += missed;
                    black_box(snapshot);
                }
            }
        }
        seen
    })
}

pub(crate) fn of_broadcast(store: &Broadcast, runtime: &Runtime, until: u64) -> JoinHandle<Seen> {
    let mut changes = store.changes.subscribe();
    runtime.spawn(async move {
        let mut seen = Seen::default();
        while seen.events + seen.missed < until {
            match changes.recv().await {
                Ok(change) => {
                    seen.events += 1;
                    black_box((change.peer, change.from, change.to, change.at));
                }
                // Where a user would read the map again.
                Err(broadcast::error::RecvError::Lagged(missed)) => seen.missed += missed,
                Err(broadcast::error::RecvError::Closed) => return seen,
            }
        }
        seen
    })
}

/// A task a peer, since each has a channel of its own. What they miss nobody tells them.
pub(crate) fn of_watches(
    store: &Watches,
    runtime: &Runtime,
    peers: &[PeerId],
    over: &Arc<AtomicBool>,
) -> Vec<JoinHandle<Seen>> {
    let channels = store.peers.read().unwrap_or_else(PoisonError::into_inner);
    let tasks = peers.iter().filter_map(|peer| {
        let mut states = channels.get(peer)?.subscribe();
        let over = Arc::clone(over);
        Some(runtime.spawn(async move {
            let mut seen = Seen::default();
            while !over.load(Ordering::Relaxed) && states.changed().await.is_ok() {
                seen.events += 1;
                black_box(*states.borrow_and_update());
            }
            seen
        }))
    });
    tasks.collect()
}
