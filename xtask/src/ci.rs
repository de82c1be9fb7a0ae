//! `cargo xtask ci`: all that CI runs, each step with its time. A step that fails does not keep the later ones from
//! running.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::tally::Tally;
use crate::{bench, features, fuzz, integration, step, test, tidy};

/// How long each fuzz target runs.
const FUZZ_SECONDS: u32 = 60;

/// The checks of cargo-deny that need nothing but the registry.
const DENY: [&str; 4] = ["bans", "licenses", "sources", "--hide-inclusion-graph"];

#[derive(Default)]
struct Steps {
    tally: Tally,
    times: Vec<(&'static str, Duration, Result<(), String>)>,
}

pub(crate) fn run() -> Result<Tally> {
    let mut steps = Steps::default();
    steps.run("tidy", || tidy::run().map(|()| Tally::default()));
    steps.run("deny", || deny().map(|()| Tally::default()));
    steps.run("features", || features::run().map(|()| Tally::default()));
    steps.run("test", test::run);
    steps.run("fuzz", || {
        fuzz::run(&fuzz::Options::all(FUZZ_SECONDS)).map(|()| Tally::default())
    });
    steps.run("integration", || {
        integration::run(&integration::Options::all_required())
    });
    steps.run("bench --quick", || {
        bench::run(&bench::Options::smoke()).map(|()| Tally::default())
    });
    steps.finish()
}

/// The advisories need a database that is fetched from outside, so they are checked where it already is.
fn deny() -> Result<()> {
    if !step::on_path("cargo-deny") {
        println!("deny: skipped, the PATH has no cargo-deny");
        return Ok(());
    }
    step::succeed(step::cargo(&["deny", "check"]).args(DENY))?;
    let fetched = step::cargo(&[
        "deny",
        "--offline",
        "check",
        "--disable-fetch",
        "advisories",
    ])
    .output()?;
    println!("{}", String::from_utf8_lossy(&fetched.stderr));
    Ok(())
}

impl Steps {
    fn run(&mut self, name: &'static str, step: impl FnOnce() -> Result<Tally>) {
        println!("\n=== {name}");
        let started = Instant::now();
        let outcome = match step() {
            Ok(tally) => {
                self.tally += tally;
                if tally.failed == 0 {
                    Ok(())
                } else {
                    Err(tally.to_string())
                }
            }
            Err(error) => {
                eprintln!("error: {error:#}");
                Err(format!("{error:#}"))
            }
        };
        println!("=== {name}: {:.0} s", started.elapsed().as_secs_f64());
        self.times.push((name, started.elapsed(), outcome));
    }

    fn finish(self) -> Result<Tally> {
        println!("\n=== all steps");
        for (name, time, outcome) in &self.times {
            let outcome = outcome
                .as_ref()
                .map_or_else(|error| format!("FAILED: {error}"), |()| "ok".to_owned());
            println!("{name:<14} {:>5.0} s  {outcome}", time.as_secs_f64());
        }
        let failed: Vec<&str> = self
            .times
            .iter()
            .filter(|(.., outcome)| outcome.is_err())
            .map(|step| step.0)
            .collect();
        if failed.is_empty() {
            return Ok(self.tally);
        }
        println!("{}", self.tally);
        bail!("failed: {}", failed.join(", "))
    }
}
