//! Peers that die, and networks that split.

use std::time::Duration;

use super::network::{Death, Network};
use crate::Config;

const SECOND: Duration = Duration::from_secs(1);
const LIMIT: Duration = Duration::from_secs(5);

/// Kills a share of the peers at once.
fn kill(network: &mut Network, percent: usize, death: Death) {
    let alive = network.alive();
    let count = alive.len() * percent / 100;
    for peer in network.rng.clone().sample(alive, count) {
        network.kill(peer, death);
    }
}

/// The share of the survivors that a message of a random survivor does not reach.
#[allow(clippy::cast_precision_loss)]
fn missed(network: &mut Network) -> f64 {
    let alive = network.alive();
    let sender = network.rng.pick(&alive).unwrap();
    let round = network.round(&[sender], LIMIT);
    round.missed as f64 / (alive.len() - 1) as f64
}

fn missed_after(seed: u64, peers: u32, percent: usize, death: Death, wait: Duration) -> f64 {
    let mut network = Network::joined(seed, peers, Config::default());
    network.run(5 * SECOND);
    missed(&mut network);
    kill(&mut network, percent, death);
    network.run(wait);
    missed(&mut network)
}

#[test]
fn when_half_of_the_peers_die_nothing_is_missed_after_twelve_seconds() {
    for death in [Death::Closed, Death::Silent] {
        for (seed, peers) in [(1, 100), (2, 100), (3, 1000)] {
            assert_eq!(
                missed_after(seed, peers, 50, death, 12 * SECOND),
                0.0,
                "{death:?}, seed {seed}"
            );
        }
    }
}

#[test]
fn when_four_fifths_of_the_peers_die_almost_nothing_is_missed_after_ten_seconds() {
    for death in [Death::Closed, Death::Silent] {
        let runs = (0..20).map(|seed| missed_after(seed, 500, 80, death, 10 * SECOND));
        let mean = runs.sum::<f64>() / 20.0;
        println!("80 % {death:?}: {:.3} % missed", mean * 100.0);
        assert!(mean <= 0.001, "{death:?}: {mean}");
    }
}

#[test]
fn a_network_that_was_split_in_half_for_a_minute_heals_within_ten_seconds() {
    for (seed, peers) in [(1, 2), (2, 10), (3, 100), (4, 1000)] {
        let mut network = Network::joined(seed, peers, Config::default());
        network.split(|peer| u8::from(peer % 2 == 0));
        network.run(60 * SECOND);
        assert!(missed(&mut network) > 0.4, "the network was not split");
        network.split(|_| 0);
        network.run(10 * SECOND);
        assert_eq!(missed(&mut network), 0.0, "{peers} peers, seed {seed}");
    }
}

#[test]
fn the_death_of_the_peer_by_which_all_joined_splits_nothing() {
    for death in [Death::Closed, Death::Silent] {
        for seed in 0..10 {
            let mut network = Network::joined(seed, 100, Config::default());
            network.kill(0, death);
            network.run(10 * SECOND);
            assert_eq!(missed(&mut network), 0.0, "{death:?}, seed {seed}");
        }
    }
}

/// Pairs of which only the first counts the second as its neighbour.
fn one_sided(network: &Network) -> Vec<(u32, u32)> {
    let mut found = Vec::new();
    for peer in network.alive() {
        let neighbours = network.neighbours(peer);
        assert!(!neighbours.is_empty() && neighbours.len() <= 5);
        let others = neighbours
            .into_iter()
            .filter(|other| !network.neighbours(*other).contains(&peer));
        found.extend(others.map(|other| (peer, other)));
    }
    found
}

#[test]
fn all_views_are_symmetric_two_seconds_after_fifteen_peers_joined_one_at_once() {
    for seed in 0..100 {
        let mut network = Network::new(seed, Config::default());
        (0..16).for_each(|_| {
            network.add();
        });
        (1..16).for_each(|peer| network.join(peer, &[0]));
        network.run(2 * SECOND);
        let before = one_sided(&network);
        // A view that is one-sided only while a message is on its way is not meant.
        network.run(SECOND / 10);
        let after = one_sided(&network);
        let stuck = before
            .iter()
            .filter(|pair| after.contains(pair))
            .collect::<Vec<_>>();
        assert!(stuck.is_empty(), "seed {seed}: {stuck:?}");
    }
}

#[test]
fn thirty_peers_that_join_again_whenever_a_neighbour_is_lost_settle_within_ten_seconds() {
    let mut network = Network::joined(1, 31, Config::default());
    for _ in 0..70 {
        let before = network.downs;
        network.run(SECOND / 10);
        if network.downs != before {
            (1..31).for_each(|peer| network.join(peer, &[0]));
        }
    }
    let before = network.downs;
    network.run(10 * SECOND);
    assert_eq!(network.downs, before, "neighbours still come and go");
}
