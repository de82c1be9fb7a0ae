//! A network of one contender, and loads in it.

use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tests::harness::bench::Target;
use tests::harness::process::{Deadline, Event, Process};

use crate::contender::Contender;

/// How long the members may take to start, and a load to end after its last message.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// How often messages are published before the measurement until one load reaches all members.
const WARM_UPS: usize = 3;

const MIB: f64 = (1 << 20) as f64;

/// Messages that are published at one rate.
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    /// `one` or `all`: who publishes.
    who: &'static str,
    /// Messages per second of all publishers together. 0: as many as they can.
    pub(crate) rate: u64,
    /// For the deliveries per second if the rate is 0, otherwise for the 99th percentile of the delay.
    pub(crate) target: Target,
    /// Whether the quick form has it.
    pub(crate) is_quick: bool,
}

pub(crate) const WORKLOADS: [Workload; 5] = [
    Workload {
        name: "one sender, as fast as possible",
        who: "one",
        rate: 0,
        target: Target::RatioAtLeast(1.2),
        is_quick: true,
    },
    Workload {
        name: "one sender, 1,000 messages per second",
        who: "one",
        rate: 1000,
        target: Target::RatioAtMost(0.7),
        is_quick: false,
    },
    Workload {
        name: "one sender, 5,000 messages per second",
        who: "one",
        rate: 5000,
        target: Target::RatioAtMost(0.5),
        is_quick: false,
    },
    Workload {
        name: "all in turn, 1,000 messages per second",
        who: "all",
        rate: 1000,
        target: Target::AtMost(10.0),
        is_quick: true,
    },
    Workload {
        name: "all in turn, 3,000 messages per second",
        who: "all",
        rate: 3000,
        target: Target::AtMost(50.0),
        is_quick: false,
    },
];

/// The workload after which the memory is compared.
pub(crate) const FOR_MEMORY: &str = WORKLOADS[3].name;

/// The members of a topic, all in one process.
pub(crate) struct Network {
    pub(crate) process: Process,
    pub(crate) addresses: Vec<String>,
    members: usize,
}

/// What came of a load.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    /// Messages that were published per second.
    pub(crate) published: f64,
    /// Deliveries per second, until the last delivery.
    pub(crate) delivered: f64,
    /// Deliveries in per cent of those that there should be.
    pub(crate) share: f64,
    /// Deliveries of a message that was already delivered.
    pub(crate) doubled: f64,
    /// Delays in milliseconds.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) slowest: f64,
    /// Resident memory per member in MiB, after the load and at most.
    pub(crate) resident: f64,
    pub(crate) peak: f64,
}

impl Network {
    /// Starts members, and publishes messages until all members have heard all messages of one load.
    pub(crate) fn start(contender: Contender, members: usize) -> Result<Self> {
        let (process, addresses) = contender.start(members, &[], Deadline::within(PATIENCE))?;
        let mut network = Self {
            process,
            addresses,
            members,
        };
        for _ in 0..WARM_UPS {
            if network.load("all", 100, 1)?.is_complete() {
                return Ok(network);
            }
        }
        // The measurement shows how many messages are lost.
        eprintln!("{}: messages are lost already at 100/s", contender.name());
        Ok(network)
    }

    /// Publishes the messages of a workload.
    pub(crate) fn run(&mut self, workload: &Workload, seconds: u64) -> Result<Outcome> {
        self.load(workload.who, workload.rate, seconds)
    }

    fn load(&mut self, who: &str, rate: u64, seconds: u64) -> Result<Outcome> {
        self.order(who, rate, seconds)?;
        // A load that falls behind its schedule takes twice the time.
        let deadline = Deadline::within(PATIENCE + 2 * Duration::from_secs(seconds));
        loop {
            let (_, event) = self.next(deadline)?;
            if event.kind() == "load" {
                return self.outcome_of(&event);
            }
        }
    }

    /// Begins a load.
    pub(crate) fn order(&mut self, who: &str, rate: u64, seconds: u64) -> Result<()> {
        let input = self.process.stdin().context("no standard input")?;
        writeln!(input, "{who} {rate} {seconds}")?;
        Ok(input.flush()?)
    }

    /// The next event, with its time.
    pub(crate) fn next(&mut self, deadline: Deadline) -> Result<(Instant, Event)> {
        match self.process.next_at(deadline) {
            Ok((_, event)) if event.kind() == "error" => bail!("a member failed: {}", event.0),
            Ok(next) => Ok(next),
            Err(error) => bail!("{error:#}\n{}", self.process.stderr_tail()),
        }
    }

    /// What an event says about a load.
    pub(crate) fn outcome_of(&self, event: &Event) -> Result<Outcome> {
        Outcome::of(event, self.members)
    }
}

impl Outcome {
    fn of(event: &Event, members: usize) -> Result<Self> {
        let per_second = |amount, time| if time > 0.0 { amount / time } else { 0.0 };
        let millis = |field| anyhow::Ok(event.number(field)? / 1e3);
        let per_member = |field| anyhow::Ok(event.number(field)? / MIB / members as f64);
        let (delivered, expected) = (event.number("delivered")?, event.number("expected")?);
        Ok(Self {
            published: per_second(
                event.number("published")?,
                event.number("publishing_seconds")?,
            ),
            delivered: per_second(delivered, event.number("seconds")?),
            share: 100.0 * delivered / expected,
            doubled: event.number("doubled")?,
            p50: millis("p50_us")?,
            p99: millis("p99_us")?,
            slowest: millis("slowest_us")?,
            resident: per_member("resident")?,
            peak: per_member("peak")?,
        })
    }

    /// Whether all members have heard all messages.
    pub(crate) fn is_complete(&self) -> bool {
        self.share >= 100.0
    }
}
