//! The measurements, each of one contender once.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::param::clock_ticks_per_second;
use serde::Serialize;
use tests::harness::process::{Deadline, Event, Process, run};
use tests::harness::program::serve;

use crate::contender::{Contender, ours};

/// How long a whole measurement may take.
const PATIENCE: Duration = Duration::from_secs(180);

/// How much is measured at a time.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Sizes {
    /// How often the contenders take turns in a round: what else the machine does changes within seconds.
    pub(crate) turns: u32,
    /// In each turn.
    bulk_bytes: u64,
    write_bytes: u32,
    peers: u32,
    table_slots: u32,
    table_rounds: u32,
}

impl Sizes {
    pub(crate) const FULL: Self = Self {
        turns: 3,
        bulk_bytes: 384 << 20,
        write_bytes: 65_536,
        peers: 1000,
        table_slots: 100_000,
        table_rounds: 10,
    };
    pub(crate) const QUICK: Self = Self {
        turns: 1,
        bulk_bytes: 64 << 20,
        write_bytes: 65_536,
        peers: 50,
        table_slots: 10_000,
        table_rounds: 1,
    };
}

/// What one contender did in a round.
#[derive(Default)]
pub(crate) struct Turns {
    carried: Vec<Carried>,
    connected: Vec<Reserved>,
    apart: Vec<Reserved>,
}

/// Bytes from one end of a circuit to the other.
struct Carried {
    gib: f64,
    seconds: f64,
    relay_seconds: f64,
}

/// Where peers are when the time begins in which all get a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start {
    /// Connected to the relay, and each end knows who the other is.
    Connected,
    /// About to dial.
    Apart,
}

pub(crate) struct Reserved {
    pub(crate) millis: f64,
    relay_cpu_millis: f64,
    vouchers: f64,
}

/// What the table does by itself.
pub(crate) struct Bare {
    pub(crate) millions: f64,
    pub(crate) bytes_a_slot: f64,
    reserve: f64,
    renew: f64,
    release: f64,
}

impl Turns {
    /// One turn of each of the three.
    pub(crate) fn take(&mut self, contender: Contender, sizes: &Sizes) -> Result<()> {
        self.carried.push(bulk(contender, sizes)?);
        let connected = reserve(contender, Start::Connected, sizes)?;
        self.connected.push(connected);
        self.apart.push(reserve(contender, Start::Apart, sizes)?);
        Ok(())
    }

    fn sum(&self, of: impl Fn(&Carried) -> f64) -> f64 {
        self.carried.iter().map(of).sum()
    }

    pub(crate) fn gib_per_second(&self) -> f64 {
        self.sum(|turn| turn.gib) / self.sum(|turn| turn.seconds)
    }

    pub(crate) fn relay_seconds_a_gib(&self) -> f64 {
        self.sum(|turn| turn.relay_seconds) / self.sum(|turn| turn.gib)
    }

    /// The median turns of those that were connected and of those that were not. There is one at least.
    pub(crate) fn reserved(&mut self) -> [Reserved; 2] {
        [&mut self.connected, &mut self.apart].map(|turns| {
            turns.sort_by(|one, other| one.millis.total_cmp(&other.millis));
            turns.swap_remove(turns.len() / 2)
        })
    }
}

