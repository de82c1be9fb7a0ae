//! Which connections make room for new ones.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use super::{ip, limits, up};
use crate::{Closing, Limits, LimitsConfig, Refused};

const SECOND: Duration = Duration::from_secs(1);

/// Every connection that makes room, and is then closed.
fn closed(limits: &mut Limits<u64, u8>) -> Vec<(u64, Closing)> {
    let actions: Vec<_> = std::iter::from_fn(|| limits.poll_action()).collect();
    for (id, _) in &actions {
        limits.handle_closed(*id);
    }
    actions
}

fn displaced(limits: &mut Limits<u64, u8>) -> Vec<u64> {
    let all = closed(limits).into_iter();
    all.map(|(id, closing)| {
        assert_eq!(closing, Closing::Displaced);
        id
    })
    .collect()
}

/// `count` handshakes from one /24, each from its own address, numbered from `first`.
fn flood(limits: &mut Limits<u64, u8>, now: Instant, subnet: u8, first: u64, count: u64) {
    for n in 0..count {
        let address = IpAddr::V4([198, 51, subnet, n as u8].into());
        limits.handle_inbound(now, first + n, address).unwrap();
    }
}

#[test]
fn a_full_pool_displaces_the_oldest_silent_handshake_of_the_busiest_subnet() {
    let config = LimitsConfig::default()
        .with_max_handshaking(6)
        .with_max_per_subnet(64, 64);
    let mut limits = limits(config);
    let now = Instant::now();
    flood(&mut limits, now, 1, 10, 2);
    flood(&mut limits, now, 2, 20, 4);
    assert_eq!(displaced(&mut limits), []);
    limits.handle_advanced(20);
    limits.handle_inbound(now, 1, ip("192.0.2.1")).unwrap();
    assert_eq!(displaced(&mut limits), [21], "silent before advanced");
    limits.handle_inbound(now, 2, ip("192.0.3.1")).unwrap();
    assert_eq!(displaced(&mut limits), [22]);
    // The two subnets are equal now, and the oldest silent one goes.
    limits.handle_inbound(now, 3, ip("192.0.4.1")).unwrap();
    assert_eq!(displaced(&mut limits), [10]);
    limits.handle_inbound(now, 4, ip("192.0.4.2")).unwrap();
    assert_eq!(displaced(&mut limits), [23]);
    // A subnet that is the busiest displaces its own.
    limits.handle_inbound(now, 5, ip("192.0.4.3")).unwrap();
    assert_eq!(displaced(&mut limits), [3]);
}

#[test]
fn a_flood_from_one_place_never_displaces_a_handshake_from_another_even_if_it_is_exempt() {
    for place in ["203.0.113.", "10.0.0.", "127.0.0."] {
        let config = LimitsConfig::default().with_max_per_subnet(64, 64);
        let mut limits = limits(config);
        let now = Instant::now();
        limits.handle_inbound(now, 1, ip("192.0.2.1")).unwrap();
        for n in 0..200 {
            let address = ip(&format!("{place}{n}"));
            limits.handle_inbound(now, 1_000 + n, address).unwrap();
            assert!(!displaced(&mut limits).contains(&1), "{place}");
        }
        assert_eq!(limits.handshaking(), 64);
        up(&mut limits, now, 1, 1).unwrap();
    }
}

#[test]
fn handshakes_are_ended_sooner_the_fuller_the_pool_is() {
    let config = LimitsConfig::default()
        .with_max_handshaking(8)
        .with_max_per_subnet(64, 64);
    let mut limits = limits(config);
    let begin = Instant::now();
    flood(&mut limits, begin, 1, 10, 4);
    // Half full: the whole 30 s. With a fifth handshake 23 s, with a sixth 16 s, and with an eighth 2 s.
    let late = begin + 23 * SECOND - Duration::from_millis(1);
    flood(&mut limits, late, 2, 20, 2);
    assert_eq!(closed(&mut limits), []);
    flood(&mut limits, begin + 23 * SECOND, 3, 30, 1);
    let timed_out = [10, 11].map(|id| (id, Closing::TooLongTransient));
    assert_eq!(closed(&mut limits), timed_out, "until four are left");
}

#[test]
fn when_all_places_are_taken_the_longest_idle_connection_of_the_busiest_subnet_is_trimmed() {
    let config = LimitsConfig::default().with_max_inbound(5);
    let mut limits = limits(config);
    let mut now = Instant::now();
    let mut usages = Vec::new();
    for (id, address) in [
        (1, "192.0.2.1"),
        (2, "198.51.100.1"),
        (3, "198.51.100.2"),
        (4, "198.51.100.3"),
        (5, "203.0.113.1"),
    ] {
        limits.handle_inbound(now, id, ip(address)).unwrap();
        usages.push(up(&mut limits, now, id, id as u8).unwrap());
        now += SECOND;
    }
    // 2 is in use, and 3 was in use after 4.
    usages[1].handle_opened();
    usages[2].handle_opened();
    usages[2].handle_closed(now);
    let newcomer = |limits: &mut Limits<u64, u8>, now, id| {
        limits.handle_inbound(now, id, ip(&format!("100.64.{id}.1")))?;
        let outcome = up(limits, now, id, id as u8);
        if outcome.is_err() {
            limits.handle_closed(id);
        }
        outcome.map(drop)
    };
    let full = Err(Refused::TooManyInbound { limit: 5 });
    now = now + 5 * SECOND - Duration::from_millis(1);
    assert_eq!(newcomer(&mut limits, now, 6), full, "none is idle for 10 s");
    now += 5 * SECOND + Duration::from_millis(1);
    for expected in [4, 1, 3] {
        if expected == 3 {
            limits.handle_protected(5);
        }
        newcomer(&mut limits, now, 10 + expected).unwrap();
        assert_eq!(closed(&mut limits), [(expected, Closing::Trimmed)]);
    }
    assert_eq!(newcomer(&mut limits, now, 7), full, "5 is protected");
    now += 9 * SECOND;
    assert_eq!(newcomer(&mut limits, now, 7), full);
    limits.handle_unprotected(5);
    now += SECOND;
    // The newcomers are idle too, but not for longer.
    newcomer(&mut limits, now, 7).unwrap();
    assert_eq!(closed(&mut limits), [(5, Closing::Trimmed)]);
}

