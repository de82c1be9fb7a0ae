//! Dialers against the bare libraries under them: how long a dial takes, and how many there are in a second.
//!
//! One program dials by all the ways that are compared, in short turns. The target, the long way to the proxy, and the
//! proxy, a real microsocks, are processes of their own. `cargo xtask bench dial` names the programs in `BENCH_DIAL`
//! and `PROXY_MICROSOCKS`; the results are printed and written to the file that `BENCH_OUT` names.

mod servers;
mod trial;

use std::process::ExitCode;

use anyhow::Result;
use tests::harness::bench::{self, Area, Options, Report};

use servers::Servers;
use trial::{Size, Trial};

fn main() -> ExitCode {
    bench::run(measure_all)
}

fn measure_all(options: &Options) -> Result<Report<Vec<Size>>> {
    let servers = Servers::start()?;
    let trials = Trial::ALL;
    let mut areas: Vec<Area> = trials.iter().map(Trial::area).collect();
    for round in 1..=options.rounds() {
        eprintln!("round {round} of {}", options.rounds());
        for (trial, area) in trials.iter().zip(&mut areas) {
            for ways in trial.ways {
                trial.run(&servers, ways, options, area)?;
            }
        }
    }
    let sizes = trials.iter().map(|trial| trial.size(options));
    Ok(Report::new(options, sizes.collect(), areas))
}
