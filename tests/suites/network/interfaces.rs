//! A node whose network changes while it runs: an address appears, moves to another interface, and disappears.
//!
//! ```text
//! node:  stable 203.0.113.2 ══════════════ 203.0.113.1   :there   a peer that watches the node's identify messages
//!        first, second (their addresses    bridge
//!        come and go) ════════════════════ 198.51.100.1           a relay, at which the node wants a slot
//! ```
//!
//! The node has a route to the relay only through the addresses that come and go.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tests::harness::bowline::PATIENCE;
use tests::harness::place::Place;
use tests::harness::process::{Deadline, Process};

use crate::Report;
use crate::nodes::{Node, Nodes, has, wait};

/// The time limit from a change to all of its effects.
const WITHIN: Duration = Duration::from_secs(2);

const RELAY: &str = "198.51.100.1";
const ONE: &str = "198.51.100.7";
const TWO: &str = "198.51.100.8";

const LAY_CABLES: &str = "
ip link add stable type veth peer name stable netns THERE
ip link add first type veth peer name first netns THERE
ip link add second type veth peer name second netns THERE
ip address add 203.0.113.2/24 dev stable
ip link set stable up
ip link set first up
ip link set second up
";

const FAR_ENDS: &str = "
ip address add 203.0.113.1/24 dev stable
ip link set stable up
ip link add bridge type bridge
ip link set first master bridge
ip link set second master bridge
ip link set first up
ip link set second up
ip address add 198.51.100.1/24 dev bridge
ip link set bridge up
";

struct Scene {
    here: Place,
    there: Place,
    relay: Node,
    node: Node,
    watch: Process,
    /// The addresses in the latest identify message of the node.
    told: Vec<String>,
}

impl Scene {
    fn set() -> Result<Self> {
        let (here, there) = (Place::new()?, Place::new()?);
        here.shell_with(LAY_CABLES, &[("THERE", &there)])?;
        there.shell(FAR_ENDS)?;
        here.until_up("stable first second")?;
        there.until_up("stable first second bridge")?;
        let listen = format!("/ip4/{RELAY}/tcp/4001");
        let relay = there.up(&["--relay-server", "--listen", &listen])?;
        let at = format!("{listen}/p2p/{}", relay.id());
        let node = here.up(&["--reserve-at", &at])?;
        let address = format!("/ip4/203.0.113.2/tcp/4077/p2p/{}", node.id());
        let watch = there.peer(&["watch", &address])?;
        let mut scene = Self {
            here,
            there,
            relay,
            node,
            watch,
            told: Vec::new(),
        };
        let first = scene.watch.next(Deadline::within(PATIENCE));
        scene.told = first.context("no identify message")?.texts("addresses");
        Ok(scene)
    }

    /// The addresses in the latest identify message.
    fn told(&mut self) -> Result<&[String]> {
        while let Ok(event) = self.watch.next(Deadline::within(Duration::ZERO)) {
            anyhow::ensure!(event.kind() == "identified", "the peer says {}", event.0);
            self.told = event.texts("addresses");
        }
        Ok(&self.told)
    }

    /// The address from which the node holds its slot at the relay.
    fn slot(&self) -> Result<Option<String>> {
        let slots = self.relay.ask("/slots")?;
        let slots = slots.0["slots"].as_array().cloned().unwrap_or_default();
        let of_node = slots.iter().find(|slot| slot["peer_id"] == self.node.id());
        let active = of_node.filter(|slot| slot["state"] == "active");
        Ok(active.and_then(|slot| slot["address"].as_str().map(str::to_owned)))
    }

    fn circuits(addresses: &[String]) -> Vec<String> {
        let circuits = addresses
            .iter()
            .filter(|address| address.contains("/p2p-circuit"));
        circuits.cloned().collect()
    }

    /// Changes the network, and waits until the node and the peer no longer have the address.
    fn lose(&mut self, ip: &str, change: &str) -> Result<()> {
        self.here.shell(change)?;
        let lost = wait(Instant::now(), WITHIN, || {
            let both = has(&self.node.addresses()?, ip) || has(self.told()?, ip);
            Ok((!both).then(String::new))
        });
        lost.map(drop)
    }

