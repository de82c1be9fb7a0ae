//! Two members that publish many messages at each other at the same time: two Bowline nodes, and for comparison two processes on
//! iroh-gossip.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tests::harness::Peer;
use tests::harness::process::Deadline;
use tokio::runtime::Runtime;

use crate::end::End;
use crate::group::Outcome;
use crate::member::{PATIENCE, Sent};

/// How much of a message follows its number.
const FILLER: usize = 1000;

/// The messages that have not arrived count as lost when no message has arrived for this long.
const QUIET: Duration = Duration::from_secs(10);

/// How often the ends are asked what has happened.
const POLL: Duration = Duration::from_millis(20);

/// Two Bowline nodes: all messages must arrive once.
pub(crate) fn of_bowline(each: usize) -> Result<Outcome> {
    let runtime = Runtime::new()?;
    let start = |name| End::bowline(runtime.handle(), name);
    let outcome = run([start("one")?, start("other")?], each)?;
    let is_complete = outcome.deliveries == outcome.messages;
    ensure!(is_complete, "{}", outcome.remark);
    Ok(outcome)
}

/// Two processes on iroh-gossip. Whatever they lose is only told.
pub(crate) fn of_iroh(peer: &Peer, each: usize) -> Result<Outcome> {
    run([End::iroh(peer, "one")?, End::iroh(peer, "other")?], each)
}

fn run(mut ends: [End; 2], each: usize) -> Result<Outcome> {
    let other = ends[1].address();
    ends[0].join(&other)?;
    let deadline = Deadline::within(PATIENCE);
    while !ends.iter().all(End::has_neighbour) {
        ensure!(!deadline.left().is_zero(), "the ends are no neighbours");
        thread::sleep(POLL);
        ends.iter_mut().for_each(End::read);
    }
    let sent: Vec<Sent> = ends.iter().flat_map(|end| messages(end, each)).collect();
    let begun = Instant::now();
    let mut publishing = Vec::new();
    for end in &mut ends {
        let own = sent.iter().filter(|sent| sent.by == end.name());
        let texts = own.map(|sent| sent.text.clone()).collect();
        publishing.push(end.publish_all(texts)?);
    }
    let (mut missing, mut since) = (sent.len(), Instant::now());
    while missing > 0 && since.elapsed() < QUIET {
        thread::sleep(POLL);
        ends.iter_mut().for_each(End::read);
        let left: usize = ends.iter().map(|end| end.missing(&sent)).sum();
        if left != missing {
            (missing, since) = (left, Instant::now());
        }
    }
    let doubled: usize = ends.iter().map(End::doubled).sum();
    ensure!(doubled == 0, "{doubled} messages were delivered twice");
    let remark = match missing {
        0 => String::new(),
        _ => format!("{missing} of {} messages lost", sent.len()),
    };
    Ok(Outcome {
        messages: sent.len(),
        deliveries: sent.len() - missing,
        slowest: since - begun,
        remark,
    })
}

/// The messages of an end.
fn messages(end: &End, each: usize) -> Vec<Sent> {
    let (by, filler) = (end.name(), "-".repeat(FILLER));
    let sent = (0..each).map(|number| Sent {
        text: format!("{number} of {by} {filler}"),
        by: by.to_owned(),
    });
    sent.collect()
}
