//! The workspace's chores. This file only dispatches: one module a command.

mod bench;
mod ci;
mod features;
mod fuzz;
mod integration;
mod parts;
mod step;
mod tally;
mod test;
mod tidy;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(bin_name = "cargo xtask", about = "The workspace's chores")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// All tests that need nothing but Rust and a C compiler
    Test,
    /// Suites with real foreign parts
    Integration(integration::Options),
    /// Ours and a peer's in turn, in one run
    Bench(bench::Options),
    /// The house's rules, formatting and lints
    Tidy(tidy::Options),
    /// Every combination of features builds
    Features,
    /// The fuzz targets, for a while each
    Fuzz(fuzz::Options),
    /// What CI runs: all of the above
    Ci,
}

fn main() -> ExitCode {
    let done = match Cli::parse().task {
        Task::Test => test::run().map(Some),
        Task::Integration(options) => integration::run(&options).map(Some),
        Task::Bench(options) => bench::run(&options).map(|()| None),
        Task::Tidy(options) => tidy::run(&options).map(|()| None),
        Task::Features => features::run().map(|()| None),
        Task::Fuzz(options) => fuzz::run(&options).map(|()| None),
        Task::Ci => ci::run().map(Some),
    };
    match done {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(tally)) => {
            println!("{tally}");
            ExitCode::from(u8::from(tally.failed > 0))
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
