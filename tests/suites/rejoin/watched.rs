//! A process that prints the events of a node, and the connections that follow from the events.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tests::harness::Home;
use tests::harness::place::Place;
use tests::harness::process::{Deadline, Event, Process, Signal};

/// The longest time for a start, and for anything else that only a broken node makes longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// How long a connection lasts before its peer is saved.
const LASTED: Duration = Duration::from_secs(10);

/// The time in which a saved peer is on the disk, and some room for the node's own clock.
const DURABLE: Duration = Duration::from_millis(1_500);

/// A connection in the events of a node.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) peer: String,
    pub(crate) outbound: bool,
    pub(crate) opened: Instant,
    pub(crate) identified: Option<Instant>,
    pub(crate) closed: Option<Instant>,
}

/// A running process and what it has printed.
#[derive(Debug)]
pub(crate) struct Watched {
    pub(crate) process: Process,
    pub(crate) ready: Event,
    /// The moment before the process was started.
    pub(crate) started: Instant,
    pub(crate) ready_at: Instant,
    pub(crate) seen: BTreeMap<String, Seen>,
    /// The latest state of the network, with the time of the change.
    pub(crate) state: Option<(String, Instant)>,
    /// All other events.
    pub(crate) others: Vec<(Instant, Event)>,
}

impl Watched {
    /// Starts a process and waits for its ready line.
    pub(crate) fn start(name: &str, command: &mut Command) -> Result<Self> {
        let started = Instant::now();
        let mut process = Process::spawn(name, command)?;
        let first = process.next_at(Deadline::within(PATIENCE));
        let (ready_at, ready) =
            first.with_context(|| format!("no ready line\n{}", process.stderr_tail()))?;
        ensure!(
            ready.kind() == "ready",
            "the first line of {name} is {}\n{}",
            ready.0,
            process.stderr_tail()
        );
        Ok(Self {
            process,
            ready,
            started,
            ready_at,
            seen: BTreeMap::new(),
            state: None,
            others: Vec::new(),
        })
    }

    /// Starts `bowline up` in the home with these flags.
    pub(crate) fn up(home: &Home, flags: &[String]) -> Result<Self> {
        let mut command = home.bowline_with_data(&["up", "--json"]);
        Self::start("bowline", command.args(flags))
    }

    /// Starts a program in the place, and waits for its ready line.
    pub(crate) fn start_in(place: &Place, name: &str, command: &Command) -> Result<Self> {
        Self::start(name, &mut place.inside(command))
    }

    /// Starts `bowline up` in the place, with mDNS unless the flags say otherwise.
    pub(crate) fn up_in(place: &Place, home: &Home, flags: &[String]) -> Result<Self> {
        let mut command = home.bowline_with_data(&["up", "--json"]);
        command.env_remove("BOWLINE_BOOTSTRAP__MDNS");
        Self::start_in(place, "bowline", command.args(flags))
    }

    pub(crate) fn id(&self) -> &str {
        self.ready.text("peer_id")
    }

    pub(crate) fn addresses(&self) -> Vec<String> {
        self.ready.texts("addresses")
    }

    /// Reads all events that wait to be read.
    pub(crate) fn catch_up(&mut self) {
        while self.read(Deadline::within(Duration::ZERO)).is_ok() {}
    }

    /// Reads events until the condition holds.
    pub(crate) fn until<T>(
        &mut self,
        what: &str,
        deadline: Deadline,
        mut holds: impl FnMut(&Self) -> Option<T>,
    ) -> Result<T> {
        loop {
            self.catch_up();
            if let Some(value) = holds(self) {
                return Ok(value);
            }
            if let Err(error) = self.read(deadline) {
                bail!(
                    "waited for {what}: {error:#}; connections: {:?}\n{}",
                    self.seen,
                    self.process.stderr_tail()
                );
            }
        }
    }

    fn read(&mut self, deadline: Deadline) -> Result<()> {
        let (at, event) = self.process.next_at(deadline)?;
        let connection = event.text("connection").to_owned();
        match event.kind() {
            "connected" if !connection.is_empty() => {
                let seen = Seen {
                    peer: event.text("peer_id").to_owned(),
                    outbound: event.text("direction") == "outbound",
                    opened: at,
                    identified: None,
                    closed: None,
                };
                self.seen.insert(connection, seen);
            }
            "identified" => {
                if let Some(seen) = self.seen.get_mut(&connection) {
                    seen.identified.get_or_insert(at);
                }
                self.others.push((at, event));
            }
            "disconnected" => {
                if let Some(seen) = self.seen.get_mut(&connection) {
                    seen.closed = Some(at);
                }
            }
            "network" => self.state = Some((event.text("to").to_owned(), at)),
            _ => self.others.push((at, event)),
        }
        Ok(())
    }

    /// The ids of the open connections to a peer.
    pub(crate) fn open_to(&self, peer: &str) -> Vec<String> {
        let open = self.seen.iter();
        open.filter(|(_, seen)| seen.peer == peer && seen.closed.is_none())
            .map(|(id, _)| id.clone())
            .collect()
    }

    /// The first connection to a peer since a moment.
    pub(crate) fn first_since(&self, peer: &str, since: Instant) -> Option<&Seen> {
        let fitting = self.seen.values();
        fitting
            .filter(|seen| seen.peer == peer && seen.opened >= since)
            .min_by_key(|seen| seen.opened)
    }

    /// The moment at which the last of these connections was closed, once all of them are closed. `None` is not yet.
    pub(crate) fn all_closed(&self, connections: &[String]) -> Option<Option<Instant>> {
        let closed = connections
            .iter()
            .map(|id| self.seen.get(id).and_then(|seen| seen.closed));
        let closed: Option<Vec<Instant>> = closed.collect();
        closed.map(|closed| closed.into_iter().max())
    }

    /// Forgets the connections that are closed.
    pub(crate) fn forget_closed(&mut self) {
        self.seen.retain(|_, seen| seen.closed.is_none());
    }

    /// The moment from which on all peers of the open connections have lasted, and are saved.
    pub(crate) fn lasting_from(&self) -> Option<Instant> {
        let open = self.seen.values().filter(|seen| seen.closed.is_none());
        open.map(|seen| seen.opened + LASTED + DURABLE).max()
    }

    /// Kills the process, and gives the moment after its end.
    pub(crate) fn kill(self) -> Result<Instant> {
        self.process.signal(Signal::KILL)?;
        self.process.finish(Deadline::within(PATIENCE))?;
        Ok(Instant::now())
    }
}

/// Waits until the moment. The node's promises set the moment, and there is no event for it.
pub(crate) fn wait_until(moment: Instant) {
    std::thread::sleep(moment.saturating_duration_since(Instant::now()));
}
