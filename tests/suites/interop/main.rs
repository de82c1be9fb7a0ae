//! Foreign peers × stacks × who dials: in each cell both sides read the other's identify and pings are answered. And who
//! relays × who is reached × who reaches: in each cell bytes go there and back whole, or a limit cuts them off. And a DHT of
//! foreign servers and a Bowline server.
//!
//! `cargo xtask integration interop` builds the peers and names their programs in `PEER_RUST`, `PEER_GO` and `PEER_JS`.
//! The cells of a peer that is not named are skipped.

mod cells;
mod circuits;
mod dht;
mod report;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use tests::harness::peers::{Peer, Stack};
use tests::harness::process::Deadline;

use report::{Report, Tally};

const PEERS: [&str; 3] = ["rust", "go", "js"];

/// How long one cell may take, starts of the processes included.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Clone, Copy)]
enum Dialer {
    We,
    They,
}

fn main() -> ExitCode {
    let tally = direct() + circuits::run() + dht::run_all();
    println!("interop: {tally}");
    ExitCode::from(u8::from(tally.failed()))
}

fn direct() -> Tally {
    let mut report = Report::new(&["peer", "stack", "dialer"]);
    for name in PEERS {
        let peer = Peer::from_env(name);
        for stack in Stack::ALL {
            for dialer in [Dialer::We, Dialer::They] {
                let peer = peer.as_ref();
                let run = peer.map(|peer| move || cell(peer, stack, dialer));
                report.cell(&[name, stack.name(), dialer.name()], run);
            }
        }
    }
    report.finish()
}

fn cell(peer: &Peer, stack: Stack, dialer: Dialer) -> Result<String> {
    let deadline = Deadline::within(PATIENCE);
    match dialer {
        Dialer::We => cells::we_dial(peer, stack, deadline)?,
        Dialer::They => cells::they_dial(peer, stack, deadline)?,
    }
    Ok(String::new())
}

impl Dialer {
    fn name(self) -> &'static str {
        match self {
            Self::We => "we",
            Self::They => "they",
        }
    }
}
