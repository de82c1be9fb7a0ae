//! `cargo xtask mutants`: changes the code of the cores in one small place at a time, and reports each change that no test
//! notices. cargo-mutants makes the changes, in a copy of the workspace. CI does not run this command, because it takes hours.
//!
//! Each mutant first meets the quick tests of its crate. A mutant that survives them then meets all tests of the crate.

mod known;
mod outcome;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::step;
use known::Known;
use outcome::{Count, Mutant, Outcome};

/// The share of the viable mutants that the tests must notice.
const ENFORCED_PERCENT: usize = 95;

/// The least time in seconds until a test run counts as hanging. A mutant that makes the tests hang is noticed.
const LEAST_TIMEOUT: &str = "30";

/// The code whose mutants are made, and the tests that they meet first.
struct Core {
    package: &'static str,
    /// Modules below `src`, each with the modules inside it.
    modules: &'static [&'static str],
    /// Arguments of `cargo test`.
    quick: &'static [&'static str],
}

const CORES: [Core; 3] = [
    Core {
        package: "conn-state",
        modules: &["tracker", "policy", "phase", "shared", "locked", "limits"],
        quick: &[
            "--lib",
            "--test",
            "states",
            "--test",
            "limits",
            "--",
            "--skip",
            "shared::tests",
        ],
    },
    Core {
        package: "relay-slots",
        modules: &["table", "admission"],
        quick: &[
            "--lib", "--test", "table", "--", "--skip", "churn::", "--skip", "phone::",
        ],
    },
    Core {
        package: "transport-tcp",
        modules: &[
            "header",
            "intake",
            "unread",
            "ends",
            "coalesce",
            "readahead",
            "buffer",
            "presume",
            "noise/cipher",
            "noise/stream",
        ],
        quick: &["--lib"],
    },
];

impl Core {
    /// The files with the code of all modules, as paths in the workspace.
    fn files(&self) -> Result<Vec<String>> {
        let source = format!("crates/{}/src", self.package);
        let mut files = Vec::new();
        for module in self.modules {
            files.push(format!("{source}/{module}.rs"));
            add_files(&format!("{source}/{module}"), &mut files)?;
        }
        Ok(files)
    }
}

