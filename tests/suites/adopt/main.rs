//! Programs on rust-libp2p and hyper that dial through `transport_tcp::Socks5`, through a real SOCKS5 server.
//!
//! `cargo xtask integration adopt` builds the programs, which are in `tests/adopt`, and names their folder in
//! `PEER_ADOPT` and the server in `PROXY_MICROSOCKS`. Without either, the cells that need it are skipped.

mod cells;
mod page;
mod programs;
mod proxy;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use tests::harness::process::Deadline;
use tests::harness::table::Table;

use crate::cells::Cell;

/// How long one cell may take, starts of the processes included.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Default)]
struct Tally {
    passed: usize,
    failed: usize,
    skipped: usize,
}

fn main() -> ExitCode {
    let mut table = Table::new(&["program", "target", "case", "result", "seconds"]);
    let mut tally = Tally::default();
    let mut failures = Vec::new();
    for cell in Cell::all() {
        let started = Instant::now();
        let outcome = cell.run(Deadline::within(PATIENCE));
        let (result, count) = match &outcome {
            None => ("skipped", &mut tally.skipped),
            Some(Ok(())) => ("ok", &mut tally.passed),
            Some(Err(_)) => ("failed", &mut tally.failed),
        };
        *count += 1;
        let seconds = match outcome {
            None => String::new(),
            Some(_) => format!("{:.1}", started.elapsed().as_secs_f64()),
        };
        let [program, target, case] = cell.names();
        let row = [program, target, case, result, &seconds];
        eprintln!("{}", row.join(" ").trim_end());
        table.row(row.map(str::to_owned));
        if let Some(Err(error)) = outcome {
            failures.push(format!("{}: {error:#}", cell.names().join(" ")));
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
