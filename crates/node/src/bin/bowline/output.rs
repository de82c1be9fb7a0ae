//! Standard output: one JSON object per line, or text for people.

use std::io::{self, Write};

use serde_json::Value;

use crate::failure::Failure;

/// The output format of a command.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    json: bool,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        Self { json }
    }

    /// Prints the heading of a table, unless the output is JSON.
    ///
    /// # Errors
    ///
    /// Standard output is closed.
    pub(crate) fn heading(self, plain: impl FnOnce() -> String) -> Result<(), Failure> {
        match self.json {
            true => Ok(()),
            false => print(&plain()),
        }
    }

    /// Prints `object` as JSON, or `plain` as text for people.
    ///
    /// # Errors
    ///
    /// Standard output is closed.
    pub(crate) fn line(
        self,
        object: &Value,
        plain: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        match self.json {
            true => print(&object.to_string()),
            false => print(&plain()),
        }
    }
}

fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    let written = writeln!(stdout, "{text}").and_then(|()| stdout.flush());
    written.map_err(|error| Failure::job(format!("cannot write to standard output: {error}")))
}
