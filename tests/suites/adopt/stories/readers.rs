//! Those who read what happens, beside the swarm's owner.

use anyhow::{Result, ensure};
use tests::harness::process::Deadline;

use super::{CLOSED_HERE, CLOSED_THERE, CONNECTED, DIALING, Pair};

/// More events than [`SMALL_HISTORY`], three a round.
const ROUNDS: u32 = 8;
const SMALL_HISTORY: &str = "16";

pub(super) fn begins_with_a_snapshot(deadline: Deadline) -> Result<()> {
    let mut pair = Pair::start(&[], &[], deadline)?;
    let connection = pair.dialer.connect(&pair.listener.address()?)?;
    pair.both(&[DIALING, CONNECTED], &[CONNECTED])?;
    pair.dialer.tell("subscribe late")?;
    let snapshot = pair
        .dialer
        .wait_for("a snapshot", |event| event.kind() == "snapshot")?;
    let peers = &snapshot.0["peers"];
    let entry = &peers[0];
    ensure!(
        peers.as_array().map(Vec::len) == Some(1)
            && entry["peer"] == pair.there.as_str()
            && entry["state"] == "connected"
            && entry["number"] == 2,
        "not how it was: {}",
        snapshot.0
    );
    pair.close(&connection)?;
    // Numbered from there on, which is checked of every event.
    pair.dialer
        .reader_sees("late", &pair.there, &[CLOSED_HERE])?;
    pair.both(&[CLOSED_HERE], &[CLOSED_THERE])?;
    pair.is_settled()
}

/// Three read: the swarm's owner, a reader, and one that begins when its part of the history is gone.
pub(super) fn misses_and_is_told(deadline: Deadline) -> Result<()> {
    let mut pair = Pair::start(&[], &["--history", SMALL_HISTORY], deadline)?;
    let address = pair.listener.address()?;
    pair.dialer.tell("hold slow")?;
    pair.dialer.tell("subscribe quick")?;
    let round = [DIALING, CONNECTED, CLOSED_HERE];
    for _ in 0..ROUNDS {
        let connection = pair.dialer.connect(&address)?;
        pair.listener.goes_through(&pair.here, &[CONNECTED])?;
        pair.close(&connection)?;
        pair.both(&round, &[CLOSED_THERE])?;
        pair.dialer.reader_sees("quick", &pair.there, &round)?;
    }
    pair.dialer.connect(&address)?;
    pair.dialer.goes_through(&pair.there, &round[..2])?;
    pair.dialer.reader_sees("quick", &pair.there, &round[..2])?;

    pair.dialer.tell("read slow")?;
    let lagged = pair
        .dialer
        .wait_for("a lag", |event| event.kind() == "lagged")?;
    let happened = 3 * ROUNDS + 2;
    let entry = &lagged.0["peers"][0];
    ensure!(
        lagged.text("reader") == "slow"
            && lagged.0["missed"] == happened
            && entry["peer"] == pair.there.as_str()
            && entry["state"] == "connected"
            && entry["number"] == happened,
        "not what it missed: {}",
        lagged.0
    );
    let here = pair.here.clone();
    let there = pair.there.clone();
    pair.listener.goes_through(&here, &[CONNECTED])?;
    drop(pair.listener);
    for reader in ["", "quick", "slow"] {
        pair.dialer.reader_sees(reader, &there, &[CLOSED_THERE])?;
    }
    pair.dialer.is_settled(&there)
}
