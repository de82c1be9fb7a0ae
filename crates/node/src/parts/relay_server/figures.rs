//! The figures of the relay, for the metrics.

use std::sync::atomic::Ordering::Relaxed;

use super::RelayServer;
use crate::part::Figure;

pub(super) fn of(part: &RelayServer) -> Vec<Figure> {
    let usage = part.relay.as_ref().map(|relay| relay.usage());
    let (usage, counters) = (usage.unwrap_or_default(), &part.counters);
    vec![
        Figure::gauge(
            "relay_slots",
            "Slots that this relay grants",
            usage.slots as u64,
        ),
        Figure::gauge(
            "relay_circuits",
            "Circuits through this relay",
            usage.circuits as u64,
        ),
        Figure::counter(
            "relay_refusals",
            "Requests that this relay refused because of its terms",
            counters.refused.load(Relaxed),
        ),
        Figure::counter(
            "relay_circuits_ended",
            "Circuits through this relay that have ended",
            counters.ended.load(Relaxed),
        ),
        Figure::counter(
            "relay_bytes",
            "Bytes that ended circuits carried, in both directions",
            counters.bytes.load(Relaxed),
        ),
    ]
}
