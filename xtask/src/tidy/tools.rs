//! The checks of cargo's own tools: lock files, formatting, lints.

use std::process::Command;

use super::Finding;
use crate::{integration, step};

/// The folders that are workspaces of their own.
const ALONE: [&str; 4] = [
    "fuzz",
    "tests/adopt",
    "tests/peers/iroh",
    "tests/peers/rust",
];

/// Runs them all. Their own output is passed through.
pub(super) fn check() -> Vec<Finding> {
    let places = || [""].into_iter().chain(ALONE);
    let lock_files = places().map(|place| {
        let args = ["metadata", "--quiet", "--locked", "--format-version", "1"];
        let fits = step::capture(step::program("cargo", place).args(args)).map(drop);
        (join(place, "Cargo.lock"), fits)
    });
    let formats = places().map(|place| {
        // In a package alone `--all` would also take the packages it depends on by their path.
        let all = place.is_empty().then_some("--all");
        let mut fmt = step::program("cargo", place);
        fmt.arg("fmt").args(all).args(["--", "--check", "-l"]);
        (join(place, "Cargo.toml"), step::succeed(&mut fmt))
    });
    // `--all-targets` leaves out the suites, since `cargo test` does not run them by itself.
    let suites: Vec<&str> = integration::targets()
        .flat_map(|target| ["--test", target])
        .collect();
    let lints = [vec!["--all-targets"], suites].map(|targets| {
        (
            "Cargo.toml".to_owned(),
            step::succeed(&mut clippy(&targets)),
        )
    });
    let outcomes = lock_files.chain(formats).chain(lints);
    outcomes
        .filter_map(|(place, outcome)| Some(Finding::broken(place, outcome.err()?.to_string())))
        .collect()
}

/// A function that is too long is a warning only.
fn clippy(targets: &[&str]) -> Command {
    let mut clippy = step::cargo(&["clippy", "--quiet", "--workspace"]);
    clippy.args(targets).args([
        "--",
        "-D",
        "warnings",
        "--force-warn",
        "clippy::too_many_lines",
    ]);
    clippy
}

fn join(place: &str, file: &str) -> String {
    if place.is_empty() {
        file.to_owned()
    } else {
        format!("{place}/{file}")
    }
}
