//! Every server × what is dialed × how it asks who we are.

use anyhow::{Result, anyhow, ensure};
use tests::harness::bowline::{Home, PATIENCE, Up};
use tests::harness::process::{Deadline, Signal};

use crate::client::{Ping, port_of};
use crate::report::Report;
use crate::servers::{FOUR, Kind, Server, WRONG, percent_encoded};

/// A server of each kind, once open to everybody and once guarded by a password.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) open: Server,
    pub(crate) guarded: Server,
}

/// What the cells dial: a node on both loopback addresses.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) home: Home,
    pub(crate) up: Up,
}

#[derive(Clone, Copy)]
enum Host {
    Ipv4,
    Ipv6,
    Domain,
}

#[derive(Clone, Copy)]
enum Auth {
    None,
    Right,
    Wrong,
}

/// The cells of one kind of server.
pub(crate) fn run(report: &mut Report, kind: Kind, pair: &Result<Pair>, node: &Node) {
    for host in [Host::Ipv4, Host::Ipv6, Host::Domain] {
        for auth in [Auth::None, Auth::Right, Auth::Wrong] {
            let names = [kind.name(), host.name(), auth.name()];
            report.cell(names, || {
                let pair = pair.as_ref().map_err(|error| anyhow!("{error:#}"))?;
                cell(pair, host, auth, node)
            });
        }
    }
}

fn cell(pair: &Pair, host: Host, auth: Auth, node: &Node) -> Result<String> {
    let (address, port) = host.address(node)?;
    let (server, url) = match auth {
        Auth::None => (&pair.open, pair.open.url()),
        Auth::Right => (
            &pair.guarded,
            pair.guarded.url_with(pair.guarded.kind.password()),
        ),
        Auth::Wrong => (&pair.guarded, pair.guarded.url_with(WRONG)),
    };
    let before = server.connections(host.text(), port);
    let ping = Ping::run(&node.home, &address, &format!("* via {url}"))?;
    let password = server.kind.password();
    ping.kept(&[WRONG, password, &percent_encoded(password)])?;
    match auth {
        Auth::None | Auth::Right => {
            ping.succeeded("tcp/")?;
            server.wait_for_connections(host.text(), port, before + 1)?;
            Ok(format!("the server connected us to {}", host.text()))
        }
        Auth::Wrong => {
            let proxy = server.address.to_string();
            ping.failed(&[&proxy, "refuses the user or the password"])?;
            let after = server.connections(host.text(), port);
            ensure!(after == before, "the server connected us: {}", server.log());
            Ok("refused by name, no password shown".to_owned())
        }
    }
}

impl Pair {
    pub(crate) fn start(kind: Kind) -> Result<Self> {
        Ok(Self {
            open: kind.start(false)?,
            guarded: kind.start(true)?,
        })
    }
}

impl Node {
    pub(crate) fn start() -> Result<Self> {
        let home = Home::new()?;
        let up = home.up(&[
            "--listen",
            "/ip4/127.0.0.1/tcp/0",
            "--listen",
            "/ip6/::1/tcp/0",
            "--listen",
            "/ip4/127.0.0.1/udp/0/quic-v1",
        ])?;
        Ok(Self { home, up })
    }

    /// It was there all the time, and ends when it is told to.
    pub(crate) fn end(self) -> Result<String> {
        let tail = self.up.process.stderr_tail();
        self.up.process.signal(Signal::TERM)?;
        let ended = self.up.process.finish(Deadline::within(PATIENCE))?;
        ensure!(ended.code == Some(0), "ended with {:?}\n{tail}", ended.code);
        Ok("clean".to_owned())
    }
}

impl Host {
    fn name(self) -> &'static str {
        match self {
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
            Self::Domain => "domain",
        }
    }

    /// How the server is told of it.
    fn text(self) -> &'static str {
        match self {
            Self::Ipv4 => "127.0.0.1",
            Self::Ipv6 => "::1",
            Self::Domain => FOUR,
        }
    }

    /// The node's address to dial, and its port there.
    fn address(self, node: &Node) -> Result<(String, u16)> {
        let (listener, host) = match self {
            Self::Ipv4 => ("/ip4/127.0.0.1/tcp/", "ip4/127.0.0.1".to_owned()),
            Self::Ipv6 => ("/ip6/::1/tcp/", "ip6/::1".to_owned()),
            Self::Domain => ("/ip4/127.0.0.1/tcp/", format!("dns/{FOUR}")),
        };
        let port = port_of(&node.up, listener)?;
        let peer = node.up.peer_id();
        Ok((format!("/{host}/tcp/{port}/p2p/{peer}"), port))
    }
}

impl Auth {
    fn name(self) -> &'static str {
        match self {
            Self::None => "no auth",
            Self::Right => "auth",
            Self::Wrong => "wrong auth",
        }
    }
}
