//! The limit of open files, and the node's limits that depend on it.
//!
//! A TCP connection takes one file descriptor. The node itself takes up to [`NODE_DESCRIPTORS`], and its two admin listeners take up to
//! [`ADMIN_DESCRIPTORS`]. A running dial attempt counts as two descriptors, because it tries IPv4 and IPv6 at the same time. A handshake
//! counts as two, because a displaced handshake may still be open. Connections that the node has dialed are not counted.
//! Connections over QUIC or a relay take no descriptor, but count like TCP connections.

use node::Config;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::failure::Failure;

/// The descriptors of the node itself: three standard streams, four of the runtime, three of the signals, two of the lock, six
/// listeners, two sockets for QUIC dials, eight in reserve for the admin endpoint, and some for DNS and files.
const NODE_DESCRIPTORS: usize = 32;

/// The connections of two admin listeners.
const ADMIN_DESCRIPTORS: usize = 64;

/// The highest limit that macOS accepts if the hard limit is unlimited.
const MACOS: u64 = 10_240;

/// The soft limit of open files. `None`: not limited.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SoftLimit {
    /// At the start of the process.
    pub(crate) before: Option<u64>,
    /// From now on.
    pub(crate) now: Option<u64>,
}

/// Raises the soft limit of open files to the hard limit.
///
/// # Errors
///
/// The limit is below [`NODE_DESCRIPTORS`]. An idle node with the default listeners and both admin listeners has 26 descriptors
/// open. Below 23, its admin endpoint does not answer, and below 30, it answers no ping after a flood of connections.
pub(crate) fn raise() -> Result<SoftLimit, Failure> {
    let before = getrlimit(Resource::Nofile);
    let maximum = before.maximum;
    for current in [
        maximum,
        Some(maximum.map_or(MACOS, |limit| limit.min(MACOS))),
    ] {
        let is_higher = before
            .current
            .is_some_and(|now| current.is_none_or(|new| new > now));
        if !is_higher || setrlimit(Resource::Nofile, Rlimit { current, maximum }).is_ok() {
            break;
        }
    }
    let now = getrlimit(Resource::Nofile).current;
    check(now).map_err(Failure::usage)?;
    let before = before.current;
    Ok(SoftLimit { before, now })
}

fn check(limit: Option<u64>) -> Result<(), String> {
    match limit {
        Some(limit) if limit < NODE_DESCRIPTORS as u64 => Err(format!(
            "the limit of open files is {limit}, and a node needs at least {NODE_DESCRIPTORS}; raise the hard limit (ulimit -n, LimitNOFILE)"
        )),
        _ => Ok(()),
    }
}

/// Lowers the limits in `config` so that the node stays below `limit` open files. Returns a line about the limits, and whether
/// the node had to lower them.
pub(crate) fn fit(limit: Option<u64>, config: &mut Config) -> (String, bool) {
    let Some(limit) = limit else {
        let inbound = config.limits.max_inbound;
        return (
            format!("open files are not limited; max_inbound is {inbound}"),
            false,
        );
    };
    let wanted = Shares::of(config);
    let fitting = wanted.fit(usize::try_from(limit).unwrap_or(usize::MAX));
    let inbound = fitting.inbound;
    if fitting == wanted {
        let line = format!("the limit of open files is {limit}; max_inbound is {inbound}");
        return (line, false);
    }
    fitting.apply(&wanted, config);
    let line = format!(
        "the limit of open files is only {limit}: max_inbound is {inbound} instead of {}, max_handshaking {} instead of {}, and \
         simultaneous dial attempts {} instead of {}; raise the hard limit (ulimit -Hn, LimitNOFILE)",
        wanted.inbound, fitting.handshaking, wanted.handshaking, fitting.dials, wanted.dials
    );
    (line, true)
}

/// The limits that take descriptors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shares {
    inbound: usize,
    handshaking: usize,
    dials: usize,
}

impl Shares {
    fn of(config: &Config) -> Self {
        Self {
            inbound: config.limits.max_inbound,
            handshaking: config.limits.max_handshaking,
            dials: config.dials,
        }
    }

    /// The free descriptors are those that the node does not need itself. Handshakes get at most a quarter of them, and dials at
    /// most an eighth. Inbound connections get the remainder after the admin endpoint, or half of the free descriptors if that is
    /// more. No limit is below one.
    fn fit(self, limit: usize) -> Self {
        let free = limit.saturating_sub(NODE_DESCRIPTORS);
        let handshaking = self.handshaking.min((free / 8).max(1));
        let dials = self.dials.min((free / 16).max(1));
        let taken = ADMIN_DESCRIPTORS.saturating_add(2 * (handshaking + dials));
        let rest = free.saturating_sub(taken).max(free / 2).max(1);
        Self {
            inbound: self.inbound.min(rest),
            handshaking,
            dials,
        }
    }

