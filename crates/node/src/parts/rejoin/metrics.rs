//! The figures about joining the network, for Prometheus.

use std::{
    fmt,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use bootstrap::{Handle, State};
use libp2p_identity::PeerId;
use multiaddr::Multiaddr;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
};

use super::Counters;

/// Reads the figures when Prometheus reads the metrics.
#[derive(Debug)]
pub(super) struct Collected {
    pub(super) handle: Handle<PeerId, Multiaddr>,
    pub(super) counters: Arc<Counters>,
}

impl Collector for Collected {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (state, candidates) = self
            .handle
            .with(|core, now| (core.state(), core.candidates(now).len()));
        for (name, help, value) in [
            (
                "network_state",
                "State of this node in its network: 0 isolated, 1 joining, 2 degraded, 3 joined",
                number(state),
            ),
            (
                "network_candidates",
                "Peers that this node may dial to join or rejoin its network",
                i64::try_from(candidates).unwrap_or(i64::MAX),
            ),
        ] {
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            ConstGauge::new(value).encode(metric)?;
        }
        for (name, help, value) in [
            (
                "network_dials",
                "Dials that this node made to join or rejoin its network",
                &self.counters.dials,
            ),
            (
                "network_dials_failed",
                "Dials to join or rejoin the network that failed",
                &self.counters.failures,
            ),
        ] {
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            ConstCounter::new(value.load(Relaxed)).encode(metric)?;
        }
        Ok(())
    }
}

fn number(state: State) -> i64 {
    match state {
        State::Isolated => 0,
        State::Joining => 1,
        State::Degraded => 2,
        State::Joined => 3,
        _ => -1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_state_has_the_number_that_the_help_names() {
        let states = [
            State::Isolated,
            State::Joining,
            State::Degraded,
            State::Joined,
        ];
        assert_eq!(states.map(number), [0, 1, 2, 3]);
    }
}
