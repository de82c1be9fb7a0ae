//! Whose relay it is, and how its program is started.

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
    /// All contenders in the order of their turns.
    pub(crate) const ALL: [Self; 2] = [Self::RustLibp2p, Self::Bowline];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::RustLibp2p => "rust-libp2p",
            Self::Bowline => "bowline",
        }
    }

    /// Its row in an area where Bowline has this target.
    pub(crate) fn entry(self, target: Target) -> Entry {
        let ours = self == Self::Bowline;
        Entry {
            name: self.name().to_owned(),
            against: ours.then(|| Self::RustLibp2p.name().to_owned()),
            target: ours.then_some(target),
        }
    }

    pub(crate) fn relay(self) -> Result<Command> {
        match self {
            Self::RustLibp2p => from_env("PEER_RUST", &["bench-relay"]),
            Self::Bowline => ours(&["relay"]),
        }
    }
}

/// One of the jobs that are the same for every contender.
pub(crate) fn ours(job: &[&str]) -> Result<Command> {
    from_env("BENCH_RELAY", job)
}
