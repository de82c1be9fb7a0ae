//! Decides which inbound handshakes are admitted, which must first prove their address, and which
//! are refused.
//!
//! There are two budgets: one for handshakes whose address a token has proved, and one for all
//! other handshakes. Spoofed packets can use up only the second budget. While it is used up, a
//! newcomer needs one more round trip to get a token, and then counts under the first budget. A
//! token bucket also bounds the rate of unvalidated handshakes. This module reads no clock.

use std::{
    collections::{BTreeMap, VecDeque},
    net::{IpAddr, Ipv6Addr},
    time::{Duration, Instant},
};

use quinn_proto::ConnectionId;

use crate::config::Config;

/// How many ids of handshakes that were asked for a token are remembered: about 6 KiB.
const MAX_ASKED: usize = 256;

/// What becomes of an inbound handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Let it in. It counts until [`Meter::handle_end`].
    Admit,
    /// Ask for a Retry round trip, which proves the address (RFC 9000 section 8.1.2).
    Retry,
    /// Refuse it: no room.
    Refuse,
}

/// Counts handshakes in progress.
#[derive(Debug)]
pub(crate) struct Meter {
    /// Unvalidated handshakes per second that are let in.
    rate: u32,
    max_validated: usize,
    max_unvalidated: usize,
    max_per_address: usize,
    validated: usize,
    unvalidated: usize,
    /// Unvalidated handshakes in progress by source; no entry is zero.
    sources: BTreeMap<IpAddr, usize>,
    /// Bucket content in billionths of a handshake: no rounding at any rate.
    level: u64,
    filled: Option<Instant>,
    /// The connection ids of the handshakes that were asked for a token, the latest last. The first flight of a handshake may
    /// have several datagrams, and each that comes after the answer to the first looks like a newcomer.
    asked: VecDeque<ConnectionId>,
}

const WHOLE: u64 = 1_000_000_000;

impl Meter {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            rate: config.retry_above,
            max_validated: config.max_incoming,
            max_unvalidated: config.max_unvalidated,
            max_per_address: config.max_unvalidated_per_address,
            validated: 0,
            unvalidated: 0,
            sources: BTreeMap::new(),
            level: u64::from(config.retry_above) * WHOLE,
            filled: None,
            asked: VecDeque::new(),
        }
    }

    /// Decides about a handshake that arrives from `source`. `id` is the connection id to which its first packets are sent.
    pub(crate) fn handle_incoming(
        &mut self,
        now: Instant,
        source: IpAddr,
        validated: bool,
        id: ConnectionId,
    ) -> Verdict {
        if validated {
            if self.validated >= self.max_validated {
                return Verdict::Refuse;
            }
            self.validated += 1;
            return Verdict::Admit;
        }
        self.fill(now);
        if self.asked.contains(&id) {
            // The answer to the first packet may be lost.
            return Verdict::Retry;
        }
        let source = block(source);
        let from_there = self.sources.get(&source).copied().unwrap_or(0);
        if self.level < WHOLE
            || self.unvalidated >= self.max_unvalidated
            || from_there >= self.max_per_address
        {
            self.handle_asked(id);
            return Verdict::Retry;
        }
        self.level -= WHOLE;
        self.unvalidated += 1;
        self.sources.insert(source, from_there + 1);
        Verdict::Admit
    }

    /// The handshake with this id is asked for a token.
    pub(crate) fn handle_asked(&mut self, id: ConnectionId) {
        if self.asked.len() == MAX_ASKED {
            self.asked.pop_front();
        }
        self.asked.push_back(id);
    }

    /// An admitted handshake has ended.
    pub(crate) fn handle_end(&mut self, source: IpAddr, validated: bool) {
        if validated {
            self.validated = self.validated.saturating_sub(1);
            return;
        }
        self.unvalidated = self.unvalidated.saturating_sub(1);
        let source = block(source);
        if let Some(count) = self.sources.get_mut(&source) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.sources.remove(&source);
            }
        }
    }

    fn fill(&mut self, now: Instant) {
        let last = *self.filled.get_or_insert(now);
        let passed = now
            .saturating_duration_since(last)
            .min(Duration::from_secs(1));
        let passed = u64::try_from(passed.as_nanos()).unwrap_or(WHOLE);
        let full = u64::from(self.rate) * WHOLE;
        self.level = (self.level + passed * u64::from(self.rate)).min(full);
        self.filled = Some(last.max(now));
    }
}

