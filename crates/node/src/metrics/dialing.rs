//! What the dialer counts, read whenever somebody asks.

use std::{fmt, sync::Arc};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter},
};
use transport_tcp::Metered;

pub(crate) type Dialer = Metered<Arc<dyn transport_tcp::Dialer>>;

pub(crate) struct Dialing(pub(crate) Arc<Dialer>);

impl fmt::Debug for Dialing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dialing")
    }
}

impl Collector for Dialing {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let counters = self.0.counters();
        let mut plain = |name, help, count: u64| {
            let counter = ConstCounter::new(count);
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            counter.encode(metric)
        };
        plain("dials", "TCP dials begun", counters.dials)?;
        plain(
            "dials_succeeded",
            "TCP dials that brought about a stream",
            counters.succeeded,
        )?;
        plain(
            "dials_dropped",
            "TCP dials dropped before they were over",
            counters.dropped,
        )?;
        let stages = counters.failed.iter();
        let stages = stages.map(|(stage, count)| (stage.name(), *count));
        family(
            &mut encoder,
            (
                "dials_failed",
                "TCP dials that failed, by the stage they had got to",
            ),
            "stage",
            stages,
        )?;
        for (name, help, value) in [
            (
                "way_dials",
                "TCP dials that were over, by the way they took",
                (|way| way.dials) as fn(&transport_tcp::WayCounters) -> u64,
            ),
            ("way_dials_failed", "Those that failed", |way| way.failed),
            ("way_sent_bytes", "Bytes sent, by the way", |way| way.sent),
            ("way_received_bytes", "Bytes received, by the way", |way| {
                way.received
            }),
        ] {
            let values = counters.ways.iter();
            let values = values.map(|(way, counters)| (&**way, value(counters)));
            family(&mut encoder, (name, help), "way", values)?;
        }
        Ok(())
    }
}

/// A counter for each value of one label.
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
