//! One of two members of a topic: a Bowline node inside of the suite, or a process on iroh-gossip. They know nobody at first.

use anyhow::Result;
use tests::harness::Peer;
use tokio::runtime::Handle;

use crate::inside::Inside;
use crate::member::{Member, Publishing, Sent};

/// One of two members.
pub(crate) enum End {
    Bowline(Box<Inside>),
    Iroh(Box<Member>),
}

impl End {
    /// A Bowline node inside of the suite.
    pub(crate) fn bowline(runtime: &Handle, name: &'static str) -> Result<Self> {
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
            Self::Bowline(inside) => inside.name,
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

    pub(crate) fn has_neighbour(&self) -> bool {
        match self {
            Self::Bowline(inside) => inside.ups > 0,
            Self::Iroh(member) => member.has_neighbour(),
        }
    }

    /// How many messages of the other end have not arrived.
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
