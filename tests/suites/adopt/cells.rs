//! What happens in one cell.

use std::ffi::OsString;
use std::net::{IpAddr, TcpListener};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use tests::harness::process::Deadline;

use crate::programs::{Host, Outcome, Program};
use crate::proxy::{self, Door, PASSWORD, Proxy, SOURCE, USER};

/// Longer than a dial's timeout in here, shorter than any other.
const MUCH_LATER: Duration = Duration::from_secs(5);

/// A program, a target, and what is done with them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cell {
    program: Program,
    host: Host,
    case: Case,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Case {
    /// Without a proxy.
    Direct,
    /// Through a proxy that asks for nothing.
    Open,
    /// Through a proxy that asks for a password.
    Password,
    /// The same over Noise.
    Noise,
    /// The password is wrong.
    Wrong,
    /// There is no password.
    Missing,
    /// The proxy says nothing.
    Silent,
    /// The target is none for this dialer. No proxy is asked.
    Refused,
    /// The target has no port. No proxy is asked.
    DefaultPort,
}

impl Cell {
    pub(crate) fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for program in Program::ALL {
            let cell = |host, case| Self {
                program,
                host,
                case,
            };
            all.push(cell(Host::Four, Case::Direct));
            for host in Host::ALL {
                let cases = [Case::Open, Case::Password, Case::Wrong, Case::Missing];
                all.extend(cases.map(|case| cell(host, case)));
            }
            all.push(cell(Host::Four, Case::Silent));
            all.push(cell(Host::Four, Case::Refused));
            all.push(match program {
                Program::Libp2p => cell(Host::Four, Case::Noise),
                Program::Hyper => cell(Host::Four, Case::DefaultPort),
            });
        }
        all
    }

    /// The program, the target and the case, for tables.
    pub(crate) fn names(self) -> [&'static str; 3] {
        [self.program.name(), self.host.name(), self.case.name()]
    }

    /// Nothing, if what it takes was not named.
    pub(crate) fn run(self, deadline: Deadline) -> Option<Result<()>> {
        std::env::var_os("PEER_ADOPT")?;
        let microsocks = || std::env::var_os("PROXY_MICROSOCKS");
        Some(match self.case {
            Case::Direct => self.goes_direct(deadline),
            Case::Open => self.goes_through(&microsocks()?, Door::Open, &[], deadline),
            Case::Noise => {
                let noise = ["--security", "noise"];
                self.goes_through(&microsocks()?, Door::Open, &noise, deadline)
            }
            Case::Password => {
                let password = ["--user", USER, "--password", PASSWORD];
                self.goes_through(&microsocks()?, Door::Guarded, &password, deadline)
            }
            Case::Wrong => {
                let password = ["--user", USER, "--password", "s3same-shut"];
                self.stays_out(
                    &microsocks()?,
                    &password,
                    "refuses the user or the password",
                    deadline,
                )
            }
            Case::Missing => {
                self.stays_out(&microsocks()?, &[], "asks for authentication", deadline)
            }
            Case::Silent => self.is_given_up(deadline),
            Case::Refused => self.is_refused(deadline),
            Case::DefaultPort => self.has_a_default_port(deadline),
        })
    }

    fn goes_direct(self, deadline: Deadline) -> Result<()> {
        let mut remote = self.program.remote(self.host)?;
        let arguments = remote.arguments(self.host)?;
        let outcome = self.program.run(&borrowed(&arguments), deadline)?;
        remote.check(&outcome)?;
        let seen = remote.seen(deadline)?;
        ensure!(seen == self.host.ip(), "it came from {seen}");
        Ok(())
    }

    /// The remote is reached from the proxy's address, and not once the proxy is gone.
    fn goes_through(
        self,
        microsocks: &OsString,
        door: Door,
        flags: &[&str],
        deadline: Deadline,
    ) -> Result<()> {
        let (source, expected) = match self.host.ip() {
            IpAddr::V4(_) => (Some(SOURCE), SOURCE),
            // Loopback has one IPv6 address only.
            ip @ IpAddr::V6(_) => (None, ip),
        };
        let proxy = Proxy::start(Path::new(microsocks), door, source, deadline)?;
        let address = proxy.address.to_string();
        let mut remote = self.program.remote(self.host)?;
        let target = remote.arguments(self.host)?;
        let arguments = [&["--socks5", &address], flags, &borrowed(&target)].concat();

        let outcome = self.program.run(&arguments, deadline)?;
        remote
            .check(&outcome)
            .map_err(|error| anyhow!("{error:#}\n{}", proxy.said()))?;
        let seen = remote.seen(deadline)?;
        ensure!(seen == expected, "it came from {seen}, not {expected}");

        drop(proxy);
        let outcome = self.program.run(&arguments, deadline)?;
        fails(&outcome, "reach", &format!("via socks5://{address}"))
    }

    fn stays_out(
        self,
        microsocks: &OsString,
        flags: &[&str],
        message: &str,
        deadline: Deadline,
    ) -> Result<()> {
        let proxy = Proxy::start(Path::new(microsocks), Door::Guarded, None, deadline)?;
        let address = proxy.address.to_string();
        let remote = self.program.remote(self.host)?;
        let target = remote.arguments(self.host)?;
        let arguments = [&["--socks5", &address], flags, &borrowed(&target)].concat();
        fails(&self.program.run(&arguments, deadline)?, "greet", message)
    }

    /// The kernel accepts for the proxy, which never answers: the dial ends by the timeout it was given, while the whole
    /// stack has much more time.
    fn is_given_up(self, deadline: Deadline) -> Result<()> {
        let silent = TcpListener::bind((self.host.ip(), 0))?;
        let address = silent.local_addr()?.to_string();
        let remote = self.program.remote(self.host)?;
        let target = remote.arguments(self.host)?;
        let arguments = [
            &["--socks5", &address, "--timeout", "0.2"],
            &*borrowed(&target),
        ]
        .concat();
        let started = Instant::now();
        fails(
            &self.program.run(&arguments, deadline)?,
            "greet",
            "no answer in time",
        )?;
        let taken = started.elapsed();
        ensure!(taken < MUCH_LATER, "it took {taken:?}");
        Ok(())
    }

    /// The dialer is not even asked: it would fail, because nothing listens where its proxy should be.
    fn is_refused(self, deadline: Deadline) -> Result<()> {
        let (target, message) = match self.program {
            Program::Libp2p => ("/ip4/127.0.0.1/udp/1/quic-v1", "not supported"),
            Program::Hyper => ("https://127.0.0.1/", "not an http address"),
        };
        let nobody = proxy::free_port()?.to_string();
        let outcome = self.program.run(&["--socks5", &nobody, target], deadline)?;
        fails(&outcome, "", message)
    }

    /// The dialer fails, because nothing listens where its proxy should be, and tells what it was to dial.
    fn has_a_default_port(self, deadline: Deadline) -> Result<()> {
        let nobody = proxy::free_port()?.to_string();
        let arguments = ["--socks5", &nobody, "http://127.0.0.1"];
        let outcome = self.program.run(&arguments, deadline)?;
        fails(&outcome, "reach", "/ip4/127.0.0.1/tcp/80: via")
    }
}

impl Case {
    fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Open => "through the proxy",
            Self::Password => "with the password",
            Self::Noise => "through the proxy, over noise",
            Self::Wrong => "with a wrong password",
            Self::Missing => "without the password",
            Self::Silent => "through a silent proxy",
            Self::Refused => "not for this dialer",
            Self::DefaultPort => "without a port",
        }
    }
}

fn borrowed(arguments: &[String]) -> Vec<&str> {
    arguments.iter().map(String::as_str).collect()
}

/// The program reports an error of the dialer at `stage`, or one of its own where that is empty.
fn fails(outcome: &Outcome, stage: &str, message: &str) -> Result<()> {
    let Outcome { code, event } = outcome;
    let expected = event.kind() == "error"
        && event.text("stage") == stage
        && event.text("message").contains(message);
    ensure!(
        *code == Some(1) && expected,
        "exit code {code:?} with {}, not an error at `{stage}` with `{message}`",
        event.0
    );
    Ok(())
}
