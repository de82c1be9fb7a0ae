//! Faults of the network, and a process that is stopped for a while. A host pings a node without a pause.
//!
//! ```text
//! host 10.1.0.2 ══ 10.1.0.1 router 10.2.0.1 ══ 10.2.0.2 `bowline up`
//! ```
//!
//! The clock runs from the end of the fault, when the links carry packets again, until a ping that began after that is answered.
//! No process restarts.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tests::harness::Home;
use tests::harness::place::Place;
use tests::harness::process::{Deadline, Signal};

use crate::Sizes;
use crate::figures::Bound;
use crate::network::{Mode, flags};
use crate::report::{Outcome, Report};
use crate::watched::{PATIENCE, Watched, wait_until};

/// The longest time from the end of a fault to the answer of a new ping, in seconds.
const BOUND: f64 = 2.0;

/// The time after which a fault has stopped all pings.
const SETTLED: Duration = Duration::from_secs(1);

/// The time until each end has one connection. A node closes a surplus connection after 3 seconds if there are always pings on
/// it. The rest is for a busy machine, and for dials that began during the fault.
const DRAINED: Duration = Duration::from_secs(10);

/// The default idle timeout of QUIC. A connection that is silent for less survives.
const QUIC_IDLE: Duration = Duration::from_secs(10);

/// The pause between the starts of two pings.
const EVERY_MS: &str = "50";

const HOST: &str = "10.1.0.2";
const THERE: &str = "10.2.0.2";

/// The commands in the router's network.
const ROUTER: &str = "
ip link add host type veth peer name net netns HOST
ip link add there type veth peer name net netns THERE
ip address add 10.1.0.1/24 dev host
ip address add 10.2.0.1/24 dev there
ip link set host up
ip link set there up
echo 1 >/proc/sys/net/ipv4/ip_forward
";

/// A fault that begins and ends.
#[derive(Clone, Copy, Debug)]
struct Fault {
    name: &'static str,
    kind: Kind,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    /// Commands that begin and end the fault, in the host's network and in the router's network.
    Network {
        begin: [&'static str; 2],
        end: [&'static str; 2],
    },
    /// A stopped process: the host's or the node's.
    Stopped { is_host: bool },
}

const DOWN: &str = "ip link set net down";
const UP: &str = "ip link set net up; ip route replace default via 10.1.0.1";

/// The fault that leaves the links as they are.
const DROP: &str = "drop in mid-path";

const FAULTS: [Fault; 6] = [
    Fault {
        name: "interface down, same address",
        kind: Kind::Network {
            begin: [DOWN, ""],
            end: [UP, ""],
        },
    },
    Fault {
        name: "interface down, new address",
        kind: Kind::Network {
            begin: ["ip link set net down; ip address flush dev net", ""],
            end: [
                "ip address add 10.1.0.3/24 dev net; ip link set net up; ip route replace default via 10.1.0.1",
                "",
            ],
        },
    },
    Fault {
        name: "carrier lost",
        kind: Kind::Network {
            begin: ["", "ip link set host down"],
            end: ["", "ip link set host up"],
        },
    },
    Fault {
        name: DROP,
        kind: Kind::Network {
            begin: [
                "",
                "nft add table ip fault; nft 'add chain ip fault through { type filter hook forward priority 0; policy drop; }'",
            ],
            end: ["", "nft delete table ip fault"],
        },
    },
    Fault {
        name: "host stopped",
        kind: Kind::Stopped { is_host: true },
    },
    Fault {
        name: "node stopped",
        kind: Kind::Stopped { is_host: false },
    },
];

/// The lengths of a fault in seconds.
fn lengths(fault: Fault, sizes: Sizes) -> &'static [u64] {
    match (fault.kind, sizes.full) {
        (Kind::Network { .. }, true) => &[5, 60, 90],
        (Kind::Stopped { .. }, true) => &[60],
        (Kind::Stopped { .. }, false) => &[12],
        // One long fault, which no event on the host shows.
        (Kind::Network { .. }, false) if fault.name == DROP => &[5, 60],
        (Kind::Network { .. }, false) => &[5],
    }
}

pub(crate) fn run(report: &Report, sizes: Sizes) {
    thread::scope(|scope| {
        for fault in FAULTS {
            for seconds in lengths(fault, sizes) {
                for mode in Mode::ALL {
                    let case = format!("{}, {seconds:>2} s", fault.name);
                    if !Place::is_available() {
                        report.skip(&case, mode.name(), "no network namespaces");
                        continue;
                    }
                    scope.spawn(move || {
                        let length = Duration::from_secs(*seconds);
                        report.row(&case, mode.name(), one(fault, mode, length));
                    });
                }
            }
        }
    });
}

/// Two nodes and the network between them.
struct Scene {
    here: Place,
    router: Place,
    _there: Place,
    host: Watched,
    node: Watched,
    _home: Home,
}

impl Scene {
    /// Starts both nodes, and waits until their connection has lasted.
    fn set(mode: Mode) -> Result<Self> {
        let (here, router, there) = (Place::new()?, Place::new()?, Place::new()?);
        router.shell_with(ROUTER, &[("HOST", &here), ("THERE", &there)])?;
        for (place, ip, gateway) in [(&here, HOST, "10.1.0.1"), (&there, THERE, "10.2.0.1")] {
            place.shell(&format!(
                "ip address add {ip}/24 dev net; ip link set net up; ip route add default via {gateway}"
            ))?;
            place.until_up("net")?;
        }
        router.until_up("host there")?;
        let home = Home::new()?;
        let mut up = flags("--listen", &mode.listen(THERE));
        up.push("--no-mdns".to_owned());
        let node = Watched::up_in(&there, &home, &up)?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_rejoin-peer"));
        command.args(["--ping-every", EVERY_MS]);
        // The host has a new address after some faults.
        command.args(flags("--listen", &mode.listen("0.0.0.0")));
        command.args(flags("--keep", &node.addresses()));
        let host = Watched::start_in(&here, "rejoin-peer", &command)?;
        let mut scene = Self {
            here,
            router,
            _there: there,
            host,
            node,
            _home: home,
        };
        scene.answered(Instant::now())?;
        let deadline = Deadline::within(PATIENCE);
        let lasting = (scene.host).until("a connection", deadline, Watched::lasting_from)?;
        wait_until(lasting);
        Ok(scene)
    }

