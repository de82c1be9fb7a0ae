//! Standard output: one JSON object per line, or text for people.

use std::{
    io::{self, Write},
    time::Duration,
};

use node::conn_state::{Escaped, is_plain};
use serde_json::{Value, json};

use crate::{
    failure::Failure,
    writer::{Sink, Writer},
};

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

    /// Prints `object` as JSON, or `plain` as one line of text. Characters that are not printable become visible escapes,
    /// because a peer may have chosen them.
    ///
    /// # Errors
    ///
    /// Standard output is closed.
    pub(crate) fn line(
        self,
        object: &Value,
        plain: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        self.lines(object, || [plain()])
    }

    /// Like [`Self::line`], with any number of lines for people.
    ///
    /// # Errors
    ///
    /// Standard output is closed.
    pub(crate) fn lines<Lines: IntoIterator<Item = String>>(
        self,
        object: &Value,
        plain: impl FnOnce() -> Lines,
    ) -> Result<(), Failure> {
        let lines = self.render(object, plain);
        lines.iter().try_for_each(|line| print(line))
    }

    /// The lines, as they are printed.
    fn render<Lines: IntoIterator<Item = String>>(
        self,
        object: &Value,
        plain: impl FnOnce() -> Lines,
    ) -> Vec<String> {
        if self.json {
            return vec![printable(object.to_string())];
        }
        let lines = plain().into_iter();
        lines.map(|line| Escaped(line).to_string()).collect()
    }
}

/// The output of a command whose task continues even if nobody reads its output. Printing neither blocks nor fails.
#[derive(Debug)]
pub(crate) struct LiveOutput {
    output: Output,
    writer: Writer<Stdout>,
}

impl LiveOutput {
    pub(crate) fn new(output: Output) -> Self {
        let writer = Writer::start(Stdout(output));
        Self { output, writer }
    }

    /// Like [`Output::line`].
    pub(crate) fn line(&self, object: &Value, plain: impl FnOnce() -> String) {
        self.lines(object, || [plain()]);
    }

    /// Like [`Output::lines`].
    pub(crate) fn lines<Lines: IntoIterator<Item = String>>(
        &self,
        object: &Value,
        plain: impl FnOnce() -> Lines,
    ) {
        let lines = self.output.render(object, plain);
        lines.iter().for_each(|line| self.writer.push(line));
    }

    /// Waits until all lines are written, for at most `patience`.
    pub(crate) fn finish(&self, patience: Duration) {
        self.writer.finish(patience);
    }
}

/// The object and the text of the line that tells the number of missed events.
pub(crate) fn missed(events: u64) -> (Value, String) {
    let object = json!({"event": "lagged", "missed": events});
    (object, format!("{events} events were missed"))
}

#[derive(Debug)]
struct Stdout(Output);

impl Sink for Stdout {
    /// Bypasses the buffer of the standard library, because the process would wait for the reader of that buffer when it ends.
    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::write(io::stdout(), bytes)?)
    }

    fn lost(&self, lines: u64) -> String {
        let (object, plain) = missed(lines);
        self.0.render(&object, || [plain]).concat()
    }

    fn failed(&self, error: &io::Error) {
        tracing::warn!(%error, "standard output cannot be written: the node continues without it");
    }
}

/// JSON escapes only the first 32 control characters. Other characters can also move the cursor or change the direction of the
/// text.
fn printable(json: String) -> String {
    if is_plain(&json) {
        return json;
    }
    let mut units = [0; 2];
    let shown = json
        .chars()
        .map(|c| match is_plain(c.encode_utf8(&mut [0; 4])) {
            true => c.to_string(),
            false => {
                let units = c.encode_utf16(&mut units).iter();
                units.map(|unit| format!("\\u{unit:04x}")).collect()
            }
        });
    shown.collect()
}

fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    let written = writeln!(stdout, "{text}").and_then(|()| stdout.flush());
    written.map_err(|error| Failure::job(format!("cannot write to standard output: {error}")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn printed_json_moves_no_cursor_and_still_says_the_same() {
        let object = json!({"text": "a\u{1b}\u{9b}31m\u{202e}\u{e0001} é \"\\"});
        let shown = printable(object.to_string());
        assert!(is_plain(&shown), "{shown}");
        assert_eq!(serde_json::from_str::<Value>(&shown).unwrap(), object);
    }
}
