//! What came of each cell.

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use tests::harness::table::Table;

/// What names a cell: who, to what, how.
pub(crate) type Names<'a> = [&'a str; 3];

/// The cells so far.
#[derive(Debug)]
pub(crate) struct Report {
    table: Table,
    failures: Vec<String>,
    passed: usize,
    skipped: usize,
}

impl Report {
    pub(crate) fn new() -> Self {
        Self {
            table: Table::new(&["way", "target", "case", "result", "seconds", "seen"]),
            failures: Vec::new(),
            passed: 0,
            skipped: 0,
        }
    }

    /// Runs a cell. It gives what it has seen, in a few words.
    pub(crate) fn cell(&mut self, names: Names<'_>, run: impl FnOnce() -> Result<String>) {
        let started = Instant::now();
        let outcome = run();
        let seconds = format!("{:.1}", started.elapsed().as_secs_f64());
        match outcome {
            Ok(seen) => {
                self.passed += 1;
                self.row(names, ["ok", &seconds, &seen]);
            }
            Err(error) => {
                self.failures
                    .push(format!("{}: {error:#}", names.join(" ")));
                self.row(names, ["failed", &seconds, ""]);
            }
        }
    }

    /// A cell that cannot be had here.
    pub(crate) fn skip(&mut self, names: Names<'_>, why: &str) {
        self.skipped += 1;
        self.row(names, ["skipped", "", why]);
    }

    fn row(&mut self, names: Names<'_>, rest: [&str; 3]) {
        let row: Vec<String> = names.into_iter().chain(rest).map(str::to_owned).collect();
        eprintln!("{}", row.join(" ").trim_end());
        self.table.row(row);
    }

    /// Prints everything and gives the exit code that says the same.
    pub(crate) fn finish(self) -> ExitCode {
        for failure in &self.failures {
            println!("{failure}\n");
        }
        println!("{}", self.table);
        println!(
            "proxies: {} passed, {} failed, {} skipped",
            self.passed,
            self.failures.len(),
            self.skipped
        );
        ExitCode::from(u8::from(!self.failures.is_empty()))
    }
}
