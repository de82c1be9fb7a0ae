//! `cargo xtask bench`: ours and a peer's in turn, in one run. One file an area.

mod transport;

use anyhow::Result;
use clap::{Args, ValueEnum};

#[derive(Args)]
pub(crate) struct Options {
    /// What to measure [default: all areas]
    area: Option<BenchArea>,
    /// How often each contender has its turn
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Small sizes and one round, to see that everything works
    #[arg(long)]
    quick: bool,
    /// Fail if a target is missed
    #[arg(long, conflicts_with = "quick")]
    enforce: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum BenchArea {
    Transport,
}

impl Options {
    /// A run that shows that everything works, and no more.
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
        }
    }
    Ok(())
}
