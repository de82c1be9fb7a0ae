//! A connection that was replaced for its silence answers after all.

use std::time::Duration;

use conn_state::{Action, Closing, ConnectionId, Direction, Phase, Recommended, Route};

use crate::Host;

const MS: Duration = Duration::from_millis(1);

/// A live connection of `peer`, and a newer one for which it was drained because it did not answer within 500 ms.
fn replaced(host: &mut Host, peer: &'static str, newer: Direction) -> [ConnectionId; 2] {
    let old = host.tracker.handle_inbound(host.now).expect("room");
    host.authenticated(old, peer, Route::Direct);
    host.wait(3_600_000 * MS);
    let new = match newer {
        Direction::Inbound => host.tracker.handle_inbound(host.now).expect("room"),
        Direction::Outbound => host.dial(peer),
    };
    host.authenticated(new, peer, Route::Direct);
    assert_eq!(host.actions(), [Action::Probe(old)]);
    // Its streams are not lost meanwhile.
    host.streams(old).handle_opened(host.now);
    host.wait(500 * MS);
    assert_eq!(host.actions(), [Action::Drain(old)]);
    [old, new]
}

#[test]
fn a_late_answer_resumes_the_old_connection_and_the_contest_is_repeated() {
    // This host is `me`. It keeps the dial of the lower id.
    for (peer, newer, keeps) in [
        ("bob", Direction::Outbound, [true, false]),
        ("zoe", Direction::Outbound, [false, true]),
        // The peer dialed both, and decides.
        ("bob", Direction::Inbound, [true, true]),
    ] {
        let mut host = Host::new(Recommended::default());
        let [old, new] = replaced(&mut host, peer, newer);
        host.wait(2_999 * MS);
        host.tracker.handle_alive(host.now, old);
        let expected = match keeps {
            [true, false] => vec![Action::Resume(old), Action::Drain(new)],
            [true, true] => vec![Action::Resume(old)],
            _ => Vec::new(),
        };
        assert_eq!(host.actions(), expected, "{peer}, {newer}");
        let phase = |id| host.tracker.connection(host.now, id).map(|info| info.phase);
        let phases = keeps.map(|kept| match kept {
            true => Some(Phase::Established),
            false => Some(Phase::Draining),
        });
        assert_eq!([phase(old), phase(new)], phases);
        // It answered: it is not closed for its silence any more.
        host.wait(MS);
        assert_eq!(host.actions(), []);
    }
}

#[test]
fn an_answer_after_the_host_was_told_to_close_comes_too_late() {
    // The drain ends before the patience does.
    let policy = Recommended::default().with_drain(100 * MS, 1_000 * MS);
    let mut host = Host::new(policy);
    let [old, new] = replaced(&mut host, "bob", Direction::Outbound);
    host.wait(1_000 * MS);
    let close = Action::Close(old, Closing::Superseded);
    assert_eq!(host.actions(), [close]);
    host.tracker.handle_alive(host.now, old);
    assert_eq!(host.actions(), []);
    assert_eq!(host.tracker.best(&"bob"), Some(new));
}

#[test]
fn bytes_on_a_connection_that_nobody_doubts_change_nothing() {
    let mut host = Host::new(Recommended::default());
    let [old, new] = replaced(&mut host, "zoe", Direction::Inbound);
    host.tracker.handle_alive(host.now, old);
    assert_eq!(host.actions(), [Action::Resume(old)]);
    for _ in 0..3 {
        host.tracker.handle_alive(host.now, old);
        host.tracker.handle_alive(host.now, new);
    }
    host.wait(100_000 * MS);
    assert_eq!(host.actions(), []);
}