/// What counts as one source: an IPv4 address, or the IPv6 /64 that one host can use freely.
fn block(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V4(ip) => ip.into(),
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    /// Only the rate limits.
    fn meter(rate: u32) -> Meter {
        let mut config = Config::default().with_retry_above(rate);
        config.max_unvalidated = usize::MAX;
        config.max_unvalidated_per_address = usize::MAX;
        Meter::new(&config)
    }

    /// A handshake whose id nobody has seen before.
    fn incoming(meter: &mut Meter, now: Instant, source: IpAddr, validated: bool) -> Verdict {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let id = ConnectionId::new(&NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes());
        meter.handle_incoming(now, source, validated, id)
    }

    fn admitted(meter: &mut Meter, now: Instant, tries: usize) -> usize {
        (0..tries)
            .filter(|_| incoming(meter, now, HERE, false) == Verdict::Admit)
            .count()
    }

    #[test]
    fn up_to_the_rate_all_are_let_in_and_the_next_must_retry() {
        let mut meter = meter(1000);
        let now = Instant::now();
        assert_eq!(admitted(&mut meter, now, 1000), 1000);
        assert_eq!(incoming(&mut meter, now, HERE, false), Verdict::Retry);
    }

    #[test]
    fn by_default_handshakes_that_fail_at_once_get_in_64_times_a_second_without_a_proof() {
        let mut meter = Meter::new(&Config::default());
        let start = Instant::now();
        let mut let_in = 0;
        for millis in 0..10_000 {
            let now = start + Duration::from_millis(millis);
            if incoming(&mut meter, now, HERE, false) == Verdict::Admit {
                meter.handle_end(HERE, false);
                let_in += 1;
            }
        }
        println!("{let_in} of 10,000 forged handshakes in 10 s were let in");
        assert_eq!(let_in, 64 + 639);
    }

    #[test]
    fn the_bucket_fills_at_the_rate_and_no_further() {
        let mut meter = meter(1000);
        let start = Instant::now();
        assert_eq!(admitted(&mut meter, start, 5000), 1000);
        let later = start + Duration::from_millis(10);
        assert_eq!(admitted(&mut meter, later, 5000), 10);
        let much_later = start + Duration::from_secs(3600);
        assert_eq!(admitted(&mut meter, much_later, 5000), 1000);
    }

    #[test]
    fn a_validated_address_takes_nothing_from_the_bucket() {
        let mut meter = meter(1);
        let now = Instant::now();
        for _ in 0..10 {
            assert_eq!(incoming(&mut meter, now, HERE, true), Verdict::Admit);
        }
        assert_eq!(incoming(&mut meter, now, HERE, false), Verdict::Admit);
        assert_eq!(incoming(&mut meter, now, HERE, false), Verdict::Retry);
    }

    #[test]
    fn unvalidated_handshakes_fill_their_own_budget_and_validated_ones_theirs() {
        let config = Config::default()
            .with_max_incoming(2)
            .with_max_unvalidated(3);
        let mut meter = Meter::new(&config);
        let now = Instant::now();
        for _ in 0..3 {
            assert_eq!(incoming(&mut meter, now, HERE, false), Verdict::Admit);
        }
        assert_eq!(incoming(&mut meter, now, HERE, false), Verdict::Retry);
        for _ in 0..2 {
            assert_eq!(incoming(&mut meter, now, HERE, true), Verdict::Admit);
        }
        assert_eq!(incoming(&mut meter, now, HERE, true), Verdict::Refuse);

        meter.handle_end(HERE, false);
        assert_eq!(incoming(&mut meter, now, HERE, true), Verdict::Refuse);
        assert_eq!(incoming(&mut meter, now, HERE, false), Verdict::Admit);
        meter.handle_end(HERE, true);
        assert_eq!(incoming(&mut meter, now, HERE, true), Verdict::Admit);
    }

    #[test]
    fn one_source_fills_its_share_and_leaves_the_rest_to_others() {
        let config = Config::default().with_max_unvalidated_per_address(2);
        let mut meter = Meter::new(&config);
        let now = Instant::now();
        let six = |last: u16| IpAddr::from([0x2001, 0xdb8, 0, 1, 0, 0, 0, last]);
        let mapped: IpAddr = "::ffff:127.0.0.1".parse().unwrap();
        let other_six: IpAddr = "2001:db8:0:2::1".parse().unwrap();
        for (first, second, other) in [(HERE, mapped, six(9)), (six(1), six(2), other_six)] {
            let mut meter = Meter::new(&config);
            assert_eq!(incoming(&mut meter, now, first, false), Verdict::Admit);
            assert_eq!(incoming(&mut meter, now, second, false), Verdict::Admit);
            assert_eq!(incoming(&mut meter, now, first, false), Verdict::Retry);
            assert_eq!(incoming(&mut meter, now, other, false), Verdict::Admit);
            meter.handle_end(second, false);
            assert_eq!(incoming(&mut meter, now, first, false), Verdict::Admit);
        }
        incoming(&mut meter, now, HERE, false);
        meter.handle_end(HERE, false);
        assert!(meter.sources.is_empty(), "nothing is kept of a source");
    }

    #[test]
    fn a_rate_of_zero_asks_every_newcomer() {
        let mut meter = meter(0);
        let verdict = incoming(&mut meter, Instant::now(), HERE, false);
        assert_eq!(verdict, Verdict::Retry);
    }

    #[test]
    fn a_clock_that_steps_back_gives_no_credit() {
        let mut meter = meter(10);
        let now = Instant::now() + Duration::from_secs(10);
        assert_eq!(admitted(&mut meter, now, 100), 10);
        let before = now - Duration::from_secs(5);
        assert_eq!(admitted(&mut meter, before, 100), 0);
        assert_eq!(admitted(&mut meter, now, 100), 0);
    }

    #[test]
    fn the_rest_of_a_flight_whose_first_datagram_was_asked_for_a_token_is_no_new_handshake() {
        let mut meter = meter(1);
        let start = Instant::now();
        let later = start + Duration::from_secs(5);
        let [first, second] = [[1; 8], [2; 8]].map(|id| ConnectionId::new(&id));
        for (now, validated, id, expected) in [
            (start, false, first, Verdict::Admit),
            (start, false, second, Verdict::Retry),
            (later, false, second, Verdict::Retry),
            (later, true, second, Verdict::Admit),
        ] {
            let verdict = meter.handle_incoming(now, HERE, validated, id);
            assert_eq!(verdict, expected, "{id}, validated: {validated}");
        }
        assert_eq!(incoming(&mut meter, later, HERE, false), Verdict::Admit);

        for number in 0..MAX_ASKED + 10 {
            meter.handle_asked(ConnectionId::new(&number.to_le_bytes()));
        }
        assert_eq!(meter.asked.len(), MAX_ASKED);
        assert!(!meter.asked.contains(&second), "the oldest are forgotten");
    }
}
