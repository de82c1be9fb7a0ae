//! Suggests the setting that the user probably meant.

/// The sections of the file and their settings.
pub(super) const SETTINGS: &[(&str, &[&str])] = &[
    (
        "node",
        &[
            "data_dir",
            "listen",
            "bootstrap",
            "announce",
            "announce_detected",
            "no_announce",
            "agent",
        ],
    ),
    ("admin", &["listen", "open_reads", "hosts"]),
    (
        "limits",
        &[
            "max_inbound",
            "max_handshaking",
            "max_per_peer",
            "max_per_address",
            "rate_per_address",
            "burst_per_address",
            "max_per_subnet",
            "max_handshaking_per_subnet",
            "max_per_relay",
            "trim_idle_s",
            "exempt_private",
            "max_inbound_streams",
        ],
    ),
    ("ping", &["interval_s", "timeout_s", "failures"]),
    (
        "dial",
        &["rules", "timeout_s", "timeout_private_s", "total_timeout_s"],
    ),
    (
        "bootstrap",
        &[
            "file",
            "keep",
            "mdns",
            "saved",
            "wanted",
            "target",
            "attempt_s",
            "lasted_s",
            "settled_s",
            "base_s",
            "lost_cap_s",
            "lost_window_s",
            "isolated_cap_s",
            "cap_s",
            "max_lost",
            "max_dials",
        ],
    ),
    (
        "kademlia",
        &[
            "mode",
            "preset",
            "protocols",
            "namespaces",
            "alpha",
            "beta",
            "replication",
            "quorum",
            "query_timeout_s",
        ],
    ),
    ("quic", &["idle_timeout_s", "keep_alive_s"]),
    (
        "gossip",
        &[
            "topics",
            "max_topics",
            "max_message_size",
            "max_neighbours",
            "flood",
            "iroh_listen",
            "iroh_peers",
        ],
    ),
    (
        "relay",
        &[
            "server",
            "reserve_at",
            "reservations",
            "auto",
            "min_ttl_s",
            "terms",
        ],
    ),
];

/// The key for a variable's name without the double underscore, such as `node_listen` or `listen`.
pub(crate) fn with_section(name: &str) -> Option<String> {
    let all = SETTINGS
        .iter()
        .flat_map(|(section, keys)| keys.iter().map(move |key| (section, key)));
    let mut meant =
        all.filter(|(section, key)| name == **key || name == format!("{section}_{key}"));
    meant
        .next()
        .map(|(section, key)| format!("{section}.{key}"))
}

/// Whether this is a section of the file.
pub(crate) fn is_section(name: &str) -> bool {
    SETTINGS.iter().any(|(section, _)| *section == name)
}

/// The hint for an unknown section.
pub(super) fn section_instead(unknown: &str) -> String {
    let mut sections = SETTINGS.iter().map(|(section, _)| *section);
    match sections.clone().find(|name| is_near(name, unknown)) {
        Some(near) => format!("did you mean [{near}]?"),
        None => {
            let all: Vec<_> = sections.by_ref().map(|name| format!("[{name}]")).collect();
            format!("the sections are {}", all.join(", "))
        }
    }
}

/// The hint for an unknown name. `path` is the section, or empty. `place` spells a key as the user would write it in the file or
/// as a variable.
pub(crate) fn instead(
    path: &str,
    unknown: &str,
    expected: &[&str],
    place: impl Fn(&str) -> String,
) -> String {
    if let Some(near) = expected.iter().find(|name| is_near(name, unknown)) {
        return match path {
            "" => format!("did you mean the section {near}?"),
            _ => format!("did you mean {}?", place(&format!("{path}.{near}"))),
        };
    }
    let elsewhere = SETTINGS.iter().find(|(_, keys)| keys.contains(&unknown));
    match elsewhere {
        Some((section, _)) => format!("did you mean {}?", place(&format!("{section}.{unknown}"))),
        None if path.is_empty() => format!("the sections are {}", expected.join(", ")),
        None => format!("the settings of [{path}] are {}", expected.join(", ")),
    }
}

/// Whether the names differ in at most two letters, or only in the unit `_s`.
fn is_near(name: &str, other: &str) -> bool {
    let longer = name.len().max(other.len());
    longer <= 64
        && (name.strip_suffix("_s") == Some(other) || distance(name, other) <= longer.min(6) / 3)
}

/// The edit distance of two short names.
fn distance(one: &str, two: &str) -> usize {
    let two: Vec<char> = two.chars().collect();
    let mut row: Vec<usize> = (0..=two.len()).collect();
    for (n, a) in one.chars().enumerate() {
        let mut before = std::mem::replace(&mut row[0], n + 1);
        for (m, b) in two.iter().enumerate() {
            let replaced = before + usize::from(a != *b);
            before = row[m + 1];
            row[m + 1] = replaced.min(before + 1).min(row[m] + 1);
        }
    }
    row[two.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_a_slip_finds_the_name_that_was_meant() {
        let hint = |path: &str, unknown: &str, expected: &[&str]| {
            instead(path, unknown, expected, str::to_owned)
        };
        let node = SETTINGS[0].1;
        for (unknown, expected) in [
            ("lisen", "did you mean node.listen?"),
            ("bootstraps", "did you mean node.bootstrap?"),
            ("reserve_at", "did you mean relay.reserve_at?"),
            (
                "frobnicate",
                "the settings of [node] are data_dir, listen, bootstrap, announce, announce_detected, no_announce, agent",
            ),
        ] {
            assert_eq!(hint("node", unknown, node), expected);
        }
        assert_eq!(
            hint("", "nodes", &["node"]),
            "did you mean the section node?"
        );
        let interval = hint("ping", "interval", &["interval_s"]);
        assert_eq!(interval, "did you mean ping.interval_s?");
        assert_eq!(with_section("node_listen").as_deref(), Some("node.listen"));
        assert_eq!(with_section("listen").as_deref(), Some("node.listen"));
        assert_eq!(with_section("bin"), None);
    }
}
