//! A member of the gossipsub topic, a process that is told what to do.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tests::harness::Home;
use tests::harness::process::{Deadline, Event, Process};

/// The short name in tables.
pub(super) const NAME: &str = "rust-libp2p-rejoin";

/// A peer is saved when it has been connected for so many seconds.
const LASTED: &str = "1";

/// Whether a node has the crate bootstrap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stack {
    Bare,
    Bootstrap,
}

/// A process of the program. Dropping it kills it.
pub(super) struct Member {
    process: Process,
    /// With the peer id.
    pub(super) address: String,
}

/// Where a node saves its peers.
pub(super) fn saved_peers(home: &Home) -> PathBuf {
    home.path().join("peers")
}

impl Member {
    /// Starts a node whose key and saved peers are in `home`.
    pub(super) fn start(
        stack: Stack,
        home: &Home,
        listen: Option<&str>,
        peers: &[String],
        deadline: Deadline,
    ) -> Result<Self> {
        let folder = std::env::var_os("PEER_ADOPT").unwrap_or_default();
        let mut command = Command::new(Path::new(&folder).join(format!("{NAME}-adopt")));
        command.arg("--key").arg(home.path().join("key"));
        command.args(["--listen", listen.unwrap_or("/ip4/127.0.0.1/udp/0/quic-v1")]);
        match stack {
            Stack::Bare => command.arg("--bare"),
            Stack::Bootstrap => {
                let saved = saved_peers(home);
                command.args(["--lasted", LASTED]).arg("--saved").arg(saved)
            }
        };
        for peer in peers {
            command.args(["--peers", peer]);
        }
        let mut process = Process::spawn(NAME, &mut command)?;
        let ready = process.wait_for("ready", deadline, |event| event.kind() == "ready")?;
        Ok(Self {
            process,
            address: ready.text("address").to_owned(),
        })
    }

    /// Where it listens, without the peer id.
    pub(super) fn listens_at(&self) -> Result<String> {
        let address = self.address.split_once("/p2p/");
        Ok(address.context("no peer id")?.0.to_owned())
    }

    pub(super) fn tell(&mut self, command: &str) -> Result<()> {
        let stdin = self.process.stdin().context("its input is closed")?;
        writeln!(stdin, "{command}").with_context(|| format!("cannot tell it to {command}"))
    }

    /// Waits for the next event of a kind.
    pub(super) fn wait_for(&mut self, kind: &str, deadline: Deadline) -> Result<()> {
        self.wait(kind, deadline, |event| event.kind() == kind)
    }

    /// Waits for an event of each kind, in any order.
    pub(super) fn wait_for_all(&mut self, kinds: &[&str], deadline: Deadline) -> Result<()> {
        let mut missing = kinds.to_vec();
        self.wait(&kinds.join(" and "), deadline, |event| {
            missing.retain(|kind| *kind != event.kind());
            missing.is_empty()
        })
    }

    /// Waits for a message with this text.
    pub(super) fn hears(&mut self, text: &str, deadline: Deadline) -> Result<()> {
        self.wait(text, deadline, |event| is_message(event, text))
    }

    /// Receives no message with this text for so long. Whether it loses a connection meanwhile.
    pub(super) fn hears_nothing(&mut self, text: &str, watched: Duration) -> Result<bool> {
        let end = Deadline::within(watched);
        let mut lost = false;
        loop {
            match self.process.next(end) {
                Ok(event) => {
                    ensure!(!is_message(&event, text), "it was heard: {}", event.0);
                    lost |= event.kind() == "down";
                }
                Err(_) if end.left().is_zero() && !self.process.has_ended()? => return Ok(lost),
                Err(error) => return Err(error),
            }
        }
    }

    fn wait(
        &mut self,
        what: &str,
        deadline: Deadline,
        mut fits: impl FnMut(&Event) -> bool,
    ) -> Result<()> {
        let failed = |event: &Event| ["failed", "problem", "error"].contains(&event.kind());
        let event = self
            .process
            .wait_for(what, deadline, |event| fits(event) || failed(event))?;
        ensure!(!failed(&event), "instead of {what} came {}", event.0);
        Ok(())
    }
}

fn is_message(event: &Event, text: &str) -> bool {
    event.kind() == "message" && event.text("text") == text
}
