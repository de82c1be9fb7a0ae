//! The `bowline` binary, run as its users run it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tempfile::TempDir;

use super::process::{Deadline, Event, Finished, Process, run};

/// How long a command or a start may take before a test gives up on it.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A home of its own for a node: nothing of the user's is read or written.
#[derive(Debug)]
pub struct Home(TempDir);

/// A running `bowline up`.
#[derive(Debug)]
pub struct Up {
    /// Its process.
    pub process: Process,
    /// Its ready line.
    pub ready: Event,
}

/// The binary: the one `BOWLINE_BIN` names, otherwise the one cargo builds now.
///
/// # Panics
/// If cargo cannot build it.
#[must_use]
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| match std::env::var_os("BOWLINE_BIN") {
        // Homes change the folder, so that a relative path would no longer lead there.
        Some(path) => std::path::absolute(path).expect("BOWLINE_BIN names a file"),
        None => build().expect("cargo builds the bowline binary"),
    })
}

impl Home {
    /// An empty home in the system's temporary folder.
    ///
    /// # Errors
    /// If the folder cannot be made.
    pub fn new() -> Result<Self> {
        Ok(Self(
            TempDir::with_prefix("bowline-test-").context("no temporary folder")?,
        ))
    }

    /// The folder itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Where its node keeps its data, unless a test says otherwise.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.path().join("data")
    }

    /// `bowline` with nothing of the caller's environment that would change what it does.
    #[must_use]
    pub fn bowline(&self, args: &[&str]) -> Command {
        let mut command = Command::new(binary());
        for (key, _) in std::env::vars_os() {
            let of_ours = key
                .to_str()
                .is_some_and(|key| key.starts_with("BOWLINE_") || key.starts_with("XDG_"));
            if of_ours || key == "RUST_LOG" {
                command.env_remove(key);
            }
        }
        command
            .args(args)
            .env("HOME", self.path())
            // The nodes of different tests run on one machine and must not find each other.
            .env("BOWLINE_BOOTSTRAP__MDNS", "false")
            .current_dir(self.path());
        command
    }

    /// `bowline ARGS --data-dir` with this home's data.
    #[must_use]
    pub fn bowline_with_data(&self, args: &[&str]) -> Command {
        let mut command = self.bowline(args);
        command.arg("--data-dir").arg(self.data_dir());
        command
    }

    /// Runs `bowline ARGS` to its end.
    ///
    /// # Errors
    /// If it does not end in time.
    pub fn run(&self, args: &[&str]) -> Result<Finished> {
        run(
            "bowline",
            &mut self.bowline(args),
            Deadline::within(PATIENCE),
        )
    }

    /// Starts `bowline up --json` with this home's data and waits for its ready line.
    ///
    /// # Errors
    /// If its first line is something else or does not come in time.
    pub fn up(&self, args: &[&str]) -> Result<Up> {
        Up::start(
            self.bowline_with_data(&["up", "--json"]).args(args),
            Deadline::within(PATIENCE),
        )
    }
}

impl Up {
    /// Starts the command and waits for the ready line.
    ///
    /// # Errors
    /// If its first line is something else or does not come by the deadline.
    pub fn start(command: &mut Command, deadline: Deadline) -> Result<Self> {
        let mut process = Process::spawn("bowline", command)?;
        match process.next(deadline) {
            Ok(ready) if ready.kind() == "ready" => Ok(Self { process, ready }),
            Ok(other) => bail!("bowline's first line is not its ready line: {}", other.0),
            Err(error) => {
                let ended = process.finish(deadline.at_most(Duration::from_secs(1)));
                bail!("{error:#} before its ready line: {ended:?}");
            }
        }
    }

    /// Its identity.
    #[must_use]
    pub fn peer_id(&self) -> &str {
        self.ready.text("peer_id")
    }

    /// Its addresses, each with its identity at the end.
    #[must_use]
    pub fn addresses(&self) -> Vec<String> {
        self.ready.texts("addresses")
    }

    /// The first of its addresses that contains `part`.
    ///
    /// # Errors
    /// If there is none.
    pub fn address_with(&self, part: &str) -> Result<String> {
        let mut fitting = self
            .addresses()
            .into_iter()
            .filter(|address| address.contains(part));
        fitting
            .next()
            .with_context(|| format!("no address with {part} in {}", self.ready.0))
    }
}

/// Builds the binary as `cargo test` would and gives its path.
fn build() -> Result<PathBuf> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args([
        "build",
        "--quiet",
        "--package",
        "node",
        "--bin",
        "bowline",
        "--message-format",
        "json",
    ]);
    cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
    // Cargo sets these for the tests. Build scripts that watch them would run again each time.
    for (key, _) in std::env::vars_os() {
        if key
            .to_str()
            .is_some_and(|key| key.starts_with("CARGO_PKG_") || key.starts_with("CARGO_MANIFEST_"))
        {
            cargo.env_remove(key);
        }
    }
    let output = cargo.output().context("cannot run cargo")?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let lines = output.stdout.split(|byte| *byte == b'\n');
    let messages = lines.filter_map(|line| serde_json::from_slice::<Value>(line).ok());
    let executable = messages
        .filter_map(|message| message["executable"].as_str().map(PathBuf::from))
        .next_back();
    executable.context("cargo named no executable")
}
