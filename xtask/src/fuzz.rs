//! `cargo xtask fuzz`: the fuzz targets share a time that bounds the whole run. LibFuzzer's coverage comes from a compiler pass
//! that the stable toolchain has, so nothing needs to be installed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::step;

/// The compiler flags of `cargo fuzz` for coverage without a sanitizer.
const COVERAGE: [&str; 8] = [
    "--cfg=fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cdebug-assertions",
    "-Ccodegen-units=1",
];

/// The memory in MiB that a target may use, including the fuzzer's own: a decoder's memory is bounded.
const MEMORY_MIB: u32 = 512;

/// Seconds that one input may take.
const INPUT_SECONDS: u32 = 10;

/// The least that a target runs, in seconds, after its seeds and its corpus.
const LEAST_SECONDS: u32 = 5;

/// The time between two looks at the running targets.
const POLL: Duration = Duration::from_millis(100);

#[derive(Args)]
pub(crate) struct Options {
    /// The targets to run [default: all]
    #[arg(value_name = "TARGET")]
    targets: Vec<String>,
    /// How long all targets run together, in seconds, after the build
    #[arg(long, default_value_t = 240, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// How many targets run at the same time [default: one per core]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    jobs: Option<u32>,
}

struct Running {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Options {
    /// All targets, for so many seconds together.
    pub(crate) fn all(seconds: u32) -> Self {
        Self {
            targets: Vec::new(),
            seconds,
            jobs: None,
        }
    }

    fn jobs(&self) -> u32 {
        let cores = || thread::available_parallelism().ok();
        let cores = || cores().and_then(|cores| u32::try_from(cores.get()).ok());
        self.jobs.or_else(cores).unwrap_or(1)
    }
}

/// How long each target runs, in seconds, so that all of them end in time.
fn share(seconds: u32, jobs: u32, targets: usize) -> u32 {
    let targets = u32::try_from(targets).unwrap_or(u32::MAX);
    // Where the last turn has fewer targets than jobs, it takes as long as a full one.
    let turns = targets.div_ceil(jobs).max(1);
    (seconds / turns).max(LEAST_SECONDS)
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let targets = build()?;
    ensure!(!targets.is_empty(), "there are no fuzz targets");
    let mut waiting: Vec<String> = if options.targets.is_empty() {
        targets.keys().cloned().collect()
    } else {
        options.targets.clone()
    };
    if let Some(stranger) = waiting.iter().find(|name| !targets.contains_key(*name)) {
        let known: Vec<_> = targets.keys().map(String::as_str).collect();
        anyhow::bail!(
            "there is no fuzz target {stranger}; the targets are {}",
            known.join(", ")
        );
    }
    waiting.reverse();
    let seconds = share(options.seconds, options.jobs(), waiting.len());

    let mut running: Vec<Running> = Vec::new();
    let mut crashed = Vec::new();
    while !waiting.is_empty() || !running.is_empty() {
        while running.len() < options.jobs() as usize
            && let Some(name) = waiting.pop()
        {
            running.push(start(&name, &targets[&name], seconds)?);
        }
        thread::sleep(POLL);
        let mut index = 0;
        while index < running.len() {
            match running[index].child.try_wait()? {
                None => index += 1,
                Some(status) => {
                    let ended = running.swap_remove(index);
                    report(&ended, status.success())?;
                    crashed.extend((!status.success()).then_some(ended.name));
                }
            }
        }
    }
    ensure!(
        crashed.is_empty(),
        "these fuzz targets failed: {}",
        crashed.join(", ")
    );
    Ok(())
}

/// Builds all targets and gives their executables by name.
fn build() -> Result<BTreeMap<String, PathBuf>> {
    let mut cargo = step::program("cargo", "fuzz");
    // With a target named, the flags reach neither build scripts nor macros.
    cargo.args(["build", "--release", "--bins", "--target", &host()?]);
    cargo.env("CARGO_ENCODED_RUSTFLAGS", COVERAGE.join("\u{1f}"));
    step::share_target_folder(&mut cargo)?;
    step::build(&mut cargo).context("the fuzz targets do not build")
}

fn host() -> Result<String> {
    let version = step::capture(Command::new("rustc").arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc does not name its host")?.to_owned())
}

/// Starts a target on its own corpus, and on the committed seeds where it has some.
fn start(name: &str, program: &Path, seconds: u32) -> Result<Running> {
    let fuzz = step::root().join("fuzz");
    let (corpus, artifacts) = (
        fuzz.join("corpus").join(name),
        fuzz.join("artifacts").join(name),
    );
    for folder in [&corpus, &artifacts] {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let log = artifacts.join("log");
    let output =
        fs::File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
    let mut command = Command::new(program);
    command.arg(format!("-max_total_time={seconds}"));
    command
        .arg(format!("-rss_limit_mb={MEMORY_MIB}"))
        .arg(format!("-timeout={INPUT_SECONDS}"));
    command
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .arg("-print_final_stats=1");
    command
        .arg(corpus)
        .args(Some(fuzz.join("seeds").join(name)).filter(|seeds| seeds.is_dir()));
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(output);
    let child = command
        .spawn()
        .with_context(|| format!("cannot run {}", program.display()))?;
    println!("{name}: running for {seconds} s");
    Ok(Running {
        name: name.to_owned(),
        child,
        log,
    })
}

/// Prints how many inputs a target has run, or the end of its log and the input that failed.
fn report(ended: &Running, succeeded: bool) -> Result<()> {
    let log =
        fs::read(&ended.log).with_context(|| format!("cannot read {}", ended.log.display()))?;
    let log = String::from_utf8_lossy(&log);
    if succeeded {
        let runs = log
            .lines()
            .find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
        println!(
            "{}: {} inputs, none failed",
            ended.name,
            runs.unwrap_or("?").trim()
        );
        return Ok(());
    }
    let lines: Vec<&str> = log.lines().collect();
    for line in &lines[lines.len().saturating_sub(40)..] {
        println!("  {line}");
    }
    let artifact = lines.iter().find_map(|line| {
        line.split_once("Test unit written to ")
            .map(|(_, path)| path)
    });
    println!(
        "{}: FAILED, the input is {}",
        ended.name,
        artifact.unwrap_or("not written")
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_targets_end_in_the_time_they_share() {
        assert_eq!(share(240, 2, 14), 34);
        assert_eq!(share(240, 2, 15), 30);
        assert_eq!(share(240, 1, 14), 17);
        assert_eq!(share(60, 2, 1), 60, "one target has all of it");
        assert_eq!(
            share(10, 2, 14),
            LEAST_SECONDS,
            "each runs at least so long"
        );
    }
}
