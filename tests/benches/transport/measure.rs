//! The measurements, each of one contender once.

use std::fs;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde::Serialize;
use tests::harness::peers::Stack;
use tests::harness::process::{Deadline, Event, Process, run};
use tests::harness::{Home, Up};

use crate::contender::Contender;

/// How long a whole measurement may take.
const PATIENCE: Duration = Duration::from_secs(300);

/// After this the handshakes' buffers are freed and identify has run.
const SETTLE: Duration = Duration::from_secs(2);

/// How much is measured at a time.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Sizes {
    pub(crate) bulk_bytes: u64,
    pub(crate) write_bytes: u32,
    pub(crate) connects: u32,
    pub(crate) held: u32,
    pub(crate) left: u32,
    pub(crate) left_seconds: u32,
}

/// Connect to first pong.
pub(crate) struct ConnectTimes {
    pub(crate) p50_ms: f64,
    p99_ms: f64,
    per_second: f64,
}

impl Sizes {
    pub(crate) const FULL: Self = Self {
        bulk_bytes: 1 << 30,
        write_bytes: 65_536,
        connects: 300,
        held: 1000,
        left: 5000,
        left_seconds: 30,
    };
    pub(crate) const QUICK: Self = Self {
        bulk_bytes: 1 << 26,
        write_bytes: 65_536,
        connects: 30,
        held: 50,
        left: 50,
        left_seconds: 10,
    };
}