/// Adds the Rust files of a folder and its folders, except tests. The folder may be missing.
fn add_files(folder: &str, files: &mut Vec<String>) -> Result<()> {
    let path = step::root().join(folder);
    if !path.is_dir() {
        return Ok(());
    }
    let entries = fs::read_dir(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let mut names: Vec<String> = names.collect::<Result<_>>()?;
    names.sort();
    for name in names {
        let path = format!("{folder}/{name}");
        match name.as_str() {
            "tests" | "tests.rs" => {}
            _ if name.ends_with(".rs") => files.push(path),
            _ => add_files(&path, files)?,
        }
    }
    Ok(())
}

#[derive(Args)]
pub(crate) struct Options {
    /// The crates whose cores are changed [default: all]
    #[arg(value_name = "CRATE", value_parser = CORES.map(|core| core.package))]
    crates: Vec<String>,
    /// Changes only this file, named by the end of its path. May be repeated
    #[arg(long, value_name = "FILE")]
    file: Vec<String>,
}

impl Options {
    fn wants(&self, core: &Core) -> bool {
        self.crates.is_empty() || self.crates.iter().any(|name| name == core.package)
    }

    /// The wanted files of a crate, as paths in the workspace.
    fn files(&self, core: &Core) -> Result<Vec<String>> {
        let mut files = core.files()?;
        if !self.file.is_empty() {
            files.retain(|path| self.file.iter().any(|end| is_end(path, end)));
        }
        Ok(files)
    }
}

/// Whether `end` is the last part of `path`, in whole names.
fn is_end(path: &str, end: &str) -> bool {
    Path::new(path).ends_with(end)
}

pub(crate) fn run(options: &Options) -> Result<()> {
    ensure!(
        step::on_path("cargo-mutants"),
        "the PATH has no cargo-mutants: cargo install --locked cargo-mutants"
    );
    let known = Known::read()?;
    let mut outcomes = BTreeMap::new();
    let mut examined = Vec::new();
    for core in CORES.iter().filter(|core| options.wants(core)) {
        let files = options.files(core)?;
        if !files.is_empty() {
            outcomes.append(&mut examine(core, &files)?);
            examined.extend(files);
        }
    }
    ensure!(!examined.is_empty(), "none of the cores has such a file");
    report(&outcomes, &examined, &known)
}

/// Runs the tests of one crate against its mutants.
fn examine(core: &Core, files: &[String]) -> Result<BTreeMap<Mutant, Outcome>> {
    let output = step::target_folder()?.join("mutants").join(core.package);
    let mut outcomes = test(core, files, &output, core.quick, false)?;
    let survived = |outcome: &Outcome| matches!(outcome, Outcome::Missed | Outcome::Timeout);
    if outcomes.values().any(survived) {
        outcomes.append(&mut test(core, files, &output, &[], true)?);
    }
    Ok(outcomes)
}

/// One run of cargo-mutants. With `rest`, it tests only the mutants that the run before it did not catch.
fn test(
    core: &Core,
    files: &[String],
    output: &Path,
    tests: &[&str],
    rest: bool,
) -> Result<BTreeMap<Mutant, Outcome>> {
    fs::create_dir_all(output).with_context(|| format!("cannot make {}", output.display()))?;
    let mut cargo = step::cargo(&["mutants", "--package", core.package, "--no-shuffle"]);
    cargo.args(["--colors", "never", "--minimum-test-timeout", LEAST_TIMEOUT]);
    // Debug output is for people. No test compares it.
    cargo.args(["--exclude-re", "impl fmt::Debug"]);
    cargo.args(rest.then_some("--iterate"));
    cargo.arg("--output").arg(output);
    cargo.args(files.iter().flat_map(|file| ["--file", file]));
    cargo.arg("--").args(tests);
    // The dependencies are built once for all runs, and everything is built without what only a debugger needs.
    cargo.env("CARGO_TARGET_DIR", build_folder(output));
    cargo.env("CARGO_PROFILE_DEV_DEBUG", "false");
    // A case that fails is enough. The smallest one takes long to find.
    cargo.env("PROPTEST_MAX_SHRINK_ITERS", "0");
    let status = cargo.status().context("cannot run cargo mutants")?;
    // 2: some mutants are missed; 3: some make the tests hang.
    ensure!(
        matches!(status.code(), Some(0 | 2 | 3)),
        "cargo mutants: {status}"
    );
    outcome::read(&output.join("mutants.out"))
}

fn build_folder(output: &Path) -> PathBuf {
    output.with_file_name("build")
}

/// Prints the figures per file and the survivors. Fails if the list of known survivors lacks one, or if too many survive.
fn report(outcomes: &BTreeMap<Mutant, Outcome>, examined: &[String], known: &Known) -> Result<()> {
    let mut all = Count::default();
    println!("\n{}", Count::HEADER);
    for file in examined {
        let of_file = outcomes.iter().filter(|(mutant, _)| mutant.file == *file);
        let count: Count = of_file.map(|(_, outcome)| *outcome).collect();
        if count != Count::default() {
            println!("{}", count.line(file));
        }
        all += count;
    }
    println!("{}\n", all.line("all"));

    let missed = outcomes
        .iter()
        .filter(|(_, outcome)| **outcome == Outcome::Missed);
    let missed: Vec<&Mutant> = missed.map(|(mutant, _)| mutant).collect();
    for gone in known.gone(&missed, examined) {
        println!("no longer survives, remove it from {}: {gone}", known::FILE);
    }
    let unknown = known.unknown(&missed);
    for mutant in &unknown {
        println!("survives: {mutant}");
    }
    ensure!(all != Count::default(), "there are no mutants");
    ensure!(
        unknown.is_empty(),
        "{} mutants survive that {} does not list",
        unknown.len(),
        known::FILE
    );
    ensure!(
        all.percent() >= ENFORCED_PERCENT as f64,
        "the tests notice only {:.1} % of the mutants",
        all.percent()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_core_names_files_that_exist_and_no_tests() {
        for core in &CORES {
            for file in core.files().expect("folders can be read") {
                assert!(step::root().join(&file).is_file(), "{file}");
                assert!(!file.contains("tests"), "{file}");
            }
        }
        let table = CORES[1].files().expect("folders can be read");
        assert!(table.contains(&"crates/relay-slots/src/table/wheel.rs".to_owned()));
    }

    #[test]
    fn a_file_is_named_by_the_end_of_its_path() {
        let options = |file: &str| Options {
            crates: Vec::new(),
            file: vec![file.to_owned()],
        };
        let files = |file| -> Vec<String> {
            let options = options(file);
            let files = CORES.iter().map(|core| options.files(core));
            files
                .flat_map(|files| files.expect("folders can be read"))
                .collect()
        };
        assert_eq!(files("policy.rs"), ["crates/conn-state/src/policy.rs"]);
        assert_eq!(files("noise/stream.rs").len(), 1);
        assert_eq!(files("icy.rs"), Vec::<String>::new());
    }
}
