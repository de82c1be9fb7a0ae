//! Both machines against each other, under simulated time and latency.

use proptest::prelude::*;

use super::{
    world::{End, Script, Trouble, World},
    *,
};

const FAILS: Script = |_, _| Some((ms(300), DialResult::Failed));
/// As over QUIC: A's dial gets through, and comes in at B, whose own never ends by itself.
const A_CONNECTS: Script = |end, _| match end {
    End::A => Some((ms(80), DialResult::Connected)),
    End::B => None,
};
const NEVER_SAID: Script = |_, _| None;
const ALL_FAILED: UpgradeError = UpgradeError::DialsFailed;

fn failed(attempts: u8, cause: UpgradeError) -> Event<String> {
    Event::Failed { attempts, cause }
}

fn closed(step: Step) -> UpgradeError {
    UpgradeError::StreamClosed { step }
}

fn timeout(step: Step) -> UpgradeError {
    let after = UpgradeConfig::default().message_timeout;
    UpgradeError::Timeout { step, after }
}

#[test]
fn the_dials_start_at_one_instant_but_for_half_the_asymmetry_of_the_latencies() {
    // Long enough that neither end is spared its dial by the other's success.
    let script: Script = |end, _| match end {
        End::A => Some((ms(4_000), DialResult::Connected)),
        End::B => None,
    };
    let pairs = [
        (0, 0),
        (1, 1),
        (25, 25),
        (5, 150),
        (150, 5),
        (1, 3_000),
        (3_000, 1),
        (2_000, 2_000),
    ];
    for (to_a, to_b) in pairs {
        let world = World::new(&[], script)
            .with_latency(ms(to_a), ms(to_b))
            .run();
        let [(_, a, _), (_, b, _)] = world.dials.as_slice() else {
            panic!("{:?}", world.dials);
        };
        let (first, last) = (a.min(b), a.max(b));
        assert_eq!(*last - *first, ms(to_a.abs_diff(to_b)) / 2, "{to_a} {to_b}");
        for end in [End::A, End::B] {
            assert_eq!(*world.end_of(end), Event::Succeeded { attempts: 1 });
        }
    }
}

#[test]
fn a_is_the_client_and_b_the_server_and_each_dials_what_the_other_named() {
    let world = World::new(&[], A_CONNECTS).run();
    let dials = |end: End| {
        let (_, when, dial) = world.dials.iter().find(|(of, ..)| *of == end).unwrap();
        assert_eq!(dial.at, *when, "on time");
        (dial.role, dial.attempt, dial.addresses.clone())
    };
    assert_eq!(dials(End::A), (Role::Client, 1, vec!["b".to_owned()]));
    assert_eq!(dials(End::B), (Role::Server, 1, vec!["a".to_owned()]));
}

#[test]
fn a_plain_dial_that_succeeds_needs_no_stream() {
    let script: Script = |_, _| Some((ms(50), DialResult::Connected));
    let world = World::new(&["public"], script).run();
    assert_eq!(*world.end_of(End::B), Event::Succeeded { attempts: 0 });
    assert_eq!(world.dials_of(End::B), [(ms(0), Role::Plain)]);
    assert_eq!(world.streams, 0);
}

#[test]
fn a_plain_dial_that_fails_or_never_ends_is_followed_by_a_punch() {
    let quick: Script = |end, attempt| match (end, attempt) {
        (End::B, 0) => Some((ms(50), DialResult::Failed)),
        _ => Some((ms(80), DialResult::Connected)),
    };
    // A round trip for the stream, one for the exchange, and half of one.
    let punch = ms(125);
    let world = World::new(&["public"], quick).run();
    let expected = [(ms(0), Role::Plain), (ms(50) + punch, Role::Server)];
    assert_eq!(world.dials_of(End::B), expected);
    let endless: Script = |end, attempt| match (end, attempt) {
        (End::B, 0) => None,
        _ => Some((ms(80), DialResult::Connected)),
    };
    let world = World::new(&["public"], endless).run();
    let expected = [(ms(0), Role::Plain), (ms(10_000) + punch, Role::Server)];
    assert_eq!(world.dials_of(End::B), expected);
}

