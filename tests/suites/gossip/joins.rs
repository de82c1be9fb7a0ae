//! Fifteen members that join by one other member at the same moment: Bowline nodes, and for comparison processes on iroh-gossip.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tests::harness::Peer;
use tokio::runtime::Runtime;

use crate::end::{self, End};
use crate::group::Outcome;
use crate::member::Sent;

/// How many members join.
const JOINING: usize = 15;

/// How long the neighbours may take to agree that they are neighbours.
const SETTLED: Duration = Duration::from_secs(2);

/// A member that is not a neighbour yet, because a message is on its way, is one after this time.
const ON_THE_WAY: Duration = Duration::from_millis(200);

/// What came of some rounds.
#[derive(Default)]
struct Figures {
    rounds: usize,
    messages: usize,
    deliveries: usize,
    /// Rounds in which a member counts another one as a neighbour that does not count it.
    one_sided: usize,
    slowest: Duration,
}

/// Bowline nodes: all neighbours agree, and all members hear all messages.
pub(crate) fn of_bowline(rounds: usize) -> Result<Outcome> {
    let runtime = Runtime::new()?;
    let figures = run(rounds, |name| End::bowline(runtime.handle(), name))?;
    let is_well = figures.one_sided == 0 && figures.missing() == 0;
    ensure!(is_well, "{}", figures.remark());
    Ok(figures.outcome())
}

/// Processes on iroh-gossip. What goes wrong is only told.
pub(crate) fn of_iroh(peer: &Peer, rounds: usize) -> Result<Outcome> {
    let figures = run(rounds, |name| End::iroh(peer, name))?;
    Ok(figures.outcome())
}

fn run(rounds: usize, start: impl Fn(&str) -> Result<End>) -> Result<Figures> {
    let mut figures = Figures::default();
    for round in 0..rounds {
        let ends = (0..=JOINING).map(|number| start(&format!("member {number}")));
        let ends = ends.collect::<Result<Vec<_>>>()?;
        let done = join(ends, &mut figures);
        done.with_context(|| format!("round {round}"))?;
    }
    Ok(figures)
}

fn join(mut ends: Vec<End>, figures: &mut Figures) -> Result<()> {
    let first = ends[0].address();
    ends[1..].iter_mut().try_for_each(|end| end.join(&first))?;
    thread::sleep(SETTLED);
    let before = one_sided(&mut ends);
    thread::sleep(ON_THE_WAY);
    let after = one_sided(&mut ends);

    let begun = Instant::now();
    let mut sent = Vec::new();
    for end in &mut ends {
        let (by, text) = (end.name().to_owned(), format!("of {}", end.name()));
        end.publish(&text)?;
        sent.push(Sent { by, text });
    }
    let (missing, last) = end::until_heard(&mut ends, &sent);
    let deliveries = sent.len() * JOINING;
    figures.rounds += 1;
    figures.messages += sent.len();
    figures.deliveries += deliveries - missing;
    figures.one_sided += usize::from(before.intersection(&after).next().is_some());
    figures.slowest = figures.slowest.max(last - begun);
    Ok(())
}

/// Pairs of members of which only the first one counts the second one as its neighbour.
fn one_sided(ends: &mut [End]) -> BTreeSet<(String, String)> {
    ends.iter_mut().for_each(End::read);
    let pair = |from: &End, to: &str| (from.id(), to.to_owned());
    let neighbours = ends.iter().flat_map(|end| {
        let neighbours = end.neighbours().into_iter();
        neighbours.map(move |other| pair(end, &other))
    });
    let all: BTreeSet<(String, String)> = neighbours.collect();
    let is_one_sided = |(from, to): &&(String, String)| !all.contains(&(to.clone(), from.clone()));
    all.iter().filter(is_one_sided).cloned().collect()
}

impl Figures {
    fn missing(&self) -> usize {
        self.messages * JOINING - self.deliveries
    }

    fn remark(&self) -> String {
        let Self {
            rounds, one_sided, ..
        } = self;
        let missing = self.missing();
        format!("one-sided neighbours in {one_sided} of {rounds} rounds, {missing} lost deliveries")
    }

    fn outcome(&self) -> Outcome {
        Outcome {
            messages: self.messages,
            deliveries: self.deliveries,
            slowest: self.slowest,
            remark: self.remark(),
        }
    }
}
