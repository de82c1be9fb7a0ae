//! Peers that break the rules, and every boundary from both sides.

use super::*;

fn unexpected(kind: Kind, step: Step) -> UpgradeError {
    UpgradeError::Unexpected { kind, step }
}

/// A responder that dials, in its first attempt.
fn punching(now: Instant) -> Responder<String> {
    let mut a = responder(now);
    let events = received(&mut a, now, &[connect(&["b"]), sync()].concat());
    assert!(matches!(events[..], [Event::Send(_), Event::Dial(_)]));
    a
}

#[test]
fn a_sync_before_the_connect_ends_the_upgrade() {
    let now = Instant::now();
    let error = failure(&received(&mut responder(now), now, &sync()));
    assert_eq!(error, unexpected(Kind::Sync, Step::Connect));
    let mut b = connecting(now);
    b.handle_received(now, &sync(), read);
    let error = failure(&drain(|| b.poll_event()));
    assert_eq!(error, unexpected(Kind::Sync, Step::Connect));
}

#[test]
fn a_second_connect_before_the_sync_ends_the_upgrade() {
    let now = Instant::now();
    let twice = [connect(&["b"]), connect(&["b"])].concat();
    let mut a = responder(now);
    let error = failure(&received(&mut a, now, &twice));
    assert_eq!(error, unexpected(Kind::Connect, Step::Sync));
}

#[test]
fn a_second_message_to_the_initiator_ends_the_upgrade_before_anything_is_dialed() {
    let now = Instant::now();
    for (second, kind) in [(connect(&["a"]), Kind::Connect), (sync(), Kind::Sync)] {
        let mut b = connecting(now);
        let bytes = [connect(&["a"]), second].concat();
        b.handle_received(now + ms(50), &bytes, read);
        let error = failure(&drain(|| b.poll_event()));
        assert_eq!(error, unexpected(kind, Step::Dial));
        assert_eq!(b.poll_timeout(), None);
    }
}

#[test]
fn a_second_sync_ends_the_upgrade() {
    let now = Instant::now();
    let error = failure(&received(&mut punching(now), now, &sync()));
    assert_eq!(error, unexpected(Kind::Sync, Step::Dial));
}

#[test]
fn bytes_before_the_stream_was_asked_for_are_nobodys() {
    let now = Instant::now();
    let mut b = initiator(now);
    b.handle_received(now, &[0xff; 9_000], read);
    assert_eq!(drain(|| b.poll_event()), [Event::OpenStream]);
    assert!(!b.is_over());
}

#[test]
fn garbage_and_lengths_that_are_too_long_end_the_upgrade() {
    let now = Instant::now();
    let bad: [(&[u8], WireError); 4] = [
        (&[0xff; 64], WireError::LongPrefix { limit: 2 }),
        (&[0], WireError::MissingType),
        (
            &[0x81, 0x20],
            WireError::TooLong {
                length: 4097,
                limit: 4096,
            },
        ),
        (&[2, 8, 7], WireError::UnknownType { code: 7 }),
    ];
    for (bytes, error) in bad {
        let expected = UpgradeError::Wire(error);
        assert_eq!(
            failure(&received(&mut responder(now), now, bytes)),
            expected
        );
        let mut b = connecting(now);
        b.handle_received(now, bytes, read);
        assert_eq!(failure(&drain(|| b.poll_event())), expected);
    }
}

#[test]
fn a_message_that_drips_does_not_move_the_deadline() {
    let now = Instant::now();
    let mut a = responder(now);
    let bytes = connect(&["a long address, byte by byte"]);
    for (second, byte) in (1..10).zip(&bytes) {
        assert_eq!(received(&mut a, now + ms(1_000 * second), &[*byte]), []);
    }
    let error = failure(&received(&mut a, now + ms(10_000), &bytes[9..10]));
    let after = ms(10_000);
    let step = Step::Connect;
    assert_eq!(error, UpgradeError::Timeout { step, after });
}

