//! What goes wrong elsewhere.

use std::time::Duration;

use conn_state::{Action, Closing, Phase, Recommended, Route, State, Update};

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
    host.wait(Duration::from_secs(29));
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
