//! A member of the topic: a Bowline node with its `sub` and `pub` commands, or a process on iroh-gossip.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::ChildStdin;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use node::PeerId;
use tests::harness::process::{Deadline, Event, Process, Signal};
use tests::harness::{Home, Peer, Up};

/// The topic of all members.
pub(crate) const TOPIC: &str = "interop";

/// How long a start may take, and a message to all members.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);

/// A thread that publishes messages.
pub(crate) type Publishing = JoinHandle<ChildStdin>;

/// A running member.
pub(crate) struct Member {
    pub(crate) name: String,
    run: Run,
    /// `ENDPOINT_ID@IP:PORT`.
    pub(crate) address: String,
    /// How often each message was heard.
    pub(crate) heard: BTreeMap<String, usize>,
    /// The endpoint ids of its neighbours, according to itself.
    pub(crate) neighbours: BTreeSet<String>,
    /// The events about neighbours.
    pub(crate) changes: Vec<String>,
    /// How many connections a process on iroh-gossip has accepted.
    pub(crate) accepted: usize,
}

enum Run {
    Bowline {
        up: Box<Up>,
        sub: Process,
        publish: Process,
        _home: Home,
    },
    Iroh(Process),
}

/// A member by which another one joins.
pub(crate) enum Via<'a> {
    /// By its iroh endpoint.
    Iroh(&'a Member),
    /// By its libp2p address. It must be a Bowline node.
    Libp2p(&'a Member),
    /// By an iroh endpoint that may not run yet.
    Address(&'a str),
}

impl Member {
    /// Starts a Bowline node on a free port, or with its home and port.
    pub(crate) fn bowline(name: &str, via: &[Via<'_>]) -> Result<Self> {
        Self::bowline_at(name, Home::new()?, "127.0.0.1:0", via)
    }

    /// Starts a Bowline node with this home, which may have an identity, and this port for iroh.
    pub(crate) fn bowline_at(name: &str, home: Home, at: &str, via: &[Via<'_>]) -> Result<Self> {
        let mut args = vec![
            "--listen".to_owned(),
            "/ip4/127.0.0.1/tcp/0".to_owned(),
            "--topic".to_owned(),
            TOPIC.to_owned(),
            "--iroh-listen".to_owned(),
            at.to_owned(),
        ];
        for via in via {
            args.extend(match via {
                Via::Iroh(member) => ["--iroh-peer".to_owned(), member.address.clone()],
                Via::Address(address) => ["--iroh-peer".to_owned(), (*address).to_owned()],
                Via::Libp2p(member) => ["--bootstrap".to_owned(), member.libp2p()?],
            });
        }
        let args = args.iter().map(String::as_str).collect::<Vec<_>>();
        let up = home.up(&args)?;
        let endpoints = up.ready.texts("iroh");
        let address = endpoints.first().cloned();
        let address = address.context("the ready line names no iroh endpoint")?;
        let mut command = home.bowline_with_data(&["sub", TOPIC, "--json"]);
        let mut sub = Process::spawn(&format!("{name} sub"), &mut command)?;
        let first = sub.next(Deadline::within(PATIENCE))?;
        ensure!(first.kind() == "subscribed", "{name} printed {}", first.0);
        let mut command = home.bowline_with_data(&["pub", TOPIC, "--json"]);
        let publish = Process::spawn(&format!("{name} pub"), &mut command)?;
        Ok(Self {
            name: name.to_owned(),
            run: Run::Bowline {
                up: Box::new(up),
                sub,
                publish,
                _home: home,
            },
            address,
            heard: BTreeMap::new(),
            neighbours: BTreeSet::new(),
            changes: Vec::new(),
            accepted: 0,
        })
    }

    /// Starts a process on iroh-gossip, on a free port.
    pub(crate) fn iroh(peer: &Peer, name: &str, via: &[Via<'_>]) -> Result<Self> {
        Self::iroh_at(peer, name, &[], via)
    }

    /// Starts a process on iroh-gossip with further flags.
    pub(crate) fn iroh_at(
        peer: &Peer,
        name: &str,
        flags: &[&str],
        via: &[Via<'_>],
    ) -> Result<Self> {
        let mut command = peer.plain_command();
        command.args(["--topic", TOPIC]).args(flags);
        for via in via {
            match via {
                Via::Iroh(member) => command.args(["--peer", &member.address]),
                Via::Address(address) => command.args(["--peer", address]),
                Via::Libp2p(_) => bail!("iroh does not speak libp2p"),
            };
        }
        let mut process = Process::spawn(name, &mut command)?;
        let ready = process.next(Deadline::within(PATIENCE));
        let ready = ready.with_context(|| process.stderr_tail())?;
        ensure!(ready.kind() == "ready", "{name} printed {}", ready.0);
        Ok(Self {
            name: name.to_owned(),
            run: Run::Iroh(process),
            address: ready.text("address").to_owned(),
            heard: BTreeMap::new(),
            neighbours: BTreeSet::new(),
            changes: Vec::new(),
            accepted: 0,
        })
    }

    fn libp2p(&self) -> Result<String> {
        match &self.run {
            Run::Bowline { up, .. } => {
                let address = up.addresses().first().cloned();
                address.context("the node has no address")
            }
            Run::Iroh(_) => bail!("iroh does not speak libp2p"),
        }
    }

    pub(crate) fn is_iroh(&self) -> bool {
        matches!(self.run, Run::Iroh(_))
    }

    /// Publishes a message.
    pub(crate) fn publish(&mut self, text: &str) -> Result<()> {
        let written = match &mut self.run {
            Run::Bowline { publish, .. } => write(publish, text),
            Run::Iroh(process) => write(process, &format!("publish {text}")),
        };
        written.with_context(|| format!("{} takes no message", self.name))
    }

    /// Makes a process on iroh-gossip publish messages from a thread, since the process may stop reading. The thread gives back the
    /// standard input.
    pub(crate) fn publish_all(&mut self, texts: Vec<String>) -> Result<Publishing> {
        let input = match &mut self.run {
            Run::Iroh(process) => process.take_stdin(),
            Run::Bowline { .. } => None,
        };
        let mut input = input.context("the member has no input for this")?;
        Ok(thread::spawn(move || {
            let mut texts = texts.iter();
            // The process may have been ended meanwhile.
            let _ = texts.try_for_each(|text| writeln!(input, "publish {text}"));
            input
        }))
    }

    /// Makes a process on iroh-gossip join by another member.
    pub(crate) fn join(&mut self, address: &str) -> Result<()> {
        match &mut self.run {
            Run::Iroh(process) => write(process, &format!("join {address}")),
            Run::Bowline { .. } => bail!("a running node takes no further members"),
        }
    }

    /// Reads what the member has printed so far.
    pub(crate) fn read(&mut self) {
        let events = match &mut self.run {
            // A neighbour may come before `bowline sub` prints events.
            Run::Bowline { up, sub, .. } => {
                let mut events = printed(sub);
                events.retain(|event| event.kind() == "message");
                events.extend(printed(&mut up.process));
                events
            }
            Run::Iroh(process) => printed(process),
        };
        for event in events {
            match event.kind() {
                "message" => *self.heard.entry(event.text("data").to_owned()).or_default() += 1,
                "accepted" => self.accepted += 1,
                kind @ ("neighbour_up" | "neighbour_down" | "lagged") => {
                    match (kind, endpoint(&event)) {
                        ("neighbour_up", Some(id)) => drop(self.neighbours.insert(id)),
                        (_, Some(id)) => drop(self.neighbours.remove(&id)),
                        _ => {}
                    }
                    self.changes.push(event.0.to_string());
                }
                _ => {}
            }
        }
    }

    /// The endpoint id.
    pub(crate) fn id(&self) -> &str {
        self.address.split('@').next().unwrap_or_default()
    }

    /// Whether both members count each other as a neighbour.
    pub(crate) fn is_neighbour_of(&self, other: &Self) -> bool {
        self.neighbours.contains(other.id()) && other.neighbours.contains(self.id())
    }

    /// The messages that the member has not heard, of those that others have published.
    pub(crate) fn missing<'a>(&self, wanted: &'a [Sent]) -> Vec<&'a str> {
        let wanted = wanted.iter().filter(|sent| sent.by != self.name);
        let missing = wanted.filter(|sent| !self.heard.contains_key(&sent.text));
        missing.map(|sent| sent.text.as_str()).collect()
    }

    /// The messages that were heard more than once.
    pub(crate) fn doubled(&self) -> Vec<&str> {
        let doubled = self.heard.iter().filter(|(_, count)| **count > 1);
        doubled.map(|(text, _)| text.as_str()).collect()
    }

    /// Whether a neighbour has come.
    pub(crate) fn has_neighbour(&self) -> bool {
        let mut changes = self.changes.iter();
        changes.any(|change| change.contains("neighbour_up"))
    }

    /// Stops a process on iroh-gossip, so that it reads nothing any more.
    pub(crate) fn stop(&self) -> Result<()> {
        match &self.run {
            Run::Iroh(process) => process.signal(Signal::STOP),
            Run::Bowline { .. } => bail!("a node has more than one process"),
        }
    }

    /// Kills the member with SIGKILL.
    pub(crate) fn kill(self) -> Result<()> {
        match &self.run {
            Run::Bowline { up, .. } => up.process.signal(Signal::KILL),
            Run::Iroh(process) => process.signal(Signal::KILL),
        }
    }

    /// What the member said on standard error.
    pub(crate) fn tail(&self) -> String {
        match &self.run {
            Run::Bowline { up, publish, .. } => {
                format!("{}\n{}", up.process.stderr_tail(), publish.stderr_tail())
            }
            Run::Iroh(process) => process.stderr_tail(),
        }
    }
}

/// Writes a line to the standard input of a process.
fn write(process: &mut Process, line: &str) -> Result<()> {
    let input = process.stdin().context("its standard input is closed")?;
    writeln!(input, "{line}")?;
    Ok(input.flush()?)
}

/// The endpoint id of the peer in an event.
fn endpoint(event: &Event) -> Option<String> {
    match event.text("endpoint_id") {
        "" => endpoint_id(&event.text("peer_id").parse().ok()?).ok(),
        id => Some(id.to_owned()),
    }
}

/// The id that iroh gives to a peer: its Ed25519 key in hexadecimal digits.
pub(crate) fn endpoint_id(peer: &PeerId) -> Result<String> {
    let id = node::gossip_net::Id::from_peer_id(&peer.to_bytes())?;
    Ok(id.to_string())
}

/// The lines that a process has printed since the last call.
fn printed(process: &mut Process) -> Vec<Event> {
    let now = || Deadline::within(Duration::ZERO);
    std::iter::from_fn(|| process.next(now()).ok()).collect()
}

/// A message that a member has published.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    pub(crate) by: String,
    pub(crate) text: String,
}
