//! The network: foreign servers, a Bowline server that has joined through the first one, and newcomers.

use std::io::Write;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use tests::harness::bowline::{Home, Up};
use tests::harness::peers::{Listening, Peer, Stack};
use tests::harness::process::{Deadline, Event, Process, run};

/// The name of the DHT of this suite: its protocol is `/bowline/kad/1.0.0`, and its namespace is `bowline`.
const NAME: &str = "bowline";

const SETTINGS: [(&str, &str); 4] = [
    ("BOWLINE_KADEMLIA__MODE", "server"),
    ("BOWLINE_KADEMLIA__PRESET", "private"),
    ("BOWLINE_KADEMLIA__PROTOCOLS", "/bowline/kad/1.0.0"),
    ("BOWLINE_KADEMLIA__NAMESPACES", NAME),
];

/// How often a foreign server is asked for its table.
const POLL: Duration = Duration::from_millis(100);

pub(super) struct Network {
    home: Home,
    pub(super) up: Up,
    /// One per implementation.
    pub(super) servers: Vec<Server>,
    /// One more per implementation. They join through Bowline.
    pub(super) newcomers: Vec<Server>,
}

/// A foreign server.
pub(super) struct Server {
    pub(super) name: String,
    pub(super) listening: Listening,
}

impl Network {
    /// Starts the servers. The others join through the first one, and so does Bowline.
    pub(super) fn start(peers: &[Peer], stack: Stack, deadline: Deadline) -> Result<Self> {
        let mut servers: Vec<Server> = Vec::new();
        for peer in peers {
            let mut server = Server::start(peer, stack, deadline)?;
            if let Some(first) = servers.first() {
                server.say(&format!("dial {}", first.listening.address))?;
            }
            servers.push(server);
        }
        let first = servers.first().context("there is no peer")?;
        let home = Home::new()?;
        let mut command = home.bowline_with_data(&["up", "--json", "--no-mdns"]);
        command
            .args(["--listen", stack.loopback()])
            .args(["--bootstrap", &first.listening.address])
            .envs(SETTINGS);
        let up = Up::start(&mut command, deadline)?;
        let mut network = Self {
            home,
            up,
            servers,
            newcomers: Vec::new(),
        };
        let bowline = network.up.peer_id().to_owned();
        for server in &mut network.servers {
            server.wait_until_it_knows(&bowline, deadline)?;
        }
        Ok(network)
    }

    /// Starts one more server per peer, after Bowline has stored what they read.
    pub(super) fn let_newcomers_in(
        &mut self,
        peers: &[Peer],
        stack: Stack,
        deadline: Deadline,
    ) -> Result<()> {
        super::cells::store_ours(self, deadline)?;
        let bowline = self.up.peer_id().to_owned();
        let address = self.up.addresses().first().cloned();
        let address = address.context("bowline is ready without an address")?;
        for peer in peers {
            let mut server = Server::start(peer, stack, deadline)?;
            server.say(&format!("dial {address}"))?;
            self.newcomers.push(server);
        }
        for server in &mut self.newcomers {
            server.wait_until_it_knows(&bowline, deadline)?;
        }
        Ok(())
    }

    /// The server of this name that was there first.
    pub(super) fn server(&mut self, name: &str) -> Result<&mut Server> {
        named(&mut self.servers, name)
    }

    pub(super) fn newcomer(&mut self, name: &str) -> Result<&mut Server> {
        named(&mut self.newcomers, name)
    }

    /// The results of a `bowline dht` command.
    pub(super) fn ask(&self, args: &[&str], deadline: Deadline) -> Result<Vec<Event>> {
        let mut command = self.home.bowline(&["dht"]);
        command.args(args).arg("--json");
        command.arg("--data-dir").arg(self.home.data_dir());
        results(&mut command, deadline)
    }

    /// The results of a `bowline dht` command with a new node, which joins through this address. It has no values of its own and
    /// must ask others.
    pub(super) fn ask_anew(
        &self,
        through: &str,
        args: &[&str],
        deadline: Deadline,
    ) -> Result<Vec<Event>> {
        let mut command = self.home.bowline(&["dht"]);
        command
            .args(args)
            .args(["--json", "--bootstrap", through])
            .envs(SETTINGS);
        results(&mut command, deadline)
    }
}

fn named<'a>(servers: &'a mut [Server], name: &str) -> Result<&'a mut Server> {
    let mut servers = servers.iter_mut();
    let found = servers.find(|server| server.name == name);
    found.with_context(|| format!("there is no server of {name}"))
}

fn results(command: &mut Command, deadline: Deadline) -> Result<Vec<Event>> {
    let finished = run("bowline", command, deadline)?;
    ensure!(finished.code == Some(0), "{finished:?}");
    let events = finished.events()?;
    ensure!(!events.is_empty(), "{command:?} printed nothing");
    Ok(events)
}

impl Server {
    fn start(peer: &Peer, stack: Stack, deadline: Deadline) -> Result<Self> {
        Ok(Self {
            name: peer.name.clone(),
            listening: peer.listen_with(&["--kad", NAME], stack, deadline)?,
        })
    }

    fn process(&mut self) -> &mut Process {
        &mut self.listening.process
    }

    fn say(&mut self, line: &str) -> Result<()> {
        let stdin = self.process().stdin();
        let stdin = stdin.context("the peer has no standard input")?;
        writeln!(stdin, "{line}")?;
        stdin.flush()?;
        Ok(())
    }

    /// What a job has found.
    pub(super) fn job(&mut self, job: &str, deadline: Deadline) -> Result<Vec<String>> {
        self.say(&format!("dht {job}"))?;
        let is_it = |event: &Event| event.kind() == "dht" && event.text("job") == job;
        let done = self.process().wait_for(job, deadline, is_it);
        let done = done.map_err(|error| {
            let stderr = self.listening.process.stderr_tail();
            anyhow!("{error:#}\n{stderr}")
        })?;
        let error = done.text("error");
        ensure!(error.is_empty(), "{job}: {error}");
        Ok(done.texts("found"))
    }

    /// Waits until this peer is in the routing table.
    fn wait_until_it_knows(&mut self, peer: &str, deadline: Deadline) -> Result<()> {
        loop {
            let table = self.job("table", deadline)?;
            if table.iter().any(|known| known == peer) {
                return Ok(());
            }
            ensure!(
                !deadline.left().is_zero(),
                "the table of {} has only {table:?}, and not {peer}\n{}",
                self.name,
                self.listening.process.stderr_tail()
            );
            thread::sleep(POLL);
        }
    }
}
