//! Two members that publish many messages at each other at the same time: two Bowline nodes, and for comparison two processes on
//! iroh-gossip.

use std::time::Instant;

use anyhow::{Result, ensure};
use tests::harness::Peer;
use tokio::runtime::Runtime;

use crate::end::{self, End};
use crate::group::Outcome;
use crate::member::Sent;

/// How much of a message follows its number.
const FILLER: usize = 1000;

/// Two Bowline nodes: all messages must arrive once.
pub(crate) fn of_bowline(each: usize) -> Result<Outcome> {
    let runtime = Runtime::new()?;
    let start = |name| End::bowline(runtime.handle(), name);
    let outcome = run([start("one")?, start("other")?], each)?;
    ensure!(outcome.remark.is_empty(), "{}", outcome.remark);
    Ok(outcome)
}

/// Two processes on iroh-gossip. Whatever they lose is only told.
pub(crate) fn of_iroh(peer: &Peer, each: usize) -> Result<Outcome> {
    run([End::iroh(peer, "one")?, End::iroh(peer, "other")?], each)
}

fn run(mut ends: [End; 2], each: usize) -> Result<Outcome> {
    let other = ends[1].address();
    ends[0].join(&other)?;
    end::until_joined(&mut ends)?;
    let sent: Vec<Sent> = ends.iter().flat_map(|end| messages(end, each)).collect();
    let begun = Instant::now();
    let mut publishing = Vec::new();
    for end in &mut ends {
        let own = sent.iter().filter(|sent| sent.by == end.name());
        let texts = own.map(|sent| sent.text.clone()).collect();
        publishing.push(end.publish_all(texts)?);
    }
    let (missing, last) = end::until_heard(&mut ends, &sent);
    let doubled: usize = ends.iter().map(End::doubled).sum();
    let remark = match missing + doubled {
        0 => String::new(),
        _ => format!(
            "{missing} of {} messages lost, {doubled} doubled",
            sent.len()
        ),
    };
    Ok(Outcome {
        messages: sent.len(),
        deliveries: sent.len() - missing,
        slowest: last - begun,
        remark,
    })
}

/// As many messages of a member.
pub(crate) fn messages(end: &End, each: usize) -> Vec<Sent> {
    let (by, filler) = (end.name(), "-".repeat(FILLER));
    let sent = (0..each).map(|number| Sent {
        text: format!("{number} of {by} {filler}"),
        by: by.to_owned(),
    });
    sent.collect()
}
