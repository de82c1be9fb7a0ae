//! `cargo xtask ci`: everything that CI runs, with the time of each step. Steps after a failed one run as well.

use std::env;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::tally::Tally;
use crate::{bench, features, fuzz, integration, step, test, tidy};

/// How long all fuzz targets run together.
const FUZZ_SECONDS: u32 = 240;

/// The checks of cargo-deny that need only the registry.
const DENY: [&str; 3] = ["bans", "licenses", "sources"];

#[derive(Default)]
struct Steps {
    tally: Tally,
    times: Vec<(&'static str, Duration, String)>,
}

pub(crate) fn run() -> Result<Tally> {
    let mut steps = Steps::default();
    steps.run("tidy", || {
        tidy::run(&tidy::Options::default()).map(|()| Tally::default())
    });
    steps.run("deny", || deny().map(|()| Tally::default()));
    steps.run("features", || features::run().map(|()| Tally::default()));
    steps.run("test", test::run);
    steps.run("fuzz", || {
        fuzz::run(&fuzz::Options::all(FUZZ_SECONDS)).map(|()| Tally::default())
    });
    steps.run("integration", || {
        integration::run(&integration::Options::all_required())
    });
    steps.run("bench", || {
        bench::run(&bench::Options::smoke()).map(|()| Tally::default())
    });
    Ok(steps.finish())
}

/// Licences, sources and banned crates, and known vulnerabilities where their database is there.
fn deny() -> Result<()> {
    if !step::on_path("cargo-deny") {
        println!("deny: skipped, because the PATH has no cargo-deny");
        return Ok(());
    }
    step::succeed(
        step::cargo(&["deny", "--workspace", "check", "--hide-inclusion-graph"]).args(DENY),
    )?;
    if !advisory_database().is_dir() {
        println!("deny: advisories skipped, because their database is not there");
        return Ok(());
    }
    step::succeed(&mut step::cargo(&[
        "deny",
        "--workspace",
        "--offline",
        "check",
        "advisories",
    ]))
}

/// Where cargo-deny keeps the advisories it has fetched.
fn advisory_database() -> PathBuf {
    let home = |key: &str| env::var_os(key).map(PathBuf::from);
    let cargo = home("CARGO_HOME").or_else(|| Some(home("HOME")?.join(".cargo")));
    cargo.unwrap_or_default().join("advisory-dbs")
}

impl Steps {
    /// A step that fails without a failed test counts as one failed test.
    fn run(&mut self, name: &'static str, step: impl FnOnce() -> Result<Tally>) {
        println!("\n=== {name}");
        let started = Instant::now();
        let outcome = match step() {
            Ok(tally) => {
                let outcome = match tally.failed {
                    0 => "ok".to_owned(),
                    _ => format!("FAILED: {tally}"),
                };
                self.tally += tally;
                outcome
            }
            Err(error) => {
                self.tally.failed += 1;
                format!("FAILED: {error:#}")
            }
        };
        let took = started.elapsed();
        println!("=== {name}: {outcome}, {:.0} s", took.as_secs_f64());
        self.times.push((name, took, outcome));
    }

    fn finish(self) -> Tally {
        if !self.tally.failures.is_empty() {
            println!("\n=== what failed");
        }
        for line in &self.tally.failures {
            println!("{line}");
        }
        println!("\n=== all steps");
        for (name, took, outcome) in &self.times {
            println!("{name:<12} {:>5.0} s  {outcome}", took.as_secs_f64());
        }
        self.tally
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_that_fails_without_tests_counts_as_a_failure_and_later_steps_run() {
        let mut steps = Steps::default();
        steps.run("broken", || anyhow::bail!("no"));
        steps.run("tests", || {
            Ok(Tally {
                passed: 3,
                failed: 1,
                skipped: 1,
                failures: vec!["test a ... FAILED".to_owned()],
            })
        });
        assert_eq!(
            steps.finish(),
            Tally {
                passed: 3,
                failed: 2,
                skipped: 1,
                failures: vec!["test a ... FAILED".to_owned()],
            }
        );
    }
}
