//! A cold start: from the start of a process until it is connected to 20 of 100 peers and has identified them. Bowline and
//! rust-libp2p take turns, and start in the same network.
//!
//! `cargo xtask bench rejoin` names the programs in `BENCH_REJOIN` and `PEER_RUST`. The results are printed and written to the
//! file that `BENCH_OUT` names.

mod contender;
mod measure;

use std::process::ExitCode;

use anyhow::Result;
use tests::harness::bench::{self, Area, Options, Report};

use contender::{Contender, Transport};
use measure::{Network, Sizes, Starts};

fn main() -> ExitCode {
    bench::run(measure_all)
}

fn measure_all(options: &Options) -> Result<Report<Sizes>> {
    bench::raise_file_limit();
    let sizes = options.pick(Sizes::QUICK, Sizes::FULL);
    let rounds = options.rounds();
    let mut areas = Vec::new();
    for transport in Transport::ALL {
        let mut area = Area::new(transport.area(), "ms");
        let network = Network::start(transport, &sizes)?;
        for round in 1..=rounds {
            eprintln!("round {round} of {rounds}: {}", transport.area());
            let mut all = Contender::ALL.map(|contender| (contender, Starts::default()));
            for _ in 0..sizes.starts {
                for (contender, starts) in &mut all {
                    starts.take(&network, *contender, &sizes)?;
                }
            }
            for (contender, mut starts) in all {
                area.add(contender.entry(), starts.median(), &starts.notes());
            }
        }
        areas.push(area);
    }
    Ok(Report::new(options, sizes, areas))
}