#[test]
fn three_attempts_that_fail_are_three_streams_and_then_the_end_of_both() {
    let world = World::new(&[], FAILS).run();
    assert_eq!(world.streams, 3);
    for end in [End::A, End::B] {
        assert_eq!(*world.end_of(end), failed(3, ALL_FAILED));
        assert_eq!(world.dials_of(end).len(), 3);
    }
}

#[test]
fn dials_of_which_nobody_hears_again_end_by_their_deadline() {
    let world = World::new(&[], NEVER_SAID).run();
    for end in [End::A, End::B] {
        assert_eq!(*world.end_of(end), failed(3, ALL_FAILED));
    }
    let (_, last, _) = world.ends.last().unwrap();
    assert!(
        *last - world.start < ms(31_000),
        "{:?}",
        *last - world.start
    );
}

#[test]
fn a_later_attempt_may_succeed() {
    let script: Script = |end, attempt| match (end, attempt) {
        (End::A, 3) => Some((ms(80), DialResult::Connected)),
        (End::B, 3) => None,
        _ => Some((ms(300), DialResult::Failed)),
    };
    let world = World::new(&[], script).run();
    for end in [End::A, End::B] {
        assert_eq!(*world.end_of(end), Event::Succeeded { attempts: 3 });
    }
}

#[test]
fn an_end_whose_dial_fails_sooner_waits_for_the_other() {
    for hasty in [End::A, End::B] {
        let a_hasty: Script = |end, _| match end {
            End::A => Some((ms(0), DialResult::Failed)),
            End::B => Some((ms(9_999), DialResult::Failed)),
        };
        let b_hasty: Script = |end, _| match end {
            End::B => Some((ms(0), DialResult::Failed)),
            End::A => Some((ms(9_999), DialResult::Failed)),
        };
        let script = if hasty == End::A { a_hasty } else { b_hasty };
        let world = World::new(&[], script).run();
        assert_eq!(world.streams, 3, "{hasty:?}");
        for end in [End::A, End::B] {
            assert_eq!(*world.end_of(end), failed(3, ALL_FAILED), "{hasty:?}");
        }
    }
}

#[test]
fn a_peer_that_keeps_the_stream_open_is_served_alike() {
    let mut world = World::new(&[], FAILS);
    world.a_closes = false;
    let world = world.run();
    assert_eq!(world.streams, 3);
    assert_eq!(*world.end_of(End::B), failed(3, ALL_FAILED));
}

#[test]
fn a_stream_lost_at_any_step_ends_both_with_that_step_named() {
    // B opens, A agrees, CONNECT, CONNECT, SYNC.
    let steps = [
        (None, closed(Step::Stream)),
        (Some(closed(Step::Connect)), closed(Step::Stream)),
        (Some(closed(Step::Connect)), closed(Step::Connect)),
        (Some(closed(Step::Sync)), closed(Step::Connect)),
        // B dials in vain, and its next stream finds nobody.
        (Some(closed(Step::Sync)), timeout(Step::Stream)),
    ];
    for (number, (a, b)) in (1..).zip(steps) {
        let world = World::new(&[], FAILS)
            .with_trouble(Trouble::Cut(number))
            .run();
        check_causes(&world, a, b, number);
    }
}

#[test]
fn silence_at_any_step_ends_both_at_the_deadline_of_that_step() {
    let steps = [
        (None, timeout(Step::Stream)),
        (Some(timeout(Step::Connect)), timeout(Step::Stream)),
        (Some(timeout(Step::Connect)), timeout(Step::Connect)),
        (Some(timeout(Step::Sync)), timeout(Step::Connect)),
        (Some(timeout(Step::Sync)), timeout(Step::Stream)),
    ];
    for (number, (a, b)) in (1..).zip(steps) {
        let world = World::new(&[], FAILS)
            .with_trouble(Trouble::Silence(number))
            .run();
        for (end, when, _) in &world.ends {
            assert!(*when - world.start < ms(11_000), "{number} {end:?}");
        }
        check_causes(&world, a, b, number);
    }
}

