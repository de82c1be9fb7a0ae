//! `cargo xtask test`: all tests that need only Rust and a C compiler.

use anyhow::Result;

use crate::step;
use crate::tally::{LibtestFailures, Tally};

/// The features with tests. The tests run whether or not the node uses these features.
const FEATURES: &str = "--features=bootstrap/kad,bootstrap/mdns,gossip-net/signed";

pub(crate) fn run() -> Result<Tally> {
    // Together with the tests, so that the dependencies have the same features for both and are built once.
    let built = step::build(&mut step::cargo(&[
        "build",
        "--workspace",
        "--bin",
        "bowline",
        "--tests",
        FEATURES,
    ]))?;
    let bowline = step::executable(&built, "bowline")?;

    let (mut tally, mut failures) = (Tally::default(), LibtestFailures::default());
    let mut tests = step::cargo(&["test", "--workspace", "--no-fail-fast", FEATURES]);
    let succeeded = step::stream(tests.env("BOWLINE_BIN", bowline), |line| {
        println!("{line}");
        failures.read(line);
        tally += Tally::of_libtest(line).unwrap_or_default();
    })?;
    if !succeeded && tally.failed == 0 {
        eprintln!("cargo test failed, but no test did");
        tally.failed = 1;
    }
    Ok(tally.because(failures.into_lines()))
}
