//! The node's metrics: connections and pings, and the figures of all parts. Prometheus can read them.

mod figures;
#[cfg(feature = "tcp")]
mod tcp;

use std::{sync::Arc, time::Instant};

use futures::{FutureExt, future::BoxFuture};
use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{
        counter::Counter,
        family::Family,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};
use tokio_util::sync::CancellationToken;

use self::figures::Figures;
use crate::{
    connection::Connection,
    node::Node,
    part::{Change, Part},
};

/// Counts connections and measures pings. Its counters only grow.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    opened: Family<Labels, Counter>,
    closed: Family<Labels, Counter>,
    inbound_failed: Counter,
    rtt: Histogram,
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
    /// The metrics of a node with these other parts.
    pub(crate) fn new(parts: Vec<Arc<dyn Part>>) -> Self {
        let new = Self {
            registry: Registry::with_prefix("bowline"),
            opened: Family::default(),
            closed: Family::default(),
            inbound_failed: Counter::default(),
            // From 0.1 ms to 26 s.
            rtt: Histogram::new(exponential_buckets(0.0001, 4.0, 10)),
        };
        new.with(parts)
    }

    fn with(mut self, parts: Vec<Arc<dyn Part>>) -> Self {
        let registry = &mut self.registry;
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
        registry.register("ping_rtt_seconds", "Round trips of pings", self.rtt.clone());
        registry.register_collector(Box::new(Figures(parts)));
        self
    }

    fn text(&self) -> String {
        let mut out = String::new();
        // Writing to a string cannot fail.
        let _ = text::encode(&mut out, &self.registry);
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
            Change::Pong { rtt, .. } => self.rtt.observe(rtt.as_secs_f64()),
            _ => {}
        }
    }

    fn run(self: Arc<Self>, _: CancellationToken) -> BoxFuture<'static, ()> {
        // Counting needs no task.
        futures::future::ready(()).boxed()
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
