//! After a change of this node's own network, and after the last peer of several is gone.

use std::time::Duration;

use bootstrap::{Origin, RejoinConfig};

use crate::host::{Host, MS, SECOND};

/// The time from `from` to the first dial within 10 s.
fn first_dial(host: &mut Host) -> Duration {
    let from = host.now;
    host.pass(10 * SECOND);
    host.dials().first().expect("within the cap").at - from
}

#[test]
fn a_bootstrap_peer_that_is_lost_within_two_minutes_of_a_change_of_the_network_is_dialed_at_once() {
    let first_after = |since_change: Duration| {
        let first = |seed| {
            let mut host = Host::seeded(seed, RejoinConfig::default());
            host.add(1, &[1], Origin::List);
            host.connect(1);
            host.pass(10 * SECOND);
            host.core.handle_changed(host.now);
            host.pass(since_change);
            host.disconnect(1);
            host.dials();
            first_dial(&mut host)
        };
        (0..40).map(first).collect::<Vec<_>>()
    };
    let own = first_after(120 * SECOND - MS);
    assert!(own.iter().all(|first| *first <= 250 * MS), "{own:?}");
    // Later, other nodes may have lost the peer at the same moment.
    let of_many = first_after(120 * SECOND);
    let late = of_many.iter().filter(|first| **first > SECOND);
    assert!(late.count() >= 25, "{of_many:?}");
}

/// The first dials of a bootstrap peer that was not dialed, because another peer was connected. That peer is gone now.
fn first_after_the_other_is_gone(is_own_change: bool) -> Vec<Duration> {
    let first = |seed| {
        let mut host = Host::seeded(seed, RejoinConfig::default().with_target(1));
        host.connect(99);
        host.add(1, &[1], Origin::List);
        host.pass(60 * SECOND);
        assert!(host.dials().is_empty(), "enough peers are connected");
        if is_own_change {
            host.core.handle_changed(host.now);
        }
        host.disconnect(99);
        first_dial(&mut host)
    };
    (0..200).map(first).collect()
}

#[test]
fn a_bootstrap_peer_that_was_spared_is_dialed_anywhere_in_the_cap_when_the_last_other_peer_is_gone()
{
    let firsts = first_after_the_other_is_gone(false);
    let early = firsts.iter().filter(|first| **first <= 2500 * MS).count();
    assert!(
        (30..70).contains(&early),
        "{early} of 200 in the first quarter"
    );
    let own = first_after_the_other_is_gone(true);
    assert!(own.iter().all(Duration::is_zero), "{own:?}");
}

#[test]
fn the_backoff_of_every_candidate_begins_again_after_a_change_of_the_network() {
    let mut host = Host::new(RejoinConfig::default());
    host.add(1, &[1], Origin::Saved);
    host.pass(1000 * SECOND);
    let failures = host.view(1).failures;
    assert!(failures > 8);
    host.dials();
    host.core.handle_changed(host.now);
    assert_eq!(
        (host.dials().len(), host.view(1).failures),
        (1, failures + 1)
    );
    host.pass(250 * MS);
    assert!(!host.dials().is_empty(), "the first delay is the base");
}

#[test]
fn after_a_change_of_the_network_sixteen_peers_that_were_lost_before_have_the_quick_pace_again() {
    let mut host = Host::new(RejoinConfig::default());
    host.connect(99);
    for peer in 1..=21 {
        let origin = match peer {
            1 => Origin::List,
            _ => Origin::Saved,
        };
        host.add(peer, &[peer], origin);
        host.connect(peer);
    }
    host.pass(10 * SECOND);
    (1..=21).for_each(|peer| host.disconnect(peer));
    host.add(22, &[22], Origin::Saved);
    host.pass(130 * SECOND);
    let lost = |host: &Host| -> Vec<u32> {
        let all = 1..=22;
        all.filter(|peer| host.view(*peer).lost).collect()
    };
    assert_eq!(lost(&host), []);
    host.core.handle_changed(host.now);
    let again = lost(&host);
    assert_eq!(again.len(), 16);
    // A bootstrap peer never has the quick pace, and the last one was never connected.
    assert!(!again.contains(&1) && !again.contains(&22), "{again:?}");
}
