//! Messages to all members of a topic: Bowline, iroh-gossip and rust-libp2p's gossipsub take turns with the same load. And the
//! time until a dead neighbour is noticed.
//!
//! `cargo xtask bench gossip` names the programs in `BENCH_GOSSIP`, `PEER_IROH` and `PEER_RUST`. The results are printed and written
//! to the file that `BENCH_OUT` names.

mod areas;
mod contender;
mod death;
mod load;

use std::process::ExitCode;

use anyhow::Result;
use serde::Serialize;
use tests::harness::bench::{self, Options, Report};

use contender::Contender;
use load::{Network, WORKLOADS};

/// How much is measured at a time.
#[derive(Clone, Copy, Debug, Serialize)]
struct Sizes {
    /// How many members the topic has.
    members: usize,
    /// How long messages are published.
    seconds: u64,
    /// How long the survivors publish while a member is killed.
    watched: u64,
    /// Whether only some of the workloads are measured.
    few: bool,
}

const FULL: Sizes = Sizes {
    members: 16,
    seconds: 30,
    watched: 15,
    few: false,
};

const QUICK: Sizes = Sizes {
    members: 6,
    seconds: 1,
    watched: 3,
    few: true,
};

/// What the contenders are, for the reader of the figures.
const SETUP: &str = "\
bowline: whole nodes with default settings; gossip-net uses their libp2p connections over QUIC, or over TCP
iroh-gossip 0.101: iroh endpoints with default settings and without relays, over QUIC
gossipsub: rust-libp2p with default settings, unsigned messages, all members connected, over TCP, TLS and yamux
All members of a contender run in one process. Memory is its resident memory, divided by the number of members.";

fn main() -> ExitCode {
    bench::run(measure_all)
}

fn measure_all(options: &Options) -> Result<Report<Sizes>> {
    bench::raise_file_limit();
    println!("{SETUP}");
    let (sizes, rounds) = (options.pick(QUICK, FULL), options.rounds());
    let workloads = WORKLOADS.iter();
    let workloads: Vec<_> = workloads.filter(|it| it.is_quick || !sizes.few).collect();
    let mut loads: Vec<_> = workloads.iter().map(|it| (*it, Vec::new())).collect();
    let mut deaths = Vec::new();
    for round in 1..=rounds {
        for (workload, runs) in &mut loads {
            for contender in turns(round) {
                let (who, what) = (contender.name(), workload.name);
                eprintln!("round {round} of {rounds}: {what}: {who}");
                let mut network = Network::start(contender, sizes.members)?;
                runs.push((contender, network.run(workload, sizes.seconds)?));
            }
        }
        for contender in turns(round) {
            eprintln!("round {round} of {rounds}: SIGKILL: {}", contender.name());
            deaths.push((contender, death::kill(contender, &sizes)?));
        }
    }
    let mut areas: Vec<_> = loads
        .iter()
        .map(|(workload, runs)| areas::of(workload, runs))
        .collect();
    areas.push(areas::shares(&loads));
    areas.push(areas::memory(&loads));
    areas.push(death::area(&deaths));
    Ok(Report::new(options, sizes, areas))
}

/// The contenders in another order in each round, so that none is always the first one.
fn turns(round: u32) -> impl Iterator<Item = Contender> {
    let all = Contender::ALL;
    (0..all.len()).map(move |turn| all[(turn + round as usize) % all.len()])
}
