//! How long something may last and how much of it there may be.

use std::time::{Duration, Instant};

use conn_state::{
    Action, Closing, Contest, Phase, Policy, Recommended, Route, State, TrackError, Tracker,
    TrackerConfig, Verdict,
};

use crate::{Host, LIMITED};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_handshake_over_its_age_is_handed_out_once_to_be_closed_and_not_before() {
    let mut host = Host::new(Recommended::default());
    let dial = host.dial("bob");
    let inbound = host.tracker.handle_inbound(host.now).expect("room");
    assert_eq!(host.tracker.poll_timeout(), Some(host.now + 30 * SECOND));
    host.wait(30 * SECOND - Duration::from_nanos(1));
    assert_eq!(host.actions(), []);
    host.wait(Duration::from_nanos(1));
    let close = |id| Action::Close(id, Closing::TooLongTransient);
    assert_eq!(host.actions(), [close(dial), close(inbound)]);
    assert_eq!(host.tracker.poll_timeout(), None);
    host.wait(60 * SECOND);
    assert_eq!(host.actions(), []);

    assert!(
        host.tracker.is_transient(&"bob"),
        "it is the host that closes"
    );
    host.close(dial, Closing::TooLongTransient);
    assert_eq!(
        host.story("bob").last().map(String::as_str),
        Some("2: transient (handshaking) -> not connected, transient for too long")
    );
}

#[test]
fn an_age_beyond_all_time_is_a_deadline_that_does_not_come() {
    let policy = Recommended::default().with_max_ages(Duration::MAX, None);
    let mut host = Host::new(policy);
    host.dial("bob");
    let century = 100 * 365 * 24 * 3_600 * SECOND;
    assert!(host.tracker.poll_timeout() > Some(host.now + century));
    host.wait(century);
    assert_eq!(host.actions(), []);
}

#[test]
fn a_limited_connection_may_last_as_long_as_the_policy_says() {
    let policy = Recommended::default().with_max_ages(30 * SECOND, Some(120 * SECOND));
    let mut host = Host::new(policy);
    let relayed = host.connect("bob", LIMITED);
    let lifted = host.connect("eve", LIMITED);
    host.wait(119 * SECOND);
    host.tracker
        .handle_path(host.now, lifted, Route::Direct)
        .expect("it is up");
    assert_eq!(host.actions(), []);
    host.wait(SECOND);
    let close = Action::Close(relayed, Closing::TooLongTransient);
    assert_eq!(host.actions(), [close], "and not what is limited no more");
}

#[test]
fn by_the_recommended_policy_a_limited_connection_lasts_as_long_as_its_relay_allows() {
    let mut host = Host::new(Recommended::default());
    host.connect("bob", LIMITED);
    assert_eq!(host.tracker.poll_timeout(), None);
    host.wait(1_000_000 * SECOND);
    assert_eq!(host.actions(), []);
}

#[test]
fn one_transient_connection_more_than_allowed_to_a_peer_is_an_error_and_changes_nothing() {
    let host = Host::new(Recommended::default().with_max_transient(100, 2));
    let first = host.dial("bob");
    host.connect("bob", LIMITED);
    let refused = host.tracker.handle_dialing(host.now, Some(&"bob"));
    assert_eq!(
        refused,
        Err(TrackError::TooManyTransientOfPeer { limit: 2 })
    );
    assert_eq!(host.tracker.connections(host.now, &"bob").len(), 2);
    assert_eq!(host.story("bob").len(), 2);
    host.dial("eve");
    // Whom we do not know cannot have too many.
    host.tracker.handle_inbound(host.now).expect("room");
    host.close(first, Closing::Lost);
    host.dial("bob");
}

#[test]
fn one_transient_connection_more_than_allowed_in_all_is_an_error_and_established_ones_do_not_count()
{
    let host = Host::new(Recommended::default().with_max_transient(3, 3));
    host.dial("bob");
    host.connect("eve", LIMITED);
    let inbound = host.tracker.handle_inbound(host.now).expect("room");
    let full = Err(TrackError::TooManyTransient { limit: 3 });
    assert_eq!(host.tracker.handle_inbound(host.now), full);
    assert_eq!(host.tracker.handle_dialing(host.now, Some(&"joe")), full);
    assert_eq!(host.tracker.handle_dialing(host.now, None), full);
    assert_eq!(host.tracker.state(&"joe"), State::NotConnected);
    host.authenticated(inbound, "joe", Route::Direct);
    host.tracker.handle_inbound(host.now).expect("room");
    assert_eq!(host.tracker.handle_inbound(host.now), full);
}