#[test]
fn a_message_just_before_the_deadline_counts_and_at_it_does_not() {
    let now = Instant::now();
    let just_before = now + ms(10_000) - Duration::from_nanos(1);
    let events = received(&mut responder(now), just_before, &connect(&["b"]));
    assert_eq!(events, [Event::Send(connect(&["a"]))]);
    let events = received(&mut responder(now), now + ms(10_000), &connect(&["b"]));
    assert!(matches!(failure(&events), UpgradeError::Timeout { .. }));
    let mut b = connecting(now);
    b.handle_received(just_before, &connect(&["a"]), read);
    assert_eq!(drain(|| b.poll_event()), [Event::Send(sync())]);
    let mut b = connecting(now);
    b.handle_received(now + ms(10_000), &connect(&["a"]), read);
    let error = failure(&drain(|| b.poll_event()));
    assert!(matches!(error, UpgradeError::Timeout { .. }));
}

#[test]
fn a_second_stream_in_mid_exchange_is_refused_and_changes_nothing() {
    let now = Instant::now();
    let mut a = responder(now);
    let step = Step::Connect;
    assert_eq!(
        a.handle_stream_opened(now),
        Err(UpgradeError::Busy { step })
    );
    let (head, tail) = (connect(&["b"]), sync());
    assert_eq!(received(&mut a, now, &head).len(), 1);
    let step = Step::Sync;
    assert_eq!(
        a.handle_stream_opened(now),
        Err(UpgradeError::Busy { step })
    );
    assert!(matches!(received(&mut a, now, &tail)[..], [Event::Dial(_)]));
    assert_eq!(a.handle_stream_opened(now), Ok(()));
}

#[test]
fn a_further_attempt_may_come_on_the_same_stream_but_no_fourth() {
    let now = Instant::now();
    let mut a = responder(now);
    let attempt = [connect(&["b"]), sync()].concat();
    for number in 1..=3 {
        let events = received(&mut a, now, &attempt);
        let [Event::Send(_), Event::Dial(dial)] = &events[..] else {
            panic!("{number}: {events:?}");
        };
        assert_eq!(dial.attempt, number);
        a.handle_dial_result(now, number - 1, DialResult::Failed);
        assert_eq!(a.poll_event(), None, "an older dial is nobody's");
    }
    let error = failure(&received(&mut a, now, &attempt));
    assert_eq!(error, UpgradeError::TooManyAttempts { limit: 3 });
}

#[test]
fn a_fourth_stream_is_refused_and_the_third_dial_goes_on() {
    let now = Instant::now();
    let mut a = punching(now);
    for _ in 2..=3 {
        a.handle_stream_opened(now).unwrap();
        received(&mut a, now, &[connect(&["b"]), sync()].concat());
    }
    let error = UpgradeError::TooManyAttempts { limit: 3 };
    assert_eq!(a.handle_stream_opened(now), Err(error));
    a.handle_dial_result(now, 3, DialResult::Connected);
    let events = drain(|| a.poll_event());
    assert_eq!(events, [Event::Succeeded { attempts: 3 }]);
    assert_eq!(a.handle_stream_opened(now), Err(UpgradeError::Over));
}

#[test]
fn half_a_message_of_one_stream_is_not_continued_on_the_next() {
    let now = Instant::now();
    let mut a = punching(now);
    assert_eq!(received(&mut a, now, &[0x80]), []);
    a.handle_stream_opened(now).unwrap();
    let events = received(&mut a, now, &connect(&["b"]));
    assert_eq!(events, [Event::Send(connect(&["a"]))]);
}

#[test]
fn the_initiators_next_stream_begins_afresh_and_older_dials_are_nobodys() {
    let now = Instant::now();
    let mut b = connecting(now);
    b.handle_received(now, &[connect(&["a"]), vec![0x80]].concat(), read);
    b.handle_dial_result(now, 1, DialResult::Failed);
    b.handle_stream_opened(now);
    b.handle_received(now, &connect(&["a"]), read);
    let events = drain(|| b.poll_event());
    assert!(
        matches!(&events[..], [.., Event::Dial(dial)] if dial.attempt == 2),
        "{events:?}"
    );
    for older in [0, 1] {
        b.handle_dial_result(now, older, DialResult::Failed);
        assert_eq!(b.poll_event(), None);
    }
    b.handle_dial_result(now, 2, DialResult::Failed);
    assert_eq!(drain(|| b.poll_event()), [Event::OpenStream]);
}

