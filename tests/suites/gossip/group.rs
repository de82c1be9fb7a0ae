//! Several members of both kinds in one topic.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tests::harness::Peer;
use tests::harness::process::Deadline;

use crate::member::{Member, PATIENCE, Sent, Via};

/// How many members of each kind.
const OF_EACH: usize = 4;

/// How many messages each member publishes.
const MESSAGES: usize = 10;

/// The pause between two messages of one member.
const PAUSE: Duration = Duration::from_millis(20);

/// How often the outputs are read while messages are awaited.
const READ_EVERY: Duration = Duration::from_millis(20);

/// The members, and what becomes of them.
pub(crate) struct Group<'a> {
    peer: &'a Peer,
    members: Vec<Member>,
    /// The number of members so far, for their names.
    started: usize,
    /// The number of the messages so far.
    sent: usize,
}

/// What came of a case.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) messages: usize,
    pub(crate) deliveries: usize,
    /// How long the slowest round of messages took to reach all members.
    pub(crate) slowest: Duration,
    /// A remark for the table.
    pub(crate) remark: String,
}

impl<'a> Group<'a> {
    /// Starts the members. The first one is `first`, and the others join by members of both kinds.
    pub(crate) fn start(peer: &'a Peer, first_is_iroh: bool) -> Result<Self> {
        let mut group = Self {
            peer,
            members: Vec::new(),
            started: 0,
            sent: 0,
        };
        for number in 0..2 * OF_EACH {
            group.add((number % 2 == 0) == first_is_iroh)?;
        }
        Ok(group)
    }

    /// Starts a member, which joins by a member of the other kind, or by one of its own kind in turn.
    fn add(&mut self, is_iroh: bool) -> Result<()> {
        let number = self.started;
        self.started += 1;
        let name = format!("{}{number}", if is_iroh { "iroh" } else { "bowline" });
        let other_kind = number % 4 < 2;
        let mut others = self.members.iter();
        let by = others
            .rfind(|member| (member.is_iroh() != is_iroh) == other_kind)
            .or(self.members.last());
        let via = by.map(|by| match is_iroh || by.is_iroh() {
            true => Via::Iroh(by),
            false => Via::Libp2p(by),
        });
        let via = via.into_iter().collect::<Vec<_>>();
        let mut member = match is_iroh {
            true => Member::iroh(self.peer, &name, &via)?,
            false => Member::bowline(&name, &via)?,
        };
        if !self.members.is_empty() {
            wait_for_neighbour(&mut member)?;
        }
        self.members.push(member);
        Ok(())
    }

    /// Each member publishes, and all others must hear it. While the messages are published, `disturb` may end members.
    pub(crate) fn exchange(
        &mut self,
        outcome: &mut Outcome,
        disturb: impl FnOnce(&mut Self) -> Result<()>,
    ) -> Result<()> {
        let begun = Instant::now();
        let mut wanted = Vec::new();
        let mut disturb = Some(disturb);
        for round in 0..MESSAGES {
            if round == MESSAGES / 2
                && let Some(disturb) = disturb.take()
            {
                disturb(self)?;
            }
            for member in &mut self.members {
                self.sent += 1;
                let (by, text) = (
                    member.name.clone(),
                    format!("{} of {}", self.sent, member.name),
                );
                member.publish(&text)?;
                wanted.push(Sent { by, text });
            }
            sleep(PAUSE);
        }
        // What a member published that was killed meanwhile may be lost with it.
        wanted.retain(|sent| self.members.iter().any(|member| member.name == sent.by));
        self.await_all(&wanted)?;
        outcome.messages += wanted.len();
        outcome.deliveries += wanted.len() * (self.members.len() - 1);
        outcome.slowest = outcome.slowest.max(begun.elapsed());
        Ok(())
    }

    fn await_all(&mut self, wanted: &[Sent]) -> Result<()> {
        let deadline = Deadline::within(PATIENCE);
        loop {
            let mut missing = String::new();
            for member in &mut self.members {
                member.read();
                let texts = member.missing(wanted);
                if !texts.is_empty() {
                    let (count, some) = (texts.len(), &texts[..texts.len().min(3)]);
                    missing += &format!(
                        "\n  {} misses {count} of {}, such as {some:?}; {:?}\n{}",
                        member.name,
                        wanted.len(),
                        member.changes,
                        member.tail()
                    );
                }
            }
            if missing.is_empty() {
                break;
            }
            ensure!(!deadline.left().is_zero(), "after {PATIENCE:?}:{missing}");
            sleep(READ_EVERY);
        }
        for member in &self.members {
            let doubled = member.doubled();
            let name = &member.name;
            ensure!(doubled.is_empty(), "{name} heard twice: {doubled:?}");
        }
        Ok(())
    }

    /// Kills one member of this kind with SIGKILL: the first one without which the others still form one group. iroh-gossip notices
    /// a dead neighbour after 30 s only, and a process that has only dead neighbours hears nothing until then.
    pub(crate) fn kill(&mut self, is_iroh: bool) -> Result<()> {
        self.members.iter_mut().for_each(Member::read);
        let of_kind = |at: &usize| self.members[*at].is_iroh() == is_iroh;
        let mut candidates = (0..self.members.len()).filter(of_kind);
        let at = candidates.find(|at| self.is_one_group_without(*at));
        let at = at.context("each member of this kind holds the others together")?;
        self.members.remove(at).kill()
    }

    /// Whether each member reaches each other one through neighbours, without the member at this position.
    fn is_one_group_without(&self, at: usize) -> bool {
        let others = self.members.iter().enumerate();
        let mut waiting = others
            .filter(|(other, _)| *other != at)
            .map(|(_, member)| member)
            .collect::<Vec<_>>();
        let mut reached = waiting.pop().into_iter().collect::<Vec<_>>();
        while let Some(member) = reached.pop() {
            let (next, rest) = waiting
                .into_iter()
                .partition::<Vec<_>, _>(|other| member.is_neighbour_of(other));
            reached.extend(next);
            waiting = rest;
        }
        waiting.is_empty()
    }

    /// Starts a member in place of one that was killed.
    pub(crate) fn replace(&mut self, is_iroh: bool) -> Result<()> {
        self.add(is_iroh)
    }
}

/// Waits until a member has a neighbour.
pub(crate) fn wait_for_neighbour(member: &mut Member) -> Result<()> {
    let deadline = Deadline::within(PATIENCE);
    while !member.has_neighbour() {
        member.read();
        let (name, tail) = (&member.name, member.tail());
        ensure!(
            !deadline.left().is_zero(),
            "{name} has no neighbour after {PATIENCE:?}\n{tail}"
        );
        sleep(READ_EVERY);
    }
    Ok(())
}
