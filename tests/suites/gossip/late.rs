//! A member whose first dial fails, because the other member starts later: a Bowline node, and for comparison a process on
//! iroh-gossip. The other member is a process on iroh-gossip.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tests::harness::Peer;
use tokio::runtime::Runtime;

use crate::end::End;
use crate::group::Outcome;
use crate::member::Member;

/// How long the first dial may take to fail.
const FAILED: Duration = Duration::from_secs(1);

/// How long the member may take to try again when the other one is there.
const PATIENCE: Duration = Duration::from_secs(15);

/// How often the member is asked whether it has a neighbour.
const POLL: Duration = Duration::from_millis(20);

/// A Bowline node must find the other member.
pub(crate) fn of_bowline(peer: &Peer) -> Result<Outcome> {
    let runtime = Runtime::new()?;
    let outcome = run(peer, End::bowline(runtime.handle(), "early")?)?;
    ensure!(outcome.remark.is_empty(), "{}", outcome.remark);
    Ok(outcome)
}

/// A process on iroh-gossip. Whether it finds the other member is only told.
pub(crate) fn of_iroh(peer: &Peer) -> Result<Outcome> {
    run(peer, End::iroh(peer, "early")?)
}

fn run(peer: &Peer, mut early: End) -> Result<Outcome> {
    let start = |name, seed, at: &str| {
        let flags = ["--key-seed", seed, "--addr", at];
        Member::iroh_at(peer, name, &flags, &[])
    };
    let late = start("late", "1", "127.0.0.1:0")?;
    let address = late.address.clone();
    let at = address.split('@').nth(1).context("no socket address")?;
    drop(late);
    // A member with another key refuses the dial at once. Without it, the dial would wait for an answer.
    let other = start("other", "2", at)?;
    early.join(&address)?;
    thread::sleep(FAILED);
    drop(other);

    let _late = start("late", "1", at)?;
    let begun = Instant::now();
    while !early.has_neighbour() && begun.elapsed() < PATIENCE {
        thread::sleep(POLL);
        early.read();
    }
    let remark = match early.has_neighbour() {
        true => String::new(),
        false => format!("no neighbour after {PATIENCE:?}"),
    };
    Ok(Outcome {
        slowest: begun.elapsed(),
        remark,
        ..Outcome::default()
    })
}
