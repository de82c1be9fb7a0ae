//! A node is killed and starts again on the same port with the same key. It knows its peers only from its data directory.

use std::sync::{Mutex, PoisonError};
use std::thread;

use anyhow::{Context, Result, ensure};

use crate::Sizes;
use crate::figures::{Bound, Times};
use crate::network::{Mode, NODES, Network, Return};
use crate::report::{Outcome, Report};

/// One restart at a time is measured: the machine may have few cores.
static MEASURING: Mutex<()> = Mutex::new(());

pub(crate) fn run(report: &Report, sizes: Sizes) {
    thread::scope(|scope| {
        for (number, mode) in (1..).zip(Mode::ALL) {
            scope.spawn(move || {
                let outcome = restarts(mode, number, sizes.restarts);
                report.row("restart, saved peers", mode.name(), outcome);
            });
        }
    });
}

fn restarts(mode: Mode, number: u8, restarts: usize) -> Result<Outcome> {
    let mut network = Network::start(mode, number)?;
    network.last()?;
    let mut outcome = Outcome {
        bounds: vec![Bound::P50(0.1), Bound::P99(0.5)],
        ..Outcome::default()
    };
    let (mut dialed, mut ready, mut open) = (0, Times::default(), Times::default());
    for restart in 0..restarts {
        let back = one(&mut network, restart % NODES);
        let back = back.with_context(|| format!("restart {restart}"))?;
        dialed += back.dialed;
        ready.add(back.ready - back.started);
        for both in back.open {
            open.add(both - back.started);
        }
        for connected in back.connected {
            outcome.times.add(connected - back.started);
        }
    }
    let pairs = outcome.times.len();
    let p50 = |times: &Times| times.percentile(0.5).unwrap_or_default();
    outcome.remark = format!(
        "{dialed} of {pairs} dialed by the restarted node; p50 of its ready line {:.3}, of both ends connected {:.3}",
        p50(&ready),
        p50(&open)
    );
    Ok(outcome)
}

fn one(network: &mut Network, index: usize) -> Result<Return> {
    network.settle()?;
    let dead = network.connections_to(index)?;
    let id = network.node(index)?.id().to_owned();
    let _measuring = MEASURING.lock().unwrap_or_else(PoisonError::into_inner);
    network.kill(index)?;
    network.up(index, &[])?;
    ensure!(
        network.node(index)?.id() == id,
        "the node came back with another key"
    );
    network.returned(index, &dead)
}
