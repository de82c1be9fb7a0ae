//! Whose members they are, and how their programs are started.

use anyhow::Result;
use tests::harness::bench::{Entry, Target};
use tests::harness::process::{Deadline, Process};
use tests::harness::program::{from_env, serve};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contender {
    Iroh,
    Gossipsub,
    BowlineQuic,
    BowlineTcp,
}

impl Contender {
    /// All contenders in the order of their turns.
    pub(crate) const ALL: [Self; 4] = [
        Self::Iroh,
        Self::BowlineQuic,
        Self::Gossipsub,
        Self::BowlineTcp,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Iroh => "iroh-gossip, quic",
            Self::Gossipsub => "gossipsub, tcp",
            Self::BowlineQuic => "bowline, quic",
            Self::BowlineTcp => "bowline, tcp",
        }
    }

    /// The contender with the same transport that Bowline is compared with.
    pub(crate) fn rival(self) -> Option<Self> {
        match self {
            Self::BowlineQuic => Some(Self::Iroh),
            Self::BowlineTcp => Some(Self::Gossipsub),
            Self::Iroh | Self::Gossipsub => None,
        }
    }

    /// Whether the targets are for this contender.
    pub(crate) fn is_judged(self) -> bool {
        self == Self::BowlineQuic
    }

    /// A row. `figure` tells the rows of one contender apart.
    pub(crate) fn entry(self, figure: &str, target: Option<Target>) -> Entry {
        let name = |contender: Self| match figure {
            "" => contender.name().to_owned(),
            _ => format!("{}: {figure}", contender.name()),
        };
        Entry {
            name: name(self),
            against: self.rival().map(name),
            target: target.filter(|_| self.is_judged()),
        }
    }

    /// Starts so many members. They join each other, or through these addresses. Also gives the addresses by which others join.
    pub(crate) fn start(
        self,
        count: usize,
        join: &[String],
        deadline: Deadline,
    ) -> Result<(Process, Vec<String>)> {
        let job = "bench-gossip-members";
        let mut command = match self {
            Self::Iroh => from_env("PEER_IROH", &[job]),
            Self::Gossipsub => from_env("PEER_RUST", &[job]),
            Self::BowlineQuic => from_env("BENCH_GOSSIP", &["members", "--transport", "quic"]),
            Self::BowlineTcp => from_env("BENCH_GOSSIP", &["members", "--transport", "tcp"]),
        }?;
        command.args(["--count", &count.to_string()]);
        for address in join {
            command.args(["--join", address]);
        }
        serve(self.name(), &mut command, deadline)
    }
}