impl Reserved {
    /// The numbers that are shown beside the time.
    pub(crate) fn notes(&self) -> [(&'static str, f64); 2] {
        [
            ("relay_cpu_ms", self.relay_cpu_millis),
            ("signed", self.vouchers),
        ]
    }
}

impl Bare {
    /// The numbers that are shown beside the rate of all.
    pub(crate) fn notes(&self) -> [(&'static str, f64); 3] {
        [
            ("reserve", self.reserve),
            ("renew", self.renew),
            ("release", self.release),
        ]
    }
}

/// One stream through the relay, and the relay's CPU time while it lasts.
fn bulk(contender: Contender, sizes: &Sizes) -> Result<Carried> {
    let deadline = Deadline::within(PATIENCE);
    let (relay, at) = serve_at("relay", &mut contender.relay()?, deadline)?;
    let (_destination, circuit) =
        serve_at("destination", &mut ours(&["destination", &at])?, deadline)?;
    let (bytes, write) = (sizes.bulk_bytes.to_string(), sizes.write_bytes.to_string());
    let mut source = Process::spawn(
        "source",
        &mut ours(&["source", &circuit, "--bytes", &bytes, "--write", &write])?,
    )?;
    wait(&mut source, "connected", deadline)?;
    let before = cpu_seconds(&relay)?;
    let result = wait(&mut source, "bulk", deadline)?;
    let used = cpu_seconds(&relay)? - before;
    let ended = source.finish(deadline)?;
    ensure!(ended.code == Some(0), "the source ended with {ended:?}");
    Ok(Carried {
        gib: sizes.bulk_bytes as f64 / f64::from(1 << 30),
        seconds: result.number("seconds")?,
        relay_seconds: used,
    })
}

/// All get a slot at once.
fn reserve(contender: Contender, start: Start, sizes: &Sizes) -> Result<Reserved> {
    let deadline = Deadline::within(PATIENCE);
    let (relay, at) = serve_at("relay", &mut contender.relay()?, deadline)?;
    let count = sizes.peers.to_string();
    let mut command = ours(&["reserve", &at, "--count", &count])?;
    command.args((start == Start::Connected).then_some("--connected"));
    let mut peers = Process::spawn("peers", &mut command)?;
    wait(&mut peers, "begin", deadline)?;
    let before = cpu_seconds(&relay)?;
    let result = wait(&mut peers, "reserved", deadline)?;
    let used = cpu_seconds(&relay)? - before;
    ensure!(
        result.number("count")? as u32 == sizes.peers,
        "not all got a slot: {}",
        result.0
    );
    Ok(Reserved {
        millis: result.number("seconds")? * 1e3,
        relay_cpu_millis: used * 1e3,
        vouchers: result.number("vouchers")?,
    })
}

pub(crate) fn table(sizes: &Sizes) -> Result<Bare> {
    let [slots, rounds] = [sizes.table_slots, sizes.table_rounds].map(|size| size.to_string());
    let mut command = ours(&["table", "--slots", &slots, "--rounds", &rounds])?;
    let result = job("table", &mut command, Deadline::within(PATIENCE))?;
    let millions = |field: &str| result.number(field).map(|rate| rate / 1e6);
    Ok(Bare {
        millions: millions("per_second")?,
        bytes_a_slot: result.number("bytes_a_slot")?,
        reserve: millions("reserve_per_second")?,
        renew: millions("renew_per_second")?,
        release: millions("release_per_second")?,
    })
}

/// Starts a process that serves until its standard input closes, and gives its first address.
fn serve_at(name: &str, command: &mut Command, deadline: Deadline) -> Result<(Process, String)> {
    let (server, addresses) = serve(name, command, deadline)?;
    let address = addresses.into_iter().next();
    let address = address.with_context(|| format!("the {name} is ready without an address"))?;
    Ok((server, address))
}

fn wait(process: &mut Process, kind: &str, deadline: Deadline) -> Result<Event> {
    let event = process.wait_for(kind, deadline, |event| event.kind() == kind);
    event.or_else(|error| bail!("{error:#}\n{}", process.stderr_tail()))
}

/// Runs a process to its end and gives the event of that kind.
fn job(kind: &str, command: &mut Command, deadline: Deadline) -> Result<Event> {
    let finished = run(kind, command, deadline)?;
    ensure!(finished.code == Some(0), "{kind}: {finished:?}");
    let mut events = finished.events()?.into_iter();
    let event = events.find(|event| event.kind() == kind);
    event.with_context(|| format!("{kind}: nothing was said"))
}

/// What a process has used so far, its own and the kernel's for it.
fn cpu_seconds(process: &Process) -> Result<f64> {
    let file = format!("/proc/{}/stat", process.id());
    let stat = fs::read_to_string(&file).with_context(|| format!("cannot read {file}"))?;
    let ticks = parse_ticks(&stat).with_context(|| format!("no times in {file}"))?;
    Ok(ticks as f64 / clock_ticks_per_second() as f64)
}

/// User and system time, fields 14 and 15 of proc(5). The second field is a name, in which anything may stand.
fn parse_ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_whitespace().skip(11);
    let mut time = || times.next()?.parse::<u64>().ok();
    Some(time()? + time()?)
}
