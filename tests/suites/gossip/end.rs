//! A member of a topic that knows nobody at first: a Bowline node inside of the suite, or a process on iroh-gossip.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tests::harness::Peer;
use tests::harness::process::Deadline;
use tokio::runtime::Handle;

use crate::inside::Inside;
use crate::member::{Member, PATIENCE, Publishing, Sent};

/// The messages that have not arrived count as lost when no message has arrived for this long.
const QUIET: Duration = Duration::from_secs(10);

/// How often the members are asked what has happened.
const POLL: Duration = Duration::from_millis(20);

/// A member.
pub(crate) enum End {
    Bowline(Box<Inside>),
    Iroh(Box<Member>),
}

impl End {
    /// A Bowline node inside of the suite.
    pub(crate) fn bowline(runtime: &Handle, name: &str) -> Result<Self> {
        let inside = Inside::start(runtime, name)?;
        Ok(Self::Bowline(Box::new(inside)))
    }

    /// A process on iroh-gossip.
    pub(crate) fn iroh(peer: &Peer, name: &str) -> Result<Self> {
        let member = Member::iroh(peer, name, &[])?;
        Ok(Self::Iroh(Box::new(member)))
    }

    pub(crate) fn address(&self) -> String {
        match self {
            Self::Bowline(inside) => inside.address.clone(),
            Self::Iroh(member) => member.address.clone(),
        }
    }

    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Bowline(inside) => &inside.name,
            Self::Iroh(member) => &member.name,
        }
    }

    pub(crate) fn join(&mut self, address: &str) -> Result<()> {
        match self {
            Self::Bowline(inside) => inside.join(address),
            Self::Iroh(member) => member.join(address),
        }
    }

    pub(crate) fn publish(&mut self, text: &str) -> Result<()> {
        match self {
            Self::Bowline(inside) => inside.publish(text),
            Self::Iroh(member) => member.publish(text),
        }
    }

    /// Publishes messages as fast as it can, while the caller does something else. Keep the result: dropping it ends a process on
    /// iroh-gossip.
    pub(crate) fn publish_all(&mut self, texts: Vec<String>) -> Result<Option<Publishing>> {
        match self {
            Self::Bowline(inside) => {
                inside.publish_all(texts);
                Ok(None)
            }
            Self::Iroh(member) => member.publish_all(texts).map(Some),
        }
    }

    pub(crate) fn read(&mut self) {
        match self {
            Self::Bowline(inside) => inside.read(),
            Self::Iroh(member) => member.read(),
        }
    }

    /// The endpoint id.
    pub(crate) fn id(&self) -> String {
        let address = self.address();
        address.split('@').next().unwrap_or_default().to_owned()
    }

    /// The endpoint ids of its neighbours, according to itself.
    pub(crate) fn neighbours(&self) -> BTreeSet<String> {
        match self {
            Self::Bowline(inside) => inside.neighbours(),
            Self::Iroh(member) => member.neighbours.clone(),
        }
    }

    pub(crate) fn has_neighbour(&self) -> bool {
        match self {
            Self::Bowline(inside) => inside.ups > 0,
            Self::Iroh(member) => member.has_neighbour(),
        }
    }

    /// How many messages have arrived.
    fn heard(&self) -> usize {
        match self {
            Self::Bowline(inside) => inside.heard.len(),
            Self::Iroh(member) => member.heard.len(),
        }
    }

    /// How many messages of others have not arrived.
    pub(crate) fn missing(&self, sent: &[Sent]) -> usize {
        match self {
            Self::Bowline(inside) => {
                let others = sent.iter().filter(|sent| sent.by != self.name());
                let missing = others.filter(|sent| !inside.heard.contains_key(&sent.text));
                missing.count()
            }
            Self::Iroh(member) => member.missing(sent).len(),
        }
    }

    pub(crate) fn doubled(&self) -> usize {
        match self {
            Self::Bowline(inside) => inside.heard.values().filter(|count| **count > 1).count(),
            Self::Iroh(member) => member.doubled().len(),
        }
    }

    pub(crate) fn downs(&self) -> usize {
        match self {
            Self::Bowline(inside) => inside.downs,
            Self::Iroh(member) => {
                let changes = member.changes.iter();
                let downs = changes.filter(|change| change.contains("neighbour_down"));
                downs.count()
            }
        }
    }

    pub(crate) fn was_dialed(&self) -> bool {
        match self {
            Self::Bowline(inside) => inside.was_dialed(),
            Self::Iroh(member) => member.accepted > 0,
        }
    }
}

/// Waits until each member has had a neighbour.
pub(crate) fn until_joined(ends: &mut [End]) -> Result<()> {
    let deadline = Deadline::within(PATIENCE);
    while !ends.iter().all(End::has_neighbour) {
        ensure!(!deadline.left().is_zero(), "a member has no neighbour");
        thread::sleep(POLL);
        ends.iter_mut().for_each(End::read);
    }
    Ok(())
}

/// Waits until these members have heard all messages of each other, or until nothing arrives any more. Returns the number of
/// deliveries that are missing, and the time of the last delivery.
pub(crate) fn until_heard(ends: &mut [End], sent: &[Sent]) -> (usize, Instant) {
    let missing = |ends: &[End]| ends.iter().map(|end| end.missing(sent)).sum::<usize>();
    let heard = |ends: &[End]| ends.iter().map(End::heard).sum::<usize>();
    let enough = heard(ends) + missing(ends);
    let (mut known, mut since) = (heard(ends), Instant::now());
    while known < enough && since.elapsed() < QUIET {
        thread::sleep(POLL);
        ends.iter_mut().for_each(End::read);
        let now = heard(ends);
        if now != known {
            (known, since) = (now, Instant::now());
        }
    }
    (missing(ends), since)
}
