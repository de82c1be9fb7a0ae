//! conn-state against what a user would write himself: a watch channel a peer, and a map with a broadcast channel.
//!
//! Each contender is measured in a process of its own. `cargo xtask bench state` names the program in `BENCH_STATE`; the
//! results are printed and written to the file that `BENCH_OUT` names.

mod trial;

use std::process::ExitCode;

use anyhow::Result;
use tests::harness::bench::{self, Area, Options, Report};

use trial::{Size, Trial};

fn main() -> ExitCode {
    bench::run(measure_all)
}

fn measure_all(options: &Options) -> Result<Report<Size>> {
    let size = options.pick(Size::QUICK, Size::FULL);
    let mut areas: Vec<Area> = Trial::ALL.iter().map(|trial| trial.area()).collect();
    for round in 1..=options.rounds() {
        eprintln!("round {round} of {}", options.rounds());
        for (trial, area) in Trial::ALL.iter().zip(&mut areas) {
            for contender in trial.contenders() {
                trial.run(contender, &size, area)?;
            }
        }
    }
    Ok(Report::new(options, size, areas))
}
