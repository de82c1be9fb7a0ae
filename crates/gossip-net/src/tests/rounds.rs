//! Rounds of broadcasts without failures, with the figures of iroh-gossip's own simulator as the limit.

use std::time::Duration;

#[cfg(not(debug_assertions))]
use super::heap;
use super::network::{Network, Round};
use crate::Config;

const SEEDS: [u64; 4] = [0, 1, 212_312_388_123, 123];
const LIMIT: Duration = Duration::from_secs(5);

/// The mean hops of the last delivery, and the mean share of redundant contents.
struct Means {
    hops: f64,
    redundancy: f64,
    missed: usize,
    took: Duration,
}

#[allow(clippy::cast_precision_loss)]
fn means(peers: u32, rounds: &[Round]) -> Means {
    let count = rounds.len() as f64;
    let redundancy = |round: &Round| round.contents as f64 / (f64::from(peers) - 2.0) - 1.0;
    Means {
        hops: rounds
            .iter()
            .map(|round| f64::from(round.hops))
            .sum::<f64>()
            / count,
        redundancy: rounds.iter().map(redundancy).sum::<f64>() / count,
        missed: rounds.iter().map(|round| round.missed).sum(),
        took: rounds.iter().map(|round| round.took).sum::<Duration>()
            / u32::try_from(rounds.len()).unwrap(),
    }
}

/// 30 rounds with one sender, or with a random sender each.
fn rounds(network: &mut Network, peers: u32, one_sender: bool) -> Means {
    let mut sender = u32::try_from(network.rng.below(peers as usize)).unwrap();
    let mut rounds = Vec::new();
    for _ in 0..30 {
        if !one_sender {
            sender = u32::try_from(network.rng.below(peers as usize)).unwrap();
        }
        rounds.push(network.round(&[sender], LIMIT));
    }
    means(peers, &rounds)
}

/// The means over the seeds of iroh-gossip's simulations.
fn mean_of_seeds(peers: u32, one_sender: bool) -> Means {
    let runs = SEEDS.map(|seed| {
        rounds(
            &mut Network::joined(seed, peers, Config::default()),
            peers,
            one_sender,
        )
    });
    let mean = Means {
        hops: runs.iter().map(|run| run.hops).sum::<f64>() / 4.0,
        redundancy: runs.iter().map(|run| run.redundancy).sum::<f64>() / 4.0,
        missed: runs.iter().map(|run| run.missed).sum(),
        took: runs.iter().map(|run| run.took).sum::<Duration>() / 4,
    };
    let (hops, redundancy, missed, took) = (mean.hops, mean.redundancy, mean.missed, mean.took);
    println!(
        "{peers} peers, one sender {one_sender}: hops {hops:.1}, redundancy {redundancy:.3}, missed {missed}, {took:?}"
    );
    mean
}

#[test]
fn a_hundred_peers_miss_nothing_in_thirty_rounds() {
    for one_sender in [true, false] {
        assert_eq!(mean_of_seeds(100, one_sender).missed, 0);
    }
}

#[test]
fn a_thousand_peers_miss_nothing_and_hops_and_redundancy_are_no_worse_than_iroh_gossips() {
    for (one_sender, hops, redundancy) in [(true, 13.5, 0.08), (false, 20.6, 0.46)] {
        let mean = mean_of_seeds(1000, one_sender);
        assert_eq!(mean.missed, 0);
        assert!(mean.hops <= hops, "{} hops", mean.hops);
        // iroh-gossip's simulator prints two decimals.
        assert!(
            mean.redundancy < redundancy + 0.005,
            "redundancy {}",
            mean.redundancy
        );
    }
}

#[test]
fn a_run_with_the_same_seed_is_the_same_run() {
    let run = || {
        let mut network = Network::joined(7, 60, Config::default());
        let mean = rounds(&mut network, 60, false);
        (
            network.events,
            mean.took,
            (0..60)
                .map(|peer| network.neighbours(peer))
                .collect::<Vec<_>>(),
        )
    };
    assert_eq!(run(), run());
}

#[cfg(not(debug_assertions))]
/// The time that this thread has spent on a core. The machine may be busy with other things.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(stat.split_whitespace().next().unwrap().parse().unwrap())
}

/// Takes long without optimization: `cargo test --release -p gossip-net --lib ten_thousand -- --nocapture`.
#[cfg(not(debug_assertions))]
#[test]
fn ten_thousand_peers_miss_nothing_in_twenty_seconds_and_eight_kib_each() {
    let (before, start) = (heap(), cpu_time());
    let mut network = Network::joined(1, 10_000, Config::default());
    let joined = cpu_time() - start;
    let means = rounds(&mut network, 10_000, true);
    let (took, per_peer) = (cpu_time() - start, (heap() - before) / 10_000);
    println!(
        "10,000 peers: {took:?} (joined after {joined:?}), {} events, {per_peer} bytes per peer",
        network.events
    );
    println!(
        "hops {:.1}, redundancy {:.3}, missed {}",
        means.hops, means.redundancy, means.missed
    );
    assert_eq!(means.missed, 0);
    assert!(took <= Duration::from_secs(20) && per_peer <= 8 << 10);
}
