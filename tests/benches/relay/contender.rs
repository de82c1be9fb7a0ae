//! Whose relay it is, and how its program is started.

use std::process::Command;

use anyhow::{Context, Result};
use tests::harness::bench::{Entry, Target};

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
        Ok(match self {
            Self::RustLibp2p => {
                let mut command = program("PEER_RUST")?;
                command.arg("bench-relay");
                command
            }
            Self::Bowline => ours(&["relay"])?,
        })
    }
}

/// One of the jobs that are the same for every contender.
pub(crate) fn ours(job: &[&str]) -> Result<Command> {
    let mut command = program("BENCH_RELAY")?;
    command.args(job);
    Ok(command)
}

fn program(key: &str) -> Result<Command> {
    let path = std::env::var_os(key).with_context(|| format!("{key} does not name a program"))?;
    Ok(Command::new(path))
}