#[test]
fn what_is_over_is_unknown_and_what_is_up_is_not_authenticated_again() {
    let host = Host::new(Recommended::default());
    let id = host.connect("bob", Route::Direct);
    let again = host
        .tracker
        .handle_authenticated(host.now, id, &"eve", Route::Direct)
        .expect_err("it is up");
    assert_eq!(again.to_string(), format!("connection {id} is established"));
    let dial = host.dial("eve");
    let early = host.tracker.handle_path(host.now, dial, Route::Direct);
    let early = early.expect_err("it is in its handshake");
    assert_eq!(
        early.to_string(),
        format!("connection {dial} is handshaking")
    );
    host.close(id, Closing::Local);
    let unknown = Err(TrackError::Unknown { id });
    let (tracker, now) = (&host.tracker, host.now);
    assert_eq!(
        tracker.handle_closed(now, id, Closing::Remote { code: None }, None),
        unknown
    );
    assert!(tracker.stream_count(id).is_none());
    assert_eq!(tracker.handle_path(now, id, Route::Direct), unknown);
    assert_eq!(
        tracker.handle_authenticated(now, id, &"bob", Route::Direct),
        unknown
    );
    assert_eq!(host.story("bob").len(), 3);
}

#[test]
fn a_silent_connection_is_probed_replaced_and_then_closed_and_one_that_answers_is_not() {
    for answers in [false, true] {
        let mut host = Host::new(Recommended::default());
        let old = host.connect("bob", Route::Direct);
        host.wait(3_600 * SECOND);
        let new = host.tracker.handle_inbound(host.now).expect("room");
        host.authenticated(new, "bob", Route::Direct);
        assert_eq!(host.actions(), [Action::Probe(old)]);
        if answers {
            host.tracker.handle_alive(host.now, old);
            // Both ends keep the dial of the lower id, which is the peer's.
            assert_eq!(host.actions(), [Action::Drain(old)]);
            host.wait(SECOND);
            let closing = Closing::Superseded;
            assert_eq!(host.actions(), [Action::Close(old, closing)]);
        } else {
            host.streams(old).handle_opened(host.now);
            host.wait(Duration::from_millis(499));
            assert_eq!(host.actions(), []);
            host.wait(Duration::from_millis(1));
            assert_eq!(host.actions(), [Action::Drain(old)]);
            host.wait(3 * SECOND);
            let closing = Closing::Unresponsive;
            assert_eq!(host.actions(), [Action::Close(old, closing)]);
        }
        assert_eq!(host.tracker.state(&"bob"), State::Connected);
        assert_eq!(host.story("bob").len(), 2, "that is no news of the peer");
    }
}

/// Probes before every verdict, and gives no time to answer.
#[derive(Default)]
struct Impatient(Recommended);

impl Policy<&'static str> for Impatient {
    fn arbitrate(&self, _: &Contest<'_, &'static str>) -> Verdict {
        Verdict::Probe
    }

    fn probe(&self) -> Duration {
        Duration::ZERO
    }

    fn phase(&self, route: Route) -> Phase {
        Policy::<&str>::phase(&self.0, route)
    }
}

#[test]
fn a_policy_that_probes_for_ever_in_no_time_lets_time_go_on() {
    let mut tracker = Tracker::new(
        Instant::now(),
        "me",
        Impatient::default(),
        TrackerConfig::default(),
    );
    let now = Instant::now();
    for _ in 0..2 {
        let id = tracker.handle_inbound(now).expect("room");
        tracker
            .handle_authenticated(now, id, &"bob", Route::Direct)
            .expect("a handshake");
    }
    tracker.handle_timeout(now);
    assert!(tracker.poll_timeout() > Some(now));
}

