//! Lookups in a DHT: Bowline's client and rust-libp2p's client take turns with rust-libp2p's servers, and then with Bowline's. And
//! the memory of routing tables, and the hops and requests of lookups in a large network without any sockets.
//!
//! `cargo xtask bench kademlia` names the programs in `BENCH_KADEMLIA` and `PEER_RUST`. The results are printed and written to the
//! file that `BENCH_OUT` names.

mod alone;
mod contender;
mod lookups;

use std::process::ExitCode;

use anyhow::Result;
use serde::Serialize;
use tests::harness::bench::{self, Options, Report};

use contender::Contender;

/// How much is measured at a time.
#[derive(Clone, Copy, Debug, Serialize)]
struct Sizes {
    /// How many servers a network has.
    servers: usize,
    /// How often each client has its turn in a round.
    turns: u64,
    /// How many lookups with open connections a turn has, and how many lookups without.
    open: u64,
    fresh: u64,
    /// How many routing tables there are, and how many peers each hears of.
    tables: usize,
    peers: usize,
    /// How many nodes the large network has, and how many lookups are made there.
    nodes: usize,
    lookups: usize,
}

const FULL: Sizes = Sizes {
    servers: 100,
    turns: 5,
    open: 100,
    fresh: 40,
    tables: 300,
    peers: 1000,
    nodes: 500,
    lookups: 300,
};

const QUICK: Sizes = Sizes {
    servers: 25,
    turns: 1,
    open: 10,
    fresh: 3,
    tables: 20,
    peers: 300,
    nodes: 60,
    lookups: 20,
};

fn main() -> ExitCode {
    bench::run(measure_all)
}

fn measure_all(options: &Options) -> Result<Report<Sizes>> {
    bench::raise_file_limit();
    let sizes = options.pick(QUICK, FULL);
    let mut areas = Vec::new();
    for servers in Contender::BOTH {
        areas.extend(lookups::measure(servers, &sizes, options.rounds())?);
    }
    areas.push(alone::memory(&sizes, options.rounds())?);
    areas.extend(alone::network(&sizes)?);
    Ok(Report::new(options, sizes, areas))
}
