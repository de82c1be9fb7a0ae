//! The transports against raw sockets and rust-libp2p: bulk over one stream, connect to first pong, and the memory an
//! idle connection takes on the server.
//!
//! Every measurement is two fresh processes over loopback. The contenders take turns, so that a slow minute of the
//! machine hurts them alike. `cargo xtask bench transport` builds both programs and names them in `BENCH_PEER` and
//! `PEER_RUST`; the results are printed and written to the file that `BENCH_OUT` names.

mod contender;
mod measure;
mod report;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use contender::Contender;
use measure::Sizes;
use report::{Area, Report};

#[derive(Parser)]
struct Options {
    /// How often each contender has its turn
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Small sizes and one round, to see that everything works: the numbers mean little
    #[arg(long)]
    quick: bool,
    /// Exit with 1 if a target is missed
    #[arg(long, conflicts_with = "quick")]
    enforce: bool,
    /// What `cargo bench` adds by itself
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    match measure_all(&options) {
        Ok(report) => ExitCode::from(u8::from(options.enforce && report.missed() > 0)),
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn measure_all(options: &Options) -> Result<Report> {
    raise_file_limit();
    let sizes = if options.quick {
        Sizes::QUICK
    } else {
        Sizes::FULL
    };
    let rounds = if options.quick { 1 } else { options.rounds };
    let contenders = Contender::all()?;

    let mut bulk = Area::bulk();
    let mut connects = Area::connects();
    let mut memory = Area::memory();
    for round in 1..=rounds {
        for contender in &contenders {
            eprintln!("round {round} of {rounds}: {}", contender.name());
            bulk.add(contender, measure::bulk(contender, &sizes)?);
            let times = measure::connects(contender, &sizes)?;
            connects.add_with(contender, times.p50_ms, times.notes());
            if contender.holds_connections() {
                memory.add(contender, measure::memory(contender, &sizes)?);
            }
        }
    }
    let report = Report::new(sizes, rounds, options.quick, [bulk, connects, memory]);
    print!("{report}");
    let file: PathBuf = std::env::var_os("BENCH_OUT")
        .context("BENCH_OUT does not name a file")?
        .into();
    report.write(&file)?;
    println!("written to {}", file.display());
    Ok(report)
}

/// The usual soft limit of 1,024 open files is less than a server with 1,000 connections needs. Children inherit it.
fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        eprintln!("the limit of open files stays as it is: {error}");
    }
}
