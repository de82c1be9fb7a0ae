//! Our relay against rust-libp2p's: bytes through a circuit, what they cost the relay, and many who want a slot at once;
//! and what the bare table does.
//!
//! Source, relay and destination are processes of their own, and so are those who ask for slots. They are our nodes,
//! whichever relay it is. `cargo xtask bench relay` names the programs in `BENCH_RELAY` and `PEER_RUST`; the results are
//! printed and written to the file that `BENCH_OUT` names.

mod contender;
mod measure;

use std::process::ExitCode;

use anyhow::Result;
use tests::harness::bench::{self, Area, Entry, Options, Report, Target};

use contender::Contender;
use measure::{Sizes, Start};

fn main() -> ExitCode {
    bench::run(measure_all)
}

fn measure_all(options: &Options) -> Result<Report<Sizes>> {
    bench::raise_file_limit();
    let sizes = options.pick(Sizes::QUICK, Sizes::FULL);
    let rounds = options.rounds();

    let mut rate = Area::new("bulk through a relay over tcp/tls", "GiB/s");
    let mut cpu = Area::new("CPU time of the relay meanwhile", "s/GiB");
    let mut reserving = Area::new("all connected peers reserve at once", "ms");
    let mut arriving = Area::new("all peers dial and reserve at once", "ms");
    let mut operations = Area::new("bare table: reserve, renew, release", "million a second");
    let mut memory = Area::new("bare table: memory a slot", "bytes");
    for round in 1..=rounds {
        for contender in Contender::ALL {
            eprintln!("round {round} of {rounds}: {}", contender.name());
            let carried = measure::bulk(contender, &sizes)?;
            let entry = contender.entry(Target::RatioAtLeast(1.3));
            rate.add(entry, carried.gib_per_second, &[]);
            let entry = contender.entry(Target::RatioAtMost(0.75));
            let busy = carried.relay_seconds_a_gib * carried.gib_per_second;
            cpu.add(entry, carried.relay_seconds_a_gib, &[("cores_busy", busy)]);
            for (area, start) in [
                (&mut reserving, Start::Connected),
                (&mut arriving, Start::Apart),
            ] {
                let entry = contender.entry(Target::RatioAtMost(1.0));
                let reserved = measure::reserve(contender, start, &sizes)?;
                area.add(entry, reserved.millis, &reserved.notes());
            }
        }
        let table = measure::table(&sizes)?;
        operations.add(bare(Target::AtLeast(1.0)), table.millions, &table.notes());
        memory.add(bare(Target::AtMost(300.0)), table.bytes_a_slot, &[]);
    }
    let areas = vec![rate, cpu, reserving, arriving, operations, memory];
    Ok(Report::new(options, sizes, areas))
}

fn bare(target: Target) -> Entry {
    Entry {
        name: "bowline Table".to_owned(),
        against: None,
        target: Some(target),
    }
}
