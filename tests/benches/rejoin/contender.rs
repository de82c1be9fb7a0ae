//! Who starts, and how its programs are started.

use std::process::Command;

use anyhow::Result;
use tests::harness::bench::{Entry, Target};
use tests::harness::program::from_env;

/// How many peers Bowline dials at a time: twice as many as are missing. One rival does the same.
const DIALS: usize = 40;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Tcp,
    Quic,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contender {
    /// As many dials at a time as Bowline.
    RustLibp2p,
    /// As many dials as peers are wanted. It relies on all peers being there.
    RustLibp2pFewDials,
    Bowline,
}

impl Transport {
    pub(crate) const ALL: [Self; 2] = [Self::Tcp, Self::Quic];

    pub(crate) fn area(self) -> &'static str {
        match self {
            Self::Tcp => "cold start over tcp/tls",
            Self::Quic => "cold start over quic",
        }
    }

    fn flag(self) -> [&'static str; 2] {
        let name = match self {
            Self::Tcp => "tcp",
            Self::Quic => "quic",
        };
        ["--transport", name]
    }
}

impl Contender {
    /// All contenders in the order of their turns.
    pub(crate) const ALL: [Self; 3] = [Self::RustLibp2p, Self::RustLibp2pFewDials, Self::Bowline];

    fn name(self) -> &'static str {
        match self {
            Self::RustLibp2p => "rust-libp2p, 40 dials",
            Self::RustLibp2pFewDials => "rust-libp2p, 20 dials",
            Self::Bowline => "bowline",
        }
    }

    pub(crate) fn entry(self) -> Entry {
        let rival = Self::RustLibp2p;
        Entry {
            name: self.name().to_owned(),
            against: (self != rival).then(|| rival.name().to_owned()),
            target: (self == Self::Bowline).then_some(Target::RatioAtMost(1.0)),
        }
    }

    /// A cold start with this bootstrap list.
    pub(crate) fn join(
        self,
        transport: Transport,
        wanted: usize,
        peers: &[String],
    ) -> Result<Command> {
        let mut command = match self {
            Self::Bowline => ours("join")?,
            Self::RustLibp2p | Self::RustLibp2pFewDials => {
                let dials = match self {
                    Self::RustLibp2pFewDials => wanted,
                    _ => DIALS,
                };
                let mut command = foreign("bench-join")?;
                command.args(transport.flag());
                command.args(["--dials", &dials.to_string()]);
                command
            }
        };
        command.args(["--wanted", &wanted.to_string()]).args(peers);
        Ok(command)
    }
}

/// The peers of the network: this many nodes of Bowline, and as many of rust-libp2p.
pub(crate) fn servers(transport: Transport, count: usize) -> Result<[Command; 2]> {
    let mut both = [ours("servers")?, foreign("bench-servers")?];
    for command in &mut both {
        command.args(transport.flag());
        command.args(["--count", &count.to_string()]);
    }
    Ok(both)
}

fn ours(job: &str) -> Result<Command> {
    from_env("BENCH_REJOIN", &[job])
}

fn foreign(job: &str) -> Result<Command> {
    from_env("PEER_RUST", &[job])
}
