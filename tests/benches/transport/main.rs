//! The transports against raw sockets and rust-libp2p: bulk over one stream, connect to first pong, and the memory an
//! idle connection takes on the server.
//!
//! Every measurement is two fresh processes over loopback. The contenders take turns, so that a slow minute of the
//! machine hurts them alike. `cargo xtask bench transport` builds both programs and names them in `BENCH_PEER` and
//! `PEER_RUST`; the results are printed and written to the file that `BENCH_OUT` names.

mod contender;
mod measure;

use std::process::ExitCode;

use anyhow::Result;
use tests::harness::bench::{self, Area, Entry, Options, Report, Target};
use tests::harness::peers::Stack;

use contender::Contender;
use measure::Sizes;

fn main() -> ExitCode {
    bench::run(measure_all)
}

fn measure_all(options: &Options) -> Result<Report<Sizes>> {
    bench::raise_file_limit();
    let sizes = options.pick(Sizes::QUICK, Sizes::FULL);
    let rounds = options.rounds();
    let contenders = Contender::all()?;

    let mut bulk = Area::new("bulk over one stream", "GiB/s");
    let mut connects = Area::new("connect to first pong, p50", "ms");
    let mut memory = Area::new("resident memory an idle connection, server", "KiB");
    let mut left = Area::new(
        "resident memory over the start, after all connections have ended",
        "MiB",
    );
    for round in 1..=rounds {
        for contender in &contenders {
            eprintln!("round {round} of {rounds}: {}", contender.name());
            let entry = contender.entry(bulk_target);
            bulk.add(entry, measure::bulk(contender, &sizes)?, &[]);
            let times = measure::connects(contender, &sizes)?;
            let entry = contender.entry(|_| Some(Target::RatioAtMost(0.75)));
            connects.add(entry, times.p50_ms, &times.notes());
            if contender.holds_connections() {
                let entry = contender.entry(memory_target);
                memory.add(entry, measure::memory(contender, &sizes)?, &[]);
            }
            if contender.is_bowline_up() {
                // No other contender takes part.
                let entry = Entry {
                    against: None,
                    ..contender.entry(|_| Some(Target::AtMost(30.0)))
                };
                let (mib, notes) = measure::left(contender, &sizes)?;
                left.add(entry, mib, &notes);
            }
        }
    }
    Ok(Report::new(
        options,
        sizes,
        vec![bulk, connects, memory, left],
    ))
}

fn bulk_target(stack: Stack) -> Option<Target> {
    match stack {
        Stack::TcpTls => Some(Target::RatioAtLeast(1.3)),
        Stack::TcpNoise | Stack::Quic => Some(Target::RatioAtLeast(1.0)),
    }
}

fn memory_target(stack: Stack) -> Option<Target> {
    match stack {
        Stack::TcpTls => Some(Target::AtMost(24.0)),
        Stack::TcpNoise => None,
        Stack::Quic => Some(Target::AtMost(60.0)),
    }
}
