//! A DHT of foreign servers and Bowline servers: each finds the others, and reads what the others have stored.

use std::io::Write;

use anyhow::{Context, Result, ensure};
use libp2p_identity::PeerId;
use tests::harness::bowline::{Home, Up};
use tests::harness::peers::{Listening, Peer, Stack};
use tests::harness::process::{Deadline, Event, Process, run};

use crate::PATIENCE;
use crate::report::{Report, Tally};

/// The name of the DHT of this suite: its protocol is `/bowline/kad/1.0.0`, and its namespace is `bowline`.
const NAME: &str = "bowline";

const SETTINGS: [(&str, &str); 4] = [
    ("BOWLINE_KADEMLIA__MODE", "server"),
    ("BOWLINE_KADEMLIA__PRESET", "private"),
    ("BOWLINE_KADEMLIA__PROTOCOLS", "/bowline/kad/1.0.0"),
    ("BOWLINE_KADEMLIA__NAMESPACES", NAME),
];

const OURS: &str = "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG";
const THEIRS: &str = "QmdfTbBqBPQ7VNxZEYEj14VmRuZBkqFbiwReogJgS1zR1n";

/// The peers whose programs have no DHT.
const WITHOUT: [&str; 2] = ["rust", "js"];

/// Two foreign servers and a Bowline server, which has joined through the first one.
struct Network {
    home: Home,
    up: Up,
    first: Listening,
    second: Listening,
}

type Step = fn(&mut Network, Deadline) -> Result<String>;

const STEPS: [(&str, Step); 8] = [
    ("we find a peer of theirs", we_find),
    ("they find us", they_find),
    ("they read our value", they_read),
    ("we read their value", we_read),
    ("they read a /pk/ record that we stored", they_read_key),
    ("we read a /pk/ record that they stored", we_read_key),
    ("they find us as a provider", they_find_provider),
    ("we find their provider", we_find_provider),
];

pub(crate) fn run_all() -> Tally {
    let mut report = Report::new(&["peer", "stack", "case"]);
    for stack in [Stack::TcpTls, Stack::Quic] {
        let go = Peer::from_env("go");
        let network = go.map(|go| Network::start(&go, stack, Deadline::within(PATIENCE)));
        match network {
            Some(Ok(mut network)) => {
                for (case, step) in STEPS {
                    let run = || step(&mut network, Deadline::within(PATIENCE));
                    report.cell(&["go", stack.name(), case], Some(run));
                }
            }
            Some(Err(error)) => {
                report.cell(&["go", stack.name(), "start"], Some(|| Err(error)));
            }
            None => report.skip(&["go", stack.name(), "all"], "the program was not built"),
        }
    }
    for name in WITHOUT {
        report.skip(&[name, "all", "all"], "the program has no DHT");
    }
    report.finish()
}

impl Network {
    fn start(peer: &Peer, stack: Stack, deadline: Deadline) -> Result<Self> {
        let flags = ["--kad", NAME];
        let first = peer.listen_with(&flags, stack, deadline)?;
        let mut second = peer.listen_with(&flags, stack, deadline)?;
        say(&mut second.process, &format!("dial {}", first.address))?;
        let home = Home::new()?;
        let mut command = home.bowline_with_data(&["up", "--json", "--no-mdns"]);
        command
            .args(["--listen", stack.loopback(), "--bootstrap", &first.address])
            .envs(SETTINGS);
        let up = Up::start(&mut command, deadline)?;
        let mut network = Self {
            home,
            up,
            first,
            second,
        };
        network.wait_until_known(deadline)?;
        Ok(network)
    }

