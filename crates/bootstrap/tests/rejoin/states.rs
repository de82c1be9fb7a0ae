//! The state of the node, and its changes.

use bootstrap::{RejoinConfig, State};

use super::host::{Host, MS, SECOND};

#[test]
fn the_states_follow_the_peers_that_have_settled() {
    let mut host = Host::new(RejoinConfig::default().with_wanted(2));
    host.connect(1);
    host.pass(1500 * MS);
    assert_eq!(host.core.state(), State::Joining);
    host.connect(2);
    host.pass(3 * SECOND - MS);
    assert_eq!(host.core.state(), State::Joining);
    host.pass(MS);
    assert_eq!(host.core.state(), State::Joined);
    host.disconnect(1);
    assert_eq!(host.core.state(), State::Degraded);
    let wanted = "degraded: 1 of 2 wanted peers are connected and have settled";
    assert_eq!(host.core.status().to_string(), wanted);
    host.disconnect(2);
    assert_eq!(host.core.state(), State::Isolated);
    host.connect(3);
    host.pass(1500 * MS);
    assert_eq!(
        host.core.state(),
        State::Joining,
        "a joined node's past ends with its isolation"
    );
    let states = host.states();
    use State::{Degraded, Isolated, Joined, Joining};
    assert_eq!(states, [Joining, Joined, Degraded, Isolated, Joining]);
}

#[test]
fn peers_that_come_for_a_moment_do_not_change_the_state_of_an_isolated_node() {
    let mut host = Host::new(RejoinConfig::default());
    for peer in 1..=20 {
        host.connect(peer);
        host.pass(1499 * MS);
        let reason = "isolated: 0 of 1 wanted peers are connected and have settled";
        assert_eq!(host.core.status().to_string(), reason);
        host.disconnect(peer);
    }
    assert_eq!(host.states(), []);
    host.connect(1);
    host.pass(1500 * MS);
    // Once it is joining, every peer counts.
    host.connect(2);
    host.disconnect(1);
    assert_eq!(host.core.state(), State::Joining);
    host.pass(3 * SECOND);
    host.disconnect(2);
    let states = [State::Joining, State::Joined, State::Isolated];
    assert_eq!(host.states(), states);
}
