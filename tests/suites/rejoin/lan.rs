//! Hosts on one LAN that find each other by mDNS alone.
//!
//! ```text
//! hub: a bridge ══ 10.9.0.1 host
//!               ══ 10.9.0.2 host
//! ```

use std::process::Command;
use std::thread;
use std::time::Instant;

use anyhow::Result;
use tests::harness::Home;
use tests::harness::peers::{Peer, Stack};
use tests::harness::place::Place;
use tests::harness::process::Deadline;

use crate::Sizes;
use crate::figures::Bound;
use crate::report::{Outcome, Report};
use crate::watched::{PATIENCE, Watched};

/// The longest time from the start of the second host until the hosts have found each other, in seconds.
const FOUND: f64 = 15.0;

const CASE: &str = "mDNS";

/// The host that starts first.
#[derive(Clone, Copy, Debug)]
enum First {
    Bowline,
    Foreign,
}

pub(crate) fn run(report: &Report, _: Sizes) {
    if !Place::is_available() {
        return report.skip(CASE, "bowline, go, js", "no network namespaces");
    }
    thread::scope(|scope| {
        scope.spawn(|| report.row(CASE, "bowline, bowline", alone()));
        for name in ["go", "js"] {
            for first in [First::Bowline, First::Foreign] {
                let nodes = match first {
                    First::Bowline => format!("bowline, later {name}"),
                    First::Foreign => format!("{name}, later bowline"),
                };
                let Some(peer) = Peer::from_env(name) else {
                    report.skip(CASE, &nodes, "no such peer");
                    continue;
                };
                scope.spawn(move || report.row(CASE, &nodes, with(&peer, first)));
            }
        }
    });
}

/// A bridge and two hosts.
struct Lan {
    hosts: [Place; 2],
    _hub: Place,
}

impl Lan {
    fn new() -> Result<Self> {
        let hub = Place::new()?;
        hub.shell("ip link add bridge type bridge mcast_snooping 0; ip link set bridge up")?;
        let hosts = [Place::new()?, Place::new()?];
        for (number, host) in (1..).zip(&hosts) {
            let cable = format!(
                "ip link add port{number} type veth peer name lan netns HOST
                ip link set port{number} master bridge up"
            );
            hub.shell_with(&cable, &[("HOST", host)])?;
            host.shell(&format!(
                "ip address add 10.9.0.{number}/24 dev lan; ip link set lan up; ip route add default dev lan"
            ))?;
            host.until_up("lan")?;
        }
        hub.until_up("port1 port2")?;
        Ok(Self { hosts, _hub: hub })
    }

    fn foreign(&self, host: usize, peer: &Peer) -> Result<Watched> {
        let address = format!("/ip4/10.9.0.{}/tcp/4001", host + 1);
        let mut command: Command = peer.command(&["listen", "--mdns"], Stack::TcpTls);
        Watched::start_in(
            &self.hosts[host],
            &peer.name,
            command.args(["--addr", &address]),
        )
    }
}

fn outcome() -> Outcome {
    Outcome {
        bounds: vec![Bound::Max(FOUND)],
        ..Outcome::default()
    }
}

/// The moment at which a node had a connection to a peer.
fn connected(node: &mut Watched, peer: &str) -> Result<Instant> {
    let deadline = Deadline::within(2 * PATIENCE);
    node.until("the other host", deadline, |node| {
        let to_peer = node.seen.values().filter(|seen| seen.peer == peer);
        to_peer.map(|seen| seen.opened).min()
    })
}

fn alone() -> Result<Outcome> {
    let (lan, homes) = (Lan::new()?, [Home::new()?, Home::new()?]);
    let mut first = Watched::up_in(&lan.hosts[0], &homes[0], &[])?;
    let mut second = Watched::up_in(&lan.hosts[1], &homes[1], &[])?;
    let ids = [first.id().to_owned(), second.id().to_owned()];
    let found = connected(&mut first, &ids[1])?.max(connected(&mut second, &ids[0])?);
    let mut outcome = outcome();
    outcome.times.add(found - second.started);
    outcome.remark = "until both are connected".to_owned();
    Ok(outcome)
}

/// Bowline dials the foreign peer that it finds. The foreign peer only tells what it finds.
fn with(peer: &Peer, first: First) -> Result<Outcome> {
    let (lan, home) = (Lan::new()?, Home::new()?);
    let (mut node, mut foreign) = match first {
        First::Bowline => {
            let node = Watched::up_in(&lan.hosts[0], &home, &[])?;
            (node, lan.foreign(1, peer)?)
        }
        First::Foreign => {
            let foreign = lan.foreign(1, peer)?;
            (Watched::up_in(&lan.hosts[0], &home, &[])?, foreign)
        }
    };
    let started = node.started.max(foreign.started);
    let (here, there) = (node.id().to_owned(), foreign.id().to_owned());
    let deadline = Deadline::within(2 * PATIENCE);
    let discovered = foreign.until("the discovery of bowline", deadline, |foreign| {
        foreign.others.iter().find_map(|(at, event)| {
            let is_it = event.kind() == "discovered" && event.text("peer_id") == here;
            let addresses = event.texts("addresses");
            let is_there = |address: &String| address.starts_with("/ip4/10.9.0.1/");
            (is_it && addresses.iter().any(is_there)).then_some(*at)
        })
    })?;
    let connected = connected(&mut node, &there)?;
    let mut outcome = outcome();
    outcome.times.add(connected - started);
    outcome.times.add(discovered - started);
    outcome.remark = format!(
        "bowline connected after {:.1} s, {} found bowline after {:.1} s",
        (connected - started).as_secs_f64(),
        peer.name,
        (discovered - started).as_secs_f64()
    );
    Ok(outcome)
}
