//! Counters for Prometheus, fed by the node's own events.

use std::sync::{Mutex, PoisonError};

use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{
        counter::Counter,
        family::Family,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

use crate::{Connection, Event};

#[cfg(feature = "tcp")]
mod dialing;
#[cfg(feature = "relay")]
mod relaying;

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

/// What is counted. Counters only grow.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Mutex<Registry>,
    opened: Family<Labels, Counter>,
    closed: Family<Labels, Counter>,
    inbound_failed: Counter,
    rtt: Histogram,
    #[cfg(feature = "relay")]
    pub(crate) relaying: relaying::Relaying,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let metrics = Self {
            registry: Mutex::new(Registry::with_prefix("bowline")),
            opened: Family::default(),
            closed: Family::default(),
            inbound_failed: Counter::default(),
            // From 0.1 ms to 26 s.
            rtt: Histogram::new(exponential_buckets(0.0001, 4.0, 10)),
            #[cfg(feature = "relay")]
            relaying: relaying::Relaying::default(),
        };
        {
            let registry = metrics.registry.lock();
            let mut registry = registry.unwrap_or_else(PoisonError::into_inner);
            registry.register(
                "connections_opened",
                "Connections opened",
                metrics.opened.clone(),
            );
            registry.register(
                "connections_closed",
                "Connections closed",
                metrics.closed.clone(),
            );
            registry.register(
                "inbound_failures",
                "Inbound connections turned away or broken in their handshake",
                metrics.inbound_failed.clone(),
            );
            registry.register(
                "ping_rtt_seconds",
                "Round trips of pings",
                metrics.rtt.clone(),
            );
            #[cfg(feature = "relay")]
            metrics.relaying.register(&mut registry);
        }
        metrics
    }

    pub(crate) fn record(&self, event: &Event) {
        match event {
            Event::Connected { connection } => {
                self.opened.get_or_create(&Labels::of(connection)).inc();
            }
            Event::Disconnected { connection, .. } => {
                self.closed.get_or_create(&Labels::of(connection)).inc();
            }
            Event::InboundFailed { .. } => {
                self.inbound_failed.inc();
            }
            Event::Pong { rtt, .. } => self.rtt.observe(rtt.as_secs_f64()),
            Event::Listening { .. } | Event::Identified { .. } => {}
            #[cfg(feature = "relay")]
            Event::Reservation { .. } => {}
        }
    }

    /// Adds what the dialer counts.
    #[cfg(feature = "tcp")]
    pub(crate) fn with_dialer(self, dialer: std::sync::Arc<dialing::Dialer>) -> Self {
        let registry = self.registry.lock();
        let mut registry = registry.unwrap_or_else(PoisonError::into_inner);
        registry.register_collector(Box::new(dialing::Dialing(dialer)));
        drop(registry);
        self
    }

    /// The counters in the OpenMetrics text format.
    pub(crate) fn text(&self) -> String {
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        let mut out = String::new();
        // Writing to a string cannot fail.
        let _ = text::encode(&mut out, &registry);
        out
    }
}
