//! `bowline ping`, and what must have come of it.

use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use tests::harness::bowline::{Home, Up};
use tests::harness::process::{Deadline, Finished, run};

/// How long one command may take. A dial's own deadline is shorter.
const PATIENCE: Duration = Duration::from_secs(30);

/// The command that pings `address` by one rule, and how it ended.
#[derive(Debug)]
pub(crate) struct Ping {
    finished: Finished,
    said: String,
}

/// The port of the node's listener of this kind: `/ip4/127.0.0.1/tcp/` or the like.
pub(crate) fn port_of(up: &Up, listener: &str) -> Result<u16> {
    let address = up.address_with(listener)?;
    let port = address.trim_start_matches(listener).split('/').next();
    Ok(port.unwrap_or_default().parse()?)
}

/// The command.
pub(crate) fn command(home: &Home, address: &str, rule: &str) -> Command {
    home.bowline(&["ping", address, "-c", "1", "--json", "--dialer", rule])
}

impl Ping {
    /// Pings `address` by one rule.
    pub(crate) fn run(home: &Home, address: &str, rule: &str) -> Result<Self> {
        Self::of(&mut command(home, address, rule))
    }

    /// Runs the command.
    pub(crate) fn of(command: &mut Command) -> Result<Self> {
        let finished = run("bowline", command, Deadline::within(PATIENCE))?;
        let said = format!(
            "exit code {:?}\n  stdout: {}\n  stderr: {}",
            finished.code,
            finished.stdout.join("\n    "),
            finished.stderr.join("\n    ")
        );
        Ok(Self { finished, said })
    }

    /// It was answered over this kind of connection, and nothing was worth a warning.
    pub(crate) fn succeeded(&self, via: &str) -> Result<()> {
        ensure!(self.finished.code == Some(0), "{}", self.said);
        let events = self.finished.events()?;
        let pongs: Vec<_> = events
            .iter()
            .filter(|event| event.kind() == "pong")
            .collect();
        ensure!(
            pongs.len() == 1 && pongs[0].text("via").starts_with(via),
            "not one pong over {via}: {}",
            self.said
        );
        ensure!(self.finished.stderr.is_empty(), "{}", self.said);
        Ok(())
    }

    /// It failed, and the one line that says so contains all of these words.
    pub(crate) fn failed(&self, words: &[&str]) -> Result<()> {
        ensure!(self.finished.code == Some(1), "not 1: {}", self.said);
        let [line] = self.finished.stderr.as_slice() else {
            anyhow::bail!("not one line: {}", self.said);
        };
        for word in words {
            ensure!(line.contains(word), "no {word:?} in: {line}");
        }
        ensure!(
            !self
                .finished
                .stdout
                .iter()
                .any(|line| line.contains("pong")),
            "{}",
            self.said
        );
        Ok(())
    }

    /// None of these is in anything it printed.
    pub(crate) fn kept(&self, secrets: &[&str]) -> Result<()> {
        let shown = secrets.iter().find(|secret| self.said.contains(**secret));
        ensure!(shown.is_none(), "a secret is shown: {}", self.said);
        Ok(())
    }
}
