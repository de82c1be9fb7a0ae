//! A real SOCKS5 server on a free port of the loopback interface.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tests::harness::process::{Deadline, Process};

/// The user that a guarded proxy knows, and the password it accepts.
pub(crate) const USER: &str = "mallory";
pub(crate) const PASSWORD: &str = "s3same @:/%? 0pen";

/// Where a proxy's connections over IPv4 come from. Nobody else's do.
pub(crate) const SOURCE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

/// How often the port is tried until it accepts.
const POLL: Duration = Duration::from_millis(5);

/// How often another port is taken when a server does not start: somebody may have been faster on the first.
const ATTEMPTS: usize = 3;

/// Whether it wants [`USER`] and [`PASSWORD`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    Open,
    Guarded,
}

/// A proxy that accepts connections. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    process: Process,
}

impl Proxy {
    /// Starts `program`, which is microsocks. `source` is where its connections shall come from.
    pub(crate) fn start(
        program: &Path,
        door: Door,
        source: Option<IpAddr>,
        deadline: Deadline,
    ) -> Result<Self> {
        let mut failure = None;
        for _ in 0..ATTEMPTS {
            match Self::start_at(program, door, source, free_port()?, deadline) {
                Ok(proxy) => return Ok(proxy),
                Err(error) => failure = Some(error),
            }
        }
        Err(failure.context("microsocks was not started")?)
    }

    fn start_at(
        program: &Path,
        door: Door,
        source: Option<IpAddr>,
        address: SocketAddr,
        deadline: Deadline,
    ) -> Result<Self> {
        let mut command = Command::new(program);
        command.args(["-i", &address.ip().to_string()]);
        command.args(["-p", &address.port().to_string()]);
        if let Some(source) = source {
            command.args(["-b", &source.to_string()]);
        }
        if door == Door::Guarded {
            command.args(["-u", USER, "-P", PASSWORD]);
        }
        let mut process = Process::spawn("microsocks", &mut command)?;
        while TcpStream::connect(address).is_err() {
            ensure!(
                !deadline.left().is_zero() && !process.has_ended()?,
                "microsocks does not accept at {address}\n{}",
                process.stderr_tail()
            );
            thread::sleep(POLL);
        }
        // If the port was somebody else's, the server cannot have stayed.
        ensure!(!process.has_ended()?, "{}", process.stderr_tail());
        Ok(Self { address, process })
    }

    /// What it said last, indented.
    pub(crate) fn said(&self) -> String {
        self.process.stderr_tail()
    }
}

/// A port that was free just now.
pub(crate) fn free_port() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port")?;
    Ok(listener.local_addr()?)
}
