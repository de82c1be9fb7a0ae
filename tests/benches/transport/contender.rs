//! Who is measured, and how its programs are started.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use tests::harness::bench::{Entry, Target};
use tests::harness::peers::Stack;

/// A program and the stack that it runs.
#[derive(Clone, Debug)]
pub(crate) struct Contender {
    pub(crate) who: Who,
    pub(crate) stack: Stack,
    program: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// The socket, or the library, with nothing above it. Over TCP there is no security.
    Raw,
    /// tokio-rustls without a muxer.
    TokioRustls,
    RustLibp2p,
    Bowline,
}

impl Contender {
    /// All contenders in the order of their turns.
    pub(crate) fn all() -> Result<Vec<Self>> {
        let program = |key: &str| -> Result<PathBuf> {
            let path =
                std::env::var_os(key).with_context(|| format!("{key} does not name a program"))?;
            Ok(path.into())
        };
        let (ours, foreign) = (program("BENCH_PEER")?, program("PEER_RUST")?);
        let ours = |who, stack| Self {
            who,
            stack,
            program: ours.clone(),
        };
        let foreign = |stack| Self {
            who: Who::RustLibp2p,
            stack,
            program: foreign.clone(),
        };
        let mut all = vec![
            // The stack's security is not used here; it says whose row this is compared in.
            ours(Who::Raw, Stack::TcpTls),
            ours(Who::TokioRustls, Stack::TcpTls),
            ours(Who::Raw, Stack::Quic),
        ];
        for stack in Stack::ALL {
            all.push(foreign(stack));
            all.push(ours(Who::Bowline, stack));
        }
        Ok(all)
    }

    pub(crate) fn name(&self) -> String {
        match (self.who, self.stack) {
            (Who::Raw, Stack::Quic) => "raw quinn".to_owned(),
            (Who::Raw, _) => "raw tcp".to_owned(),
            (Who::TokioRustls, _) => "tokio-rustls".to_owned(),
            (Who::RustLibp2p, stack) => format!("rust-libp2p {}", stack.name()),
            (Who::Bowline, stack) => format!("bowline {}", stack.name()),
        }
    }

    /// Its row in an area where Bowline has this target over each stack. All others are held against rust-libp2p.
    pub(crate) fn entry(&self, target: impl Fn(Stack) -> Option<Target>) -> Entry {
        let rival = Self {
            who: Who::RustLibp2p,
            ..self.clone()
        };
        Entry {
            name: self.name(),
            against: (self.who != rival.who).then(|| rival.name()),
            target: (self.who == Who::Bowline)
                .then(|| target(self.stack))
                .flatten(),
        }
    }

    /// Whether its server is one whose idle connections run ping and identify.
    pub(crate) fn holds_connections(&self) -> bool {
        matches!(self.who, Who::RustLibp2p | Who::Bowline)
    }

    /// Whether it stands for the `bowline` binary. Noise and TLS differ in nothing that stays after a connection.
    pub(crate) fn is_bowline_up(&self) -> bool {
        self.who == Who::Bowline && self.stack != Stack::TcpNoise
    }

    /// The command for one of its jobs.
    pub(crate) fn command(&self, job: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(job).args(self.arguments());
        command
    }

    /// Our client that holds connections open to its server.
    pub(crate) fn holder(&self, job: &[&str]) -> Result<Command> {
        let program =
            std::env::var_os("BENCH_PEER").context("BENCH_PEER does not name a program")?;
        let mut command = Command::new(program);
        command.args(job).args(self.stack.arguments());
        Ok(command)
    }

    fn arguments(&self) -> Vec<&'static str> {
        let mut arguments = match (self.who, self.stack) {
            (Who::Raw, Stack::Quic) => return vec!["--stack", "quinn"],
            (Who::Raw, _) => return vec!["--stack", "tcp"],
            (Who::TokioRustls, _) => return vec!["--stack", "tokio-rustls"],
            (Who::Bowline, _) => vec!["--stack", "bowline"],
            (Who::RustLibp2p, _) => vec![],
        };
        arguments.extend(self.stack.arguments());
        arguments
    }
}
