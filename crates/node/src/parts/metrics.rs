//! The counters of connections, and the registry for the counters of all parts. Prometheus can read them.

#[cfg(feature = "tcp")]
mod tcp;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use futures::{FutureExt, future::BoxFuture};
use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};
use tokio_util::sync::CancellationToken;

use crate::{
    connection::Connection,
    node::Node,
    part::{Change, Part},
};

/// Counts connections. Its counters only grow.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Mutex<Registry>,
    opened: Family<Labels, Counter>,
    closed: Family<Labels, Counter>,
    inbound_failed: Counter,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    direction: String,
    via: &'static str,
}

impl Labels {
    fn of(connection: &Connection) -> Self {
        Self {
            direction: connection.direction().to_string(),
            via: connection.via(),
        }
    }
}

impl Metrics {
    pub(crate) fn new() -> Self {
        Self {
            registry: Mutex::new(Registry::with_prefix("bowline")),
            opened: Family::default(),
            closed: Family::default(),
            inbound_failed: Counter::default(),
        }
    }

    /// Calls `add` with the registry. The builder adds the counters of the parts and the transports.
    pub(crate) fn register(&self, add: impl FnOnce(&mut Registry)) {
        add(&mut self.registry());
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn text(&self) -> String {
        let mut out = String::new();
        // Writing to a string cannot fail.
        let _ = text::encode(&mut out, &self.registry());
        out
    }
}

impl Part for Metrics {
    fn name(&self) -> &'static str {
        "metrics"
    }

    fn handle(&self, _: Instant, change: &Change) {
        match change {
            Change::Connected { connection } => {
                self.opened.get_or_create(&Labels::of(connection)).inc();
            }
            Change::Disconnected { connection, .. } => {
                self.closed.get_or_create(&Labels::of(connection)).inc();
            }
            Change::InboundFailed { count, .. } => {
                self.inbound_failed.inc_by(*count);
            }
            _ => {}
        }
    }

    fn run(self: Arc<Self>, _: CancellationToken) -> BoxFuture<'static, ()> {
        // Counting needs no task.
        futures::future::ready(()).boxed()
    }

    fn register_metrics(&self, registry: &mut Registry) {
        registry.register(
            "connections_opened",
            "Connections that were authenticated",
            self.opened.clone(),
        );
        registry.register(
            "connections_closed",
            "Authenticated connections that ended",
            self.closed.clone(),
        );
        registry.register(
            "inbound_failures",
            "Inbound connections that were refused or failed in their handshake",
            self.inbound_failed.clone(),
        );
    }
}

impl Node {
    /// The node's counters in the OpenMetrics text format.
    pub fn metrics(&self) -> String {
        self.part::<Metrics>()
            .map(|metrics| metrics.text())
            .unwrap_or_default()
    }
}
