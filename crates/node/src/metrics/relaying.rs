//! What is counted of this node as a relay.

use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge},
    registry::Registry,
};
use relay_slots::Usage;

#[derive(Debug, Default)]
pub(crate) struct Relaying {
    slots: Gauge,
    circuits: Gauge,
    refused: Counter,
    ended: Counter,
    bytes: Counter,
}

impl Relaying {
    pub(super) fn register(&self, registry: &mut Registry) {
        let (slots, circuits) = (self.slots.clone(), self.circuits.clone());
        registry.register("relay_slots", "Slots that this relay grants", slots);
        let help = "Circuits through this relay";
        registry.register("relay_circuits", help, circuits);
        let (refused, ended) = (self.refused.clone(), self.ended.clone());
        let help = "Requests that this relay refused by its terms";
        registry.register("relay_refusals", help, refused);
        let help = "Circuits through this relay that are over";
        registry.register("relay_circuits_ended", help, ended);
        let help = "Bytes that circuits which are over carried, both ways";
        registry.register("relay_bytes", help, self.bytes.clone());
    }

    pub(crate) fn refused(&self) {
        self.refused.inc();
    }

    pub(crate) fn ended(&self, bytes: u64) {
        self.ended.inc();
        self.bytes.inc_by(bytes);
    }

    /// What there is at this moment.
    pub(crate) fn now(&self, usage: &Usage) {
        self.slots.set(usage.slots as i64);
        self.circuits.set(usage.circuits as i64);
    }
}
