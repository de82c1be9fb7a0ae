//! Two nodes that know only each other, and that do not start at the same time.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tests::harness::Home;
use tests::harness::process::Deadline;

use crate::Sizes;
use crate::figures::Bound;
use crate::network::{Mode, flags, loopback};
use crate::report::{Outcome, Report};
use crate::watched::{PATIENCE, Watched, wait_until};

/// The time between the two starts.
const APART: Duration = Duration::from_millis(1_600);

/// The longest time from the start of the second node until both are joined, in seconds.
const JOINED: f64 = 10.0;

/// The number of pairs over each transport in a short run, and in a full one.
const PAIRS: [usize; 2] = [4, 20];

/// The number of the first network here.
const NUMBERS: u8 = 40;

pub(crate) fn run(report: &Report, sizes: Sizes) {
    thread::scope(|scope| {
        for (number, mode) in (NUMBERS..).zip(Mode::ALL) {
            scope.spawn(move || {
                let pairs = PAIRS[usize::from(sizes.full)];
                report.row(
                    "two starts 1.6 s apart",
                    mode.name(),
                    all(mode, number, pairs),
                );
            });
        }
    });
}

fn all(mode: Mode, number: u8, pairs: usize) -> Result<Outcome> {
    let mut outcome = Outcome {
        bounds: vec![Bound::Max(JOINED)],
        remark: "until both nodes are joined".to_owned(),
        ..Outcome::default()
    };
    thread::scope(|scope| {
        let pairs: Vec<_> = (0..pairs)
            .map(|pair| scope.spawn(move || one(mode, number, pair)))
            .collect();
        for pair in pairs {
            let time = pair
                .join()
                .map_err(|_| anyhow::anyhow!("a pair panicked"))?;
            outcome.times.add(time?);
        }
        Ok(outcome)
    })
}

fn one(mode: Mode, number: u8, pair: usize) -> Result<Duration> {
    let homes = [Home::new()?, Home::new()?];
    let listen = [0, 1].map(|end| mode.listen(&loopback(number, 2 * pair + end)));
    let known = [known(&homes[0], &listen[0])?, known(&homes[1], &listen[1])?];
    let up = |end: usize| {
        let mut all = flags("--listen", &listen[end]);
        all.push("--no-mdns".to_owned());
        all.extend(flags("--bootstrap", &known[1 - end]));
        Watched::up(&homes[end], &all)
    };
    let begun = Instant::now();
    let mut nodes = vec![up(0)?];
    wait_until(begun + APART);
    nodes.push(up(1)?);
    let started = nodes[1].started;
    let deadline = Deadline::within(PATIENCE);
    let mut latest = started;
    // Both nodes run until the end, because each needs the other.
    for node in &mut nodes {
        let joined = node.until("the state joined", deadline, |node| {
            let (state, at) = node.state.as_ref()?;
            (state == "joined").then_some(*at)
        })?;
        latest = latest.max(joined);
    }
    Ok(latest - started)
}

/// The addresses of a node before it runs.
fn known(home: &Home, listen: &[String]) -> Result<Vec<String>> {
    let data = home.data_dir();
    let data = data.to_str().context("an odd temporary folder")?;
    let made = home.run(&["key", "new", "--data-dir", data])?;
    ensure!(made.code == Some(0), "bowline key new: {made:?}");
    let shown = home
        .run(&["key", "show", "--json", "--data-dir", data])?
        .events()?;
    let id = shown.first().context("no key")?.text("peer_id").to_owned();
    Ok(listen.iter().map(|at| format!("{at}/p2p/{id}")).collect())
}
