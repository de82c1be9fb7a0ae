//! `bowline`: a peer-to-peer node, and commands that talk to nodes.

mod allocator;
mod ask;
mod candidates;
mod cli;
mod dht;
mod dialing;
mod events;
mod failure;
#[cfg(feature = "gossip")]
mod gossip;
mod identify;
#[cfg(feature = "gossip")]
mod iroh;
mod key;
mod log;
mod multiaddr;
mod open_files;
mod output;
mod ping;
mod settings;
#[cfg(feature = "relay")]
mod slots;
mod up;
mod writer;

use std::{process::ExitCode, time::Duration};

use clap::Parser;

use cli::{Cli, Command};
use failure::Failure;

/// The time that a slow reader has for the waiting lines before the process ends.
const LAST_LINES: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    let code = execute();
    log::stderr().finish(LAST_LINES);
    code
}

fn execute() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return failure::of_clap(&error),
    };
    log::start();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn run(cli: Cli) -> Result<(), Failure> {
    let output = output::Output::new(cli.json);
    match cli.command {
        Command::Key { command } => key::run(command, &output),
        Command::Completions { shell } => cli::completions(shell),
        Command::Manual => cli::manual(),
        // The limit comes first, because the runtime opens files, too.
        Command::Up(args) => on_runtime(up::run(args, open_files::raise()?, output)),
        Command::Ping(args) => on_runtime(ping::run(args, output)),
        Command::Peers(args) if args.candidates => on_runtime(candidates::run(args.asking, output)),
        Command::Peers(args) => on_runtime(ask::peers(args.asking, output)),
        #[cfg(feature = "relay")]
        Command::Slots(args) => on_runtime(slots::run(args, output)),
        #[cfg(feature = "gossip")]
        Command::Topics(asking) => on_runtime(gossip::topics(asking, output)),
        #[cfg(feature = "gossip")]
        Command::Pub(args) => on_runtime(gossip::publish(args, output)),
        #[cfg(feature = "gossip")]
        Command::Sub(args) => on_runtime(gossip::subscribe(args, output)),
        Command::Events(asking) => on_runtime(ask::events(asking, output)),
        Command::Why { peer, asking } => on_runtime(ask::why(peer, asking, output)),
        Command::Dht { command } => on_runtime(dht::run(command, output)),
        Command::Identify(args) => on_runtime(identify::run(args, output)),
    }
}

fn on_runtime(job: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Runtime::new()
        .map_err(|error| Failure::job(format!("cannot start: {error}")))?;
    let outcome = runtime.block_on(job);
    // A name look-up in a blocking thread must not delay the exit.
    runtime.shutdown_background();
    outcome
}