#[test]
fn half_of_the_transient_places_are_kept_for_handshakes_whatever_relays_do() {
    let host = Host::new(Recommended::default().with_max_transient(6, 6));
    for peer in ["a", "b", "c"] {
        host.connect(peer, LIMITED);
    }
    let inbound = host.tracker.handle_inbound(host.now).expect("room");
    let (tracker, now) = (&host.tracker, host.now);
    let refused = tracker.handle_authenticated(now, inbound, &"d", LIMITED);
    assert_eq!(refused, Err(TrackError::TooManyLimited { limit: 3 }));
    assert_eq!(tracker.state(&"d"), State::NotConnected);
    host.authenticated(inbound, "d", Route::Direct);
    // What a relay limits later takes no more than its share, either.
    let limited = tracker.handle_path(now, inbound, LIMITED);
    limited.expect("it is up");
    for _ in 0..3 {
        host.dial("e");
    }
    let full = Err(TrackError::TooManyTransient { limit: 6 });
    assert_eq!(tracker.handle_inbound(now), full);
}

#[test]
fn beyond_the_limit_per_peer_the_oldest_connection_is_drained_if_the_peer_closes_none() {
    let config = TrackerConfig::default().with_max_per_peer(Some(1));
    let mut host = Host::with(Recommended::default(), config);
    let inbound = |host: &Host| {
        let id = host.tracker.handle_inbound(host.now).expect("room");
        host.authenticated(id, "eve", Route::Direct);
        id
    };
    let one = inbound(&host);
    host.wait(SECOND);
    let two = inbound(&host);
    assert_eq!(host.actions(), [Action::Probe(one)]);
    host.tracker.handle_alive(host.now, one);
    // A peer that dialed twice drains one, for 30 s at most, and this host does not know which.
    host.wait(33 * SECOND - Duration::from_nanos(1));
    assert_eq!(host.actions(), []);
    host.wait(Duration::from_nanos(1));
    assert_eq!(host.actions(), [Action::Drain(one)]);
    assert_eq!(host.tracker.best(&"eve"), Some(two));
    // The one that was kept breaks, and the drained one is there.
    host.close(two, Closing::Lost);
    assert_eq!(host.actions(), [Action::Resume(one)]);
}

#[test]
fn at_the_limit_per_peer_a_new_connection_replaces_one_that_is_dead_at_once() {
    let config = TrackerConfig::default().with_max_per_peer(Some(1));
    let mut host = Host::with(Recommended::default(), config);
    let old = host.connect("bob", Route::Direct);
    host.wait(SECOND);
    let new = host.tracker.handle_inbound(host.now).expect("room");
    host.authenticated(new, "bob", Route::Direct);
    assert_eq!(host.actions(), [Action::Probe(old)]);
    host.wait(SECOND / 2);
    assert_eq!(host.actions(), [Action::Drain(old)]);
    assert_eq!(host.tracker.best(&"bob"), Some(new));
}

/// Keeps every connection, so that only the limit per peer chooses.
#[derive(Default)]
struct Generous(Recommended);

impl Policy<&'static str> for Generous {
    fn arbitrate(&self, _: &Contest<'_, &'static str>) -> Verdict {
        Verdict::Both
    }

    fn phase(&self, route: Route) -> Phase {
        Policy::<&str>::phase(&self.0, route)
    }
}

#[test]
fn beyond_the_limit_per_peer_limited_connections_go_first_and_then_the_oldest() {
    let start = Instant::now();
    for (routes, drained) in [
        (
            [Route::Direct, LIMITED, Route::Direct, Route::Direct],
            [1, 0],
        ),
        ([LIMITED, Route::Direct, Route::Direct, LIMITED], [0, 3]),
        ([Route::Direct; 4], [0, 1]),
    ] {
        let config = TrackerConfig::default().with_max_per_peer(Some(2));
        let mut tracker = Tracker::new(start, "me", Generous::default(), config);
        let mut now = start;
        let ids = routes.map(|route| {
            now += SECOND;
            let id = tracker.handle_inbound(now).expect("room");
            let up = tracker.handle_authenticated(now, id, &"eve", route);
            up.map(|()| id).expect("a handshake")
        });
        tracker.handle_timeout(start + 100 * SECOND);
        let actions: Vec<_> = std::iter::from_fn(|| tracker.poll_action()).collect();
        assert_eq!(actions, drained.map(|at| Action::Drain(ids[at])));
    }
}
