//! The log on standard error. Unknown peers can cause some of its lines, so the length and the number of lines are bounded. A
//! separate thread writes the lines, so a slow reader delays no task of the node.

use std::{
    collections::BTreeMap,
    env,
    io::{self, Write},
    sync::{LazyLock, Mutex, PoisonError},
    time::{Duration, Instant},
};

use node::conn_state::{Budget, Escaped, Rate};
use tracing::{Level, Metadata, level_filters::LevelFilter};
use tracing_subscriber::{EnvFilter, fmt::MakeWriter};

use crate::writer::{Sink, Writer};

/// The maximum length of a line, in bytes. The rest of a longer line is left out.
const MAX_LINE: usize = 1_024;

/// Stands for the rest of a line.
const CUT: char = '…';

/// The number of lines that one log statement in the code may write at once, and the pause before each further line.
const PER_KIND: (u32, Duration) = (10, Duration::from_secs(1));

/// The same limits for all log statements together.
const IN_ALL: (u32, Duration) = (100, Duration::from_millis(100));

/// The number of log statements whose lines are counted at the same time.
const MAX_KINDS: usize = 256;

/// The crates that a level without a crate's name concerns.
const OWN_CRATES: [&str; 8] = [
    "bowline",
    "node",
    "transport_tcp",
    "transport_quic",
    "conn_state",
    "relay_slots",
    "gossip_net",
    "bootstrap",
];

/// Starts the log at the level that `RUST_LOG` selects, or else at `warn`.
pub(crate) fn start() {
    let wanted = env::var(EnvFilter::DEFAULT_ENV).unwrap_or_default();
    tracing_subscriber::fmt()
        .with_env_filter(filter(&wanted))
        .with_writer(Log(Mutex::new(Kinds::new())))
        // Colours are escape sequences, and the log escapes these.
        .with_ansi(false)
        // A report of a failed write would also go to standard error, and panic if that write fails, for example on a full disk.
        .log_internal_errors(false)
        .init();
}

/// The filter that the text of `RUST_LOG` describes.
fn filter(wanted: &str) -> EnvFilter {
    let parsed = EnvFilter::try_new(own_crates(wanted)).ok();
    parsed.unwrap_or_else(|| EnvFilter::new(own_crates("warn")))
}

/// Restricts each level without a name to Bowline's crates. A library has levels of its own: yamux, for example, logs at `error`
/// what any peer can do. Lines of a library appear only if the user names the library.
fn own_crates(wanted: &str) -> String {
    let directives = wanted.split(',').map(str::trim);
    let mut expanded = Vec::new();
    for directive in directives.filter(|directive| !directive.is_empty()) {
        match directive.parse::<LevelFilter>() {
            Ok(level) => expanded.extend(OWN_CRATES.map(|name| format!("{name}={level}"))),
            Err(_) => expanded.push(directive.to_owned()),
        }
    }
    match expanded.is_empty() {
        true => own_crates("warn"),
        false => expanded.join(","),
    }
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
    let suffix = match left_out {
        0 => String::new(),
        n => format!(" ({n} lines of this kind were left out before)"),
    };
    let room = MAX_LINE - suffix.len();
    if shown.len() > room {
        shown.truncate(shown.floor_char_boundary(room - CUT.len_utf8()));
        shown.push(CUT);
    }
    shown + &suffix
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

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

    /// What the log writes with this `RUST_LOG` if both this program and a library log at every level.
    fn logged(wanted: &str) -> String {
        #[derive(Clone, Default)]
        struct Written(Arc<Mutex<Vec<u8>>>);
        impl Write for Written {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.lock().unwrap().extend(bytes);
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let written = Written::default();
        let writer = written.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter(filter(wanted))
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            tracing::error!(target: "yamux::connection::rtt", "library-error");
            tracing::debug!(target: "yamux::connection", "library-debug");
            tracing::error!(target: "quinn::endpoint", "other-error");
            tracing::warn!(target: "node::session", "own-warn");
            tracing::debug!(target: "transport_tcp::link", "own-debug");
        });
        let bytes = written.0.lock().unwrap().clone();
        let text = String::from_utf8(bytes).unwrap();
        let words = text.split_whitespace().filter(|word| word.contains('-'));
        let words = words.filter(|word| {
            word.ends_with("error") || word.starts_with("own") || word.ends_with("debug")
        });
        words.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_library_logs_only_if_rust_log_names_it_so_a_peer_causes_no_line_at_error() {
        assert_eq!(logged(""), "own-warn");
        assert_eq!(logged("not a filter=="), "own-warn");
        assert_eq!(logged("error"), "");
        assert_eq!(logged("debug"), "own-warn own-debug");
        assert_eq!(logged("trace"), "own-warn own-debug");
        assert_eq!(
            logged("warn, yamux=debug"),
            "library-error library-debug own-warn"
        );
        assert_eq!(logged("yamux=error"), "library-error");
        assert_eq!(logged("transport_tcp=debug"), "own-debug");
    }

    #[test]
    fn a_line_is_escaped_and_cut() {
        assert_eq!(shown(b"a\x1b[2J\nb\n", 0), "a\\u{1b}[2J\\nb");
        let long = "x".repeat(MAX_LINE + 1);
        let whole = shown(&long.as_bytes()[1..], 0);
        assert_eq!(whole, long[1..]);
        for left_out in [0, 1, u64::MAX] {
            let cut = shown(long.as_bytes(), left_out);
            assert_eq!(cut.len(), MAX_LINE);
            assert!(cut.contains('…'));
        }
        assert_eq!(
            shown(b"a\n", 3),
            "a (3 lines of this kind were left out before)"
        );
    }
}
