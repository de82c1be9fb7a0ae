//! What is measured.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use tests::harness::bench::{Area, Entry, Target};
use tests::harness::process::{Deadline, Event, run};

/// How long a trial of one contender may take.
const PATIENCE: Duration = Duration::from_secs(180);

/// Those who read, and no more.
const READERS: u32 = 4;

/// A coming and a going.
const TRANSITIONS: f64 = 3.0;

const MILLION: f64 = 1e6;

/// One area of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trial {
    /// Peers come and go, and nobody looks.
    Alone,
    /// Some read all of it.
    Read,
    /// Somebody subscribes and never reads.
    Unread,
    /// Somebody asks all the time.
    Asked,
    /// Peers come and stay.
    Held,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contender {
    Watch,
    Broadcast,
    Tracker,
    Shared,
    /// The same with one who never reads.
    SharedUnread,
}

/// How much.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Size {
    peers: u32,
    rounds: u32,
    /// Where each reader has a task a peer.
    read_peers: u32,
    read_rounds: u32,
    held: u32,
}

impl Size {
    pub(crate) const QUICK: Self = Self {
        peers: 1_000,
        rounds: 10,
        read_peers: 100,
        read_rounds: 10,
        held: 10_000,
    };

    pub(crate) const FULL: Self = Self {
        peers: 10_000,
        rounds: 200,
        read_peers: 1_000,
        read_rounds: 1_000,
        held: 1_000_000,
    };
}

impl Contender {
    fn key(self) -> &'static str {
        match self {
            Self::Watch => "watch",
            Self::Broadcast => "broadcast",
            Self::Tracker => "tracker",
            Self::Shared | Self::SharedUnread => "shared",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Watch => "a watch a peer",
            Self::Broadcast => "a map, a broadcast",
            Self::Tracker => "bowline Tracker",
            Self::Shared => "bowline SharedTracker",
            Self::SharedUnread => "the same, one subscriber never reads",
        }
    }
}

impl Trial {
    pub(crate) const ALL: [Self; 5] = [
        Self::Alone,
        Self::Read,
        Self::Unread,
        Self::Asked,
        Self::Held,
    ];

    pub(crate) fn area(self) -> Area {
        match self {
            Self::Alone => Area::new("transitions, nobody reads", "million a second"),
            Self::Read => Area::new("transitions, 4 readers", "million a second"),
            Self::Unread => Area::new("transitions, one never reads", "million a second"),
            Self::Asked => Area::new("the state of a peer while all change, p99", "µs"),
            Self::Held => Area::new("memory a connected peer", "bytes"),
        }
    }

    pub(crate) fn contenders(self) -> &'static [Contender] {
        use Contender::{Broadcast, Shared, SharedUnread, Tracker, Watch};
        match self {
            Self::Alone | Self::Held => &[Watch, Broadcast, Tracker, Shared],
            Self::Read | Self::Asked => &[Watch, Broadcast, Shared],
            Self::Unread => &[Shared, SharedUnread],
        }
    }

    pub(crate) fn run(self, contender: &Contender, size: &Size, area: &mut Area) -> Result<()> {
        let name = contender.name();
        let finished = run(
            name,
            &mut self.command(*contender, size)?,
            Deadline::within(PATIENCE),
        )?;
        ensure!(finished.code == Some(0), "{name}: {finished:?}");
        let events = finished.events()?;
        let event = events
            .first()
            .with_context(|| format!("{name} said nothing"))?;
        self.add(*contender, size, event, area)
    }

    fn command(self, contender: Contender, size: &Size) -> Result<Command> {
        let program = std::env::var_os("BENCH_STATE");
        let mut command = Command::new(program.context("BENCH_STATE does not name a program")?);
        if self == Self::Held {
            command.args(["hold", contender.key(), "--peers", &size.held.to_string()]);
            // What was freed is given back at once: how soon it is otherwise is the allocator's matter.
            command.env("MIMALLOC_PURGE_DELAY", "0");
            return Ok(command);
        }
        let (peers, rounds) = match self {
            Self::Read => (size.read_peers, size.read_rounds),
            _ => (size.peers, size.rounds),
        };
        command.args(["write", contender.key()]);
        command.args([
            "--peers",
            &peers.to_string(),
            "--rounds",
            &rounds.to_string(),
        ]);
        match self {
            Self::Read => command.args(["--readers", &READERS.to_string()]),
            Self::Asked => command.arg("--ask"),
            _ if contender == Contender::SharedUnread => command.args(["--idlers", "1"]),
            _ => &mut command,
        };
        Ok(command)
    }

    fn add(self, contender: Contender, size: &Size, event: &Event, area: &mut Area) -> Result<()> {
        let entry = Entry {
            name: contender.name().to_owned(),
            against: self.rival(contender),
            target: self.target(contender),
        };
        if self == Self::Held {
            area.add(entry, event.number("bytes_a_peer")?, &[]);
            return Ok(());
        }
        let rate = event.number("per_second")? / MILLION;
        match self {
            Self::Asked => {
                let [p50, p99] = ["ask_p50_us", "ask_p99_us"].map(|field| event.number(field));
                area.add(
                    entry,
                    p99?,
                    &[("p50", p50?), ("changes_million_a_second", rate)],
                );
            }
            Self::Read => {
                let all = f64::from(size.read_peers * size.read_rounds * READERS) * TRANSITIONS;
                let (seen, missed) = (event.number("seen")?, event.number("missed")?);
                let told = contender == Contender::Watch || seen + missed == all;
                ensure!(told, "of {all} events {seen} were seen and {missed} missed");
                area.add(
                    entry,
                    rate,
                    &[("seen", seen / all), ("told_missed", missed / all)],
                );
            }
            _ => area.add(entry, rate, &[("grown_mib", event.number("grown_mib")?)]),
        }
        Ok(())
    }

    fn rival(self, contender: Contender) -> Option<String> {
        let rival = match self {
            Self::Unread => Contender::Shared,
            _ => Contender::Broadcast,
        };
        (contender != rival).then(|| rival.name().to_owned())
    }

    fn target(self, contender: Contender) -> Option<Target> {
        match (self, contender) {
            (Self::Alone, Contender::Tracker) => Some(Target::AtLeast(5.0)),
            (Self::Read, Contender::Shared) => Some(Target::AtLeast(2.0)),
            // As fast as without, but for the noise of the machine.
            (Self::Unread, Contender::SharedUnread) => Some(Target::RatioAtLeast(0.9)),
            (Self::Asked, Contender::Shared) => Some(Target::AtMost(5.0)),
            (Self::Held, Contender::Tracker | Contender::Shared) => Some(Target::AtMost(256.0)),
            _ => None,
        }
    }
}
