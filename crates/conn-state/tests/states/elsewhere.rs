//! What goes wrong elsewhere.

use std::time::{Duration, Instant};

use conn_state::{
    Action, Closing, ConnectionId, Phase, Recommended, Route, SharedTracker, State, StreamCount,
    TrackError, Tracker, TrackerConfig, Update, WhenConnected, WithoutProbes,
};

use crate::{Host, LIMITED, events, tell};

#[test]
fn a_flap_shows_every_step_with_its_number_its_previous_state_and_its_cause() {
    let host = Host::new(Recommended::default());
    let (_, mut all) = host.tracker.subscribe();
    let limited = host.connect("bob", LIMITED);
    host.tracker
        .handle_path(host.now, limited, Route::Direct)
        .expect("it is up");
    host.tracker
        .handle_path(host.now, limited, LIMITED)
        .expect("it is up");
    host.close(limited, Closing::Lost);
    let again = host.connect("bob", Route::Direct);

    // All that came about before anybody looked.
    let events = events(&mut all);
    let told: Vec<_> = events.iter().map(tell).collect();
    assert_eq!(
        told,
        [
            "1: not connected -> transient (handshaking), dialing",
            "2: transient (handshaking) -> transient (limited), authenticated",
            "3: transient (limited) -> connected, limit lifted",
            "4: connected -> transient (limited), limit imposed",
            "5: transient (limited) -> not connected, connection lost",
            "6: not connected -> transient (handshaking), dialing",
            "7: transient (handshaking) -> connected, authenticated",
        ]
    );
    assert!(events[..5].iter().all(|event| event.connection == limited));
    assert!(events[5..].iter().all(|event| event.connection == again));
    assert_eq!(events[4].detail.as_deref(), Some("as was asked"));
    assert!(
        events
            .iter()
            .all(|event| event.peer == "bob" && event.at == host.now)
    );
}

#[test]
fn a_slow_subscriber_stalls_nobody_and_is_told_what_it_missed() {
    let host = Host::new(Recommended::default());
    let (_, mut slow) = host.tracker.subscribe();
    let (_, mut quick) = host.tracker.subscribe();
    host.connect("bob", Route::Direct);
    for _ in 0..40_000 {
        let id = host.connect("eve", Route::Direct);
        host.close(id, Closing::Local);
        assert!(!events(&mut quick).is_empty());
    }
    let Some(Update::Lagged { missed, snapshot }) = slow.try_next() else {
        panic!("it was not told");
    };
    assert_eq!(missed, 2 + 3 * 40_000);
    assert_eq!(snapshot.state(&"bob"), State::Connected);
    assert_eq!(snapshot.state(&"eve"), State::NotConnected);
    // From there on it is like any other.
    host.connect("eve", Route::Direct);
    assert_eq!(events(&mut slow).len(), 2);
}

#[test]
fn peers_connected_before_a_subscription_are_in_its_snapshot() {
    let host = Host::new(Recommended::default());
    host.connect("bob", Route::Direct);
    host.connect("eve", LIMITED);
    let gone = host.connect("joe", Route::Direct);
    host.close(gone, Closing::Remote { code: None });
    let (snapshot, mut after) = host.tracker.subscribe();
    let mut peers: Vec<_> = snapshot
        .peers
        .iter()
        .map(|entry| format!("{}: {}, {}", entry.peer, entry.number, entry.state))
        .collect();
    peers.sort();
    assert_eq!(peers, ["bob: 2, connected", "eve: 2, transient (limited)"]);
    assert_eq!(events(&mut after), [], "nothing of before is told again");
    host.connect("joe", Route::Direct);
    let first = events(&mut after).first().map(|event| event.number);
    assert_eq!(first, Some(4));
}

