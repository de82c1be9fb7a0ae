//! Nodes that lose their process, their network or their peers, and are back soon.
//!
//! `cargo xtask integration rejoin` runs the suite. The cases about foreign peers need the peers that the suite `interop`
//! uses. The cases about network faults and mDNS need the right to make namespaces, and the programs `unshare`, `nsenter`,
//! `ip` and `nft`. `REJOIN_RESTARTS` is the number of restarts of each kind, and `REJOIN_ONLY` names the cases to run.

mod apart;
mod faults;
mod figures;
mod foreign;
mod forgotten;
mod lan;
mod network;
mod report;
mod saved;
mod watched;

use std::process::ExitCode;
use std::thread;

use report::Report;

/// The sizes of a run.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    /// The number of restarts of each kind.
    restarts: usize,
    /// Whether the run has the long faults and outages.
    full: bool,
}

/// From this number of restarts on, a run has the long faults and outages.
const FULL: usize = 50;

/// A group of cases. It reports the rows itself.
type Group = (&'static str, fn(&Report, Sizes));

/// The groups whose times depend on how busy the machine is. They run before the others, one after the other.
const ALONE: [Group; 2] = [("saved", saved::run), ("foreign", foreign::run)];

/// The groups that run at the same time.
const TOGETHER: [Group; 5] = [
    ("forgotten", forgotten::run),
    ("compare", foreign::compare),
    ("faults", faults::run),
    ("apart", apart::run),
    ("lan", lan::run),
];

impl Sizes {
    fn from_env() -> Self {
        let restarts = std::env::var("REJOIN_RESTARTS").ok();
        let restarts = restarts.and_then(|text| text.parse().ok()).unwrap_or(20);
        Self {
            restarts,
            full: restarts >= FULL,
        }
    }
}

fn main() -> ExitCode {
    let (report, sizes) = (Report::new(), Sizes::from_env());
    let only = std::env::var("REJOIN_ONLY").unwrap_or_default();
    let wanted = |name: &str| only.is_empty() || only.split(',').any(|one| one == name);
    for (_, run) in ALONE.iter().filter(|(name, _)| wanted(name)) {
        run(&report, sizes);
    }
    thread::scope(|scope| {
        for (_, run) in TOGETHER.iter().filter(|(name, _)| wanted(name)) {
            scope.spawn(|| run(&report, sizes));
        }
    });
    report.finish()
}
