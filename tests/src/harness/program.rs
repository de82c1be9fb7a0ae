//! What the programs share that the suites and benchmarks start.

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Result;
use serde_json::{Value, json};

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

/// Prints one line at once.
pub fn say(line: &Value) {
    let mut out = io::stdout().lock();
    // A closed standard output means that the suite is gone.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}