impl ConnectTimes {
    /// The numbers that are shown beside the median.
    pub(crate) fn notes(&self) -> [(&'static str, f64); 2] {
        [("p99_ms", self.p99_ms), ("per_second", self.per_second)]
    }
}

/// GiB a second over one stream, from the first write until the server has counted all.
pub(crate) fn bulk(contender: &Contender, sizes: &Sizes) -> Result<f64> {
    let (bytes, write) = (sizes.bulk_bytes.to_string(), sizes.write_bytes.to_string());
    let result = against_server(contender, "bulk", &["--bytes", &bytes, "--write", &write])?;
    ensure!(
        result.number("bytes")? as u64 == sizes.bulk_bytes,
        "{} moved other bytes: {}",
        contender.name(),
        result.0
    );
    let gib = sizes.bulk_bytes as f64 / f64::from(1 << 30);
    Ok(gib / result.number("seconds")?)
}

/// Connections made one after the other, each to its first pong.
pub(crate) fn connects(contender: &Contender, sizes: &Sizes) -> Result<ConnectTimes> {
    let result = against_server(
        contender,
        "connects",
        &["--count", &sizes.connects.to_string()],
    )?;
    Ok(ConnectTimes {
        p50_ms: result.number("p50_us")? / 1e3,
        p99_ms: result.number("p99_us")? / 1e3,
        per_second: result.number("per_second")?,
    })
}

/// KiB of resident memory that the server takes for one idle connection with ping and identify running.
pub(crate) fn memory(contender: &Contender, sizes: &Sizes) -> Result<f64> {
    let deadline = Deadline::within(PATIENCE);
    let (server, address) = serve(contender, deadline)?;
    thread::sleep(SETTLE);
    let before = resident_kib(&server)?;
    let holder = hold(contender, &address, sizes.held, deadline)?;
    thread::sleep(SETTLE);
    let after = resident_kib(&server)?;
    let_go(contender, holder, deadline)?;
    Ok((after - before) / f64::from(sizes.held))
}

/// MiB of resident memory that `bowline up` has more than at its start, some time after many connections have ended.
/// The notes give the resident memory at the start and with all connections.
pub(crate) fn left(
    contender: &Contender,
    sizes: &Sizes,
) -> Result<(f64, [(&'static str, f64); 2])> {
    let deadline = Deadline::within(PATIENCE);
    let listen = match contender.stack {
        Stack::Quic => "/ip4/127.0.0.1/udp/0/quic-v1",
        Stack::TcpTls | Stack::TcpNoise => "/ip4/127.0.0.1/tcp/0",
    };
    let home = Home::new()?;
    let mut command = home.bowline_with_data(&["up", "--json", "--listen", listen]);
    command.env("BOWLINE_LIMITS__MAX_INBOUND", (2 * sizes.left).to_string());
    let server = Up::start(&mut command, deadline)?;
    let address = server.address_with("127.0.0.1")?;
    let server = server.process;
    let mib = || resident_kib(&server).map(|kib| kib / 1024.0);
    thread::sleep(SETTLE);
    let start = mib()?;
    let holder = hold(contender, &address, sizes.left, deadline)?;
    thread::sleep(SETTLE);
    let full = mib()?;
    let_go(contender, holder, deadline)?;
    thread::sleep(Duration::from_secs(sizes.left_seconds.into()));
    Ok((mib()? - start, [("start_mib", start), ("full_mib", full)]))
}

/// Bowline's client, once it holds `count` connections.
fn hold(contender: &Contender, address: &str, count: u32, deadline: Deadline) -> Result<Process> {
    let mut command = contender.holder(&["hold", address, "--count", &count.to_string()])?;
    let mut holder = Process::spawn("hold", &mut command)?;
    let held = holder.wait_for("held", deadline, |event| event.kind() == "held");
    let held = held.map_err(|error| failed(contender, &error, &[&holder]))?;
    ensure!(
        held.number("count")? as u32 == count,
        "not all connections are held: {}",
        held.0
    );
    Ok(holder)
}

/// Lets the client close its connections and waits for its end.
fn let_go(contender: &Contender, mut holder: Process, deadline: Deadline) -> Result<()> {
    holder.close_stdin();
    let ended = holder.finish(deadline)?;
    ensure!(
        ended.code == Some(0),
        "hold against {} ended with {ended:?}",
        contender.name()
    );
    Ok(())
}

/// Runs one job of the contender against its own server and gives the event of the job's name.
fn against_server(contender: &Contender, job: &str, arguments: &[&str]) -> Result<Event> {
    let deadline = Deadline::within(PATIENCE);
    let (server, address) = serve(contender, deadline)?;
    let name = format!("{job} of {}", contender.name());
    let finished = run(
        &name,
        contender.command(&[job, &address]).args(arguments),
        deadline,
    )?;
    if finished.code != Some(0) {
        bail!("{name} ended with {finished:?}\n{}", server.stderr_tail());
    }
    let events = finished.events()?;
    let result = events.into_iter().find(|event| event.kind() == job);
    result.with_context(|| format!("{name} printed no result"))
}

fn serve(contender: &Contender, deadline: Deadline) -> Result<(Process, String)> {
    let name = format!("server of {}", contender.name());
    let mut server = Process::spawn(&name, &mut contender.command(&["serve"]))?;
    let ready = server.wait_for("ready", deadline, |event| event.kind() == "ready");
    let ready = ready.map_err(|error| failed(contender, &error, &[&server]))?;
    let address = ready.texts("addresses").into_iter().next();
    Ok((
        server,
        address.with_context(|| format!("{name} is ready without an address"))?,
    ))
}

fn failed(contender: &Contender, error: &anyhow::Error, processes: &[&Process]) -> anyhow::Error {
    let tails: Vec<_> = processes
        .iter()
        .map(|process| process.stderr_tail())
        .collect();
    anyhow!("{}: {error:#}\n{}", contender.name(), tails.join("\n"))
}

fn resident_kib(process: &Process) -> Result<f64> {
    let file = format!("/proc/{}/status", process.id());
    let status = fs::read_to_string(&file).with_context(|| format!("cannot read {file}"))?;
    parse_resident_kib(&status).with_context(|| format!("no VmRSS in {file}"))
}

fn parse_resident_kib(status: &str) -> Option<f64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}
