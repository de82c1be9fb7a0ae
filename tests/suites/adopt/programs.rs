//! The two programs, and for each the remote that it talks to.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tests::harness::bowline::{Home, Up};
use tests::harness::process::{Deadline, Event, run};

use crate::page::{self, Server};

/// A name that only the proxy's resolver takes for 127.0.0.1, as getaddrinfo(3) does with an address of few parts. It
/// is in no hosts file and no DNS: resolved by anybody else it leads nowhere.
const NAME: &str = "127.1";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Program {
    Libp2p,
    Hyper,
}

/// How the target is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Host {
    Four,
    Six,
    Name,
}

/// What a program talks to. Dropping it ends it.
#[derive(Debug)]
pub(crate) enum Remote {
    Node { up: Up, home: Home },
    Page { server: Server, home: Home },
}

/// How a run of a program ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) event: Event,
}

impl Program {
    pub(crate) const ALL: [Self; 2] = [Self::Libp2p, Self::Hyper];

    /// The short name in tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Libp2p => "rust-libp2p",
            Self::Hyper => "hyper",
        }
    }

    fn executable(self) -> PathBuf {
        let folder = std::env::var_os("PEER_ADOPT").unwrap_or_default();
        Path::new(&folder).join(format!("{}-adopt", self.name()))
    }

    /// Runs it to its end. It prints one line.
    pub(crate) fn run(self, arguments: &[&str], deadline: Deadline) -> Result<Outcome> {
        let mut command = Command::new(self.executable());
        let finished = run(self.name(), command.args(arguments), deadline)?;
        let events = finished.events()?;
        ensure!(
            events.len() == 1,
            "{} printed {events:?} instead of one line; {}",
            self.name(),
            finished.stderr.join("\n  ")
        );
        Ok(Outcome {
            code: finished.code,
            event: events[0].clone(),
        })
    }

    /// Starts what it talks to.
    pub(crate) fn remote(self, host: Host) -> Result<Remote> {
        let home = Home::new()?;
        Ok(match self {
            Self::Libp2p => {
                let listen = match host.ip() {
                    IpAddr::V4(ip) => format!("/ip4/{ip}/tcp/0"),
                    IpAddr::V6(ip) => format!("/ip6/{ip}/tcp/0"),
                };
                let up = home.up(&["--listen", &listen])?;
                Remote::Node { up, home }
            }
            Self::Hyper => {
                let server = Server::start(host.ip())?;
                Remote::Page { server, home }
            }
        })
    }
}

impl Host {
    pub(crate) const ALL: [Self; 3] = [Self::Four, Self::Six, Self::Name];

    /// The short name in tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Four => "ip4",
            Self::Six => "ip6",
            Self::Name => "name",
        }
    }

    /// Where the remote listens.
    pub(crate) fn ip(self) -> IpAddr {
        match self {
            Self::Four | Self::Name => Ipv4Addr::LOCALHOST.into(),
            Self::Six => Ipv6Addr::LOCALHOST.into(),
        }
    }
}

impl Remote {
    /// What the program is given to reach it: the address, and whatever else it takes.
    pub(crate) fn arguments(&self, host: Host) -> Result<Vec<String>> {
        match self {
            Self::Node { up, .. } => {
                let address = up.address_with("/tcp/")?;
                let named = || address.replace("/ip4/127.0.0.1", &format!("/dns4/{NAME}"));
                Ok(vec![match host {
                    Host::Four | Host::Six => address,
                    Host::Name => named(),
                }])
            }
            Self::Page { server, .. } => {
                let url = match host {
                    Host::Four => server.url("127.0.0.1"),
                    Host::Six => server.url("[::1]"),
                    Host::Name => server.url(NAME),
                };
                Ok(vec![
                    url,
                    "--output".to_owned(),
                    self.output().display().to_string(),
                ])
            }
        }
    }

    /// Whether the program got what there was to get.
    pub(crate) fn check(&self, outcome: &Outcome) -> Result<()> {
        let Outcome { code, event } = outcome;
        ensure!(*code == Some(0), "exit code {code:?} with {}", event.0);
        match self {
            Self::Node { up, .. } => {
                let rtt = event.number("rtt_us")?;
                let pong = event.kind() == "pong" && event.text("peer_id") == up.peer_id();
                ensure!(
                    pong && rtt > 0.0,
                    "no pong of {}: {}",
                    up.peer_id(),
                    event.0
                );
            }
            Self::Page { .. } => {
                let page = page::page();
                let (status, bytes) = (event.number("status")?, event.number("bytes")?);
                ensure!(
                    event.kind() == "response" && status == 200.0 && bytes == page.len() as f64,
                    "not the page: {}",
                    event.0
                );
                let output = fs::read(self.output()).context("no page was written")?;
                ensure!(output == page, "the page is not the page");
            }
        }
        Ok(())
    }

    /// Where the connection came from, as this end saw it.
    pub(crate) fn seen(&mut self, deadline: Deadline) -> Result<IpAddr> {
        match self {
            Self::Page { server, .. } => server.seen(deadline),
            Self::Node { up, .. } => {
                let connected = up
                    .process
                    .wait_for("connected", deadline, |event| event.kind() == "connected")?;
                let address = connected.text("address");
                let ip = address.split('/').nth(2).and_then(|ip| ip.parse().ok());
                ip.with_context(|| format!("no IP address in {address}"))
            }
        }
    }

    fn output(&self) -> PathBuf {
        match self {
            Self::Node { home, .. } | Self::Page { home, .. } => home.path().join("page"),
        }
    }
}
