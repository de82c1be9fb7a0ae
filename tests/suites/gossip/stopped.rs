//! A member that publishes to two neighbours, of which one reads nothing: Bowline nodes, and for comparison processes on
//! iroh-gossip. The neighbour that reads nothing is a stopped process on iroh-gossip.

use std::time::Instant;

use anyhow::{Result, ensure};
use tests::harness::Peer;
use tokio::runtime::Runtime;

use crate::burst::messages;
use crate::end::{self, End};
use crate::group::{Outcome, wait_for_neighbour};
use crate::member::{Member, Sent};

/// Bowline: the neighbour that reads must hear all messages.
pub(crate) fn with_bowline(peer: &Peer, count: usize) -> Result<Outcome> {
    let runtime = Runtime::new()?;
    let start = |name| End::bowline(runtime.handle(), name);
    let outcome = run(peer, [start("publisher")?, start("listener")?], count)?;
    ensure!(outcome.remark.is_empty(), "{}", outcome.remark);
    Ok(outcome)
}

/// Processes on iroh-gossip. Whatever they lose is only told.
pub(crate) fn of_iroh(peer: &Peer, count: usize) -> Result<Outcome> {
    let ends = [End::iroh(peer, "publisher")?, End::iroh(peer, "listener")?];
    run(peer, ends, count)
}

fn run(peer: &Peer, mut ends: [End; 2], count: usize) -> Result<Outcome> {
    let publisher = ends[0].address();
    ends[1].join(&publisher)?;
    let mut third = Member::iroh(peer, "stopped", &[])?;
    third.join(&publisher)?;
    end::until_joined(&mut ends)?;
    wait_for_neighbour(&mut third)?;
    third.stop()?;

    let sent: Vec<Sent> = messages(&ends[0], count);
    let texts = sent.iter().map(|sent| sent.text.clone()).collect();
    let begun = Instant::now();
    let publishing = ends[0].publish_all(texts)?;
    let (missing, last) = end::until_heard(&mut ends, &sent);
    drop(publishing);
    let remark = match missing {
        0 => String::new(),
        _ => format!("{missing} of {count} messages lost"),
    };
    Ok(Outcome {
        messages: count,
        deliveries: count - missing,
        slowest: last - begun,
        remark,
    })
}
