//! A node is killed and starts again while a peer of another implementation stays up. Both ends open streams.
//!
//! Two further pairs of rows restart rust-libp2p instead of Bowline, for comparison.

use std::io::Write;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tests::harness::Home;
use tests::harness::peers::{Peer, Stack};
use tests::harness::process::{Deadline, Event};

use crate::Sizes;
use crate::figures::Bound;
use crate::network::{flags, loopback};
use crate::report::{Outcome, Report};
use crate::watched::{PATIENCE, Watched, wait_until};

const STACKS: [Stack; 2] = [Stack::TcpTls, Stack::Quic];

/// The longest time from the start of the node until a stream that it opened is answered, in seconds.
const OURS: f64 = 2.0;

/// The longest time until a stream that the survivor opened is answered, over TCP, in seconds.
const THEIRS: f64 = 2.0;

/// The survivors, with the seconds after which they send a packet over a quiet QUIC connection.
const SURVIVORS: [(&str, f64); 3] = [("rust", 5.0), ("go", 15.0), ("js", 5.0)];

/// The pause in milliseconds between two pings of a foreign peer.
const PROBE_EVERY: &str = "100";

/// The number of restarts of each row in a short run.
const SHORT: usize = 3;

/// The time after which a restart counts as failed.
const GIVE_UP: Duration = Duration::from_secs(30);

/// The pause before rust-libp2p dials again.
const DIAL_AGAIN: Duration = Duration::from_millis(500);

/// The number of the networks here.
const NUMBER: u8 = 60;

/// The times of our streams and of theirs.
type Both = (Outcome, Outcome);

fn restarts(sizes: Sizes) -> usize {
    if sizes.full { sizes.restarts } else { SHORT }
}

/// The rows that restart Bowline.
pub(crate) fn run(report: &Report, sizes: Sizes) {
    let restarts = restarts(sizes);
    thread::scope(|scope| {
        for (row, (name, keep_alive)) in SURVIVORS.into_iter().enumerate() {
            for (column, stack) in STACKS.into_iter().enumerate() {
                let place = 2 * (2 * row + column);
                scope.spawn(move || {
                    let nodes = format!("bowline, survivor {name} {}", stack.name());
                    let run = |peer: &Peer| bowline(peer, stack, keep_alive, place, restarts);
                    rows(report, &nodes, name, run);
                });
            }
        }
    });
}

/// The rows that restart rust-libp2p.
pub(crate) fn compare(report: &Report, sizes: Sizes) {
    let restarts = restarts(sizes);
    thread::scope(|scope| {
        for (column, stack) in STACKS.into_iter().enumerate() {
            scope.spawn(move || {
                let nodes = format!("rust, survivor rust {}", stack.name());
                let place = 40 + 2 * column;
                rows(report, &nodes, "rust", |peer| {
                    rust(peer, stack, place, restarts)
                });
            });
        }
    });
}

/// Reports the two rows of a pair of nodes.
fn rows(report: &Report, nodes: &str, name: &str, run: impl FnOnce(&Peer) -> Result<Both>) {
    let [ours, theirs] = ["of the restarted node", "of the survivor"];
    let [ours, theirs] = [ours, theirs].map(|end| format!("restart, streams {end}"));
    let Some(peer) = Peer::from_env(name) else {
        report.skip(&ours, nodes, "no such peer");
        return report.skip(&theirs, nodes, "no such peer");
    };
    match run(&peer) {
        Ok((our, their)) => {
            report.row(&ours, nodes, Ok(our));
            report.row(&theirs, nodes, Ok(their));
        }
        Err(error) => report.row(&ours, nodes, Err(error)),
    }
}

fn bounded(seconds: f64) -> Outcome {
    Outcome {
        bounds: vec![Bound::Max(seconds)],
        ..Outcome::default()
    }
}

/// Where a node listens.
fn listen(stack: Stack, node: usize) -> String {
    let ip = loopback(NUMBER, node);
    match stack {
        Stack::Quic => format!("/ip4/{ip}/udp/4077/quic-v1"),
        Stack::TcpTls | Stack::TcpNoise => format!("/ip4/{ip}/tcp/4077"),
    }
}

/// The command of a foreign peer that pings its peers on new streams.
fn probing(peer: &Peer, stack: Stack, node: usize) -> Command {
    let mut command = peer.command(&["listen", "--probe-every", PROBE_EVERY], stack);
    let seed = (node + 1).to_string();
    command.args(["--addr", &listen(stack, node), "--key-seed", &seed]);
    command
}

