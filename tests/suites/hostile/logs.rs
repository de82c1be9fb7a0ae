//! The lines that a node printed: which of them an attack caused.

use std::collections::BTreeSet;

use serde_json::Value;

/// The bytes of the lines that are not about honest peers. `is_honest` tells the address of an honest peer. A line without an
/// address, such as the first `state` line of a peer, may come before the line that has it.
pub(crate) fn bytes_of_attack(output: &str, is_honest: impl Fn(&str) -> bool) -> u64 {
    let lines = output.lines().map(|line| {
        let event: Value = serde_json::from_str(line).unwrap_or_default();
        let text = |field: &str| event[field].as_str().unwrap_or_default().to_owned();
        (text("peer_id"), is_honest(&text("address")), line)
    });
    let lines: Vec<_> = lines.collect();
    let honest = lines.iter().filter(|(_, at_honest, _)| *at_honest);
    let honest: BTreeSet<&str> = honest.map(|(peer, ..)| peer.as_str()).collect();
    let of_attack = lines.iter().filter(|(peer, at_honest, _)| {
        let is_of_honest = !peer.is_empty() && honest.contains(peer.as_str());
        !at_honest && !is_of_honest
    });
    of_attack.map(|(_, _, line)| line.len() as u64 + 1).sum()
}
