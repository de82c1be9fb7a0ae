//! Whose servers and whose client they are, and how their programs are started.

use std::process::Command;

use anyhow::Result;
use tests::harness::bench::{Entry, Target};
use tests::harness::program::from_env;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contender {
    RustLibp2p,
    Bowline,
}

impl Contender {
    /// Both contenders in the order of their turns.
    pub(crate) const BOTH: [Self; 2] = [Self::RustLibp2p, Self::Bowline];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::RustLibp2p => "rust-libp2p",
            Self::Bowline => "bowline",
        }
    }

    /// A row in an area where Bowline may have a target. `figure` tells the rows of one contender apart.
    pub(crate) fn entry(self, figure: &str, target: Option<Target>) -> Entry {
        let ours = self == Self::Bowline;
        let name = |contender: Self| match figure {
            "" => contender.name().to_owned(),
            _ => format!("{}, {figure}", contender.name()),
        };
        Entry {
            name: name(self),
            against: ours.then(|| name(Self::RustLibp2p)),
            target: target.filter(|_| ours),
        }
    }

    /// One of the jobs that both programs have.
    pub(crate) fn job(self, job: &str, args: &[String]) -> Result<Command> {
        let mut command = match self {
            Self::RustLibp2p => from_env("PEER_RUST", &[&format!("bench-kad-{job}")]),
            Self::Bowline => from_env("BENCH_KADEMLIA", &[job]),
        }?;
        command.args(args);
        Ok(command)
    }
}