#[test]
fn a_relayed_connection_is_drained_and_then_closed_once_a_direct_one_is_there() {
    let mut host = Host::new(Recommended::default());
    let relayed = host.connect("bob", LIMITED);
    let streams = host.streams(relayed);
    streams.handle_opened(host.now);
    streams.handle_opened(host.now);
    let direct = host.tracker.handle_inbound(host.now).expect("room");
    host.authenticated(direct, "bob", Route::Direct);
    assert_eq!(host.actions(), [Action::Drain(relayed)]);

    // As long as there are streams on it, they may end by themselves.
    host.wait(Duration::from_secs(20));
    assert_eq!(host.actions(), []);
    streams.handle_closed(host.now);
    streams.handle_closed(host.now);
    host.wait(Duration::from_millis(999));
    assert_eq!(host.actions(), []);
    host.wait(Duration::from_millis(1));
    let close = Action::Close(relayed, Closing::Superseded);
    assert_eq!(host.actions(), [close]);
    host.close(relayed, Closing::Superseded);
    assert_eq!(host.tracker.state(&"bob"), State::Connected);
    assert_eq!(host.story("bob").len(), 3, "that is no news of the peer");
}

#[test]
fn a_tracker_without_a_lock_counts_streams_itself_and_ends_a_drain_by_them() {
    let start = Instant::now();
    let policy = Recommended::default();
    let mut tracker = Tracker::new(start, "me", policy, TrackerConfig::default());
    let mut connect = || {
        let id = tracker.handle_dialing(start, Some(&"bob")).expect("room");
        let up = tracker.handle_authenticated(start, id, &"bob", Route::Direct);
        up.map(|()| id).expect("a handshake")
    };
    let (old, new) = (connect(), connect());
    assert_eq!(tracker.poll_action(), Some(Action::Drain(old)));
    let at = |seconds| start + Duration::from_secs(seconds);
    for seconds in [0, 0] {
        let opened = tracker.handle_stream_opened(at(seconds), old);
        opened.expect("it is there");
    }
    assert_eq!(tracker.poll_timeout(), Some(at(30)));
    tracker
        .handle_stream_closed(at(5), old)
        .expect("it is there");
    assert_eq!(tracker.poll_timeout(), Some(at(30)), "one is left");
    tracker
        .handle_stream_closed(at(6), old)
        .expect("it is there");
    assert_eq!(tracker.poll_timeout(), Some(at(7)));
    // On the connection that is kept, streams decide nothing.
    tracker
        .handle_stream_opened(at(6), new)
        .expect("it is there");
    tracker
        .handle_stream_closed(at(6), new)
        .expect("it is there");
    assert_eq!(tracker.poll_timeout(), Some(at(7)));
    tracker.handle_timeout(at(7));
    let close = Action::Close(old, Closing::Superseded);
    assert_eq!(tracker.poll_action(), Some(close));
    assert_eq!(tracker.poll_action(), None);
    let gone = tracker.handle_closed(at(7), old, Closing::Superseded, None);
    gone.expect("it is there");
    let unknown = Err(TrackError::Unknown { id: old });
    assert_eq!(tracker.handle_stream_opened(at(7), old), unknown);
    assert_eq!(tracker.handle_stream_closed(at(7), old), unknown);
}

#[test]
fn a_drained_connection_is_closed_after_30_s_whatever_goes_on_over_it() {
    let mut host = Host::new(Recommended::default());
    let relayed = host.connect("bob", LIMITED);
    let streams = host.streams(relayed);
    streams.handle_opened(host.now);
    streams.handle_opened(host.now);
    host.connect("bob", Route::Direct);
    assert_eq!(host.actions(), [Action::Drain(relayed)]);
    host.wait(Duration::from_millis(29_999));
    assert_eq!(host.actions(), []);
    host.wait(Duration::from_millis(1));
    let close = Action::Close(relayed, Closing::Superseded);
    assert_eq!(host.actions(), [close]);
}

/// A connection that is drained because the peer has a better one, with its streams.
fn drained(host: &mut Host) -> (ConnectionId, StreamCount<&'static str>) {
    let relayed = host.connect("bob", LIMITED);
    let streams = host.streams(relayed);
    host.connect("bob", Route::Direct);
    assert_eq!(host.actions(), [Action::Drain(relayed)]);
    (relayed, streams)
}