fn check_causes(world: &World, a: Option<UpgradeError>, b: UpgradeError, number: usize) {
    let cause = |end: End| match world.end_of(end) {
        Event::Failed { cause, .. } => cause.clone(),
        other => panic!("{number} {end:?}: {other:?}"),
    };
    assert_eq!(cause(End::B), b, "packet {number}");
    match a {
        Some(a) => assert_eq!(cause(End::A), a, "packet {number}"),
        None => assert_eq!(world.ends.len(), 1, "A was never reached"),
    }
}

#[test]
fn silence_after_the_sync_is_no_failure_of_the_punch() {
    let world = World::new(&[], A_CONNECTS)
        .with_trouble(Trouble::Silence(6))
        .run();
    for end in [End::A, End::B] {
        assert_eq!(*world.end_of(end), Event::Succeeded { attempts: 1 });
    }
}

#[test]
fn the_round_trip_is_measured_anew_and_without_the_opening_of_the_stream() {
    let world = World::new(&[], FAILS).with_latency(ms(10), ms(30)).run();
    assert_eq!(world.b.rtt(), Some(ms(40)));
}

#[test]
fn a_round_trip_of_4_s_is_believed_and_a_longer_one_counts_as_4_s() {
    let after_sync = |rtt: u64| {
        let now = Instant::now();
        let mut b = connecting(now);
        let then = now + ms(rtt);
        b.handle_received(then, &connect(&["a"]), read);
        assert_eq!(b.rtt(), Some(ms(rtt)));
        b.poll_timeout().unwrap() - then
    };
    assert_eq!(after_sync(0), ms(0) + UpgradeConfig::default().dial_timeout);
    assert_eq!(after_sync(3_998), ms(1_999));
    assert_eq!(after_sync(4_000), ms(2_000));
    assert_eq!(after_sync(9_999), ms(2_000));
}

#[test]
fn a_late_timer_dials_at_once_and_says_when_it_should_have_been() {
    let now = Instant::now();
    let mut b = connecting(now);
    b.handle_received(now + ms(100), &connect(&["a"]), read);
    b.handle_timeout(now + ms(149));
    assert_eq!(drain(|| b.poll_event()), [Event::Send(sync())]);
    b.handle_timeout(now + ms(180));
    let [Event::Dial(dial)] = &drain(|| b.poll_event())[..] else {
        panic!("no dial");
    };
    assert_eq!(dial.at, now + ms(150));
    assert_eq!(b.poll_timeout(), Some(now + ms(10_180)));
}

proptest! {
    #[test]
    fn whatever_the_latencies_both_end_and_dial_within_half_the_asymmetry(
        to_a in 0u64..2_000_000,
        to_b in 0u64..2_000_000,
        first in 1u8..=3,
    ) {
        let script: Script = match first {
            1 => A_CONNECTS,
            2 => |_, attempt| {
                let result = if attempt == 2 { DialResult::Connected } else { DialResult::Failed };
                Some((ms(70), result))
            },
            _ => FAILS,
        };
        let (to_a, to_b) = (Duration::from_micros(to_a), Duration::from_micros(to_b));
        let world = World::new(&[], script).with_latency(to_a, to_b).run();
        for attempt in 1..=first {
            let when = |end: End| {
                let mut dials = world.dials.iter();
                let dial = dials.find(|(of, _, dial)| *of == end && dial.attempt == attempt);
                dial.map(|(_, when, _)| *when)
            };
            // An early success at one end may spare the other its dial.
            if let (Some(a), Some(b)) = (when(End::A), when(End::B)) {
                let apart = a.max(b) - a.min(b);
                prop_assert_eq!(apart, to_a.abs_diff(to_b) / 2);
            }
        }
        world.end_of(End::A);
        world.end_of(End::B);
    }
}
