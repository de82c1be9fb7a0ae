//! The workspace's commands. This file only dispatches: one module per command.

mod bench;
mod ci;
mod features;
mod fuzz;
mod integration;
mod mutants;
mod parts;
mod step;
mod tally;
mod test;
mod tidy;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    bin_name = "cargo xtask",
    about = "Tests, benchmarks and checks of this workspace"
)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Run all tests that need only Rust and a C compiler
    Test,
    /// Run the suites that use other programs, such as go-libp2p or a proxy server
    Integration(integration::Options),
    /// Measure Bowline and other implementations in turn, in one run
    Bench(bench::Options),
    /// Check the rules of this project, formatting and lints
    Tidy(tidy::Options),
    /// Check that every pair of features builds
    Features,
    /// Run the fuzz targets for a limited time
    Fuzz(fuzz::Options),
    /// Change the cores' code in many small ways and report what no test notices. Takes hours
    Mutants(mutants::Options),
    /// Run everything that CI runs: all of the above except `mutants`
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
        Task::Mutants(options) => mutants::run(&options).map(|()| None),
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
