//! The figures of gossip, for the metrics.

use gossip_net::{Counters, LinkCounters, TopicStatus};

use super::Gossip;
use crate::part::Figure;

pub(super) fn of(part: &Gossip) -> Vec<Figure> {
    let running = part.engine.running();
    let (topics, counters, links) = running.map_or_else(Default::default, |gossip| {
        (gossip.topics(), gossip.counters(), gossip.link_counters())
    });
    let mut all = gauges(&topics, &links).to_vec();
    all.extend(of_topics(&counters));
    all.extend(of_links(&links));
    all
}

fn gauges(topics: &[TopicStatus], links: &LinkCounters) -> [Figure; 3] {
    let neighbours = topics.iter().map(|topic| topic.neighbors.len() as u64);
    [
        Figure::gauge(
            "gossip_topics",
            "Topics in which this node takes part",
            topics.len() as u64,
        ),
        Figure::gauge(
            "gossip_neighbours",
            "Neighbours of this node in all topics",
            neighbours.sum(),
        ),
        Figure::gauge(
            "gossip_links",
            "Gossip links that are open",
            links.opened.saturating_sub(links.closed),
        ),
    ]
}

fn of_topics(counters: &Counters) -> [Figure; 5] {
    [
        Figure::counter(
            "gossip_received",
            "Gossip messages that arrived for the first time",
            counters.received,
        ),
        Figure::counter(
            "gossip_duplicates",
            "Gossip messages that arrived again",
            counters.duplicates,
        ),
        Figure::counter(
            "gossip_published",
            "Gossip messages that this node published",
            counters.published,
        ),
        Figure::counter(
            "gossip_grafts",
            "Requests of this node for missing gossip messages",
            counters.grafts,
        ),
        Figure::counter(
            "gossip_never_arrived",
            "Missing gossip messages that did not arrive in time",
            counters.never_arrived,
        ),
    ]
}

fn of_links(links: &LinkCounters) -> [Figure; 7] {
    [
        Figure::counter(
            "gossip_links_opened",
            "Gossip links that either end opened",
            links.opened,
        ),
        Figure::counter(
            "gossip_links_replaced",
            "Gossip links that another link to the same peer replaced",
            links.replaced,
        ),
        Figure::counter(
            "gossip_links_lost",
            "Gossip links that were in use when they closed",
            links.lost,
        ),
        Figure::counter(
            "gossip_dials",
            "Dials that this node made to open a gossip link",
            links.dials,
        ),
        Figure::counter(
            "gossip_dials_failed",
            "Dials for a gossip link that failed",
            links.failed_dials,
        ),
        Figure::counter(
            "gossip_invalid",
            "Gossip frames that are no messages",
            links.invalid,
        ),
        Figure::counter(
            "gossip_stalled",
            "Neighbours that this node evicted because they did not read",
            links.stalled,
        ),
    ]
}