    /// Waits for the answer of a ping that began since the moment. Gives the time of the answer and the connection.
    fn answered(&mut self, since: Instant) -> Result<(Instant, String)> {
        let deadline = Deadline::within(PATIENCE);
        self.host.others.clear();
        self.host.until("an answered ping", deadline, |host| {
            host.others.iter().find_map(|(at, event)| {
                let took = Duration::from_micros(event.number("rtt_us").ok()? as u64);
                let is_new = event.kind() == "pong" && *at >= since + took;
                is_new.then(|| (*at, event.text("connection").to_owned()))
            })
        })
    }

    /// No ping was answered from a second after the fault began until now.
    fn ensure_cut(&mut self, begun: Instant) -> Result<()> {
        self.host.catch_up();
        let mut others = self.host.others.iter();
        let answered = others.any(|(at, event)| event.kind() == "pong" && *at > begun + SETTLED);
        ensure!(!answered, "the fault did not stop the pings");
        Ok(())
    }

    fn begin(&self, fault: Fault) -> Result<()> {
        match fault.kind {
            Kind::Network {
                begin: [here, router],
                ..
            } => self.run(here, router),
            Kind::Stopped { is_host } => self.stopped(is_host).process.signal(Signal::STOP),
        }
    }

    /// Ends the fault. Gives the moment from which on the links carry packets, or an earlier one.
    fn end(&self, fault: Fault) -> Result<Instant> {
        match fault.kind {
            Kind::Network {
                end: [here, router],
                ..
            } => {
                let before = Instant::now();
                self.run(here, router)?;
                if fault.name == DROP {
                    return Ok(before);
                }
                self.router.until_up("host")?;
                self.here.until_up("net")?;
                Ok(Instant::now())
            }
            Kind::Stopped { is_host } => {
                let ended = Instant::now();
                self.stopped(is_host).process.signal(Signal::CONT)?;
                Ok(ended)
            }
        }
    }

    fn run(&self, here: &str, router: &str) -> Result<()> {
        for (place, script) in [(&self.here, here), (&self.router, router)] {
            if !script.is_empty() {
                place.shell(script)?;
            }
        }
        Ok(())
    }

    fn stopped(&self, is_host: bool) -> &Watched {
        if is_host { &self.host } else { &self.node }
    }
}

fn one(fault: Fault, mode: Mode, length: Duration) -> Result<Outcome> {
    let mut scene = Scene::set(mode)?;
    let (_, before) = scene.answered(Instant::now())?;
    let begun = Instant::now();
    scene.begin(fault)?;
    wait_until(begun + length);
    scene.ensure_cut(begun)?;
    let ended = scene.end(fault)?;
    let (answered, after) = scene.answered(ended)?;
    let mut outcome = Outcome {
        bounds: vec![Bound::Max(BOUND)],
        ..Outcome::default()
    };
    outcome.times.add(answered - ended);
    let can_survive = matches!((fault.kind, mode), (Kind::Network { .. }, Mode::Quic));
    if can_survive && length < QUIC_IDLE && before != after {
        let broken = "the QUIC connection did not survive";
        outcome.broken.push(broken.to_owned());
    }
    // Both processes still run, and agree that they are connected.
    let (host, node) = (scene.host.id().to_owned(), scene.node.id().to_owned());
    let deadline = Deadline::within(DRAINED);
    for (end, other) in [(&mut scene.host, &node), (&mut scene.node, &host)] {
        end.until("one connection in the end", deadline, |end| {
            (end.open_to(other).len() == 1).then_some(())
        })?;
        ensure!(!end.process.has_ended()?, "a process ended");
    }
    let in_the_end = scene.host.open_to(&node).contains(&before);
    outcome.remark = match (before == after, in_the_end) {
        (true, true) => "same connection",
        (true, false) => "same connection at first, then a new one",
        (false, _) => "new connection",
    }
    .to_owned();
    Ok(outcome)
}
