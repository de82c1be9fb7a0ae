//! Standard output: one JSON object a line, or a line for people.

use std::io::{self, Write};

use serde_json::Value;

use crate::failure::Failure;

/// Where and how a command says what it found.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    json: bool,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        Self { json }
    }

    /// Prints what stands above the lines for people.
    ///
    /// # Errors
    ///
    /// Nobody reads standard output any more.
    #[cfg(feature = "relay")]
    pub(crate) fn heading(self, plain: &str) -> Result<(), Failure> {
        match self.json {
            true => Ok(()),
            false => self.line(&Value::Null, || plain.to_owned()),
        }
    }

    /// Prints `object`, or what `plain` makes of it for people.
    ///
    /// # Errors
    ///
    /// Nobody reads standard output any more.
    pub(crate) fn line(
        self,
        object: &Value,
        plain: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        let text = if self.json {
            object.to_string()
        } else {
            plain()
        };
        let mut stdout = io::stdout().lock();
        let written = writeln!(stdout, "{text}").and_then(|()| stdout.flush());
        written.map_err(|error| Failure::job(format!("cannot write to standard output: {error}")))
    }
}
