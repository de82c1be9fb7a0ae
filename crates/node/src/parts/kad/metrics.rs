//! The figures about the DHT, for Prometheus.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering::Relaxed},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
};
use tokio::time::Instant;

use super::{Core, Counters};

/// Reads the figures when Prometheus reads the metrics.
#[derive(Debug)]
pub(super) struct Collected {
    pub(super) kad: Arc<Mutex<Core>>,
    pub(super) counters: Arc<Counters>,
}

impl Collector for Collected {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let now = Instant::now().into_std();
        let status = self
            .kad
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .status(now);
        for (name, help, value) in [
            (
                "dht_peers",
                "Peers in the routing table of the DHT",
                status.peers,
            ),
            (
                "dht_serving",
                "Whether this node serves the DHT: 0 no, 1 yes",
                usize::from(status.serves),
            ),
            (
                "dht_values",
                "Values of other peers that this node keeps",
                status.values,
            ),
            (
                "dht_providers",
                "Provider records of other peers that this node keeps",
                status.providers,
            ),
        ] {
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)).encode(metric)?;
        }
        let counters = &self.counters;
        for (name, help, value) in [
            (
                "dht_requests_sent",
                "Requests that this node sent to peers of the DHT",
                &counters.sent,
            ),
            (
                "dht_requests_failed",
                "Requests to peers of the DHT that had no answer",
                &counters.failed,
            ),
            (
                "dht_requests_served",
                "Requests of peers that this node answered",
                &counters.served,
            ),
            (
                "dht_requests_refused",
                "Requests of peers that were malformed or that this node refused",
                &counters.refused,
            ),
        ] {
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            ConstCounter::new(value.load(Relaxed)).encode(metric)?;
        }
        Ok(())
    }
}
