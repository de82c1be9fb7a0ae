//! What is remembered of addresses, where the room for it is used up.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use conn_state::{Closing, Limits, LimitsConfig, Refused, Usage};

const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
const ELSEWHERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 1));

fn limits(config: LimitsConfig) -> Limits<u64, u8> {
    Limits::new(config.with_max_tracked_addresses(1))
}

#[test]
fn an_address_that_is_known_is_admitted_though_there_is_no_room_for_another() {
    let mut limits = limits(LimitsConfig::default());
    let now = Instant::now();
    limits.handle_inbound(now, 1, HERE).expect("room");
    let full = Err(Refused::TooManyAddresses { limit: 1 });
    assert_eq!(limits.handle_inbound(now, 2, ELSEWHERE), full);
    limits.handle_inbound(now, 3, HERE).expect("it is known");
    assert_eq!(limits.inbound(), 2);
}

#[test]
fn an_address_with_an_open_connection_is_not_forgotten_however_long_it_is_quiet() {
    let mut limits = limits(LimitsConfig::default().with_max_per_address(1));
    let now = Instant::now();
    limits.handle_inbound(now, 1, HERE).expect("room");
    let up = limits.handle_authenticated(now, 1, 7, &Usage::new(now));
    up.expect("room");
    let later = now + Duration::from_secs(3600);
    let full = Err(Refused::TooManyAddresses { limit: 1 });
    assert_eq!(limits.handle_inbound(later, 2, ELSEWHERE), full);
    let same = limits.handle_inbound(later, 3, HERE);
    assert!(matches!(
        same,
        Err(Refused::TooManyFromAddress { limit: 1, .. })
    ));
    // Without it, there is nothing to remember.
    limits.handle_closed(1);
    limits.handle_inbound(later, 2, ELSEWHERE).expect("room");
}

#[test]
fn an_address_that_may_not_open_a_whole_burst_is_not_forgotten() {
    let mut limits = limits(LimitsConfig::default());
    let now = Instant::now();
    limits.handle_inbound(now, 1, HERE).expect("room");
    limits.handle_closed(1);
    // One token comes back in 5 s.
    let full = Err(Refused::TooManyAddresses { limit: 1 });
    let almost = now + Duration::from_millis(4_990);
    assert_eq!(limits.handle_inbound(almost, 2, ELSEWHERE), full);
    let later = now + Duration::from_millis(5_010);
    limits.handle_inbound(later, 2, ELSEWHERE).expect("room");
    assert_eq!(limits.tracked_addresses(), 1);
}

#[test]
fn a_newcomer_of_a_subnet_that_would_be_the_busiest_displaces_one_of_its_own() {
    let config = LimitsConfig::default().with_max_handshaking(4);
    let mut limits: Limits<u64, u8> = Limits::new(config);
    let now = Instant::now();
    let elsewhere = IpAddr::from([198, 51, 100, 2]);
    for (id, address) in [(1, HERE), (2, HERE), (3, ELSEWHERE), (4, elsewhere)] {
        limits.handle_inbound(now, id, address).expect("room");
    }
    // Both subnets have two. Those of the other one are older, and stay.
    limits.handle_inbound(now, 5, ELSEWHERE).expect("3 goes");
    assert_eq!(limits.poll_action(), Some((3, Closing::Displaced)));
    assert_eq!(limits.poll_action(), None);
    limits.handle_closed(3);
    // One of a third subnet displaces the oldest of all in the largest subnets.
    let third = IpAddr::from([203, 0, 113, 1]);
    limits.handle_inbound(now, 6, third).expect("1 goes");
    assert_eq!(limits.poll_action(), Some((1, Closing::Displaced)));
}

#[test]
fn an_address_that_may_have_no_connection_has_none() {
    let mut limits: Limits<u64, u8> = Limits::new(LimitsConfig::default().with_max_per_address(0));
    let refused = limits.handle_inbound(Instant::now(), 1, HERE);
    assert!(matches!(
        refused,
        Err(Refused::TooManyFromAddress { limit: 0, .. })
    ));
    // However fast connections may follow each other, none follows.
    let config = LimitsConfig::default().with_rate_per_address(f64::INFINITY, 0);
    let mut limits: Limits<u64, u8> = Limits::new(config);
    let refused = limits.handle_inbound(Instant::now(), 1, HERE);
    assert!(matches!(refused, Err(Refused::TooFastFromAddress { .. })));
}

/// A host that has room for one connection, which is idle since `now`.
fn full(now: Instant, trim_idle: Option<Duration>) -> Limits<u64, u8> {
    let config = LimitsConfig::default()
        .with_max_inbound(1)
        .with_trim_idle(trim_idle);
    let mut limits = Limits::new(config);
    limits.handle_inbound(now, 1, HERE).expect("room");
    let up = limits.handle_authenticated(now, 1, 7, &Usage::new(now));
    up.expect("room");
    limits
}

#[test]
fn a_connection_that_is_idle_for_as_long_as_is_allowed_makes_room_and_not_a_moment_sooner() {
    let now = Instant::now();
    let moment = Duration::from_nanos(1);
    let century = Duration::from_secs(100 * 365 * 24 * 3600);
    for (trim_idle, after, makes_room) in [
        (Some(Duration::from_secs(5)), Duration::from_secs(5), true),
        (
            Some(Duration::from_secs(5)),
            Duration::from_secs(5) - moment,
            false,
        ),
        // It was in use a moment ago.
        (Some(Duration::ZERO), Duration::ZERO, false),
        (Some(Duration::ZERO), moment, true),
        (Some(Duration::MAX), century, false),
        (None, century, false),
    ] {
        let mut limits = full(now, trim_idle);
        let came = limits.handle_inbound(now + after, 2, ELSEWHERE);
        assert_eq!(came.is_ok(), makes_room, "{trim_idle:?}, {after:?}");
        if makes_room {
            let usage = Usage::new(now + after);
            let up = limits.handle_authenticated(now + after, 2, 8, &usage);
            assert_eq!(up, Ok(()));
            assert_eq!(limits.poll_action(), Some((1, Closing::Trimmed)));
        }
        assert_eq!(limits.poll_action(), None);
    }
}