#[test]
fn a_drained_connection_on_which_the_peer_pings_all_the_time_is_closed_after_3_s_between_two_pings()
{
    let ms = Duration::from_millis;
    let mut host = Host::new(Recommended::default());
    let (relayed, streams) = drained(&mut host);
    let ping = |host: &mut Host| {
        streams.handle_opened(host.now);
        host.wait(ms(100));
        streams.handle_closed(host.now);
        host.wait(ms(400));
    };
    (0..5).for_each(|_| ping(&mut host));
    host.wait(ms(499));
    assert_eq!(host.actions(), []);
    host.wait(ms(1));
    let close = Action::Close(relayed, Closing::Superseded);
    assert_eq!(host.actions(), [close]);
}

#[test]
fn a_few_streams_that_a_peer_still_opens_on_a_drained_connection_have_the_whole_second_after_them()
{
    let seconds = Duration::from_secs;
    let mut host = Host::new(Recommended::default());
    let (_, streams) = drained(&mut host);
    for _ in 0..2 {
        streams.handle_opened(host.now);
        host.wait(seconds(4));
        streams.handle_closed(host.now);
        host.wait(Duration::from_millis(999));
        assert_eq!(host.actions(), []);
    }
    streams.handle_opened(host.now);
    host.wait(seconds(4));
    streams.handle_closed(host.now);
    host.wait(Duration::ZERO);
    assert_eq!(host.actions().len(), 1);
}

#[test]
fn when_the_direct_connection_is_lost_the_peer_is_limited_again_and_whoever_punches_hears_of_it() {
    let host = Host::new(Recommended::default());
    let relayed = host.connect("bob", LIMITED);
    let direct = host.connect("bob", Route::Direct);
    assert_eq!(host.actions(), [Action::Drain(relayed)]);
    let (_, mut of_bob) = host.tracker.subscribe_to(&"bob");
    host.close(direct, Closing::Lost);
    assert_eq!(host.actions(), [Action::Resume(relayed)]);
    let told: Vec<_> = events(&mut of_bob).iter().map(tell).collect();
    assert_eq!(
        told,
        ["4: connected -> transient (limited), connection lost"]
    );
}

#[test]
fn what_is_limited_is_told_from_what_only_goes_through_a_relay() {
    let host = Host::new(Recommended::default());
    host.connect("bob", LIMITED);
    host.connect("eve", Route::Relayed(None));
    let phase = |peer| host.tracker.connections(host.now, &peer)[0].phase;
    assert_eq!(
        (phase("bob"), phase("eve")),
        (Phase::Limited, Phase::Established)
    );
    assert!(host.tracker.is_transient(&"bob"));
    assert_eq!(host.tracker.state(&"eve"), State::Connected);
    // And what the relay grants is there to be asked.
    let info = host.tracker.connections(host.now, &"bob")[0];
    assert_eq!(info.route, LIMITED);
}

#[test]
fn one_that_is_denied_before_its_peer_is_known_is_no_event_at_all() {
    let host = Host::new(Recommended::default());
    let (_, mut all) = host.tracker.subscribe();
    let id = host.tracker.handle_inbound(host.now).expect("room");
    host.close(id, Closing::Refused);
    assert_eq!(events(&mut all), []);
}

#[test]
fn one_that_is_denied_after_it_was_established_was_connected_first() {
    let host = Host::new(Recommended::default());
    let id = host.tracker.handle_inbound(host.now).expect("room");
    host.authenticated(id, "bob", Route::Direct);
    host.close(id, Closing::Refused);
    assert_eq!(
        host.story("bob"),
        [
            "1: not connected -> connected, authenticated",
            "2: connected -> not connected, refused",
        ]
    );
}

#[test]
fn a_dial_that_is_denied_was_never_connected() {
    let host = Host::new(Recommended::default());
    let id = host.dial("bob");
    host.close(id, Closing::Refused);
    assert_eq!(
        host.story("bob"),
        [
            "1: not connected -> transient (handshaking), dialing",
            "2: transient (handshaking) -> not connected, refused",
        ]
    );
}

