//! Nodes in network namespaces, and questions to the nodes.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tests::harness::bowline::{Home, PATIENCE, Up};
use tests::harness::place::Place;
use tests::harness::process::{Deadline, Event, Finished, Process, run};

/// The pause between two looks at a node.
const LOOK: Duration = Duration::from_millis(20);

/// Nodes in a place, and programs that ask them.
pub(crate) trait Nodes {
    /// Starts `bowline up` here, and waits for its ready line.
    fn up(&self, args: &[&str]) -> Result<Node>;

    /// Runs `bowline ARGS --json` here to its end.
    fn bowline(&self, args: &[&str]) -> Result<Finished>;

    /// The first JSON line of `bowline ARGS`, which must succeed.
    fn says(&self, args: &[&str]) -> Result<Value>;

    /// Starts a peer that prints what it sees of a node.
    fn peer(&self, args: &[&str]) -> Result<Process>;

    /// The addresses in a relay's answer to a new holder in this network.
    fn reserved(&self, relay: &str) -> Result<Vec<String>>;
}

/// A running `bowline up` in a place.
pub(crate) struct Node {
    pub(crate) up: Up,
    _home: Home,
    socket: String,
}

impl Nodes for Place {
    fn up(&self, args: &[&str]) -> Result<Node> {
        let home = Home::new()?;
        let mut command = home.bowline_with_data(&["up", "--json"]);
        command.args(args);
        let up = Up::start(&mut self.inside(&command), Deadline::within(PATIENCE))?;
        let socket = up
            .ready
            .text("admin")
            .trim_start_matches("unix:")
            .to_owned();
        Ok(Node {
            up,
            _home: home,
            socket,
        })
    }

    fn bowline(&self, args: &[&str]) -> Result<Finished> {
        let home = Home::new()?;
        let mut command = home.bowline(args);
        command.arg("--json");
        let mut inside = self.inside(&command);
        run("bowline", &mut inside, Deadline::within(PATIENCE))
    }

    fn says(&self, args: &[&str]) -> Result<Value> {
        let finished = self.bowline(args)?.succeeded();
        let finished = finished.with_context(|| format!("bowline {args:?}"))?;
        let line = finished.stdout.first().context("bowline printed nothing")?;
        Ok(serde_json::from_str(line)?)
    }

    fn peer(&self, args: &[&str]) -> Result<Process> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_network-peer"));
        command.args(args);
        Process::spawn("network-peer", &mut self.inside(&command))
    }

    fn reserved(&self, relay: &str) -> Result<Vec<String>> {
        let mut peer = self.peer(&["reserve", relay])?;
        let said = peer.next(Deadline::within(PATIENCE))?;
        ensure!(said.kind() == "reserved", "the peer says {}", said.0);
        Ok(said.texts("addresses"))
    }
}

impl Node {
    pub(crate) fn id(&self) -> &str {
        self.up.peer_id()
    }

    /// The answer of the admin endpoint.
    pub(crate) fn ask(&self, path: &str) -> Result<Event> {
        let mut stream = UnixStream::connect(&self.socket)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let body = answer.split_once("\r\n\r\n").context("no HTTP answer")?.1;
        Ok(Event(serde_json::from_str(body)?))
    }

    /// The addresses that the node announces, from `/status`.
    pub(crate) fn addresses(&self) -> Result<Vec<String>> {
        Ok(self.ask("/status")?.texts("addresses"))
    }
}

/// Calls `look` until it returns something. Returns the seconds since `begun`. More than `most` is an error.
pub(crate) fn wait(
    begun: Instant,
    most: Duration,
    mut look: impl FnMut() -> Result<Option<String>>,
) -> Result<(f64, String)> {
    // The wait is longer than `most`, so that the table distinguishes late from never.
    let end = begun + most * 5;
    loop {
        let seen = look()?;
        let took = begun.elapsed();
        match seen {
            Some(seen) if took <= most => return Ok((took.as_secs_f64(), seen)),
            Some(seen) => bail!("{seen} after {took:?}, which is too late"),
            None if Instant::now() >= end => bail!("nothing after {took:?}"),
            None => std::thread::sleep(LOOK),
        }
    }
}

/// Whether one of the addresses begins with `/ip4/IP/`.
pub(crate) fn has(addresses: &[String], ip: &str) -> bool {
    let beginning = format!("/ip4/{ip}/");
    addresses
        .iter()
        .any(|address| address.starts_with(&beginning))
}
