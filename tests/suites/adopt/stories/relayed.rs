//! Connections through a relay, and direct ones beside them.

use anyhow::{Context, Result, bail, ensure};
use tests::harness::process::Deadline;

use super::{CLOSED_HERE, CLOSED_THERE, CONNECTED, Change, DIALING, Pair};

/// What a relay grants where that does not matter.
const AMPLE: (u32, u32) = (120, 1 << 17);

/// The relayed connection is being drained when the direct one is lost, and takes over: nobody is seen without one.
pub(super) fn falls_back(deadline: Deadline) -> Result<()> {
    let mut pair = Pair::start(&[], &[], deadline)?;
    let relay = pair.relayed(AMPLE, deadline)?;
    let direct = pair.improved()?;
    pair.close(&direct)?;
    let back = |(_, causes): Change| ("transient (limited)", causes);
    pair.both(&[back(CLOSED_HERE)], &[back(CLOSED_THERE)])?;
    drop(relay);
    pair.dialer.loses(&pair.there, true)?;
    pair.listener.loses(&pair.here, true)?;
    pair.both(&[CLOSED_THERE], &[CLOSED_THERE])?;
    pair.is_settled()
}

/// The end of the drain closes the relayed connection, which changes nothing. With the direct one, all is gone.
pub(super) fn is_replaced(deadline: Deadline) -> Result<()> {
    let drain = ["--drain", "0.2"];
    let mut pair = Pair::start(&drain, &drain, deadline)?;
    let _relay = pair.relayed(AMPLE, deadline)?;
    let direct = pair.improved()?;
    pair.dialer.loses(&pair.there, true)?;
    pair.listener.loses(&pair.here, true)?;
    pair.is_settled()?;
    pair.close(&direct)?;
    pair.both(&[CLOSED_HERE], &[CLOSED_THERE])?;
    pair.is_settled()
}

pub(super) fn ends_with_its_relay(deadline: Deadline) -> Result<()> {
    let mut pair = Pair::start(&[], &[], deadline)?;
    let relay = pair.relayed(AMPLE, deadline)?;
    let name = relay.peer_id();
    pair.dialer.goes_through(&name, &[DIALING, CONNECTED])?;
    pair.listener.goes_through(&name, &[DIALING, CONNECTED])?;
    drop(relay);
    pair.both(&[CLOSED_THERE], &[CLOSED_THERE])?;
    pair.dialer.goes_through(&name, &[CLOSED_THERE])?;
    pair.listener.goes_through(&name, &[CLOSED_THERE])?;
    pair.is_settled()
}

pub(super) fn outlives_the_relay(deadline: Deadline) -> Result<()> {
    let mut pair = Pair::start(&[], &[], deadline)?;
    let relay = pair.relayed(AMPLE, deadline)?;
    pair.improved()?;
    drop(relay);
    pair.dialer.loses(&pair.there, true)?;
    pair.listener.loses(&pair.here, true)?;
    pair.is_settled()
}

/// The end that has had enough closes; the other is closed.
pub(super) fn is_reaped(deadline: Deadline) -> Result<()> {
    let mut pair = Pair::start(&[], &["--max-limited", "0.3"], deadline)?;
    let _relay = pair.relayed(AMPLE, deadline)?;
    let reaped = ("not connected", &["transient for too long"][..]);
    pair.both(&[reaped], &[CLOSED_THERE])?;
    pair.is_settled()
}

pub(super) fn knows_the_grant(deadline: Deadline) -> Result<()> {
    let (seconds, bytes) = (60, 4096);
    let mut pair = Pair::start(&[], &[], deadline)?;
    let _relay = pair.relayed((seconds, bytes), deadline)?;
    let lists = [
        pair.dialer.connections(&pair.there)?,
        pair.listener.connections(&pair.here)?,
    ];
    for connections in lists {
        let [connection] = connections.as_slice() else {
            bail!("not one connection: {connections:?}");
        };
        let limit = &connection["limit"];
        let left = limit["seconds"].as_u64().context("no time is known")?;
        ensure!(
            connection["phase"] == "limited"
                && limit["bytes"] == bytes
                && (1..=u64::from(seconds)).contains(&left),
            "not what was granted: {connection}"
        );
    }
    Ok(())
}
