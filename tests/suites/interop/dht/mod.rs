//! A DHT of foreign servers and Bowline servers. Bowline joins through one server and finds the others, and each of them finds
//! Bowline. Then newcomers join through Bowline: they read what Bowline has stored, and Bowline reads what they have stored.

mod cells;
mod network;

use anyhow::Result;
use tests::harness::peers::{Peer, Stack};
use tests::harness::process::Deadline;

use crate::PATIENCE;
use crate::report::{Report, Tally};
use network::Network;

/// The first one that was built is the server through which Bowline joins.
const PEERS: [&str; 3] = ["go", "rust", "js"];

const STACKS: [Stack; 2] = [Stack::TcpTls, Stack::Quic];

/// A step of the peer with this name.
type Step = fn(&mut Network, &str, Deadline) -> Result<String>;

pub(crate) fn run_all() -> Tally {
    let mut report = Report::new(&["peer", "stack", "case"]);
    let peers: Vec<Peer> = PEERS.into_iter().filter_map(Peer::from_env).collect();
    for stack in STACKS {
        if !peers.is_empty() {
            of_stack(&peers, stack, &mut report);
        }
        for name in PEERS {
            if !peers.iter().any(|peer| peer.name == name) {
                report.skip(&[name, stack.name(), "all"], "the program was not built");
            }
        }
    }
    report.finish()
}

fn of_stack(peers: &[Peer], stack: Stack, report: &mut Report) {
    let names: Vec<&str> = peers.iter().map(|peer| &peer.name[..]).collect();
    let all = names.join(", ");
    let mut network = match Network::start(peers, stack, Deadline::within(PATIENCE)) {
        Ok(network) => network,
        Err(error) => {
            return report.cell(&[&all, stack.name(), "start"], Some(|| Err(error)));
        }
    };
    steps(&mut network, &names, stack, &cells::OF_SERVERS, report);
    let come = network.let_newcomers_in(peers, stack, Deadline::within(PATIENCE));
    if let Err(error) = come {
        return report.cell(&[&all, stack.name(), "newcomers"], Some(|| Err(error)));
    }
    steps(&mut network, &names, stack, &cells::OF_NEWCOMERS, report);
}

fn steps(
    network: &mut Network,
    names: &[&str],
    stack: Stack,
    steps: &[(&str, Step)],
    report: &mut Report,
) {
    for name in names {
        for (case, step) in steps {
            let known_by = [*name, stack.name(), *case];
            match cells::unsupported(name, case) {
                Some(reason) => report.skip(&known_by, reason),
                None => {
                    let run = || step(network, name, Deadline::within(PATIENCE));
                    report.cell(&known_by, Some(run));
                }
            }
        }
    }
}
