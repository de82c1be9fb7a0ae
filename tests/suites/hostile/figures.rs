//! What was measured during a flood, and the bounds that a node promises.

use std::collections::BTreeMap;

/// The share of honest connects that must be answered.
const ANSWERED: f64 = 0.95;

/// The memory that may be left 10 s after a flood, beyond what there was before it, in bytes.
const LEFT: u64 = 10 << 20;

/// The output that an attack may cause whatever it sends, in bytes: the first lines about each relay, peer and subnet.
const FIRST_LINES: u64 = 12 << 10;

/// The memory that a node may use for an open stream and for its connection, in bytes.
const PER_STREAM: u64 = 4 << 10;

/// The memory of one attacker that no payload explains, in bytes.
const UNEXPLAINED: u64 = 512 << 10;

/// The columns of the table.
pub(crate) const HEADING: [&str; 9] = [
    "flood",
    "honest answered",
    "by peer",
    "node dialed",
    "logged B",
    "received B",
    "logged/received",
    "MiB before/peak/after",
    "kept",
];

/// The figures of one flood.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    /// Per kind of honest peer: the connects that were answered, and all connects.
    pub(crate) honest: BTreeMap<String, (u32, u32)>,
    /// The connections that the node opened because of the attack.
    pub(crate) opened: u64,
    /// The largest permitted value of `opened`.
    pub(crate) opened_at_most: u64,
    /// The bytes that the attack made the node write to its outputs.
    pub(crate) logged: u64,
    /// The bytes that the attacker sent.
    pub(crate) received: u64,
    /// The resident memory before the flood, at its peak, and at most 10 s after it, in bytes.
    pub(crate) memory: [u64; 3],
    /// The memory that the node keeps on purpose after the flood, in bytes.
    pub(crate) cached: u64,
    /// The payload that the attacker sent and nobody read, and the streams that it opened: the memory at the peak is bounded.
    pub(crate) unread: Option<Unread>,
    /// What the attacker counted.
    pub(crate) note: String,
    /// Bounds of this flood only that do not hold.
    pub(crate) own: Vec<String>,
}

/// Payload and streams that a node may have to keep.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unread {
    pub(crate) payload: u64,
    pub(crate) streams: u64,
}

impl Unread {
    /// What may be kept: the cost of the open streams, 512 KiB, and twice the unread payload.
    fn bound(self) -> u64 {
        self.streams * PER_STREAM + UNEXPLAINED + 2 * self.payload
    }
}

impl Figures {
    /// The bounds that do not hold, one line per bound.
    pub(crate) fn broken(&self) -> Vec<String> {
        let mut broken = self.own.clone();
        if self.received == 0 {
            broken.push("the attacker sent nothing".to_owned());
        }
        let (answered, all) = self.answered();
        if f64::from(answered) < ANSWERED * f64::from(all) {
            broken.push(format!(
                "only {answered} of {all} honest connects were answered"
            ));
        }
        for (name, (answered, all)) in &self.honest {
            if *answered == 0 && *all > 0 {
                broken.push(format!("none of the {all} connects of {name} was answered"));
            }
        }
        if self.opened > self.opened_at_most {
            let most = self.opened_at_most;
            broken.push(format!(
                "the node opened {} connections, not {most}",
                self.opened
            ));
        }
        if self.logged > self.received + FIRST_LINES {
            let (logged, received) = (self.logged, self.received);
            broken.push(format!(
                "{received} bytes received made {logged} bytes of output"
            ));
        }
        let [before, peak, after] = self.memory;
        if after > before + LEFT + self.cached {
            let (before, after) = (mib(before), mib(after));
            broken.push(format!(
                "the memory was {before} MiB before and is {after} MiB 10 s after"
            ));
        }
        if let Some(unread) = self.unread {
            let (kept, bound) = (peak.saturating_sub(before), unread.bound() + LEFT);
            if kept > bound {
                let (kept, bound) = (mib(kept), mib(bound));
                broken.push(format!(
                    "the memory grew by {kept} MiB, but at most by {bound} MiB"
                ));
            }
        }
        broken
    }

    fn answered(&self) -> (u32, u32) {
        let honest = self.honest.values();
        honest.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    }

    /// A row of the table.
    pub(crate) fn row(&self, name: &str, kept: bool) -> [String; 9] {
        let (answered, all) = self.answered();
        let by_peer = self.honest.iter();
        let by_peer = by_peer.map(|(name, (answered, all))| format!("{name} {answered}/{all}"));
        let ratio = self.logged as f64 / self.received.max(1) as f64;
        [
            name.to_owned(),
            format!("{answered}/{all}"),
            by_peer.collect::<Vec<_>>().join(" "),
            self.opened.to_string(),
            self.logged.to_string(),
            self.received.to_string(),
            format!("{ratio:.3}"),
            self.memory.map(mib).join("/"),
            if kept { "yes" } else { "NO" }.to_owned(),
        ]
    }
}

fn mib(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / f64::from(1 << 20))
}