#[test]
fn a_connection_that_the_host_was_told_to_close_is_not_authenticated_any_more() {
    let mut host = Host::new(Recommended::default());
    let id = host.dial("bob");
    host.wait(Duration::from_secs(30));
    let close = Action::Close(id, Closing::TooLongTransient);
    assert_eq!(host.actions(), [close]);
    let told = host
        .tracker
        .handle_authenticated(host.now, id, &"bob", Route::Direct);
    let error = told.expect_err("it is too late");
    assert_eq!(
        error.to_string(),
        format!("connection {id} is about to be closed")
    );
    assert!(host.tracker.is_transient(&"bob"));
    assert_eq!(host.actions(), []);
    host.close(id, Closing::TooLongTransient);
    assert_eq!(host.tracker.state(&"bob"), State::NotConnected);
}

#[test]
fn a_limited_connection_that_the_host_was_told_to_close_is_not_lifted_any_more() {
    let policy = Recommended::default().with_max_ages(Duration::MAX, Some(Duration::from_secs(9)));
    let mut host = Host::new(policy);
    let id = host.connect("bob", LIMITED);
    host.wait(Duration::from_secs(9));
    assert_eq!(host.actions().len(), 1);
    let told = host.tracker.handle_path(host.now, id, Route::Direct);
    assert_eq!(told, Err(TrackError::Closing { id }));
    assert!(host.tracker.is_transient(&"bob"));
}

#[test]
fn a_host_that_cannot_probe_drains_no_live_connection_for_one_that_came_later() {
    let now = Instant::now();
    let policy = WithoutProbes(Recommended::default());
    let mut tracker = Tracker::new(now, "me", policy, TrackerConfig::default());
    let mut ids = Vec::new();
    for hours in 0..3 {
        let now = now + Duration::from_secs(3_600 * hours);
        let id = tracker.handle_inbound(now).expect("room");
        tracker
            .handle_authenticated(now, id, &"bob", Route::Direct)
            .expect("a handshake");
        ids.push(id);
    }
    tracker.handle_timeout(now + Duration::from_secs(100_000));
    assert_eq!(tracker.poll_action(), None);
    assert_eq!(tracker.connections(now, &"bob").len(), 3);
    assert_eq!(tracker.best(&"bob"), ids.last().copied());
}

#[test]
fn a_peer_that_left_and_returned_between_two_looks_gets_a_new_resource() {
    let now = Instant::now();
    let config = TrackerConfig::default().with_history(4, 4);
    let tracker = SharedTracker::new(now, "me", Recommended::default(), config);
    let connect = || {
        let id = tracker.handle_dialing(now, Some(&"bob")).expect("room");
        tracker
            .handle_authenticated(now, id, &"bob", Route::Direct)
            .expect("a handshake");
        id
    };
    let first = connect();
    let mut made = 0;
    let mut held = WhenConnected::new(|| {
        made += 1;
        made
    });
    let (snapshot, mut updates) = tracker.subscribe_to(&"bob");
    let bob = snapshot.get(&"bob").expect("it is connected");
    held.handle_state(bob.number, bob.state);
    assert_eq!(held.get(), Some(&1));
    // More happens than the history holds, and in the end all seems as before.
    tracker
        .handle_closed(now, first, Closing::Lost, None)
        .expect("it is there");
    connect();
    for _ in 0..2 {
        let other = tracker.handle_dialing(now, Some(&"eve")).expect("room");
        tracker
            .handle_closed(now, other, Closing::Handshake, None)
            .expect("it is there");
    }
    let Some(Update::Lagged { snapshot, .. }) = updates.try_next() else {
        panic!("nothing was missed");
    };
    let bob = snapshot.get(&"bob").expect("it is connected again");
    held.handle_state(bob.number, bob.state);
    assert_eq!(held.get(), Some(&2));
}