    /// The shares of a subnet and of a relay shrink with the number of inbound connections.
    fn apply(self, wanted: &Self, config: &mut Config) {
        let shrunk = |of: usize, from: usize, to: usize| match to < from {
            true => (of.saturating_mul(to) / from).max(1),
            false => of,
        };
        let limits = config.limits.clone();
        let of_subnet = shrunk(limits.max_per_subnet, wanted.inbound, self.inbound);
        let of_relay = shrunk(limits.max_per_relay, wanted.inbound, self.inbound);
        let handshaking_of_subnet = limits.max_handshaking_per_subnet;
        let handshaking_of_subnet =
            shrunk(handshaking_of_subnet, wanted.handshaking, self.handshaking);
        config.dials = self.dials;
        config.limits = limits
            .with_max_inbound(self.inbound)
            .with_max_handshaking(self.handshaking)
            .with_max_per_subnet(of_subnet, handshaking_of_subnet)
            .with_max_per_relay(of_relay);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WANTED: Shares = Shares {
        inbound: 1_152,
        handshaking: 64,
        dials: 160,
    };

    fn fit(limit: usize) -> [usize; 3] {
        let Shares {
            inbound,
            handshaking,
            dials,
        } = WANTED.fit(limit);
        [inbound, handshaking, dials]
    }

    #[test]
    fn a_node_starts_with_32_open_files_and_not_with_31() {
        let refused = check(Some(31)).unwrap_err();
        for named in ["is 31,", "at least 32", "ulimit -n"] {
            assert!(refused.contains(named), "{refused}");
        }
        assert_eq!(check(Some(32)), Ok(()));
        assert_eq!(check(None), Ok(()));
    }

    #[test]
    fn the_soft_limit_becomes_the_hard_limit() {
        let hard = getrlimit(Resource::Nofile).maximum;
        let lower = Rlimit {
            current: Some(100),
            maximum: hard,
        };
        setrlimit(Resource::Nofile, lower).unwrap();
        let raised = raise().unwrap();
        assert_eq!(raised.before, Some(100));
        let expected = match cfg!(target_os = "macos") {
            true => Some(hard.map_or(MACOS, |hard| hard.min(MACOS))),
            false => hard,
        };
        assert_eq!(raised.now, expected);
        assert_eq!(getrlimit(Resource::Nofile).current, expected);
    }

    #[test]
    fn a_high_limit_changes_nothing_and_one_descriptor_less_costs_one_connection() {
        // Dials get an eighth, two descriptors each.
        let enough = NODE_DESCRIPTORS + 16 * WANTED.dials;
        assert_eq!(fit(enough), [1_152, 64, 160]);
        assert_eq!(fit(enough - 1), [1_152, 64, 159]);
        let needed = |dials: usize| NODE_DESCRIPTORS + ADMIN_DESCRIPTORS + 2 * (64 + dials) + 1_152;
        let dials = 96;
        assert_eq!((needed(dials) - NODE_DESCRIPTORS) / 16, dials);
        assert_eq!(fit(needed(dials)), [1_152, 64, dials]);
        assert_eq!(fit(needed(dials) - 16)[0], 1_138);
        assert_eq!(fit(usize::MAX), [1_152, 64, 160]);
    }

    #[test]
    fn the_sum_of_all_shares_stays_below_every_usable_limit() {
        assert_eq!(fit(64), [16, 4, 2]);
        for limit in 64..4_096 {
            let [inbound, handshaking, dials] = fit(limit);
            let sum = NODE_DESCRIPTORS + inbound + 2 * (handshaking + dials);
            assert!(sum < limit, "{limit}: {sum}");
            assert!(inbound >= (limit - NODE_DESCRIPTORS) / 2 || inbound == WANTED.inbound);
        }
        assert_eq!(fit(0), [1, 1, 1]);
    }

    #[test]
    fn the_shares_of_a_subnet_and_a_relay_shrink_with_the_whole() {
        let mut config = Config::default();
        let limits = config.limits.with_max_inbound(800);
        config.limits = limits.with_max_per_subnet(200, 16).with_max_per_relay(400);
        let (line, is_lower) = super::fit(Some(64), &mut config);
        assert!(is_lower && line.contains("16 instead of 800"), "{line}");
        let limits = &config.limits;
        assert_eq!((limits.max_inbound, limits.max_handshaking), (16, 4));
        assert_eq!((limits.max_per_subnet, limits.max_per_relay), (4, 8));
        assert_eq!((limits.max_handshaking_per_subnet, config.dials), (1, 2));
        let (line, is_lower) = super::fit(Some(1 << 20), &mut config);
        assert!(!is_lower && line.contains("max_inbound is 16"), "{line}");
    }
}
