//! The counters of the TCP dialer, read at each scrape.

use std::{fmt, sync::Arc};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter},
};
use transport_tcp::{Dialer, Metered, RouteCounters};

use super::Metrics;

impl Metrics {
    /// Adds the counters of `dialer`.
    pub(crate) fn with_dialer(mut self, dialer: Arc<Metered<Arc<dyn Dialer>>>) -> Self {
        let counters = Box::new(DialerMetrics(dialer));
        self.registry.register_collector(counters);
        self
    }
}

struct DialerMetrics(Arc<Metered<Arc<dyn Dialer>>>);

impl fmt::Debug for DialerMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DialerMetrics")
    }
}

/// A counter per route: its name, its help and its value.
type PerRoute = (&'static str, &'static str, fn(&RouteCounters) -> u64);

const PER_ROUTE: [PerRoute; 4] = [
    (
        "route_dials",
        "TCP dials that ended, by route (direct, or the proxy last tried)",
        |route| route.dials,
    ),
    (
        "route_dials_failed",
        "TCP dials that failed, by route",
        |route| route.failed,
    ),
    (
        "route_sent_bytes",
        "Bytes sent over TCP connections that this node dialed, by route",
        |route| route.sent,
    ),
    (
        "route_received_bytes",
        "Bytes received over TCP connections that this node dialed, by route",
        |route| route.received,
    ),
];

impl Collector for DialerMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let counters = self.0.counters();
        let mut plain = |name, help, count: u64| {
            let counter = ConstCounter::new(count);
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            counter.encode(metric)
        };
        plain("dials", "TCP dials started", counters.dials)?;
        plain(
            "dials_succeeded",
            "TCP dials that opened a connection",
            counters.succeeded,
        )?;
        plain(
            "dials_dropped",
            "TCP dials cancelled before they ended",
            counters.dropped,
        )?;
        let stages = counters.failed.iter();
        let stages = stages.map(|(stage, count)| (stage.name(), *count));
        let described = (
            "dials_failed",
            "TCP dials that failed, by the stage that failed",
        );
        family(&mut encoder, described, "stage", stages)?;
        for (name, help, value) in PER_ROUTE {
            let values = counters.routes.iter();
            let values = values.map(|(route, counters)| (&**route, value(counters)));
            family(&mut encoder, (name, help), "route", values)?;
        }
        Ok(())
    }
}

/// One counter per value of a label.
fn family<'a>(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help): (&str, &str),
    label: &'static str,
    values: impl Iterator<Item = (&'a str, u64)>,
) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (value, count) in values {
        let labels = [(label, value)];
        ConstCounter::new(count).encode(metric.encode_family(&labels)?)?;
    }
    Ok(())
}
