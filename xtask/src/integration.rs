//! `cargo xtask integration`: suites that use other programs, the foreign parts.

use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use clap::builder::PossibleValuesParser;
use clap::{Args, ValueEnum};

use crate::parts::Part;
use crate::step;
use crate::tally::Tally;

/// A test target that prints `NAME: N passed, N failed, N skipped` as its last line.
struct Suite {
    name: &'static str,
    /// The name of the test target, which no other package has.
    target: &'static str,
    parts: &'static [Part],
}

const SUITES: &[Suite] = &[
    Suite {
        name: "interop",
        target: "interop",
        parts: &[Part::Rust, Part::Go, Part::Js],
    },
    Suite {
        name: "mutual",
        target: "mutual",
        parts: &[Part::Rust, Part::Go],
    },
    Suite {
        name: "proxies",
        target: "proxies",
        parts: &[Part::Microsocks, Part::Dante, Part::Tinyproxy, Part::Squid],
    },
    Suite {
        name: "hostile",
        target: "hostile",
        parts: &[Part::Rust, Part::Go, Part::Js, Part::Unshare],
    },
    Suite {
        name: "network",
        target: "network",
        parts: &[Part::Network],
    },
    Suite {
        name: "rejoin",
        target: "rejoin-suite",
        parts: &[Part::Rust, Part::Go, Part::Js, Part::Network],
    },
    Suite {
        name: "gossip",
        target: "gossip-suite",
        parts: &[Part::Iroh],
    },
    Suite {
        name: "adopt",
        target: "adopt",
        parts: &[Part::Adopt, Part::Microsocks],
    },
];

/// How long each flood lasts in CI.
const FLOOD_SECONDS: u32 = 6;

/// The number of restarts of each kind in CI.
const RESTARTS: u32 = 20;

#[derive(Args)]
pub(crate) struct Options {
    /// The suites to run [default: all]
    #[arg(value_name = "SUITE", value_parser = PossibleValuesParser::new(names()))]
    suites: Vec<String>,
    /// Foreign parts that must be there: a missing one is an error instead of a skipped test
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    require: Vec<Part>,
    /// The length of each flood of the suite `hostile`, in seconds
    #[arg(long, value_name = "N", default_value_t = FLOOD_SECONDS, value_parser = clap::value_parser!(u32).range(2..))]
    flood_seconds: u32,
    /// The number of restarts of each kind in the suite `rejoin`; 50 or more also make the outages and the faults long
    #[arg(long, value_name = "N", default_value_t = RESTARTS, value_parser = clap::value_parser!(u32).range(1..))]
    restarts: u32,
}

impl Options {
    /// All suites, with nothing skipped.
    pub(crate) fn all_required() -> Self {
        Self {
            suites: Vec::new(),
            require: Part::value_variants().to_vec(),
            flood_seconds: FLOOD_SECONDS,
            restarts: RESTARTS,
        }
    }
}

/// The names of all suites.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    SUITES.iter().map(|suite| suite.name)
}

/// The test targets of all suites.
pub(crate) fn targets() -> impl Iterator<Item = &'static str> {
    SUITES.iter().map(|suite| suite.target)
}

pub(crate) fn run(options: &Options) -> Result<Tally> {
    let asked_for = |suite: &&Suite| {
        options.suites.is_empty() || options.suites.iter().any(|name| name == suite.name)
    };
    let suites: Vec<&Suite> = SUITES.iter().filter(asked_for).collect();
    let mut parts = Vec::new();
    for part in suites.iter().flat_map(|suite| suite.parts) {
        if !parts.contains(part) {
            parts.push(*part);
        }
    }
    let parts = available(&parts, &options.require)?;

    let bowline = step::release(&["bowline"])?;
    let mut environment = vec![
        (
            "BOWLINE_BIN".to_owned(),
            step::executable(&bowline, "bowline")?,
        ),
        (
            "HOSTILE_SECONDS".to_owned(),
            options.flood_seconds.to_string().into(),
        ),
        (
            "REJOIN_RESTARTS".to_owned(),
            options.restarts.to_string().into(),
        ),
    ];
    for part in parts {
        let program = part
            .build()
            .with_context(|| format!("{} does not build", part.name()))?;
        environment.push((part.variable(), program));
    }
    let mut sum = Tally::default();
    for suite in suites {
        sum += run_suite(suite, &environment)?;
    }
    Ok(sum)
}

/// The parts that this machine has. Reports each missing part, and fails if a missing one is required.
fn available(parts: &[Part], required: &[Part]) -> Result<Vec<Part>> {
    if let Some(stranger) = required.iter().find(|part| !parts.contains(part)) {
        bail!(
            "{} is required, but no suite of this run uses it",
            stranger.name()
        );
    }
    let mut available = Vec::new();
    for part in parts {
        let Some(missing) = part.missing() else {
            available.push(*part);
            continue;
        };
        ensure!(
            !required.contains(part),
            "{} is required, but {missing}",
            part.name()
        );
        println!("{}: skipped, {missing}", part.name());
    }
    Ok(available)
}

fn run_suite(suite: &Suite, environment: &[(String, PathBuf)]) -> Result<Tally> {
    // With the whole workspace selected, all dependencies have the features that they have in `cargo xtask test`, and are built
    // once for both.
    let mut cargo = step::cargo(&["test", "--quiet", "--workspace", "--test", suite.target]);
    cargo.env("PATH", step::path());
    cargo.envs(environment.iter().map(|(key, value)| (key, value)));
    let (mut tally, mut failures) = (None::<Tally>, Vec::new());
    let succeeded = step::stream(&mut cargo, |line| {
        println!("{line}");
        // A suite's table has a row for each test: of those that went well nothing is repeated.
        let well = line.split_whitespace().any(|word| word == "ok");
        if !line.is_empty() && !well {
            failures.push(line.to_owned());
        }
        tally = Tally::of_suite(suite.name, line).or(tally.take());
    })?;
    let tally = tally.with_context(|| {
        format!(
            "the suite {} ended without its last line, which has the counts",
            suite.name
        )
    })?;
    ensure!(
        succeeded == (tally.failed == 0),
        "the exit code of the suite {} contradicts the counts in its last line",
        suite.name
    );
    let failures = if succeeded { Vec::new() } else { failures };
    Ok(tally.because(failures))
}
