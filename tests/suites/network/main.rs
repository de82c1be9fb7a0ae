//! Bowline in networks that change, and behind a NAT: each node is a process in a network namespace.
//!
//! `cargo xtask integration network` runs the suite. It needs the right to make namespaces, and the programs `unshare`,
//! `nsenter`, `ip` and `nft`.

mod announced;
mod interfaces;
mod nat;
mod nodes;

use std::process::ExitCode;

use anyhow::Result;
use tests::harness::place::Place;
use tests::harness::table::Table;

/// The rows of the table so far. A row contains a step, the effect for which the suite waited, and the time that it took.
#[derive(Debug)]
struct Report {
    table: Table,
    failures: Vec<String>,
    passed: usize,
}

impl Report {
    /// Adds a row with the outcome of one wait: the seconds that it took, and a remark.
    fn row(&mut self, step: &str, what: &str, outcome: Result<(f64, String)>) {
        let [result, seconds, remark] = match outcome {
            Ok((seconds, remark)) => {
                self.passed += 1;
                ["ok".to_owned(), format!("{seconds:.2}"), remark]
            }
            Err(error) => {
                self.failures.push(format!("{step}, {what}: {error:#}"));
                ["failed".to_owned(), String::new(), String::new()]
            }
        };
        let row = [step.to_owned(), what.to_owned(), result, seconds, remark];
        eprintln!("{}", row.join("  "));
        self.table.row(row);
    }

    fn finish(self) -> ExitCode {
        for failure in &self.failures {
            println!("{failure}\n");
        }
        println!("{}", self.table);
        let (passed, failed) = (self.passed, self.failures.len());
        println!("network: {passed} passed, {failed} failed, 0 skipped");
        ExitCode::from(u8::from(failed > 0))
    }
}

fn main() -> ExitCode {
    let mut report = Report {
        table: Table::new(&["step", "effect", "result", "seconds", "remark"]),
        failures: Vec::new(),
        passed: 0,
    };
    if !Place::is_available() {
        println!("network: 0 passed, 0 failed, 1 skipped");
        return ExitCode::SUCCESS;
    }
    for (name, run) in [
        (
            "interfaces",
            interfaces::run as fn(&mut Report) -> Result<()>,
        ),
        ("nat", nat::run),
        ("announced", announced::run),
    ] {
        if let Err(error) = run(&mut report) {
            report.row(name, "the scene", Err(error));
        }
    }
    report.finish()
}
