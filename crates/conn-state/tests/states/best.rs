//! Which connection to a peer is the best one, and which dead one is closed at once.

use std::{net::SocketAddr, time::Duration};

use conn_state::{Action, Closing, ConnectionId, Path, Recommended, Remote, Route, State};

use crate::{Host, LIMITED};

const MS: Duration = Duration::from_millis(1);

/// The peer's one UDP socket.
fn socket() -> Remote {
    Remote::new("quic", SocketAddr::from(([192, 0, 2, 1], 4001)))
}

fn accept(host: &Host, path: impl Into<Path>) -> ConnectionId {
    let id = host.tracker.handle_inbound(host.now).expect("room");
    host.tracker
        .handle_authenticated(host.now, id, &"bob", path)
        .expect("it is in its handshake");
    id
}

#[test]
fn the_best_connection_is_unlimited_before_limited_and_then_direct_and_then_new() {
    let mut host = Host::new(Recommended::default());
    let best = |host: &Host| {
        (
            host.tracker.best(&"bob"),
            host.tracker.best_unlimited(&"bob"),
        )
    };
    assert_eq!(best(&host), (None, None));
    host.dial("bob");
    assert_eq!(best(&host), (None, None), "a handshake is no connection");
    let limited = accept(&host, LIMITED);
    assert_eq!(best(&host), (Some(limited), None));
    host.wait(MS);
    // The limited one is drained.
    let relayed = accept(&host, Route::Relayed(None));
    assert_eq!(best(&host), (Some(relayed), Some(relayed)));
    host.wait(MS);
    let direct = accept(&host, Route::Direct);
    assert_eq!(best(&host), (Some(direct), Some(direct)));
    host.wait(MS);
    // Of two from the peer, both stay until it has chosen.
    let newer = accept(&host, Route::Direct);
    assert_eq!(best(&host), (Some(newer), Some(newer)));
    host.wait(MS);
    let relayed = accept(&host, Route::Relayed(None));
    assert_eq!(best(&host), (Some(newer), Some(newer)), "not {relayed}");
}

#[test]
fn a_silent_unlimited_connection_that_is_drained_is_not_better_than_a_limited_one_that_lives() {
    let mut host = Host::new(Recommended::default());
    let full = host.connect("bob", Route::Direct);
    host.wait(3_600_000 * MS);
    let limited = accept(&host, LIMITED);
    assert_eq!(host.actions(), [Action::Probe(full)]);
    assert_eq!(host.tracker.best(&"bob"), Some(full));
    host.wait(500 * MS);
    assert_eq!(host.actions(), [Action::Drain(full)]);
    assert_eq!(host.tracker.best(&"bob"), Some(limited));
    assert_eq!(host.tracker.best_unlimited(&"bob"), None);
    assert!(host.tracker.state(&"bob") < State::Connected);
    // Once nothing else is left, what is drained is better than nothing.
    host.close(limited, Closing::Lost);
    assert_eq!(host.tracker.best(&"bob"), Some(full));
}

#[test]
fn a_connection_that_the_host_was_told_to_close_is_never_the_best_one() {
    let policy = Recommended::default().with_max_ages(1_000 * MS, Some(1_000 * MS));
    let mut host = Host::new(policy);
    let limited = host.connect("bob", LIMITED);
    assert_eq!(host.tracker.best(&"bob"), Some(limited));
    host.wait(1_000 * MS);
    assert_eq!(host.tracker.best(&"bob"), None);
}

#[test]
fn a_client_that_dials_again_from_its_socket_has_its_dead_connection_closed_with_the_probe() {
    let path = Path::new(Route::Direct).with_remote(socket());
    let mut host = Host::new(Recommended::default());
    let old = accept(&host, path);
    host.streams(old).handle_opened(host.now);
    let new = accept(&host, path);
    // It is not taken for simultaneous, though the two came at one moment.
    assert_eq!(host.actions(), [Action::Probe(old)]);
    host.wait(499 * MS);
    assert_eq!(host.actions(), []);
    host.wait(MS);
    let close = Action::Close(old, Closing::Unresponsive);
    assert_eq!(host.actions(), [Action::Drain(old), close]);
    host.close(old, Closing::Unresponsive);
    assert_eq!(host.tracker.best(&"bob"), Some(new));
    assert_eq!(host.story("bob").len(), 1);
}

