//! A message that is too long, and what becomes of those after it: two Bowline nodes, and for comparison two processes on
//! iroh-gossip.

use std::time::Instant;

use anyhow::{Result, ensure};
use tests::harness::Peer;
use tokio::runtime::Runtime;

use crate::end::{self, End};
use crate::group::Outcome;
use crate::member::Sent;

/// Both implementations accept at most 4,057 bytes with their default settings.
const TOO_LONG: usize = 5000;

/// How many messages follow.
const MESSAGES: usize = 10;

/// Two Bowline nodes: the long message is refused, and the others arrive.
pub(crate) fn of_bowline() -> Result<Outcome> {
    let runtime = Runtime::new()?;
    let start = |name| End::bowline(runtime.handle(), name);
    let (outcome, is_refused) = run([start("one")?, start("other")?])?;
    ensure!(is_refused, "a message of {TOO_LONG} bytes was published");
    ensure!(outcome.remark.is_empty(), "{}", outcome.remark);
    Ok(outcome)
}

/// Two processes on iroh-gossip. Whatever they lose is only told.
pub(crate) fn of_iroh(peer: &Peer) -> Result<Outcome> {
    let (outcome, _) = run([End::iroh(peer, "one")?, End::iroh(peer, "other")?])?;
    Ok(outcome)
}

/// Also gives whether the long message was refused. A process on iroh-gossip does not tell.
fn run(mut ends: [End; 2]) -> Result<(Outcome, bool)> {
    let other = ends[1].address();
    ends[0].join(&other)?;
    end::until_joined(&mut ends)?;
    let is_refused = ends[0].publish(&"-".repeat(TOO_LONG)).is_err();
    let begun = Instant::now();
    let mut sent = Vec::new();
    for number in 0..MESSAGES {
        let (by, text) = (ends[0].name().to_owned(), number.to_string());
        ends[0].publish(&text)?;
        sent.push(Sent { by, text });
    }
    let (missing, last) = end::until_heard(&mut ends, &sent);
    let remark = match missing {
        0 => String::new(),
        _ => format!("{missing} of {MESSAGES} messages after a message that was too long lost"),
    };
    let outcome = Outcome {
        messages: MESSAGES,
        deliveries: MESSAGES - missing,
        slowest: last - begun,
        remark,
    };
    Ok((outcome, is_refused))
}
