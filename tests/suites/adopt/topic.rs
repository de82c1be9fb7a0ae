//! Three members of a topic on iroh endpoints. Alice and Bob use gossip-net, and Carol uses iroh-gossip.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use tests::harness::process::{Deadline, run as run_program};

/// The program, the target and the case, for tables.
pub(crate) const NAMES: [&str; 3] = ["iroh", "gossip-net", "one topic with iroh-gossip"];

/// All lines of a run in which each member has both others as neighbours and receives the message of each of them once. Carol does
/// not know the protocols of her connections.
const EXPECTED: [&str; 13] = [
    "alice has the neighbour bob over /bowline/gossip/1",
    "alice has the neighbour carol over /iroh-gossip/1",
    "bob has the neighbour alice over /bowline/gossip/1",
    "bob has the neighbour carol over /iroh-gossip/1",
    "carol has the neighbour alice over ",
    "carol has the neighbour bob over ",
    "alice receives: from bob",
    "alice receives: from carol",
    "bob receives: from alice",
    "bob receives: from carol",
    "carol receives: from alice",
    "carol receives: from bob",
    "bob has left alice",
];

/// Nothing, if the program was not named.
pub(crate) fn run(deadline: Deadline) -> Option<Result<()>> {
    let folder = std::env::var_os("PEER_ADOPT")?;
    Some(check(&Path::new(&folder).join("iroh-adopt"), deadline))
}

fn check(program: &Path, deadline: Deadline) -> Result<()> {
    let finished = run_program("iroh", &mut Command::new(program), deadline)?;
    let events = finished.events()?;
    let lines = events.iter().map(|event| {
        let [member, peer, protocol, text] =
            ["member", "peer", "protocol", "text"].map(|field| event.text(field));
        match event.kind() {
            "neighbour" => format!("{member} has the neighbour {peer} over {protocol}"),
            "message" => format!("{member} receives: {text}"),
            "left" => format!("{peer} has left {member}"),
            _ => event.0.to_string(),
        }
    });
    let lines = lines.collect::<Vec<_>>();
    let distinct = lines.iter().map(String::as_str).collect::<BTreeSet<_>>();
    ensure!(
        finished.code == Some(0)
            && lines.len() == EXPECTED.len()
            && distinct == BTreeSet::from(EXPECTED),
        "exit code {:?} with the lines {lines:#?} and the log\n{}",
        finished.code,
        finished.stderr.join("\n  ")
    );
    Ok(())
}
