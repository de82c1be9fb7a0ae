//! Announces addresses at which peers see this node. The core `observed.rs` chooses them.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use futures::{FutureExt, future::BoxFuture};
use multiaddr::Multiaddr;
use tokio::{sync::Notify, time::sleep_until};
use tokio_util::sync::CancellationToken;

use crate::{
    connection::Connection,
    context::Context,
    local::Announcer,
    observed::{Observed, Sighting},
    part::{Change, Part},
};

/// The sightings of this node by its peers.
pub(crate) struct Observers {
    context: Context,
    observed: Mutex<Observed>,
    changed: Notify,
}

impl Observers {
    pub(crate) fn new(context: Context) -> Self {
        Self {
            context,
            observed: Mutex::default(),
            changed: Notify::new(),
        }
    }

    fn observed(&self) -> MutexGuard<'_, Observed> {
        self.observed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The sighting in an identify message. `None`: the connection does not use the socket of a listener.
    fn sighting(&self, connection: &Connection, seen: &Multiaddr) -> Option<Sighting> {
        let (listener, _) = self.context.listener_of(connection)?;
        Some(Sighting {
            listener,
            peer: connection.peer(),
            connection: connection.id(),
            from: connection.address().clone(),
            seen: seen.clone(),
        })
    }
}

impl Part for Observers {
    fn name(&self) -> &'static str {
        "observed addresses"
    }

    fn handle(&self, now: Instant, change: &Change) {
        match change {
            Change::Identified { connection, info } => {
                let seen = info.observed.as_ref();
                let sighting = seen.and_then(|seen| self.sighting(connection, seen));
                let Some(sighting) = sighting else { return };
                self.observed().handle_seen(now, sighting);
            }
            Change::Disconnected { connection, .. } => {
                self.observed().handle_disconnected(now, connection.id());
            }
            _ => return,
        }
        self.changed.notify_one();
    }

    fn run(self: Arc<Self>, stop: CancellationToken) -> BoxFuture<'static, ()> {
        async move {
            loop {
                let (addresses, due) = {
                    let mut observed = self.observed();
                    observed.handle_timeout(tokio::time::Instant::now().into_std());
                    (observed.addresses(), observed.poll_timeout())
                };
                self.context.publish(Announcer::Observers, addresses);
                let due = async {
                    match due {
                        Some(due) => sleep_until(due.into()).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    () = due => {}
                    () = self.changed.notified() => {}
                    () = stop.cancelled() => return,
                }
            }
        }
        .boxed()
    }
}
