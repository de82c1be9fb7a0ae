//! The table of all cases.

use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

use anyhow::Result;
use tests::harness::table::Table;

use crate::figures::{Bound, Times};

const HEADING: [&str; 9] = [
    "case", "nodes", "n", "p50", "p99", "max", "bound", "result", "remark",
];

/// The rows so far. Cases add them from several threads.
#[derive(Debug)]
pub(crate) struct Report(Mutex<Rows>);

#[derive(Debug, Default)]
struct Rows {
    rows: Vec<[String; 9]>,
    failures: Vec<String>,
    passed: usize,
    failed: usize,
    skipped: usize,
}

/// The outcome of one case.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) times: Times,
    pub(crate) bounds: Vec<Bound>,
    /// Each text names a sample that broke a promise other than a bound.
    pub(crate) broken: Vec<String>,
    pub(crate) remark: String,
}

impl Report {
    pub(crate) fn new() -> Self {
        Self(Mutex::default())
    }

    /// Adds the row of a case. `nodes` names the nodes and their transports.
    pub(crate) fn row(&self, case: &str, nodes: &str, outcome: Result<Outcome>) {
        let mut rows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (outcome, error) = match outcome {
            Ok(outcome) => (outcome, None),
            Err(error) => (Outcome::default(), Some(format!("{error:#}"))),
        };
        let Outcome { times, bounds, .. } = &outcome;
        let missed = bounds.iter().filter_map(|bound| bound.missed(times));
        let failures: Vec<String> = outcome.broken.iter().cloned().chain(missed).collect();
        let failures: Vec<String> = failures.into_iter().chain(error).collect();
        let seconds =
            |value: Option<f64>| value.map(|value| format!("{value:.3}")).unwrap_or_default();
        let bounds: Vec<String> = bounds.iter().map(ToString::to_string).collect();
        let row = [
            case.to_owned(),
            nodes.to_owned(),
            times.len().to_string(),
            seconds(times.percentile(0.5)),
            seconds(times.percentile(0.99)),
            seconds(times.max()),
            bounds.join(", "),
            if failures.is_empty() { "ok" } else { "failed" }.to_owned(),
            outcome.remark,
        ];
        eprintln!("{}", row.join("  "));
        match failures.is_empty() {
            true => rows.passed += 1,
            false => rows.failed += 1,
        }
        for failure in failures {
            rows.failures.push(format!("{case}, {nodes}: {failure}"));
        }
        rows.rows.push(row);
    }

    pub(crate) fn skip(&self, case: &str, nodes: &str, why: &str) {
        let mut rows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        rows.skipped += 1;
        let row = [case, nodes, "", "", "", "", "", "skipped", why];
        rows.rows.push(row.map(str::to_owned));
    }

    /// Prints the table and the line with the counts.
    pub(crate) fn finish(self) -> ExitCode {
        let mut rows = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        for failure in &rows.failures {
            println!("{failure}\n");
        }
        // Cases end in an order that changes.
        rows.rows.sort();
        let mut table = Table::new(&HEADING);
        for row in rows.rows {
            table.row(row);
        }
        println!("{table}");
        let (passed, failed, skipped) = (rows.passed, rows.failed, rows.skipped);
        println!("rejoin: {passed} passed, {failed} failed, {skipped} skipped");
        ExitCode::from(u8::from(failed > 0))
    }
}