#[test]
fn one_byte_on_the_old_connection_saves_it_whatever_socket_the_new_one_comes_from() {
    let path = Path::new(Route::Direct).with_remote(socket());
    let mut host = Host::new(Recommended::default());
    let old = accept(&host, path);
    accept(&host, path);
    assert_eq!(host.actions(), [Action::Probe(old)]);
    host.wait(499 * MS);
    host.tracker.handle_alive(host.now, old);
    host.wait(100_000 * MS);
    assert_eq!(host.actions(), []);
    assert_eq!(host.tracker.connections(host.now, &"bob").len(), 2);
}

#[test]
fn silence_is_no_proof_any_more_when_the_old_connection_has_moved_to_another_socket() {
    let path = Path::new(Route::Direct).with_remote(socket());
    let elsewhere = Remote::new("quic", SocketAddr::from(([192, 0, 2, 1], 4002)));
    for (moved_at, closed_at) in [(None, 800), (Some(700), 3_500)] {
        let mut host = Host::new(Recommended::default());
        let old = accept(&host, path);
        let new = host.tracker.handle_inbound(host.now).expect("room");
        host.wait(100 * MS);
        host.tracker
            .handle_authenticated(host.now, new, &"bob", path)
            .expect("it is in its handshake");
        host.streams(old).handle_opened(host.now);
        host.wait(500 * MS);
        assert_eq!(host.actions(), [Action::Probe(old), Action::Drain(old)]);
        let mut waited = 500;
        if let Some(at) = moved_at {
            host.wait((at - waited) * MS);
            waited = at;
            let moved = Path::new(Route::Direct).with_remote(elsewhere);
            host.tracker
                .handle_path(host.now, old, moved)
                .expect("it is open");
        }
        host.wait((closed_at - 1 - waited) * MS);
        assert_eq!(host.actions(), [], "moved at {moved_at:?}");
        host.wait(MS);
        assert_eq!(host.actions(), [Action::Close(old, Closing::Unresponsive)]);
    }
}

#[test]
fn a_slower_handshake_from_the_same_socket_gives_the_old_connection_more_time_to_answer() {
    let path = Path::new(Route::Direct).with_remote(socket());
    for (handshake, close_at) in [(62, 500), (63, 504), (100, 800), (437, 3_496), (438, 3_500)] {
        let mut host = Host::new(Recommended::default());
        let old = accept(&host, path);
        let new = host.tracker.handle_inbound(host.now).expect("room");
        host.wait(handshake * MS);
        host.tracker
            .handle_authenticated(host.now, new, &"bob", path)
            .expect("it is in its handshake");
        assert_eq!(host.actions(), [Action::Probe(old)]);
        host.streams(old).handle_opened(host.now);
        host.wait(499 * MS);
        assert_eq!(host.actions(), []);
        host.wait(MS);
        let mut after = vec![Action::Drain(old)];
        let close = Action::Close(old, Closing::Unresponsive);
        if close_at > 500 {
            assert_eq!(host.actions(), after, "{handshake} ms");
            host.wait((close_at - 501) * MS);
            after.clear();
            assert_eq!(host.actions(), after, "{handshake} ms");
            host.wait(MS);
        }
        after.push(close);
        assert_eq!(host.actions(), after, "{handshake} ms");
    }
}

#[test]
fn patience_stays_on_a_slow_path_from_another_socket_and_after_a_migration() {
    let path = Path::new(Route::Direct).with_remote(socket());
    let elsewhere = Remote::new("quic", SocketAddr::from(([192, 0, 2, 1], 4002)));
    let elsewhere = Path::new(Route::Direct).with_remote(elsewhere);
    for (handshake, second, migrated) in [
        (501, path, None),
        (0, elsewhere, None),
        (0, Route::Direct.into(), None),
        (0, path, Some(elsewhere)),
    ] {
        let mut host = Host::new(Recommended::default());
        let old = accept(&host, path);
        if let Some(path) = migrated {
            host.tracker
                .handle_path(host.now, old, path)
                .expect("it is up");
        }
        host.wait(MS);
        let new = host.tracker.handle_inbound(host.now).expect("room");
        host.wait(handshake * MS);
        host.tracker
            .handle_authenticated(host.now, new, &"bob", second)
            .expect("it is in its handshake");
        assert_eq!(host.actions(), [Action::Probe(old)]);
        host.streams(old).handle_opened(host.now);
        host.wait(500 * MS);
        assert_eq!(host.actions(), [Action::Drain(old)]);
        host.wait(2_999 * MS);
        assert_eq!(host.actions(), []);
        host.wait(MS);
        let close = Action::Close(old, Closing::Unresponsive);
        assert_eq!(host.actions(), [close]);
    }
}