#[test]
fn a_silent_flood_closes_no_connection_that_is_up() {
    let config = LimitsConfig::default().with_max_inbound(4);
    let mut limits = limits(config);
    let mut now = Instant::now();
    for id in 0..4 {
        limits.handle_inbound(now, id, ip("127.0.0.1")).unwrap();
        up(&mut limits, now, id, id as u8).unwrap();
    }
    now += 20 * SECOND;
    for id in 10..1_000 {
        limits.handle_inbound(now, id, ip("127.0.0.2")).unwrap();
        assert!(displaced(&mut limits).iter().all(|id| *id >= 10));
    }
    assert_eq!((limits.inbound(), limits.handshaking()), (4 + 64, 64));
}

#[test]
fn while_many_connections_are_on_their_way_out_no_more_make_room() {
    let config = LimitsConfig::default().with_max_handshaking(2);
    let mut limits = limits(config);
    let now = Instant::now();
    for id in 0..4 {
        limits.handle_inbound(now, id, ip("127.0.0.1")).unwrap();
    }
    let full = Err(Refused::TooManyUnclosed { limit: 2 });
    assert_eq!(limits.handle_inbound(now, 4, ip("127.0.0.1")), full);
    let late = up(&mut limits, now, 0, 1).unwrap_err();
    assert_eq!(late, Refused::Displaced);
    closed(&mut limits);
    limits.handle_inbound(now, 4, ip("127.0.0.1")).unwrap();
}

#[test]
fn a_host_that_skips_its_actions_after_a_refusal_is_not_locked_out() {
    let config = LimitsConfig::default()
        .with_max_handshaking(3)
        .with_max_per_address(1);
    let mut limits = limits(config);
    let (mut now, taken) = (Instant::now(), ip("192.0.2.1"));
    limits.handle_inbound(now, 0, taken).unwrap();
    up(&mut limits, now, 0, 1).unwrap();
    for round in 1..50_u8 {
        for place in 0..3 {
            let id = u64::from(round) * 4 + u64::from(place);
            let address = IpAddr::V4([10, round, place, 1].into());
            limits.handle_inbound(now, id, address).unwrap();
            closed(&mut limits);
        }
        // All three handshakes take too long. The newcomer that displaces them is refused, and the host returns early.
        now += 60 * SECOND;
        let refused = limits.handle_inbound(now, 1, taken).unwrap_err();
        assert!(matches!(refused, Refused::TooManyFromAddress { .. }));
    }
}

#[test]
fn one_relay_brings_no_more_circuits_than_its_share_and_they_count_as_inbound() {
    let config = LimitsConfig::default()
        .with_max_inbound(4)
        .with_max_per_relay(2);
    let mut limits = limits(config);
    let now = Instant::now();
    for id in 0..2 {
        limits.handle_circuit(now, id, 100).unwrap();
        up(&mut limits, now, id, id as u8).unwrap();
    }
    let refused = limits.handle_circuit(now, 2, 100);
    assert_eq!(refused, Err(Refused::TooManyFromRelay { limit: 2 }));
    for id in 2..4 {
        limits.handle_circuit(now, id, 101).unwrap();
        up(&mut limits, now, id, id as u8).unwrap();
    }
    let refused = limits.handle_inbound(now, 4, ip("127.0.0.1"));
    assert_eq!(refused, Err(Refused::TooManyInbound { limit: 4 }));
    limits.handle_closed(0);
    limits.handle_inbound(now, 4, ip("127.0.0.1")).unwrap();
}

#[test]
fn the_search_for_an_idle_connection_looks_at_each_once_per_wait() {
    let config = LimitsConfig::default().with_max_inbound(1_000);
    let mut limits = limits(config);
    let mut now = Instant::now();
    let mut usages = Vec::new();
    for id in 0..1_000 {
        limits.handle_inbound(now, id, ip("127.0.0.1")).unwrap();
        let usage = up(&mut limits, now, id, (id % 100) as u8);
        usages.extend(usage.ok().inspect(|usage| usage.handle_opened()));
    }
    let looked = limits.looked_at();
    for _ in 0..1_000 {
        now += Duration::from_millis(20);
        let refused = limits.handle_inbound(now, 5_000, ip("127.0.0.1"));
        limits.handle_closed(5_000);
        assert!(refused.is_err());
    }
    let looked = limits.looked_at() - looked;
    println!("{looked} looks at 1,000 connections in use, in 20 s with 1,000 newcomers");
    assert!((1_000..=3_000).contains(&looked), "{looked}");
}
