//! Connections through relays: which relay, who is behind it, who dials.

mod ends;
mod slots;

use anyhow::{Result, anyhow};
use tests::harness::peers::{Peer, Stack};
use tests::harness::process::Deadline;

use crate::PATIENCE;
use crate::report::{Report, Tally};
use ends::{Destination, Relay};

/// What goes there and back: more than half of what a circuit carries by default, and more than a window of 64 KiB.
const WHOLE: u64 = 100_000;

/// What a circuit carries where it is to be cut off, and what is sent then.
const LIMIT: u64 = 65_536;
const BEYOND: u64 = 300_000;

/// What rust-libp2p's and js-libp2p's relays carry where all is to arrive. Their limit is for both directions together,
/// though they announce it as one for each.
const BOTH_WAYS: u64 = 4 * WHOLE;

/// Relays and destinations that do not go together, and why.
const IMPOSSIBLE: [(&str, &str, &str); 1] = [(
    "go",
    "rust",
    "go's relay tells public addresses only, and rust-libp2p takes no reservation that tells none",
)];

const EVERYBODY: [&str; 4] = ["ours", "rust", "go", "js"];
const OTHERS: [&str; 3] = ["rust", "go", "js"];

/// One relay, and who talks to whom through it.
struct Scene {
    relay: &'static str,
    stack: Stack,
    case: Case,
    /// The destination, then the source.
    pairs: Vec<(&'static str, &'static str)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Case {
    /// All that is sent comes back.
    Whole,
    /// The relay's limit cuts it off.
    Limit,
    /// `bowline up --reserve-at` is reached by `bowline ping` and `bowline identify`.
    Binary,
}

pub(crate) fn run() -> Tally {
    let mut report = Report::new(&["relay", "destination", "source", "stack", "case"]);
    for scene in scenes() {
        play(&scene, &mut report);
    }
    slots::run(&mut report);
    report.finish()
}

fn scenes() -> Vec<Scene> {
    let mut scenes = vec![
        Scene {
            relay: "ours",
            stack: Stack::TcpTls,
            case: Case::Whole,
            pairs: EVERYBODY
                .iter()
                .flat_map(|to| EVERYBODY.map(|from| (*to, from)))
                .collect(),
        },
        Scene {
            relay: "ours",
            stack: Stack::Quic,
            case: Case::Whole,
            pairs: vec![("rust", "go"), ("go", "rust"), ("ours", "ours")],
        },
        Scene {
            relay: "ours",
            stack: Stack::TcpTls,
            case: Case::Limit,
            pairs: vec![
                ("ours", "ours"),
                ("rust", "go"),
                ("go", "js"),
                ("js", "rust"),
            ],
        },
    ];
    for relay in OTHERS {
        let to_ours = EVERYBODY.map(|from| ("ours", from));
        let from_ours = OTHERS.map(|to| (to, "ours"));
        scenes.push(Scene {
            relay,
            stack: Stack::TcpTls,
            case: Case::Whole,
            pairs: to_ours.into_iter().chain(from_ours).collect(),
        });
        scenes.push(Scene {
            relay,
            stack: Stack::TcpTls,
            case: Case::Limit,
            pairs: vec![("ours", "ours"), ("ours", relay), (relay, "ours")],
        });
    }
    let by_quic = ["rust", "go"].map(|relay| (relay, Stack::Quic, Case::Whole));
    let binaries = EVERYBODY.map(|relay| (relay, Stack::TcpTls, Case::Binary));
    scenes.extend(
        by_quic
            .into_iter()
            .chain(binaries)
            .map(|(relay, stack, case)| Scene {
                relay,
                stack,
                case,
                pairs: vec![("ours", "ours")],
            }),
    );
    scenes
}

/// A peer by its name: ours, or a foreign one if it was built.
fn peer(name: &str) -> Option<Peer> {
    match name {
        "ours" => Some(Peer::new(name, env!("CARGO_BIN_EXE_circuit-peer").as_ref())),
        _ => Peer::from_env(name),
    }
}

fn play(scene: &Scene, report: &mut Report) {
    let Scene { stack, case, .. } = *scene;
    let here = || Deadline::within(PATIENCE);
    let data = match (case, scene.relay) {
        (Case::Limit, _) => Some(LIMIT),
        (_, "rust" | "js") => Some(BOTH_WAYS),
        _ => None,
    };
    let relay = peer(scene.relay).map(|peer| Relay::start(&peer, stack, data, here()));
    let mut destination: Option<(&str, Result<Destination>)> = None;
    for (to, from) in scene.pairs.iter().copied() {
        let row = [scene.relay, to, from, stack.name(), case.name()];
        let known = |(relay, there, _): &&(&str, &str, &str)| *relay == scene.relay && *there == to;
        if let Some((_, _, reason)) = IMPOSSIBLE.iter().find(known) {
            report.skip(&row, reason);
            continue;
        }
        let there = relay.as_ref().zip(peer(to)).zip(peer(from));
        let run = there.map(|((relay, to), from)| {
            let destination = &mut destination;
            move || {
                let relay = relay.as_ref().map_err(again)?;
                if case == Case::Binary {
                    return ends::binaries(relay, here());
                }
                let outcome = match destination {
                    Some((name, Ok(there))) if *name == to.name => {
                        there.reached(&from, stack, case, here())
                    }
                    _ => {
                        let there = Destination::reserve(&to, relay, stack, here());
                        let there = &mut destination.insert((name_of(&to), there)).1;
                        let there = there.as_mut().map_err(|error| again(error))?;
                        there.reached(&from, stack, case, here())
                    }
                };
                outcome.map_err(|error| anyhow!("{error:#}\n{}", relay.stderr_tail()))
            }
        });
        report.cell(&row, run);
    }
}

/// The name as it stands in the list of all.
fn name_of(peer: &Peer) -> &'static str {
    let known = EVERYBODY.into_iter().find(|name| *name == peer.name);
    known.unwrap_or_default()
}

/// An error that several cells have in common.
fn again(error: &anyhow::Error) -> anyhow::Error {
    anyhow!("{error:#}")
}

impl Case {
    fn name(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Limit => "limit",
            Self::Binary => "ping",
        }
    }
}
