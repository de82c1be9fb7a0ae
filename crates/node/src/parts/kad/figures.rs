//! The figures about the DHT, for the metrics.

use std::sync::atomic::Ordering::Relaxed;

use tokio::time::Instant;

use super::Kademlia;
use crate::part::Figure;

pub(super) fn of(part: &Kademlia) -> Vec<Figure> {
    let status = part.lock().status(Instant::now().into_std());
    let counters = &part.counters;
    vec![
        Figure::gauge(
            "dht_peers",
            "Peers in the routing table of the DHT",
            status.peers as u64,
        ),
        Figure::gauge(
            "dht_serving",
            "Whether this node serves the DHT: 0 no, 1 yes",
            u64::from(status.serves),
        ),
        Figure::gauge(
            "dht_values",
            "Values of other peers that this node keeps",
            status.values as u64,
        ),
        Figure::gauge(
            "dht_providers",
            "Provider records of other peers that this node keeps",
            status.providers as u64,
        ),
        Figure::counter(
            "dht_requests_sent",
            "Requests that this node sent to peers of the DHT",
            counters.sent.load(Relaxed),
        ),
        Figure::counter(
            "dht_requests_failed",
            "Requests to peers of the DHT that had no answer",
            counters.failed.load(Relaxed),
        ),
        Figure::counter(
            "dht_requests_served",
            "Requests of peers that this node answered",
            counters.served.load(Relaxed),
        ),
        Figure::counter(
            "dht_requests_refused",
            "Requests of peers that were malformed or that this node refused",
            counters.refused.load(Relaxed),
        ),
    ]
}
