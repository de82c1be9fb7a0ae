//! Foreign peers × stacks × who dials: in each cell both sides read the other's identify and pings are answered.
//!
//! `cargo xtask integration interop` builds the peers and names their programs in `PEER_RUST`, `PEER_GO` and `PEER_JS`.
//! The cells of a peer that is not named are skipped.

mod cells;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;
use tests::harness::peers::{Peer, Stack};
use tests::harness::process::Deadline;
use tests::harness::table::Table;

const PEERS: [&str; 3] = ["rust", "go", "js"];

/// How long one cell may take, starts of the processes included.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Clone, Copy)]
enum Dialer {
    We,
    They,
}

#[derive(Default)]
struct Tally {
    passed: usize,
    failed: usize,
    skipped: usize,
}

fn main() -> ExitCode {
    let mut table = Table::new(&["peer", "stack", "dialer", "result", "seconds"]);
    let mut tally = Tally::default();
    let mut failures = Vec::new();
    for name in PEERS {
        let peer = Peer::from_env(name);
        for stack in Stack::ALL {
            for dialer in [Dialer::We, Dialer::They] {
                let started = Instant::now();
                let outcome = peer.as_ref().map(|peer| cell(peer, stack, dialer));
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
                let row = [name, stack.name(), dialer.name(), result, &seconds];
                eprintln!("{}", row.join(" "));
                table.row(row.map(str::to_owned));
                if let Some(Err(error)) = outcome {
                    failures.push(format!(
                        "{name} {} {}: {error:#}",
                        stack.name(),
                        dialer.name()
                    ));
                }
            }
        }
    }
    for failure in &failures {
        println!("{failure}\n");
    }
    println!("{table}");
    println!(
        "interop: {} passed, {} failed, {} skipped",
        tally.passed, tally.failed, tally.skipped
    );
    ExitCode::from(u8::from(tally.failed > 0))
}

fn cell(peer: &Peer, stack: Stack, dialer: Dialer) -> Result<()> {
    let deadline = Deadline::within(PATIENCE);
    match dialer {
        Dialer::We => cells::we_dial(peer, stack, deadline),
        Dialer::They => cells::they_dial(peer, stack, deadline),
    }
}

impl Dialer {
    fn name(self) -> &'static str {
        match self {
            Self::We => "we",
            Self::They => "they",
        }
    }
}
