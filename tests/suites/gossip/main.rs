//! Bowline and iroh-gossip in one topic: all messages reach all members, joined either way, through churn and SIGKILL.
//!
//! `cargo xtask integration gossip` runs the suite. It builds the peer on iroh-gossip and names its program in `PEER_IROH`.
//! `GOSSIP_ROUNDS` is the number of rounds of each kind, `GOSSIP_PAIRS` is the number of pairs that dial each other at the same
//! moment, `GOSSIP_BURST` is the number of messages of each end of a burst, and `GOSSIP_ONLY` names the cases to run.

mod burst;
mod end;
mod group;
mod inside;
mod joins;
mod late;
mod member;
mod oversized;
mod pairs;
mod race;
mod stopped;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use group::{Group, Outcome};
use tests::harness::Peer;
use tests::harness::table::Table;

/// The number of rounds unless `GOSSIP_ROUNDS` says otherwise.
const ROUNDS: usize = 3;

/// The number of pairs unless `GOSSIP_PAIRS` says otherwise.
const PAIRS: usize = 20;

/// The number of messages of each end of a burst unless `GOSSIP_BURST` says otherwise.
const BURST: usize = 3000;

/// How often each case does what it does.
struct Times {
    rounds: usize,
    pairs: usize,
    burst: usize,
}

/// A case: its name, and what it does with the peer.
type Case = (&'static str, fn(&Peer, &Times) -> Result<Outcome>);

const CASES: [Case; 17] = [
    ("Bowline and Bowline dial at once", |_, times| {
        race::of_bowline(times.pairs)
    }),
    ("Bowline and iroh dial at once", |peer, times| {
        race::with_bowline(peer, times.pairs)
    }),
    ("iroh and iroh dial at once", |peer, times| {
        race::of_iroh(peer, times.pairs)
    }),
    ("Bowline and Bowline burst", |_, times| {
        burst::of_bowline(times.burst)
    }),
    ("iroh and iroh burst", |peer, times| {
        burst::of_iroh(peer, times.burst)
    }),
    ("15 Bowline nodes join one", |_, times| {
        joins::of_bowline(times.rounds)
    }),
    ("15 iroh processes join one", |peer, times| {
        joins::of_iroh(peer, times.rounds)
    }),
    ("Bowline and a stopped neighbour", |peer, times| {
        stopped::with_bowline(peer, times.burst)
    }),
    ("iroh and a stopped neighbour", |peer, times| {
        stopped::of_iroh(peer, times.burst)
    }),
    ("Bowline whose first dial fails", |peer, _| {
        late::of_bowline(peer)
    }),
    ("iroh whose first dial fails", |peer, _| late::of_iroh(peer)),
    ("Bowline and a message that is too long", |_, _| {
        oversized::of_bowline()
    }),
    ("iroh and a message that is too long", |peer, _| {
        oversized::of_iroh(peer)
    }),
    ("both dial each other at their start", |peer, times| {
        pairs::run(peer, 2 * times.rounds)
    }),
    ("4 + 4, Bowline first", |peer, times| {
        steady(peer, times.rounds, false)
    }),
    ("4 + 4, iroh first", |peer, times| {
        steady(peer, times.rounds, true)
    }),
    (
        "4 + 4, one of each kind killed and replaced",
        |peer, times| churn(peer, times.rounds),
    ),
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

fn number(variable: &str) -> Option<usize> {
    std::env::var(variable).ok()?.parse().ok()
}

fn main() -> ExitCode {
    let times = Times {
        rounds: number("GOSSIP_ROUNDS").unwrap_or(ROUNDS),
        pairs: number("GOSSIP_PAIRS").unwrap_or(PAIRS),
        burst: number("GOSSIP_BURST").unwrap_or(BURST),
    };
    let only = std::env::var("GOSSIP_ONLY").unwrap_or_default();
    let wanted = |name: &str| only.is_empty() || only.split(',').any(|one| name.contains(one));
    let mut table = Table::new(&[
        "case",
        "messages",
        "deliveries",
        "slowest",
        "seconds",
        "result",
        "remark",
    ]);
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    let peer = Peer::from_env("iroh");
    for (name, run) in CASES.iter().filter(|(name, _)| wanted(name)) {
        let Some(peer) = &peer else {
            skipped += 1;
            table.row([name, "", "", "", "", "skipped", ""].map(str::to_owned));
            continue;
        };
        let begun = Instant::now();
        let outcome = run(peer, &times);
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
            outcome.remark,
        ]);
    }
    println!("{table}");
    println!("gossip: {passed} passed, {failed} failed, {skipped} skipped");
    ExitCode::from(u8::from(failed > 0))
}
