//! A relay of ours with one slot: its holder renews it though the relay is full and somebody else asks for it, and a
//! holder that dies makes way.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tests::harness::peers::{Peer, Stack};
use tests::harness::process::{Deadline, Event, Signal};

use super::ends::{Destination, Relay};
use super::peer;
use crate::PATIENCE;
use crate::report::Report;

/// All stacks here renew at three quarters of it.
const TTL_S: u64 = 4;

const GRACE: Duration = Duration::from_secs(2);

/// A slot that became free is had within this: the other asks twice a second.
const SOON: Duration = Duration::from_secs(3);

/// How a stack names the status 201.
const REFUSALS: [&str; 3] = [
    "RESOURCE_LIMIT_EXCEEDED",
    "resource limit exceeded",
    "status 201",
];

/// The holder, and the one who asks as well.
const PAIRS: [(&str, &str); 3] = [("rust", "go"), ("go", "rust"), ("ours", "rust")];

pub(super) fn run(report: &mut Report) {
    for (holder, other) in PAIRS {
        let both = peer(holder).zip(peer(other));
        let run = both.map(|(holder, other)| move || one_slot(&holder, &other));
        let stack = Stack::TcpTls.name();
        report.cell(&["ours", holder, other, stack, "one slot"], run);
    }
}

fn one_slot(holder: &Peer, other: &Peer) -> Result<String> {
    let deadline = Deadline::within(PATIENCE);
    let stack = Stack::TcpTls;
    let terms = [
        ("SLOTS", "1".to_owned()),
        ("TTL_S", TTL_S.to_string()),
        ("GRACE_S", GRACE.as_secs().to_string()),
    ];
    let relay = Relay::ours(stack, &terms, deadline)?;
    let mut holder = Destination::reserve(holder, &relay, stack, deadline)?;
    let mut other = Destination::start(other, &relay, stack, deadline)?;
    let refusal = |event: &Event| {
        let message = event.text("message");
        event.kind() == "refused" && REFUSALS.iter().any(|name| message.contains(name))
    };
    let refused = other.process.wait_for("a refusal", deadline, refusal)?;
    check(&relay, &holder, "active", deadline)?;

    // Twice, so that the second renewal is certainly asked for while the other asks.
    for _ in 0..2 {
        let renewed = |event: &Event| {
            event.kind() == "refused" || event.kind() == "reserved" && event.0["renewal"] == true
        };
        let said = holder.process.wait_for("a renewal", deadline, renewed)?;
        ensure!(said.kind() == "reserved", "not renewed: {}", said.0);
        let refused = other.process.wait_for("a refusal", deadline, |event| {
            ["refused", "reserved"].contains(&event.kind())
        })?;
        ensure!(refusal(&refused), "not refused: {}", refused.0);
    }

    holder.process.signal(Signal::KILL)?;
    let killed = Instant::now();
    let granted = |event: &Event| event.kind() == "reserved";
    other.process.wait_for("the slot", deadline, granted)?;
    let waited = killed.elapsed();
    ensure!(
        waited >= GRACE && waited <= GRACE + SOON,
        "the slot was had {waited:?} after its holder died, with a grace of {GRACE:?}"
    );
    check(&relay, &other, "active", deadline)?;
    Ok(format!(
        "renewed twice; the other: {}; {:.1} s after SIGKILL admitted",
        refused.text("message"),
        waited.as_secs_f64()
    ))
}

/// The relay's only slot is this one's.
fn check(relay: &Relay, holder: &Destination, state: &str, deadline: Deadline) -> Result<()> {
    let slots = relay.slots(deadline)?;
    let slot = slots.first().context("no slot is held")?;
    ensure!(
        slots.len() == 1 && slot.text("peer_id") == holder.peer_id(),
        "not the slot of {} alone: {slots:?}",
        holder.peer_id()
    );
    ensure!(slot.text("state") == state, "not {state}: {}", slot.0);
    Ok(())
}
