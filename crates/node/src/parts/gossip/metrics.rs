//! The figures of gossip, for Prometheus.

use std::fmt;

use gossip_net::{Counters, LinkCounters, TopicStatus};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
};

use super::Engine;

/// Reads the figures when Prometheus reads the metrics.
pub(super) struct Collected {
    pub(super) engine: Engine,
}

impl fmt::Debug for Collected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Collected")
    }
}

/// The name, the description and the value of a figure.
type Figure = (&'static str, &'static str, u64);

impl Collector for Collected {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let running = self.engine.running();
        let (topics, counters, links) = running.map_or_else(Default::default, |gossip| {
            (gossip.topics(), gossip.counters(), gossip.link_counters())
        });
        for (name, help, value) in gauges(&topics, &links) {
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)).encode(metric)?;
        }
        for (name, help, value) in of_topics(&counters).into_iter().chain(of_links(&links)) {
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            ConstCounter::new(value).encode(metric)?;
        }
        Ok(())
    }
}

fn gauges(topics: &[TopicStatus], links: &LinkCounters) -> [Figure; 3] {
    let neighbours = topics.iter().map(|topic| topic.neighbors.len() as u64);
    [
        (
            "gossip_topics",
            "Topics in which this node takes part",
            topics.len() as u64,
        ),
        (
            "gossip_neighbours",
            "Neighbours of this node in all topics",
            neighbours.sum(),
        ),
        (
            "gossip_links",
            "Gossip links that are open",
            links.opened.saturating_sub(links.closed),
        ),
    ]
}

fn of_topics(counters: &Counters) -> [Figure; 5] {
    [
        (
            "gossip_received",
            "Gossip messages that arrived for the first time",
            counters.received,
        ),
        (
            "gossip_duplicates",
            "Gossip messages that arrived again",
            counters.duplicates,
        ),
        (
            "gossip_published",
            "Gossip messages that this node published",
            counters.published,
        ),
        (
            "gossip_grafts",
            "Requests of this node for missing gossip messages",
            counters.grafts,
        ),
        (
            "gossip_never_arrived",
            "Missing gossip messages that did not arrive in time",
            counters.never_arrived,
        ),
    ]
}

fn of_links(links: &LinkCounters) -> [Figure; 7] {
    [
        (
            "gossip_links_opened",
            "Gossip links that either end opened",
            links.opened,
        ),
        (
            "gossip_links_replaced",
            "Gossip links that another link to the same peer replaced",
            links.replaced,
        ),
        (
            "gossip_links_lost",
            "Gossip links that were in use when they closed",
            links.lost,
        ),
        (
            "gossip_dials",
            "Dials that this node made to open a gossip link",
            links.dials,
        ),
        (
            "gossip_dials_failed",
            "Dials for a gossip link that failed",
            links.failed_dials,
        ),
        (
            "gossip_invalid",
            "Gossip frames that are no messages",
            links.invalid,
        ),
        (
            "gossip_stalled",
            "Neighbours that this node evicted because they did not read",
            links.stalled,
        ),
    ]
}