#[test]
fn a_responder_whose_peer_never_tries_again_ends_when_the_peers_dial_must_have() {
    let now = Instant::now();
    let mut a = punching(now);
    a.handle_dial_result(now + ms(5), 1, DialResult::Failed);
    let until = now + ms(20_000);
    assert_eq!(a.poll_timeout(), Some(until));
    a.handle_timeout(until - ms(1));
    assert_eq!(a.poll_event(), None);
    a.handle_timeout(until);
    let error = failure(&drain(|| a.poll_event()));
    assert_eq!(error, UpgradeError::DialsFailed);
}

#[test]
fn a_connection_that_comes_in_at_any_time_is_success() {
    let now = Instant::now();
    let mut b = initiator(now);
    b.handle_connected(now);
    let events = drain(|| b.poll_event());
    assert_eq!(events, [Event::Succeeded { attempts: 1 }]);
    let mut a = punching(now);
    a.handle_dial_result(now, 1, DialResult::Failed);
    a.handle_connected(now);
    let events = drain(|| a.poll_event());
    assert_eq!(events, [Event::Succeeded { attempts: 1 }]);
    let mut b = connecting(now);
    b.handle_dial_result(now, 0, DialResult::Connected);
    let events = drain(|| b.poll_event());
    assert_eq!(events, [Event::Succeeded { attempts: 1 }]);
}

#[test]
fn after_the_end_nothing_happens_any_more() {
    let now = Instant::now();
    let (mut a, mut b) = (punching(now), connecting(now));
    a.handle_connected(now);
    b.handle_stream_closed(now);
    assert_eq!(drain(|| a.poll_event()).len(), 1);
    let step = Step::Connect;
    let error = failure(&drain(|| b.poll_event()));
    assert_eq!(error, UpgradeError::StreamClosed { step });
    a.handle_received(now, &[0xff; 10], read);
    a.handle_stream_closed(now);
    a.handle_dial_result(now, 1, DialResult::Failed);
    b.handle_received(now, &connect(&["a"]), read);
    b.handle_stream_opened(now);
    b.handle_connected(now);
    for later in [now, now + ms(60_000)] {
        a.handle_timeout(later);
        b.handle_timeout(later);
    }
    assert_eq!((a.poll_event(), b.poll_event()), (None, None));
    assert_eq!((a.poll_timeout(), b.poll_timeout()), (None, None));
    assert!(a.is_over() && b.is_over());
}

#[test]
fn a_dial_that_fails_after_the_end_begins_no_attempt() {
    let now = Instant::now();
    let mut b = connecting(now);
    b.handle_received(now, &connect(&["a"]), read);
    assert_eq!(drain(|| b.poll_event()).len(), 2, "a sync and a dial");
    b.handle_received(now, &sync(), read);
    let error = failure(&drain(|| b.poll_event()));
    assert_eq!(error, unexpected(Kind::Sync, Step::Dial));
    b.handle_dial_result(now, 1, DialResult::Failed);
    assert_eq!(b.poll_event(), None);
}

#[test]
fn durations_that_no_instant_can_say_mean_never() {
    let now = Instant::now();
    let config = UpgradeConfig::default()
        .with_message_timeout(Duration::MAX)
        .with_dial_timeout(Duration::MAX)
        .with_max_rtt(Duration::MAX);
    let mut a: Responder<String> = Responder::new(now, config.clone(), named(&["a"]));
    let events = received(&mut a, now, &[connect(&["b"]), sync()].concat());
    assert_eq!(events.len(), 2);
    let mut b: Initiator<String> = Initiator::new(now, config, named(&["b"]), vec![]);
    b.handle_stream_opened(now);
    b.handle_received(now, &connect(&["a"]), read);
    assert!(
        b.poll_timeout()
            .is_some_and(|until| until > now + ms(1_000_000))
    );
}

#[test]
fn no_attempts_are_no_attempts() {
    let now = Instant::now();
    let config = UpgradeConfig::default().with_max_attempts(0);
    let mut a: Responder<String> = Responder::new(now, config.clone(), named(&["a"]));
    let error = failure(&received(&mut a, now, &connect(&["b"])));
    assert_eq!(error, UpgradeError::TooManyAttempts { limit: 0 });
    let mut b: Initiator<String> = Initiator::new(now, config, named(&["b"]), vec![]);
    let error = failure(&drain(|| b.poll_event()));
    assert_eq!(error, UpgradeError::DialsFailed);
}
