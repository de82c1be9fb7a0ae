//! Bowline and iroh-gossip in one topic: all messages reach all members, joined either way, through churn and SIGKILL.
//!
//! `cargo xtask integration gossip` runs the suite. It builds the peer on iroh-gossip and names its program in `PEER_IROH`.
//! `GOSSIP_ROUNDS` is the number of rounds of each kind, and `GOSSIP_ONLY` names the cases to run.

mod group;
mod member;
mod pairs;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use group::{Group, Outcome};
use tests::harness::Peer;
use tests::harness::table::Table;

/// The number of rounds unless `GOSSIP_ROUNDS` says otherwise.
const ROUNDS: usize = 3;

/// A case: its name, and what it does with the peer and the number of rounds.
type Case = (&'static str, fn(&Peer, usize) -> Result<Outcome>);

const CASES: [Case; 4] = [
    ("both dial each other", |peer, rounds| {
        pairs::run(peer, 2 * rounds)
    }),
    ("4 + 4, Bowline first", |peer, rounds| {
        steady(peer, rounds, false)
    }),
    ("4 + 4, iroh first", |peer, rounds| {
        steady(peer, rounds, true)
    }),
    ("4 + 4, one of each kind killed and replaced", churn),
];

/// Members that stay.
fn steady(peer: &Peer, rounds: usize, first_is_iroh: bool) -> Result<Outcome> {
    let (mut group, mut outcome) = (Group::start(peer, first_is_iroh)?, Outcome::default());
    for _ in 0..rounds {
        group.exchange(&mut outcome, |_| Ok(()))?;
    }
    Ok(outcome)
}

/// In each round, a member of each kind is killed while all publish, and is then replaced.
fn churn(peer: &Peer, rounds: usize) -> Result<Outcome> {
    let (mut group, mut outcome) = (Group::start(peer, false)?, Outcome::default());
    for round in 0..rounds {
        for is_iroh in [round % 2 == 0, round % 2 == 1] {
            group.exchange(&mut outcome, |group| group.kill(is_iroh))?;
            group.replace(is_iroh)?;
        }
        group.exchange(&mut outcome, |_| Ok(()))?;
    }
    Ok(outcome)
}

fn main() -> ExitCode {
    let rounds = std::env::var("GOSSIP_ROUNDS").ok();
    let rounds = rounds.and_then(|text| text.parse().ok()).unwrap_or(ROUNDS);
    let only = std::env::var("GOSSIP_ONLY").unwrap_or_default();
    let wanted = |name: &str| only.is_empty() || only.split(',').any(|one| name.contains(one));
    let mut table = Table::new(&[
        "case",
        "messages",
        "deliveries",
        "slowest",
        "seconds",
        "result",
    ]);
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    let peer = Peer::from_env("iroh");
    for (name, run) in CASES.iter().filter(|(name, _)| wanted(name)) {
        let Some(peer) = &peer else {
            skipped += 1;
            table.row([name, "", "", "", "", "skipped"].map(str::to_owned));
            continue;
        };
        let begun = Instant::now();
        let outcome = run(peer, rounds);
        let seconds = format!("{:.1}", begun.elapsed().as_secs_f64());
        let (outcome, result) = match outcome {
            Ok(outcome) => (outcome, "ok"),
            Err(error) => {
                println!("{name}: {error:#}");
                (Outcome::default(), "failed")
            }
        };
        match result {
            "ok" => passed += 1,
            _ => failed += 1,
        }
        eprintln!("{name}: {result}, {seconds} s");
        table.row([
            (*name).to_owned(),
            outcome.messages.to_string(),
            outcome.deliveries.to_string(),
            format!("{:.2} s", outcome.slowest.as_secs_f64()),
            seconds,
            result.to_owned(),
        ]);
    }
    println!("{table}");
    println!("gossip: {passed} passed, {failed} failed, {skipped} skipped");
    ExitCode::from(u8::from(failed > 0))
}
