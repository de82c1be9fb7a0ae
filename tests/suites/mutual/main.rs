//! Two nodes that dial each other at the same instant: one connection stays, the same at both ends, and no stream's bytes
//! are lost. The same against foreign peers: there is never none.
//!
//! `cargo xtask integration mutual` builds the foreign peers and names their programs in `PEER_RUST` and `PEER_GO`; the
//! rounds against one that is not named are skipped.

mod foreign;
mod ours;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use tests::harness::peers::Peer;
use tests::harness::table::Table;

/// How often two of ours dial each other, for each pair of transports.
const ROUNDS: usize = 1_000;

/// How often a foreign peer and one of ours do.
const FOREIGN_ROUNDS: usize = 100;

/// What came of all rounds of one kind.
struct Outcome {
    rounds: usize,
    /// Rounds in which each end had two connections for a while.
    doubled: usize,
    failures: Vec<String>,
}

fn main() -> Result<ExitCode> {
    let mut table = Table::new(&[
        "pair",
        "transports",
        "rounds",
        "doubled",
        "failed",
        "seconds",
    ]);
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    let mut row =
        |pair: &str, transports: &str, run: Option<&dyn Fn() -> Result<Outcome>>| -> Result<()> {
            let Some(run) = run else {
                skipped += 1;
                table.row([pair, transports, "skipped", "", "", ""].map(str::to_owned));
                return Ok(());
            };
            let begun = Instant::now();
            let outcome = run()?;
            let seconds = format!("{:.1}", begun.elapsed().as_secs_f64());
            match outcome.failures.is_empty() {
                true => passed += 1,
                false => failed += 1,
            }
            for failure in outcome.failures.iter().take(5) {
                println!("{pair} {transports}: {failure}");
            }
            let numbers = [outcome.rounds, outcome.doubled, outcome.failures.len()];
            let numbers = numbers.map(|number| number.to_string());
            eprintln!("{pair} {transports}: {} rounds in {seconds} s", numbers[0]);
            let [rounds, doubled, failures] = numbers;
            table.row([
                pair.to_owned(),
                transports.to_owned(),
                rounds,
                doubled,
                failures,
                seconds,
            ]);
            Ok(())
        };
    for kind in ours::KINDS {
        row("bowline", kind.name, Some(&|| ours::run(kind, ROUNDS)))?;
    }
    for name in ["rust", "go"] {
        let peer = Peer::from_env(name);
        for stack in foreign::STACKS {
            let run = peer
                .as_ref()
                .map(|peer| move || foreign::run(peer, stack, FOREIGN_ROUNDS));
            let run = run.as_ref().map(|run| run as &dyn Fn() -> Result<Outcome>);
            row(name, stack.name(), run)?;
        }
    }
    println!("{table}");
    println!("mutual: {passed} passed, {failed} failed, {skipped} skipped");
    Ok(ExitCode::from(u8::from(failed > 0)))
}
