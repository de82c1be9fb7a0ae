//! A member is killed with SIGKILL while the others publish.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tests::harness::bench::{Area, Target};
use tests::harness::process::{Deadline, Event, Process, Signal};

use crate::Sizes;
use crate::contender::Contender;
use crate::load::{Network, Outcome, PATIENCE};

/// How many messages the survivors publish per second.
const RATE: u64 = 100;

/// How long the member lives after it has its first neighbour, so that its neighbours are those that it keeps.
const LIFE: Duration = Duration::from_secs(3);

/// How long the survivors publish before the kill.
const BEFORE: Duration = Duration::from_secs(1);

/// What came of a kill.
pub(crate) struct Death {
    /// From the kill until the last neighbour has noticed it.
    noticed: Duration,
    neighbours: usize,
    load: Outcome,
}

/// The survivors that are neighbours of the member, and when the last one has noticed its death.
struct Watch {
    name: String,
    neighbours: BTreeSet<u64>,
    last: Instant,
}

/// Kills a member that runs in a process of its own.
pub(crate) fn kill(contender: Contender, sizes: &Sizes) -> Result<Death> {
    let mut network = Network::start(contender, sizes.members - 1)?;
    let deadline = Deadline::within(PATIENCE);
    let (victim, addresses) = contender.start(1, &network.addresses, deadline)?;
    let mut watch = Watch {
        name: addresses.concat(),
        neighbours: BTreeSet::new(),
        last: Instant::now(),
    };
    while watch.neighbours.is_empty() {
        let (at, event) = network.next(deadline)?;
        watch.note(at, &event);
    }
    watch.follow(&mut network.process, LIFE);
    network.order("all", RATE, sizes.watched)?;
    watch.follow(&mut network.process, BEFORE);
    let neighbours = watch.neighbours.len();
    ensure!(neighbours > 0, "{}: no neighbour is left", contender.name());
    victim.signal(Signal::KILL)?;
    let (killed, mut load) = (Instant::now(), None);
    loop {
        if let (Some(load), true) = (load, watch.neighbours.is_empty()) {
            let noticed = watch.last - killed;
            return Ok(Death {
                noticed,
                neighbours,
                load,
            });
        }
        let (at, event) = network.next(deadline)?;
        match event.kind() {
            "load" => load = Some(network.outcome_of(&event)?),
            _ => watch.note(at, &event),
        }
    }
}

impl Watch {
    fn note(&mut self, at: Instant, event: &Event) {
        let peer = event.text("peer");
        let Some(member) = event.0["member"].as_u64() else {
            return;
        };
        if peer.is_empty() || !self.name.contains(peer) {
            return;
        }
        match event.kind() {
            "neighbour_up" => drop(self.neighbours.insert(member)),
            "neighbour_down" if self.neighbours.remove(&member) => self.last = at,
            _ => {}
        }
    }

    /// Notes what happens in this time.
    fn follow(&mut self, process: &mut Process, time: Duration) {
        let end = Deadline::within(time);
        while let Ok((at, event)) = process.next_at(end) {
            self.note(at, &event);
        }
    }
}

/// The times until the death was noticed.
pub(crate) fn area(deaths: &[(Contender, Death)]) -> Area {
    let mut area = Area::new("a dead neighbour is noticed after SIGKILL", "s");
    for (contender, death) in deaths {
        let notes = [
            ("neighbours", death.neighbours as f64),
            ("share", death.load.share),
            ("slowest_ms", death.load.slowest),
        ];
        let entry = contender.entry("", Some(Target::AtMost(10.0)));
        area.add(entry, death.noticed.as_secs_f64(), &notes);
    }
    area
}