    /// Waits until the first foreign server has the others in its table.
    fn wait_until_known(&mut self, deadline: Deadline) -> Result<()> {
        loop {
            let table = job(&mut self.first, "table", deadline)?.texts("found");
            if table.len() == 2 {
                return Ok(());
            }
            ensure!(!deadline.left().is_zero(), "the table has only {table:?}");
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
    }

    /// The results of a `bowline dht` command.
    fn ask(&self, args: &[&str], deadline: Deadline) -> Result<Vec<Event>> {
        let mut command = self.home.bowline(&["dht"]);
        command.args(args).arg("--json");
        command.arg("--data-dir").arg(self.home.data_dir());
        let finished = run("bowline", &mut command, deadline)?;
        ensure!(finished.code == Some(0), "{finished:?}");
        finished.events()
    }

    /// The results of a `bowline dht` command with a new node, which has no values of its own and must ask the others.
    fn ask_anew(&self, args: &[&str], deadline: Deadline) -> Result<Vec<Event>> {
        let mut command = self.home.bowline(&["dht"]);
        command
            .args(args)
            .args(["--json", "--bootstrap", &self.first.address])
            .envs(SETTINGS);
        let finished = run("bowline", &mut command, deadline)?;
        ensure!(finished.code == Some(0), "{finished:?}");
        finished.events()
    }
}

fn say(process: &mut Process, line: &str) -> Result<()> {
    let stdin = process.stdin().context("the peer has no standard input")?;
    writeln!(stdin, "{line}")?;
    stdin.flush()?;
    Ok(())
}

/// The outcome of a job of a foreign server.
fn job(peer: &mut Listening, job: &str, deadline: Deadline) -> Result<Event> {
    say(&mut peer.process, &format!("dht {job}"))?;
    let is_it = |event: &Event| event.kind() == "dht" && event.text("job") == job;
    let done = peer.process.wait_for(job, deadline, is_it)?;
    let error = done.text("error");
    ensure!(error.is_empty(), "{job}: {error}");
    Ok(done)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn we_find(network: &mut Network, deadline: Deadline) -> Result<String> {
    let found = network.ask(&["find", &network.second.peer_id], deadline)?;
    let addresses = found[0].texts("addresses");
    let is_there = |address: &String| network.second.address.starts_with(address);
    ensure!(addresses.iter().any(is_there), "{addresses:?}");
    Ok(String::new())
}

fn they_find(network: &mut Network, deadline: Deadline) -> Result<String> {
    let find = format!("find {}", network.up.peer_id());
    let addresses = job(&mut network.second, &find, deadline)?.texts("found");
    let ours = network.up.addresses();
    let is_there = |address: &String| ours.iter().any(|one| one.starts_with(address));
    ensure!(addresses.iter().any(is_there), "{addresses:?}");
    Ok(String::new())
}

fn they_read(network: &mut Network, deadline: Deadline) -> Result<String> {
    let stored = network.ask(&["put", "/bowline/ours", "from Bowline"], deadline)?;
    let get = format!("get {}", hex(b"/bowline/ours"));
    let found = job(&mut network.second, &get, deadline)?.texts("found");
    ensure!(found == [hex(b"from Bowline")], "{found:?}");
    Ok(format!("stored at {}", stored[0].number("stored")?))
}

fn we_read(network: &mut Network, deadline: Deadline) -> Result<String> {
    let put = format!("put {} {}", hex(b"/bowline/theirs"), hex(b"from go"));
    job(&mut network.second, &put, deadline)?;
    let found = network.ask_anew(&["get", "/bowline/theirs"], deadline)?;
    ensure!(found[0].text("value") == "from go", "{found:?}");
    Ok(String::new())
}

/// The binary key of the public key of an Ed25519 peer, and the public key, which is a part of the peer's id.
fn public_key(peer: &str) -> Result<(Vec<u8>, Vec<u8>)> {
    let id = peer.parse::<PeerId>()?.to_bytes();
    Ok(([b"/pk/", &id[..]].concat(), id[2..].to_vec()))
}

fn they_read_key(network: &mut Network, deadline: Deadline) -> Result<String> {
    let peer = network.up.peer_id().to_owned();
    let (key, value) = public_key(&peer)?;
    let text = format!("/pk/{peer}");
    network.ask(&["put", &text, &hex(&value), "--hex"], deadline)?;
    let found = job(&mut network.second, &format!("get {}", hex(&key)), deadline)?;
    let found = found.texts("found");
    ensure!(found == [hex(&value)], "{found:?}");
    Ok(String::new())
}

fn we_read_key(network: &mut Network, deadline: Deadline) -> Result<String> {
    let peer = network.second.peer_id.clone();
    let (key, value) = public_key(&peer)?;
    let put = format!("put {} {}", hex(&key), hex(&value));
    job(&mut network.second, &put, deadline)?;
    let found = network.ask_anew(&["get", &format!("/pk/{peer}")], deadline)?;
    ensure!(found[0].text("value_hex") == hex(&value), "{found:?}");
    Ok(String::new())
}

fn they_find_provider(network: &mut Network, deadline: Deadline) -> Result<String> {
    network.ask(&["provide", OURS], deadline)?;
    let found = job(&mut network.second, &format!("providers {OURS}"), deadline)?;
    let found = found.texts("found");
    ensure!(found == [network.up.peer_id()], "{found:?}");
    Ok(String::new())
}

fn we_find_provider(network: &mut Network, deadline: Deadline) -> Result<String> {
    job(&mut network.second, &format!("provide {THEIRS}"), deadline)?;
    let found = network.ask_anew(&["providers", THEIRS], deadline)?;
    let peers: Vec<&str> = found.iter().map(|one| one.text("peer_id")).collect();
    ensure!(peers == [&network.second.peer_id[..]], "{peers:?}");
    Ok(String::new())
}
