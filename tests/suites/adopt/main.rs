//! Programs on other stacks that use one of Bowline's crates:
//!
//! - a rust-libp2p swarm and a hyper client that dial through `transport_tcp::Socks5` and a real SOCKS5 server
//! - rust-libp2p swarms whose connections `conn_state` tracks, through a real relay
//! - rust-libp2p swarms that rejoin with `bootstrap` after a restart
//! - members of a topic that use `gossip_net` over iroh endpoints
//!
//! `cargo xtask integration adopt` builds the programs, which are in `tests/adopt`, and names their folder in
//! `PEER_ADOPT` and the server in `PROXY_MICROSOCKS`. Without either, the cells that need it are skipped.

mod cells;
mod page;
mod programs;
mod proxy;
mod restarts;
mod stories;
mod swarms;
mod topic;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;
use tests::harness::process::Deadline;
use tests::harness::table::Table;

use crate::cells::Cell;
use crate::restarts::Restart;
use crate::stories::Story;

/// How long one cell may take, starts of the processes included.
const PATIENCE: Duration = Duration::from_secs(30);

/// A row of the table.
#[derive(Clone, Copy)]
enum Row {
    Dialer(Cell),
    State(Story),
    Rejoin(Restart),
    Topic,
}

impl Row {
    fn all() -> Vec<Self> {
        let dialers = Cell::all().into_iter().map(Self::Dialer);
        let swarms = Story::ALL.map(Self::State);
        let restarts = Restart::ALL.map(Self::Rejoin);
        let rows = dialers.chain(swarms).chain(restarts);
        rows.chain([Self::Topic]).collect()
    }

    fn names(self) -> [&'static str; 3] {
        match self {
            Self::Dialer(cell) => cell.names(),
            Self::State(story) => story.names(),
            Self::Rejoin(restart) => restart.names(),
            Self::Topic => topic::NAMES,
        }
    }

    /// The figure of the row, which is empty for most rows. Nothing, if a program is missing.
    fn run(self, deadline: Deadline) -> Option<Result<String>> {
        let without_figure = |outcome: Result<()>| outcome.map(|()| String::new());
        match self {
            Self::Dialer(cell) => cell.run(deadline).map(without_figure),
            Self::State(story) => story.run(deadline).map(without_figure),
            Self::Rejoin(restart) => restart.run(deadline),
            Self::Topic => topic::run(deadline).map(without_figure),
        }
    }
}

#[derive(Default)]
struct Tally {
    passed: usize,
    failed: usize,
    skipped: usize,
}

fn main() -> ExitCode {
    let mut table = Table::new(&["program", "target", "case", "result", "seconds", "figure"]);
    let mut tally = Tally::default();
    let mut failures = Vec::new();
    for row in Row::all() {
        let started = Instant::now();
        let outcome = row.run(Deadline::within(PATIENCE));
        let (result, count) = match &outcome {
            None => ("skipped", &mut tally.skipped),
            Some(Ok(_)) => ("ok", &mut tally.passed),
            Some(Err(_)) => ("failed", &mut tally.failed),
        };
        *count += 1;
        let seconds = match outcome {
            None => String::new(),
            Some(_) => format!("{:.1}", started.elapsed().as_secs_f64()),
        };
        let figure = match &outcome {
            Some(Ok(figure)) => figure.as_str(),
            _ => "",
        };
        let [program, target, case] = row.names();
        let line = [program, target, case, result, &seconds, figure];
        eprintln!("{}", line.join(" ").trim_end());
        table.row(line.map(str::to_owned));
        if let Some(Err(error)) = outcome {
            failures.push(format!("{}: {error:#}", row.names().join(" ")));
        }
    }
    for failure in &failures {
        println!("{failure}\n");
    }
    println!("{table}");
    println!(
        "adopt: {} passed, {} failed, {} skipped",
        tally.passed, tally.failed, tally.skipped
    );
    ExitCode::from(u8::from(tally.failed > 0))
}
