//! The figures of the relay, for Prometheus.

use std::{
    fmt,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
};
use relay_slots::driver;

use super::Counters;

/// Reads the relay's figures when Prometheus reads the metrics.
pub(super) struct Collected {
    pub(super) relay: Option<Arc<driver::RelayServer>>,
    pub(super) counters: Arc<Counters>,
}

impl fmt::Debug for Collected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collected")
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}

impl Collector for Collected {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let usage = self
            .relay
            .as_ref()
            .map(|relay| relay.usage())
            .unwrap_or_default();
        for (name, help, value) in [
            ("relay_slots", "Slots that this relay grants", usage.slots),
            (
                "relay_circuits",
                "Circuits through this relay",
                usage.circuits,
            ),
        ] {
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)).encode(metric)?;
        }
        for (name, help, value) in [
            (
                "relay_refusals",
                "Requests that this relay refused because of its terms",
                &self.counters.refused,
            ),
            (
                "relay_circuits_ended",
                "Circuits through this relay that have ended",
                &self.counters.ended,
            ),
            (
                "relay_bytes",
                "Bytes that ended circuits carried, in both directions",
                &self.counters.bytes,
            ),
        ] {
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            ConstCounter::new(value.load(Relaxed)).encode(metric)?;
        }
        Ok(())
    }
}
