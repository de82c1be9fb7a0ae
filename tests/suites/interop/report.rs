//! What came of the cells.

use std::time::Instant;

use anyhow::Result;
use tests::harness::table::Table;

/// Rows of one table, and what failed in them.
pub(crate) struct Report {
    table: Table,
    tally: Tally,
    failures: Vec<String>,
}

/// How many cells ended how.
#[derive(Clone, Copy, Default)]
pub(crate) struct Tally {
    passed: usize,
    failed: usize,
    skipped: usize,
}

impl Report {
    /// An empty one, whose cells are known by these columns.
    pub(crate) fn new(known_by: &[&str]) -> Self {
        let heading = [known_by, &["result", "seconds", "seen"]].concat();
        Self {
            table: Table::new(&heading),
            tally: Tally::default(),
            failures: Vec::new(),
        }
    }

    /// Runs a cell, which is skipped if there is none, and tells how it went. A cell may say what it saw.
    pub(crate) fn cell(&mut self, known_by: &[&str], run: Option<impl FnOnce() -> Result<String>>) {
        let started = Instant::now();
        let outcome = run.map(|run| run());
        let (result, count) = match &outcome {
            None => ("skipped", &mut self.tally.skipped),
            Some(Ok(_)) => ("ok", &mut self.tally.passed),
            Some(Err(_)) => ("failed", &mut self.tally.failed),
        };
        *count += 1;
        let seconds = match outcome {
            None => String::new(),
            Some(_) => format!("{:.1}", started.elapsed().as_secs_f64()),
        };
        eprintln!("{} {result} {seconds}", known_by.join(" "));
        let mut seen = String::new();
        match outcome {
            Some(Ok(told)) => seen = told,
            Some(Err(error)) => self
                .failures
                .push(format!("{}: {error:#}", known_by.join(" "))),
            None => {}
        }
        let known_by = known_by.iter().map(|cell| (*cell).to_owned());
        self.table
            .row(known_by.chain([result.to_owned(), seconds, seen]));
    }

    /// Leaves a cell out, and says why.
    pub(crate) fn skip(&mut self, known_by: &[&str], reason: &str) {
        self.tally.skipped += 1;
        let told = ["skipped", "", reason];
        let row = known_by.iter().chain(&told).map(|cell| (*cell).to_owned());
        self.table.row(row);
    }

    /// Prints the failures and the table.
    pub(crate) fn finish(self) -> Tally {
        for failure in &self.failures {
            println!("{failure}\n");
        }
        println!("{}", self.table);
        self.tally
    }
}

impl Tally {
    pub(crate) fn failed(self) -> bool {
        self.failed > 0
    }
}

impl std::ops::Add for Tally {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            passed: self.passed + other.passed,
            failed: self.failed + other.failed,
            skipped: self.skipped + other.skipped,
        }
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            passed,
            failed,
            skipped,
        } = self;
        write!(f, "{passed} passed, {failed} failed, {skipped} skipped")
    }
}
