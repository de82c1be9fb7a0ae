//! What happens in one cell of the matrix.

use std::process::Command;

use anyhow::{Context, Result, anyhow, ensure};
use tests::harness::bowline::{Home, Up};
use tests::harness::peers::{Listening, Peer, Stack};
use tests::harness::process::{Deadline, Event, Finished, Signal, run};

const PING: &str = "/ipfs/ping/1.0.0";

/// How the agent version of a Bowline node begins.
const OUR_AGENT: &str = "bowline/";

/// The peer listens; `bowline identify` and `bowline ping` dial it.
pub(crate) fn we_dial(peer: &Peer, stack: Stack, deadline: Deadline) -> Result<()> {
    let mut listening = peer.listen(stack, deadline)?;
    let outcome = ask(&mut listening, stack, deadline);
    outcome.map_err(|error| anyhow!("{error:#}\n{}", listening.process.stderr_tail()))
}

fn ask(peer: &mut Listening, stack: Stack, deadline: Deadline) -> Result<()> {
    let home = Home::new()?;
    let said = succeed(
        "bowline",
        &mut home.bowline(&["identify", &peer.address, "--json"]),
        deadline,
    )?;
    let said = one("identified", &said)?;
    check_identity(&said)?;
    check(&said, "peer_id", &peer.peer_id)?;
    check(&said, "via", stack.via())?;

    let ping = ["ping", &peer.address, "-c", "3", "--json"];
    let pongs = succeed("bowline", &mut home.bowline(&ping), deadline)?;
    check_pongs(&pongs, 3)?;
    pongs
        .iter()
        .filter(|event| event.kind() == "pong")
        .try_for_each(|pong| check(pong, "via", stack.via()))?;

    peer.process.wait_for("our identify", deadline, |event| {
        event.kind() == "identified" && event.text("agent").starts_with(OUR_AGENT)
    })?;
    Ok(())
}

/// `bowline up` listens; the peer dials it.
pub(crate) fn they_dial(peer: &Peer, stack: Stack, deadline: Deadline) -> Result<()> {
    let home = Home::new()?;
    let mut up = home.up(&["--listen", stack.loopback()])?;
    let outcome = answer(peer, stack, &mut up, deadline);
    outcome.map_err(|error| anyhow!("{error:#}\n{}", up.process.stderr_tail()))?;

    up.process.signal(Signal::TERM)?;
    let ended = up.process.finish(deadline)?;
    ensure!(ended.code == Some(0), "bowline ended with {:?}", ended.code);
    Ok(())
}

fn answer(peer: &Peer, stack: Stack, up: &mut Up, deadline: Deadline) -> Result<()> {
    let address = up
        .addresses()
        .into_iter()
        .next()
        .context("bowline is ready without an address")?;
    // The second ping that rust-libp2p sends on a stream over QUIC stalls in itself.
    let pings = if peer.name == "rust" && stack == Stack::Quic {
        1
    } else {
        3
    };
    let job = ["dial", &address, "--pings", &pings.to_string()];
    let seen = succeed(&peer.name, &mut peer.command(&job, stack), deadline)?;
    let said = one("identified", &seen)?;
    check_identity(&said)?;
    check(&said, "peer_id", up.peer_id())?;
    ensure!(
        said.text("agent").starts_with(OUR_AGENT),
        "our agent is not {OUR_AGENT}…: {}",
        said.0
    );
    check_pongs(&seen, pings)?;
    ensure!(
        seen.iter().any(|event| event.kind() == "done"),
        "{} is not done",
        peer.name
    );

    let connected = up
        .process
        .wait_for("connected", deadline, |event| event.kind() == "connected")?;
    check(&connected, "direction", "inbound")?;
    check(&connected, "via", stack.via())?;
    let same_peer = |event: &Event| event.text("peer_id") == connected.text("peer_id");
    let theirs = |event: &Event| event.kind() == "identified" && same_peer(event);
    let said = up
        .process
        .wait_for("the peer's identify", deadline, theirs)?;
    ensure!(!said.text("agent").is_empty(), "no agent in {}", said.0);
    ensure!(said.number("protocol_count")? > 0.0, "{}", said.0);
    let gone = |event: &Event| event.kind() == "disconnected" && same_peer(event);
    up.process.wait_for("disconnected", deadline, gone)?;
    Ok(())
}

/// Runs a command that must exit with 0 and gives its events.
fn succeed(name: &str, command: &mut Command, deadline: Deadline) -> Result<Vec<Event>> {
    let finished = run(name, command, deadline)?;
    let Finished {
        code,
        stdout,
        stderr,
    } = &finished;
    ensure!(
        *code == Some(0),
        "{command:?} ended with {code:?}\n  stdout: {}\n  stderr: {}",
        stdout.join("\n    "),
        stderr.join("\n    ")
    );
    finished.events()
}

fn one(kind: &str, events: &[Event]) -> Result<Event> {
    let found = events.iter().find(|event| event.kind() == kind);
    found
        .cloned()
        .with_context(|| format!("no {kind} among {events:?}"))
}

fn check(event: &Event, field: &str, expected: &str) -> Result<()> {
    ensure!(
        event.text(field) == expected,
        "{field} is not {expected} in {}",
        event.0
    );
    Ok(())
}

fn check_identity(said: &Event) -> Result<()> {
    ensure!(!said.text("agent").is_empty(), "no agent in {}", said.0);
    ensure!(
        said.texts("protocols").iter().any(|name| name == PING),
        "no {PING} in {}",
        said.0
    );
    Ok(())
}

fn check_pongs(events: &[Event], expected: usize) -> Result<()> {
    let pongs: Vec<_> = events
        .iter()
        .filter(|event| event.kind() == "pong")
        .collect();
    ensure!(
        pongs.len() >= expected,
        "{} pongs instead of {expected}: {pongs:?}",
        pongs.len()
    );
    pongs.iter().try_for_each(|pong| {
        let rtt = pong.number("rtt_us")?;
        ensure!(rtt > 0.0 && rtt < 5e6, "a strange round trip: {}", pong.0);
        Ok(())
    })
}
