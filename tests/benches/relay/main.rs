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
use measure::{Sizes, Turns};

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
        let mut all = Contender::ALL.map(|contender| (contender, Turns::default()));
        for turn in 1..=sizes.turns {
            for (contender, turns) in &mut all {
                eprintln!(
                    "round {round} of {rounds}, turn {turn}: {}",
                    contender.name()
                );
                turns.take(*contender, &sizes)?;
            }
        }
        for (contender, mut turns) in all {
            let (gib_per_second, relay) = (turns.gib_per_second(), turns.relay_seconds_a_gib());
            let entry = contender.entry(Target::RatioAtLeast(1.3));
            rate.add(entry, gib_per_second, &[]);
            let entry = contender.entry(Target::RatioAtMost(0.75));
            cpu.add(entry, relay, &[("cores_busy", relay * gib_per_second)]);
            let [connected, apart] = turns.reserved();
            let entry = || contender.entry(Target::RatioAtMost(1.0));
            reserving.add(entry(), connected.millis, &connected.notes());
            arriving.add(entry(), apart.millis, &apart.notes());
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
