//! The lines that a node printed: which of them an attack caused.

use std::collections::BTreeSet;

use serde_json::Value;

/// The bytes of the lines that are not about honest peers. `is_honest` tells the address of an honest peer.
pub(crate) fn bytes_of_attack(output: &str, is_honest: impl Fn(&str) -> bool) -> u64 {
    let mut honest: BTreeSet<String> = BTreeSet::new();
    let mut bytes = 0;
    for line in output.lines() {
        let event: Value = serde_json::from_str(line).unwrap_or_default();
        let text = |field: &str| event[field].as_str().unwrap_or_default().to_owned();
        let (peer, at_honest) = (text("peer_id"), is_honest(&text("address")));
        if at_honest && !peer.is_empty() {
            honest.insert(peer.clone());
        }
        if !at_honest && !honest.contains(&peer) {
            bytes += line.len() as u64 + 1;
        }
    }
    bytes
}
