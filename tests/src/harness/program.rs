//! What the programs share that the suites and benchmarks start.

use std::fs;
use std::io::{self, Write};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use rustix::param::page_size;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;

use super::process::{Deadline, Process};

/// Runs a job to its end on a worker thread. A runtime's main future lives on a thread of its own, and a wake-up of that
/// thread takes longer.
///
/// # Errors
/// If the job fails or panics.
pub async fn on_a_worker(job: impl Future<Output = Result<()>> + Send + 'static) -> Result<()> {
    tokio::spawn(job).await?
}

/// The end of a program: an error becomes a line and the exit code 1.
#[must_use]
pub fn end(done: Result<()>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&json!({"event": "error", "message": format!("{error:#}")}));
            ExitCode::FAILURE
        }
    }
}

/// A job of the program that an environment variable names.
///
/// # Errors
/// If there is no such variable.
pub fn from_env(key: &str, job: &[&str]) -> Result<Command> {
    let path = std::env::var_os(key).with_context(|| format!("{key} does not name a program"))?;
    let mut command = Command::new(path);
    command.args(job);
    Ok(command)
}

/// Starts a program that serves until its standard input closes, and gives the addresses of its ready line.
///
/// # Errors
/// If it is not ready by the deadline; the message has the end of its standard error.
pub fn serve(
    name: &str,
    command: &mut Command,
    deadline: Deadline,
) -> Result<(Process, Vec<String>)> {
    let mut server = Process::spawn(name, command)?;
    match server.wait_for("ready", deadline, |event| event.kind() == "ready") {
        Ok(ready) => Ok((server, ready.texts("addresses"))),
        Err(error) => bail!("{error:#}\n{}", server.stderr_tail()),
    }
}

/// Waits until standard input closes.
///
/// # Errors
/// If it cannot be read.
pub async fn over() -> Result<()> {
    let mut rest = Vec::new();
    tokio::io::stdin().read_to_end(&mut rest).await?;
    Ok(())
}

/// The resident memory of this process, in bytes.
///
/// # Errors
/// If the system does not say.
pub fn resident() -> Result<u64> {
    let text = fs::read_to_string("/proc/self/statm")?;
    let pages = text.split_whitespace().nth(1).context("statm is short")?;
    Ok(pages.parse::<u64>()? * page_size() as u64)
}

/// Prints one line at once.
pub fn say(line: &Value) {
    let mut out = io::stdout().lock();
    // A closed standard output means that the suite is gone.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}
