//! The outcomes of loads as areas of the report.

use tests::harness::bench::{Area, Target};
use tests::harness::complete::complete_or_all;

use crate::contender::Contender;
use crate::load::{FOR_MEMORY, Outcome, Workload};

/// The outcome of one workload.
type Run = (Contender, Outcome);

/// The outcomes that the figures of a contender are made of. Also gives whether the contender may set a target. All runs of Bowline
/// count.
fn outcomes_of(contender: Contender, runs: &[Run]) -> (Vec<Outcome>, bool) {
    let own = runs.iter().filter(|(of, _)| *of == contender);
    let own: Vec<Outcome> = own.map(|(_, outcome)| *outcome).collect();
    match contender.rival() {
        None => complete_or_all(own, Outcome::is_complete),
        Some(_) => (own, false),
    }
}

/// The target, unless it is a ratio to a contender that has lost messages in every run.
fn target_of(contender: Contender, target: Target, runs: &[Run]) -> Option<Target> {
    let is_ratio = matches!(target, Target::RatioAtLeast(_) | Target::RatioAtMost(_));
    let rival = contender.rival()?;
    (!is_ratio || outcomes_of(rival, runs).1).then_some(target)
}

/// The deliveries per second, or the delays.
pub(crate) fn of(workload: &Workload, runs: &[Run]) -> Area {
    let is_flood = workload.rate == 0;
    let unit = if is_flood { "deliveries/s" } else { "ms" };
    let mut area = Area::new(workload.name, unit);
    for contender in Contender::ALL {
        let target = target_of(contender, workload.target, runs);
        for outcome in outcomes_of(contender, runs).0 {
            let notes = [
                ("published_per_second", outcome.published),
                ("share", outcome.share),
                ("doubled", outcome.doubled),
                ("mib_per_member", outcome.resident),
            ];
            let delays = [("p50_ms", outcome.p50), ("p99_ms", outcome.p99)];
            if is_flood {
                let notes: Vec<_> = notes.into_iter().chain(delays).collect();
                area.add(contender.entry("", target), outcome.delivered, &notes);
            } else {
                area.add(contender.entry("p50", None), outcome.p50, &[]);
                area.add(contender.entry("p99", target), outcome.p99, &notes);
            }
        }
    }
    area
}

/// The share of the messages that was delivered, in the worst round of each contender.
pub(crate) fn shares(loads: &[(&Workload, Vec<Run>)]) -> Area {
    let mut area = Area::new("delivered messages, in the worst round", "%");
    for (workload, runs) in loads {
        for contender in Contender::ALL {
            let own = runs.iter().filter(|(of, _)| *of == contender);
            let shares: Vec<f64> = own.map(|(_, outcome)| outcome.share).collect();
            let worst = shares.iter().copied().fold(f64::INFINITY, f64::min);
            let complete = shares.iter().filter(|share| **share >= 100.0).count();
            let notes = [
                ("complete", complete as f64),
                ("rounds", shares.len() as f64),
            ];
            let entry = contender.entry(workload.name, Some(Target::AtLeast(100.0)));
            area.add(entry, worst, &notes);
        }
    }
    area
}

/// The memory after one of the workloads.
pub(crate) fn memory(loads: &[(&Workload, Vec<Run>)]) -> Area {
    let mut area = Area::new("resident memory per member, all in turn, 1,000/s", "MiB");
    for (_, runs) in loads.iter().filter(|(of, _)| of.name == FOR_MEMORY) {
        for contender in Contender::ALL {
            let target = target_of(contender, Target::RatioAtMost(0.25), runs);
            for outcome in outcomes_of(contender, runs).0 {
                let entry = contender.entry("", target);
                area.add(entry, outcome.resident, &[("peak", outcome.peak)]);
            }
        }
    }
    area
}
