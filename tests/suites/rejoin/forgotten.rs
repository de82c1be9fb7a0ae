//! A node is killed and starts again later without any knowledge of its peers. The survivors must dial it.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::Sizes;
use crate::figures::Bound;
use crate::network::{Mode, NODES, Network};
use crate::report::{Outcome, Report};
use crate::watched::wait_until;

/// The longest time until the first survivor is connected, and until all survivors are, in seconds.
const FIRST: f64 = 2.0;
const ALL: f64 = 5.0;

/// The lengths of the outages in seconds, with the number of restarts in each network of a short run.
const OUTAGES: [(u64, usize); 3] = [(1, 7), (10, 2), (60, 1)];

/// The first number of the networks here.
const NUMBERS: u8 = 10;

pub(crate) fn run(report: &Report, sizes: Sizes) {
    let kinds = Mode::ALL
        .into_iter()
        .flat_map(|mode| OUTAGES.map(|outage| (mode, outage)));
    thread::scope(|scope| {
        for (number, (mode, (seconds, short))) in (NUMBERS..).zip(kinds) {
            let count = match sizes.full {
                true => sizes.restarts.div_ceil(Mode::ALL.len()),
                false => short,
            };
            scope.spawn(move || {
                let outage = Duration::from_secs(seconds);
                let (first, all) = split(restarts(mode, number, outage, count));
                let name = format!("restart after {seconds:>2} s, no saved peers");
                report.row(&format!("{name}, first survivor"), mode.name(), first);
                report.row(&format!("{name}, all survivors"), mode.name(), all);
            });
        }
    });
}

/// An error belongs to the first row only.
fn split(outcome: Result<(Outcome, Outcome)>) -> (Result<Outcome>, Result<Outcome>) {
    match outcome {
        Ok((first, all)) => (Ok(first), Ok(all)),
        Err(error) => (Err(error), Err(anyhow::anyhow!("see the row above"))),
    }
}

fn restarts(mode: Mode, number: u8, outage: Duration, count: usize) -> Result<(Outcome, Outcome)> {
    let mut network = Network::start_listless(mode, number)?;
    let bounded = |bound| Outcome {
        bounds: vec![Bound::Max(bound)],
        ..Outcome::default()
    };
    let (mut first, mut all) = (bounded(FIRST), bounded(ALL));
    for restart in 0..count {
        let times = one(&mut network, restart % NODES, outage);
        let times = times.with_context(|| format!("restart {restart} after {outage:?}"))?;
        first
            .times
            .add(times.iter().min().copied().unwrap_or_default());
        for time in times {
            all.times.add(time);
        }
    }
    Ok((first, all))
}

/// Gives the times from the ready line of the node to the connection with each survivor.
fn one(network: &mut Network, index: usize, outage: Duration) -> Result<Vec<Duration>> {
    network.last()?;
    let dead = network.connections_to(index)?;
    let killed: Instant = network.kill(index)?;
    let data = network.home(index).data_dir();
    let saved = data.join("peers");
    std::fs::remove_file(&saved).with_context(|| format!("cannot remove {}", saved.display()))?;
    wait_until(killed + outage);
    network.up(index, &[])?;
    let back = network.returned(index, &dead)?;
    ensure!(
        back.dialed == 0,
        "the restarted node dialed {} survivors, although it knew none",
        back.dialed
    );
    let connected = back.connected.into_iter();
    Ok(connected
        .map(|connected| connected.saturating_duration_since(back.ready))
        .collect())
}
