//! The swarms that track their connections: a relay and two peers, each a process that is told what to do.

use std::collections::{BTreeMap, VecDeque};
use std::io::Write;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::harness::process::{Deadline, Event, Process};

/// The short name in tables.
pub(crate) const NAME: &str = "rust-libp2p-state";

/// A process of the program. Dropping it kills it.
pub(crate) struct Swarm {
    process: Process,
    deadline: Deadline,
    ready: Event,
    /// What was read and not asked for yet.
    unread: VecDeque<Event>,
    /// What each reader heard last of each peer: the number, and the state.
    heard: BTreeMap<[String; 2], (f64, String)>,
}

/// One change of a peer's state: to what, and why, which is one of these.
pub(crate) type Change = (&'static str, &'static [&'static str]);

impl Swarm {
    /// A relay that grants circuits of so many seconds and bytes.
    pub(crate) fn relay(seconds: u32, bytes: u32, deadline: Deadline) -> Result<Self> {
        let (seconds, bytes) = (seconds.to_string(), bytes.to_string());
        let limits = ["relay", "--duration", &seconds, "--bytes", &bytes];
        Self::start(&limits, deadline)
    }

    /// A peer that listens.
    pub(crate) fn listener(flags: &[&str], deadline: Deadline) -> Result<Self> {
        let listen = ["peer", "--listen", "/ip4/127.0.0.1/tcp/0"];
        Self::start(&[&listen, flags].concat(), deadline)
    }

    /// A peer that does not.
    pub(crate) fn dialer(flags: &[&str], deadline: Deadline) -> Result<Self> {
        Self::start(&[&["peer"], flags].concat(), deadline)
    }

    fn start(arguments: &[&str], deadline: Deadline) -> Result<Self> {
        let folder = std::env::var_os("PEER_ADOPT").unwrap_or_default();
        let program = Path::new(&folder).join(format!("{NAME}-adopt"));
        let mut process = Process::spawn(arguments[0], Command::new(program).args(arguments))?;
        let ready = process.wait_for("ready", deadline, |event| event.kind() == "ready")?;
        Ok(Self {
            process,
            deadline,
            ready,
            unread: VecDeque::new(),
            heard: BTreeMap::new(),
        })
    }

    pub(crate) fn peer_id(&self) -> String {
        self.ready.text("peer_id").to_owned()
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> Result<String> {
        let addresses = self.ready.texts("addresses");
        addresses.into_iter().next().context("it does not listen")
    }

    pub(crate) fn tell(&mut self, command: &str) -> Result<()> {
        let stdin = self.process.stdin().context("its input is closed")?;
        writeln!(stdin, "{command}").with_context(|| format!("cannot tell it to {command}"))
    }

    /// Reserves at the relay, and gives the address that leads through it.
    pub(crate) fn reserve(&mut self, relay: &Self) -> Result<String> {
        self.tell(&format!("listen {}/p2p-circuit", relay.address()?))?;
        let ready = self.wait_for("a reservation", |event| event.kind() == "ready")?;
        let addresses = ready.texts("addresses");
        addresses.into_iter().next().context("no address")
    }

    /// Dials, and gives the swarm's name for the connection.
    pub(crate) fn connect(&mut self, address: &str) -> Result<String> {
        self.tell(&format!("dial {address}"))?;
        let peer = address.rsplit('/').next().unwrap_or_default();
        let relayed = address.contains("/p2p-circuit");
        let up = self.wait_for("a connection", |event| {
            event.kind() == "up"
                && event.text("peer") == peer
                && event.0["relayed"] == Value::Bool(relayed)
        })?;
        Ok(up.text("swarm_connection").to_owned())
    }

    /// Waits for an event; the ones before it are left for later.
    pub(crate) fn wait_for(
        &mut self,
        what: &str,
        mut fits: impl FnMut(&Event) -> bool,
    ) -> Result<Event> {
        if let Some(place) = self.unread.iter().position(&mut fits) {
            return self.unread.remove(place).context("gone");
        }
        loop {
            let event = match self.process.next(self.deadline) {
                Ok(event) => event,
                Err(error) => {
                    let unread: Vec<String> = self.unread.iter().map(|e| e.0.to_string()).collect();
                    let stderr = self.process.stderr_tail();
                    return Err(error.context(format!(
                        "waited for {what}, saw\n  {}\n{stderr}",
                        unread.join("\n  ")
                    )));
                }
            };
            self.check_order(&event)?;
            ensure!(event.kind() != "failed", "it could not: {}", event.0);
            if fits(&event) {
                return Ok(event);
            }
            self.unread.push_back(event);
        }
    }

    /// Every event follows the one before it, whoever reads it and whatever it is about.
    fn check_order(&mut self, event: &Event) -> Result<()> {
        let reader = event.text("reader").to_owned();
        match event.kind() {
            "state" => {
                let key = [reader.clone(), event.text("peer").to_owned()];
                let (number, to) = (event.number("number")?, event.text("to").to_owned());
                let before = self.heard.insert(key, (number, to));
                // Of who is not in a snapshot only the state is known.
                let (last, state) = before.unwrap_or_else(|| {
                    let last = if reader.is_empty() { 0.0 } else { number - 1.0 };
                    (last, "not connected".to_owned())
                });
                ensure!(
                    number == last + 1.0 && event.text("from") == state,
                    "after {last}, which left it {state}, came {}",
                    event.0
                );
            }
            "snapshot" | "lagged" => {
                self.heard.retain(|[other, _], _| *other != reader);
                for entry in event.0["peers"].as_array().into_iter().flatten() {
                    let entry = Event(entry.clone());
                    let key = [reader.clone(), entry.text("peer").to_owned()];
                    let heard = (entry.number("number")?, entry.text("state").to_owned());
                    self.heard.insert(key, heard);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// The next event about `peer` that `reader` gets; the swarm's owner has no name.
    pub(crate) fn next_state(&mut self, reader: &str, peer: &str) -> Result<Event> {
        self.wait_for("a new state", |event| {
            event.kind() == "state" && event.text("reader") == reader && event.text("peer") == peer
        })
    }

    /// The next events about `peer` are these.
    pub(crate) fn goes_through(&mut self, peer: &str, changes: &[Change]) -> Result<()> {
        self.reader_sees("", peer, changes)
    }

    /// The same, for one of several readers.
    pub(crate) fn reader_sees(
        &mut self,
        reader: &str,
        peer: &str,
        changes: &[Change],
    ) -> Result<()> {
        for (to, causes) in changes {
            let event = self.next_state(reader, peer)?;
            ensure!(
                event.text("to") == *to && causes.contains(&event.text("cause")),
                "instead of {to} ({causes:?}) came {}",
                event.0
            );
        }
        Ok(())
    }

    /// Its connections to `peer`, after everything that happened before it is asked.
    pub(crate) fn connections(&mut self, peer: &str) -> Result<Vec<Value>> {
        self.tell(&format!("connections {peer}"))?;
        let answer = self.wait_for("an answer", |event| event.kind() == "connections")?;
        let connections = answer.0["connections"].as_array().cloned();
        connections.context("no list")
    }

    /// Nothing was said about `peer` that nobody waited for.
    pub(crate) fn is_settled(&mut self, peer: &str) -> Result<()> {
        self.connections(peer)?;
        let mut left = self.unread.iter();
        let left = left.find(|event| event.kind() == "state" && event.text("peer") == peer);
        ensure!(
            left.is_none(),
            "unexpected: {}",
            left.map_or(&Value::Null, |event| &event.0)
        );
        Ok(())
    }

    /// A connection is gone; gives the swarm's name for it.
    pub(crate) fn loses(&mut self, peer: &str, relayed: bool) -> Result<String> {
        let down = self.wait_for("the end of a connection", |event| {
            event.kind() == "down"
                && event.text("peer") == peer
                && event.0["relayed"] == Value::Bool(relayed)
        })?;
        Ok(down.text("swarm_connection").to_owned())
    }

    /// What the swarm calls the connections to `peer` that came up and were not asked for yet.
    pub(crate) fn ups(&mut self, peer: &str) -> Result<Vec<String>> {
        self.connections(peer)?;
        let mut ups = Vec::new();
        self.unread.retain(|event| {
            let is_one = event.kind() == "up" && event.text("peer") == peer;
            if is_one {
                ups.push(event.text("swarm_connection").to_owned());
            }
            !is_one
        });
        Ok(ups)
    }
}