/// The moment at which a ping that began since `since` was answered.
fn probed(node: &mut Watched, peer: &str, since: Instant, within: Duration) -> Result<Instant> {
    node.others.clear();
    node.until("an answered ping", Deadline::within(within), |node| {
        node.others
            .iter()
            .find_map(|(at, event)| answer(event, *at, peer, since))
    })
}

fn answer(event: &Event, at: Instant, peer: &str, since: Instant) -> Option<Instant> {
    let took = Duration::from_micros(event.number("took_us").ok()? as u64);
    let is_new = event.kind() == "probed" && event.text("peer_id") == peer && at >= since + took;
    is_new.then_some(at)
}

/// Restarts `bowline up`, which finds the foreign peer among its saved peers.
fn bowline(
    peer: &Peer,
    stack: Stack,
    keep_alive: f64,
    place: usize,
    restarts: usize,
) -> Result<Both> {
    let mut survivor = Watched::start(&peer.name, &mut probing(peer, stack, place))?;
    let there = survivor.id().to_owned();
    let home = Home::new()?;
    let mut all = flags("--listen", &[listen(stack, place + 1)]);
    all.push("--no-mdns".to_owned());
    let first = [all.clone(), flags("--bootstrap", &survivor.addresses())].concat();
    let mut node = Watched::up(&home, &first)?;
    let here = node.id().to_owned();
    probed(&mut survivor, &here, Instant::now(), PATIENCE)?;
    let deadline = Deadline::within(PATIENCE);
    wait_until(node.until("a connection", deadline, Watched::lasting_from)?);
    let theirs = match stack {
        Stack::Quic => keep_alive + 1.0,
        Stack::TcpTls | Stack::TcpNoise => THEIRS,
    };
    let (mut ours, mut theirs) = (bounded(OURS), bounded(theirs));
    for restart in 0..restarts {
        let killed = node.kill()?;
        node = Watched::up(&home, &all)?;
        let identified = node.until(
            "the survivor's identify",
            Deadline::within(GIVE_UP),
            |node| node.first_since(&there, killed)?.identified,
        );
        let identified = identified.with_context(|| format!("restart {restart}"))?;
        ours.times.add(identified - node.started);
        let answered = probed(&mut survivor, &here, killed, GIVE_UP);
        let answered = answered.with_context(|| format!("restart {restart}"))?;
        theirs.times.add(answered - node.started);
    }
    Ok((ours, theirs))
}

/// Restarts rust-libp2p, which dials the survivor until it is connected.
fn rust(peer: &Peer, stack: Stack, place: usize, restarts: usize) -> Result<Both> {
    let mut survivor = Watched::start(&peer.name, &mut probing(peer, stack, place))?;
    let there = survivor.id().to_owned();
    let address = survivor.addresses().swap_remove(0);
    let start = || -> Result<Watched> {
        let mut node = Watched::start(&peer.name, &mut probing(peer, stack, place + 1))?;
        dial(&mut node, &address)?;
        Ok(node)
    };
    let (mut ours, mut theirs) = (Outcome::default(), Outcome::default());
    let mut once = |killed: Instant| -> Result<(Watched, Instant, Instant)> {
        let mut node = start()?;
        let here = node.id().to_owned();
        let our = probed(&mut node, &there, killed, GIVE_UP)?;
        let their = probed(&mut survivor, &here, killed, GIVE_UP)?;
        Ok((node, our, their))
    };
    let mut running = once(Instant::now());
    for restart in 1..=restarts {
        // A comparison does not fail.
        let Ok((node, ..)) = running else { break };
        let killed = node.kill()?;
        running = once(killed);
        match &running {
            Ok((_, our, their)) => {
                ours.times.add(*our - killed);
                theirs.times.add(*their - killed);
            }
            Err(_) => ours.remark = format!("no answer within {GIVE_UP:?} at restart {restart}"),
        }
    }
    if ours.times.len() == 0 && ours.remark.is_empty() {
        ours.remark = "never connected".to_owned();
    }
    theirs.remark = ours.remark.clone();
    Ok((ours, theirs))
}

/// Orders dials until one succeeds. A dial from the port of the killed process may fail at first.
fn dial(node: &mut Watched, address: &str) -> Result<()> {
    let deadline = Deadline::within(GIVE_UP);
    loop {
        let orders = node.process.stdin().context("no standard input")?;
        writeln!(orders, "dial {address}")?;
        let connected = node.until("a connection", deadline.at_most(DIAL_AGAIN), |node| {
            let mut events = node.others.iter();
            events
                .find(|(_, event)| event.kind() == "connected")
                .map(drop)
        });
        if connected.is_ok() || deadline.left().is_zero() {
            return connected;
        }
    }
}