    /// Changes the network, and waits until all places show the addresses `shown` and no longer show `hidden`. `slot_from` is the
    /// address from which the node then holds a slot.
    fn step(&mut self, report: &mut Report, name: &str, change: &str, expected: Expected<'_>) {
        let Expected {
            shown,
            hidden,
            slot_from,
        } = expected;
        let fits = |addresses: &[String]| {
            shown.iter().all(|ip| has(addresses, ip)) && !hidden.iter().any(|ip| has(addresses, ip))
        };
        let held = slot_from.is_some();
        let begun = Instant::now();
        if let Err(error) = self.here.shell(change) {
            return report.row(name, "the change itself", Err(error));
        }
        let status = wait(begun, WITHIN, || {
            let addresses = self.node.addresses()?;
            Ok(fits(&addresses).then(|| format!("{} addresses", addresses.len())))
        });
        report.row(name, "/status", status);
        let identify = wait(begun, WITHIN, || {
            let addresses = self.told()?;
            Ok(fits(addresses).then(|| format!("{} addresses", addresses.len())))
        });
        report.row(name, "identify at a peer", identify);
        let reservation = wait(begun, WITHIN, || {
            let announced = Self::circuits(&self.node.addresses()?);
            let slot = self.slot()?;
            Ok(match slot_from {
                None => announced
                    .is_empty()
                    .then(|| "no circuit announced".to_owned()),
                Some(ip) => {
                    let is_held = !announced.is_empty() && slot.as_deref() == Some(ip);
                    is_held.then(|| format!("slot of {ip}"))
                }
            })
        });
        report.row(name, "reservation at the relay", reservation);
        let told = wait(begun, WITHIN, || {
            let circuits = Self::circuits(self.told()?);
            Ok((circuits.is_empty() != held).then(|| format!("{} circuits", circuits.len())))
        });
        report.row(name, "circuit address at a peer", told);
        if held {
            let circuit = format!(
                "/ip4/{RELAY}/tcp/4001/p2p/{}/p2p-circuit/p2p/{}",
                self.relay.id(),
                self.node.id()
            );
            let reached = self.there.says(&["ping", &circuit, "-c", "1"]);
            let reached = reached.map(|pong| {
                let seconds = begun.elapsed().as_secs_f64();
                (seconds, pong["via"].to_string())
            });
            report.row(name, "ping through the relay", reached);
        }
    }
}

struct Expected<'a> {
    shown: &'a [&'a str],
    hidden: &'a [&'a str],
    slot_from: Option<&'a str>,
}

pub(crate) fn run(report: &mut Report) -> Result<()> {
    let mut scene = Scene::set()?;
    let mut step = |scene: &mut Scene, name, change: &str, expected| {
        scene.step(report, name, change, expected);
    };
    let with = |shown, hidden, slot_from| Expected {
        shown,
        hidden,
        slot_from,
    };
    let [add, del] = ["add", "del"].map(|verb| {
        move |ip: &str, device: &str| format!("ip address {verb} {ip}/24 dev {device}\n")
    });
    step(
        &mut scene,
        "an address is added",
        &add(ONE, "first"),
        with(&[ONE], &[TWO], Some(ONE)),
    );
    scene.lose(ONE, &del(ONE, "first"))?;
    step(
        &mut scene,
        "it moves to another interface",
        &add(ONE, "second"),
        with(&[ONE], &[TWO], Some(ONE)),
    );
    step(
        &mut scene,
        "a second address is added",
        &add(TWO, "first"),
        with(&[ONE, TWO], &[], Some(ONE)),
    );
    step(
        &mut scene,
        "the first address is removed",
        &del(ONE, "second"),
        with(&[TWO], &[ONE], Some(TWO)),
    );
    step(
        &mut scene,
        "the interface goes down",
        "ip link set first down",
        with(&[], &[ONE, TWO], None),
    );
    step(
        &mut scene,
        "the interface comes up",
        "ip link set first up",
        with(&[TWO], &[ONE], Some(TWO)),
    );
    step(
        &mut scene,
        "the second address is removed",
        &del(TWO, "first"),
        with(&[], &[ONE, TWO], None),
    );
    Ok(())
}
