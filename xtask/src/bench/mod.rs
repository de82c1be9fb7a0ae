//! `cargo xtask bench`: Bowline and other implementations in turn, in one run. One file per area.

mod dial;
mod gossip;
mod kademlia;
mod rejoin;
mod relay;
mod state;
mod transport;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, ValueEnum};

use crate::step;

#[derive(Args)]
pub(crate) struct Options {
    /// What to measure [default: all areas]
    area: Option<BenchArea>,
    /// How many turns each contender has
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Use small sizes and check no target: only shows that everything works
    #[arg(long)]
    quick: bool,
    /// Fail if a target is missed
    #[arg(long, conflicts_with = "quick")]
    enforce: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum BenchArea {
    Transport,
    Dial,
    State,
    Relay,
    Rejoin,
    Kademlia,
    Gossip,
}

impl Options {
    /// A run that only shows that everything works.
    pub(crate) fn smoke() -> Self {
        Self {
            area: None,
            rounds: 1,
            quick: true,
            enforce: false,
        }
    }

    /// The flags that every area's program takes.
    fn flags(&self) -> Vec<String> {
        let mut flags = vec![format!("--rounds={}", self.rounds)];
        flags.extend(self.quick.then(|| "--quick".to_owned()));
        flags.extend(self.enforce.then(|| "--enforce".to_owned()));
        flags
    }
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let areas = options
        .area
        .map_or(BenchArea::value_variants().to_vec(), |area| vec![area]);
    for area in areas {
        match area {
            BenchArea::Transport => transport::run(&options.flags())?,
            BenchArea::Dial => dial::run(&options.flags())?,
            BenchArea::State => state::run(&options.flags())?,
            BenchArea::Relay => relay::run(&options.flags())?,
            BenchArea::Rejoin => rejoin::run(&options.flags())?,
            BenchArea::Kademlia => kademlia::run(&options.flags())?,
            BenchArea::Gossip => gossip::run(&options.flags())?,
        }
    }
    Ok(())
}

/// Runs an area's driver, which finds what it measures by these variables.
fn drive(area: &str, flags: &[String], variables: &[(String, PathBuf)]) -> Result<()> {
    let output = step::target_folder()?.join(format!("bench/{area}.json"));
    // The driver itself is not measured, so it need not be optimized.
    let mut driver = step::cargo(&[
        "bench",
        "--quiet",
        "--workspace",
        "--profile",
        "dev",
        "--bench",
        area,
        "--",
    ]);
    driver.args(flags);
    driver.envs(variables.iter().map(|(key, value)| (key, value)));
    step::succeed(driver.env("BENCH_OUT", output))
}
