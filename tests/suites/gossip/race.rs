//! Pairs whose ends dial each other at the same moment: two Bowline nodes, a Bowline node and a process on iroh-gossip, and for
//! comparison two processes on iroh-gossip.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tests::harness::Peer;
use tests::harness::process::Deadline;
use tokio::runtime::Runtime;

use crate::end::End;
use crate::group::Outcome;
use crate::inside::Inside;
use crate::member::Sent;

/// How many messages each end publishes when it has a neighbour.
const MESSAGES: usize = 20;

/// How many pairs run at a time.
const AT_A_TIME: usize = 4;

/// How long the messages of a pair may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// How long a pair is watched for the loss of a neighbour after its messages.
const WATCHED: Duration = Duration::from_secs(1);

/// How long two Bowline nodes may have more than one link. The older link is drained for up to 2 s.
const DRAINED: Duration = Duration::from_secs(10);

/// How often the ends are asked what has happened.
const POLL: Duration = Duration::from_micros(200);

/// The ends do not dial at exactly the same moment. One dials first, and the other one up to four of these steps later.
const STEP: Duration = Duration::from_micros(500);
const STEPS: usize = 5;

/// What came of some pairs.
#[derive(Debug, Default)]
struct Figures {
    pairs: usize,
    /// Pairs in which each end has accepted a connection of the other one.
    crossed: usize,
    lost: usize,
    doubled: usize,
    /// How often an end has lost its neighbour.
    downs: usize,
    /// Pairs of Bowline nodes that do not have one link at the end.
    not_one: usize,
    slowest: Duration,
}

/// Two Bowline nodes: no message may be lost, and no neighbour, and both keep one link.
pub(crate) fn of_bowline(pairs: usize) -> Result<Outcome> {
    let runtime = Runtime::new()?;
    let figures = run(pairs, || {
        let start = |name| {
            anyhow::Ok(End::Bowline(Box::new(Inside::start(
                runtime.handle(),
                name,
            )?)))
        };
        Ok([start("one")?, start("other")?])
    })?;
    figures.checked()
}

/// Bowline and iroh: no message may be lost, and no neighbour.
pub(crate) fn with_bowline(peer: &Peer, pairs: usize) -> Result<Outcome> {
    let runtime = Runtime::new()?;
    let figures = run(pairs, || {
        let ours = End::bowline(runtime.handle(), "bowline")?;
        Ok([ours, End::iroh(peer, "iroh")?])
    })?;
    figures.checked()
}

/// Two processes on iroh-gossip. Whatever they lose is only told.
pub(crate) fn of_iroh(peer: &Peer, pairs: usize) -> Result<Outcome> {
    let figures = run(pairs, || {
        Ok([End::iroh(peer, "one")?, End::iroh(peer, "other")?])
    })?;
    Ok(figures.outcome())
}

/// Runs pairs, some at a time.
fn run(pairs: usize, start: impl Fn() -> Result<[End; 2]> + Sync) -> Result<Figures> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut figures = Figures::default();
        loop {
            let number = next.fetch_add(1, Relaxed);
            if number >= pairs {
                return anyhow::Ok(figures);
            }
            let pair = start().and_then(|ends| race(number, ends));
            figures.add(&pair.with_context(|| format!("pair {number}"))?);
        }
    };
    thread::scope(|scope| {
        let workers = [(); AT_A_TIME].map(|()| scope.spawn(work));
        let mut figures = Figures::default();
        for worker in workers {
            let done = worker.join().ok().context("a thread panicked")?;
            figures.add(&done?);
        }
        Ok(figures)
    })
}

/// Makes both ends dial, and waits for the messages.
fn race(number: usize, mut ends: [End; 2]) -> Result<Figures> {
    let addresses = [ends[0].address(), ends[1].address()];
    let (first, steps) = (number % 2, number / 2 % STEPS);
    let begun = Instant::now();
    ends[first].join(&addresses[1 - first])?;
    thread::sleep(STEP * u32::try_from(steps)?);
    ends[1 - first].join(&addresses[first])?;

    let (mut sent, mut has_sent) = (Vec::new(), [false; 2]);
    let deadline = Deadline::within(PATIENCE);
    let (all, mut missing) = (2 * MESSAGES, usize::MAX);
    while missing > 0 && !deadline.left().is_zero() {
        thread::sleep(POLL);
        for (end, has_sent) in ends.iter_mut().zip(&mut has_sent) {
            end.read();
            if end.has_neighbour() && !*has_sent {
                *has_sent = true;
                sent.extend(publish(end)?);
            }
        }
        let arriving = ends.iter().map(|end| end.missing(&sent));
        missing = arriving.sum::<usize>() + all - sent.len();
    }
    let took = begun.elapsed();
    thread::sleep(WATCHED);
    ends.iter_mut().for_each(End::read);
    let crossed = ends.iter().all(End::was_dialed);
    let deadline = Deadline::within(DRAINED);
    while !has_one_link(&ends) && !deadline.left().is_zero() {
        thread::sleep(WATCHED / 10);
    }
    Ok(Figures {
        pairs: 1,
        not_one: usize::from(!has_one_link(&ends)),
        crossed: usize::from(crossed),
        lost: missing,
        doubled: ends.iter().map(End::doubled).sum(),
        downs: ends.iter().map(End::downs).sum(),
        slowest: took,
    })
}

/// Publishes the messages of an end. Returns the messages.
fn publish(end: &mut End) -> Result<Vec<Sent>> {
    let by = end.name().to_owned();
    let sent = (0..MESSAGES).map(|number| Sent {
        text: format!("{number} of {by}"),
        by: by.clone(),
    });
    let sent: Vec<Sent> = sent.collect();
    sent.iter().try_for_each(|sent| end.publish(&sent.text))?;
    Ok(sent)
}

/// Whether both ends have one link. Only a pair of Bowline nodes is asked, because iroh closes no connection.
fn has_one_link(ends: &[End; 2]) -> bool {
    match ends {
        [End::Bowline(one), End::Bowline(other)] => one.links() == 1 && other.links() == 1,
        _ => true,
    }
}

impl Figures {
    /// The outcome of pairs in which nothing may be lost.
    fn checked(&self) -> Result<Outcome> {
        let wrong = self.lost + self.doubled + self.downs + self.not_one;
        ensure!(wrong == 0, "{}", self.remark());
        ensure!(self.crossed > 0, "the ends of no pair dialed at once");
        Ok(self.outcome())
    }

    fn add(&mut self, other: &Self) {
        self.pairs += other.pairs;
        self.crossed += other.crossed;
        self.lost += other.lost;
        self.doubled += other.doubled;
        self.downs += other.downs;
        self.not_one += other.not_one;
        self.slowest = self.slowest.max(other.slowest);
    }

    fn remark(&self) -> String {
        let Self {
            pairs,
            crossed,
            lost,
            doubled,
            downs,
            not_one,
            ..
        } = self;
        let kept = match not_one {
            0 => String::new(),
            _ => format!(", {not_one} pairs without exactly one link at the end"),
        };
        format!(
            "{crossed} of {pairs} pairs had two connections, {lost} lost and {doubled} doubled messages, {downs} lost neighbours{kept}"
        )
    }

    fn outcome(&self) -> Outcome {
        let messages = 2 * MESSAGES * self.pairs;
        Outcome {
            messages,
            deliveries: messages - self.lost,
            slowest: self.slowest,
            remark: self.remark(),
        }
    }
}
