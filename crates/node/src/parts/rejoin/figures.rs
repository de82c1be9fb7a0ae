//! The figures about joining the network, for the metrics.

use std::sync::atomic::Ordering::Relaxed;

use bootstrap::State;

use super::Rejoin;
use crate::part::Figure;

pub(super) fn of(part: &Rejoin) -> Vec<Figure> {
    let (state, candidates) = part
        .handle
        .with(|core, now| (core.state(), core.candidates(now).len()));
    vec![
        Figure::gauge(
            "network_state",
            "State of this node in its network: 0 isolated, 1 joining, 2 degraded, 3 joined",
            number(state),
        ),
        Figure::gauge(
            "network_candidates",
            "Peers that this node may dial to join or rejoin its network",
            candidates as u64,
        ),
        Figure::counter(
            "network_dials",
            "Dials that this node made to join or rejoin its network",
            part.counters.dials.load(Relaxed),
        ),
        Figure::counter(
            "network_dials_failed",
            "Dials to join or rejoin the network that failed",
            part.counters.failures.load(Relaxed),
        ),
    ]
}

fn number(state: State) -> u64 {
    match state {
        State::Joining => 1,
        State::Degraded => 2,
        State::Joined => 3,
        // Isolated.
        _ => 0,
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
