//! The log on standard error. Unknown peers can cause some of its lines, so the length and the number of lines are bounded. A
//! thread writes the lines, so a reader that stops reading delays no task of the node.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    sync::{LazyLock, Mutex, PoisonError},
    time::{Duration, Instant},
};

use node::conn_state::{Budget, Escaped, Rate};
use tracing::{Level, Metadata};
use tracing_subscriber::{EnvFilter, fmt::MakeWriter};

use crate::writer::{Sink, Writer};

/// The maximum length of a line, in bytes. The rest of a longer line is left out.
const MAX_LINE: usize = 1_024;

/// The number of lines that one log statement in the code may write at once, and the pause before each further line.
const PER_KIND: (u32, Duration) = (10, Duration::from_secs(1));

/// The same limits for all log statements together.
const IN_ALL: (u32, Duration) = (100, Duration::from_millis(100));

/// The number of log statements whose lines are counted at the same time.
const MAX_KINDS: usize = 256;

/// Starts the log at the level that `RUST_LOG` selects, or else at `warn`.
pub(crate) fn start() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(Log(Mutex::new(Kinds::new())))
        // Colours are escape sequences, and the log escapes these.
        .with_ansi(false)
        // A report of a failed write would also go to standard error, and panic if that write fails, for example on a full disk.
        .log_internal_errors(false)
        .init();
}

struct Log(Mutex<Kinds>);

impl<'a> MakeWriter<'a> for Log {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line(Some(0))
    }

    /// Lines below `info` appear only if the user has set `RUST_LOG`, so they are not limited.
    fn make_writer_for(&'a self, place: &Metadata<'_>) -> Line {
        if *place.level() > Level::INFO {
            return self.make_writer();
        }
        let mut kinds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Line(kinds.admit(Instant::now(), place.name()))
    }
}

/// The lines of each log statement. All libraries that use the crate `log` count as one statement.
struct Kinds {
    budget: Budget<&'static str>,
    left_out: BTreeMap<&'static str, u64>,
}

impl Kinds {
    fn new() -> Self {
        let rate = |(burst, interval)| Rate::new(burst, interval);
        Self {
            budget: Budget::new(rate(PER_KIND), rate(IN_ALL), MAX_KINDS),
            left_out: BTreeMap::new(),
        }
    }

    /// Whether one more line may be logged, and how many lines of its kind were left out before it.
    fn admit(&mut self, now: Instant, kind: &'static str) -> Option<u64> {
        match self.budget.take(now, kind) {
            Ok(()) => Some(self.left_out.remove(kind).unwrap_or(0)),
            Err(_) => {
                *self.left_out.entry(kind).or_default() += 1;
                None
            }
        }
    }
}

/// Writes one line, with the number of lines that were left out before it. `None`: the line itself is left out.
struct Line(Option<u64>);

impl Write for Line {
    /// The subscriber writes each line by one call.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if let Some(left_out) = self.0 {
            stderr().push(&shown(line, left_out));
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The writer of standard error, for the lines of the log and of errors.
pub(crate) fn stderr() -> &'static Writer<Stderr> {
    static STDERR: LazyLock<Writer<Stderr>> = LazyLock::new(|| Writer::start(Stderr));
    &STDERR
}

#[derive(Debug)]
pub(crate) struct Stderr;

impl Sink for Stderr {
    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::write(io::stderr(), bytes)?)
    }

    fn lost(&self, lines: u64) -> String {
        format!("{lines} lines of this log were lost: standard error could not be written")
    }

    fn failed(&self, _: &io::Error) {}
}

fn shown(line: &[u8], left_out: u64) -> String {
    let text = String::from_utf8_lossy(line);
    let mut shown = Escaped(text.trim_end()).to_string();
    if shown.len() > MAX_LINE {
        shown.truncate(shown.floor_char_boundary(MAX_LINE));
        shown.push('…');
    }
    match left_out {
        0 => {}
        n => shown.push_str(&format!(" ({n} lines of this kind were left out before)")),
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_logs_ten_lines_at_once_and_one_per_second_and_tells_what_it_left_out() {
        let begun = Instant::now();
        let mut kinds = Kinds::new();
        let admitted = (0..1_000).filter_map(|_| kinds.admit(begun, "a"));
        assert_eq!(admitted.collect::<Vec<_>>(), [0; 10]);
        assert_eq!(kinds.admit(begun, "b"), Some(0));
        let next = begun + Duration::from_secs(1);
        assert_eq!(kinds.admit(next, "a"), Some(990));
        assert_eq!(kinds.admit(next, "a"), None);
    }

    #[test]
    fn a_line_is_escaped_and_cut() {
        assert_eq!(shown(b"a\x1b[2J\nb\n", 0), "a\\u{1b}[2J\\nb");
        let long = "x".repeat(MAX_LINE + 1);
        let whole = shown(&long.as_bytes()[1..], 0);
        assert_eq!(whole.len(), MAX_LINE);
        assert_eq!(shown(long.as_bytes(), 0).len(), MAX_LINE + "…".len());
        assert_eq!(
            shown(b"a\n", 3),
            "a (3 lines of this kind were left out before)"
        );
    }
}
