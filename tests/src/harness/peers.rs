//! Foreign peers: programs on other people's stacks that share the face described in `peers/README.md`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use super::process::{Deadline, Process};

/// A foreign peer that was built.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The stack's short name: `rust`, `go`, `js` or `iroh`.
    pub name: String,
    program: PathBuf,
}

/// The transport, and over TCP the security, that a foreign peer is told to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stack {
    /// TLS 1.3 and yamux over TCP.
    TcpTls,
    /// Noise XX and yamux over TCP.
    TcpNoise,
    /// QUIC v1.
    Quic,
}

/// A foreign peer that listens.
#[derive(Debug)]
pub struct Listening {
    /// Its process. It also ends when its standard input closes.
    pub process: Process,
    /// Its identity.
    pub peer_id: String,
    /// The first address of its ready line.
    pub address: String,
}

impl Peer {
    /// The peer whose program stands in the environment variable `PEER_NAME`, if it was built.
    #[must_use]
    pub fn from_env(name: &str) -> Option<Self> {
        let program = std::env::var_os(format!("PEER_{}", name.to_uppercase()))?;
        Some(Self::new(name, Path::new(&program)))
    }

    /// The peer `name` whose program is at `program`.
    #[must_use]
    pub fn new(name: &str, program: &Path) -> Self {
        Self {
            name: name.to_owned(),
            program: program.to_owned(),
        }
    }

    /// The command that runs one of the peer's jobs over `stack`.
    #[must_use]
    pub fn command(&self, job: &[&str], stack: Stack) -> Command {
        let mut command = Command::new(&self.program);
        command.args(job).args(stack.arguments());
        command
    }

    /// The command that runs a peer which has no jobs and no stacks.
    #[must_use]
    pub fn plain_command(&self) -> Command {
        Command::new(&self.program)
    }

    /// Starts the peer as a listener on a loopback port of its choice.
    ///
    /// # Errors
    /// If it is not ready by the deadline; the message has the end of its standard error.
    pub fn listen(&self, stack: Stack, deadline: Deadline) -> Result<Listening> {
        self.listen_with(&[], stack, deadline)
    }

    /// The same with more flags.
    ///
    /// # Errors
    /// As [`Self::listen`].
    pub fn listen_with(
        &self,
        flags: &[&str],
        stack: Stack,
        deadline: Deadline,
    ) -> Result<Listening> {
        let mut command = self.command(&["listen"], stack);
        let mut process = Process::spawn(&format!("{}-peer", self.name), command.args(flags))?;
        let ready = match process.wait_for("ready", deadline, |event| event.kind() == "ready") {
            Ok(ready) => ready,
            Err(error) => bail!("{error:#}\n{}", process.stderr_tail()),
        };
        let Some(address) = ready.texts("addresses").first().cloned() else {
            bail!("{}-peer is ready without an address", self.name);
        };
        Ok(Listening {
            process,
            peer_id: ready.text("peer_id").to_owned(),
            address,
        })
    }
}

impl Stack {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::TcpTls, Self::TcpNoise, Self::Quic];

    /// How our events name a connection over this stack.
    #[must_use]
    pub fn via(self) -> &'static str {
        match self {
            Self::TcpTls => "tcp/tls/yamux",
            Self::TcpNoise => "tcp/noise/yamux",
            Self::Quic => "quic",
        }
    }

    /// The short name in tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::TcpTls => "tcp/tls",
            Self::TcpNoise => "tcp/noise",
            Self::Quic => "quic",
        }
    }

    /// The flags that the foreign peers and the benchmarked programs take.
    #[must_use]
    pub fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::TcpTls => &["--transport", "tcp", "--security", "tls"],
            Self::TcpNoise => &["--transport", "tcp", "--security", "noise"],
            Self::Quic => &["--transport", "quic"],
        }
    }

    /// Where to listen on a free loopback port.
    #[must_use]
    pub fn loopback(self) -> &'static str {
        match self {
            Self::TcpTls | Self::TcpNoise => "/ip4/127.0.0.1/tcp/0",
            Self::Quic => "/ip4/127.0.0.1/udp/0/quic-v1",
        }
    }
}
