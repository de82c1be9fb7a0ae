//! A peer that is connected and sends nothing, and a peer that this host has closed.

use bootstrap::{Origin, RejoinConfig, State};

use crate::host::{Host, MS, SECOND};

/// A host with a peer that has been connected for 10 s, and further ones.
fn connected(origin: Origin, others: u32) -> Host {
    let mut host = Host::new(RejoinConfig::default());
    for other in 0..others {
        host.connect(100 + other);
    }
    host.add(1, &[1], origin);
    host.connect(1);
    host.pass(10 * SECOND);
    host.events.clear();
    host
}

#[test]
fn a_quiet_peer_is_dialed_at_the_pace_of_a_lost_one_until_it_is_heard() {
    let mut host = connected(Origin::Peer, 8);
    host.pass(60 * SECOND);
    assert_eq!(host.dialed(), [], "a connected peer is not dialed");
    let from = host.now;
    host.core.handle_quiet(host.now, &1);
    host.pass(30 * SECOND);
    let dials = host.dials();
    assert!(dials[0].at - from <= 250 * MS);
    let gaps = dials.windows(2).map(|pair| pair[1].at - pair[0].at);
    assert!(gaps.max() <= Some(1500 * MS));
    assert!(dials.len() >= 20, "{} dials in 30 s", dials.len());
    assert_eq!(
        host.core.state(),
        State::Joined,
        "the connection counts until it ends"
    );

    host.events.clear();
    host.core.handle_heard(host.now, &1);
    let in_flight = host.abandoned();
    assert!(
        !in_flight.is_empty(),
        "dials of a peer that was heard are abandoned"
    );
    host.pass(600 * SECOND);
    assert_eq!(host.dialed(), []);
}

#[test]
fn a_peer_that_is_quiet_or_lost_is_dialed_quickly_only_where_it_was_shown_and_saved_only_there() {
    for is_quiet in [true, false] {
        let mut host = Host::new(RejoinConfig::default());
        host.add(1, &[1], Origin::Peer);
        host.add(1, &[2, 3], Origin::Claimed);
        host.add(2, &[4], Origin::Claimed);
        (100..108).chain([1, 2]).for_each(|peer| host.connect(peer));
        host.pass(10 * SECOND);
        let saved = host.told_lasted();
        assert!(saved.contains(&(1, None, vec![1])) && saved.contains(&(2, None, vec![])));
        host.events.clear();
        for peer in [1, 2] {
            match is_quiet {
                true => host.core.handle_quiet(host.now, &peer),
                false => host.disconnect(peer),
            }
        }
        host.pass(30 * SECOND);
        let dials = host.dials();
        assert!(dials.len() >= 20, "{} dials in 30 s", dials.len());
        assert!(dials.iter().all(|dial| dial.addresses == [1]));
    }
}

#[test]
fn a_peer_that_only_claims_its_addresses_is_dialed_at_the_ordinary_pace_while_peers_are_missing() {
    let mut host = connected(Origin::Claimed, 1);
    host.disconnect(1);
    host.pass(120 * SECOND);
    let dials = host.dials();
    assert!((5..=15).contains(&dials.len()), "{} dials", dials.len());
}

#[test]
fn a_peer_that_only_claims_its_addresses_is_forgotten_a_day_after_its_last_connection() {
    let day = 24 * 3600 * SECOND;
    for (stays, origin) in [
        (10 * SECOND, Origin::Claimed),
        (2 * day, Origin::Claimed),
        (SECOND, Origin::Saved),
    ] {
        let mut host = connected(origin, 1);
        host.pass(stays);
        host.disconnect(1);
        host.pass(day - MS);
        assert!(host.dials().len() > 300);
        assert_eq!(host.core.candidates(host.now).len(), 1);
        host.pass(day);
        let is_kept = origin == Origin::Saved;
        assert_eq!(host.core.candidates(host.now).len(), usize::from(is_kept));
        assert_eq!(host.dials().is_empty(), !is_kept);
    }
    // A connection keeps the candidate, and a new claim begins a new day.
    let mut host = connected(Origin::Claimed, 1);
    host.pass(3 * day);
    host.disconnect(1);
    host.pass(day / 2);
    host.connect(1);
    host.disconnect(1);
    host.pass(day - SECOND);
    assert!(host.dials().len() > 400);
    host.pass(400 * SECOND);
    assert!(host.core.candidates(host.now).is_empty());
    host.add(1, &[1], Origin::Claimed);
    host.pass(day / 2);
    assert!(host.dials().len() > 100);
}

#[test]
fn a_quiet_peer_that_is_connected_anew_is_not_dialed_any_more() {
    let mut host = connected(Origin::Peer, 8);
    host.core.handle_quiet(host.now, &1);
    host.core.handle_quiet(host.now, &1);
    assert!(host.core.is_connected(&1) && !host.core.is_connected(&2));
    host.pass(5 * SECOND);
    assert!(!host.dialed().is_empty());
    host.connect(1);
    assert!(!host.view(1).lost);
    host.pass(600 * SECOND);
    assert_eq!(host.dialed(), []);
    // It is connected without a pause, and may be quiet and then lost once more.
    host.core.handle_quiet(host.now, &1);
    host.pass(5 * SECOND);
    assert!(!host.dialed().is_empty());
    host.disconnect(1);
    host.pass(5 * SECOND);
    assert!(!host.dialed().is_empty());
}

#[test]
fn a_node_whose_only_peer_is_quiet_looks_for_others_like_an_isolated_one() {
    let mut host = connected(Origin::List, 0);
    host.add(2, &[2], Origin::Saved);
    host.connect(2);
    host.disconnect(2);
    host.core.handle_quiet(host.now, &1);
    let need = host.core.need();
    assert!(need.isolated && need.peers == 8, "{need:?}");
    let from = host.now;
    host.pass(11 * SECOND);
    // A bootstrap peer may be quiet for many nodes at the same time: its delay is uniform in 10 s.
    let dials = host.dials();
    for peer in [1, 2] {
        let first = dials.iter().find(|dial| dial.peer == Some(peer)).unwrap();
        assert!(
            first.at - from <= 10 * SECOND,
            "{peer}: {:?}",
            first.at - from
        );
    }
    host.core.handle_heard(host.now, &1);
    assert!(!host.core.need().isolated);
}

#[test]
fn a_peer_that_this_host_closes_is_forgotten_unless_a_source_names_it() {
    let mut host = connected(Origin::Peer, 8);
    host.core.handle_dismissed(host.now, &1);
    host.disconnect(1);
    host.pass(600 * SECOND);
    assert_eq!(host.dialed(), []);

    let mut host = connected(Origin::Saved, 8);
    host.add(1, &[2], Origin::Peer);
    host.core.handle_dismissed(host.now, &1);
    host.disconnect(1);
    host.pass(SECOND);
    let dials = host.dials();
    assert_eq!(
        dials[0].addresses,
        [1],
        "only the address of the source is left"
    );
}

#[test]
fn a_node_whose_only_peer_is_quiet_dials_the_others_within_ten_seconds_again_and_again() {
    let mut host = Host::new(RejoinConfig::default());
    host.connect(99);
    host.add(1, &[1], Origin::Saved);
    host.pass_until_rare(1, 60 * SECOND);
    let mut last = host.now;
    host.core.handle_quiet(host.now, &99);
    host.pass(600 * SECOND);
    let dials = host.dials();
    assert!(dials.len() >= 60, "{} dials in 600 s", dials.len());
    for dial in dials {
        assert!(dial.at - last <= 10 * SECOND, "{:?}", dial.at - last);
        last = dial.at;
    }
}

#[test]
fn a_peer_that_this_host_closes_is_forgotten_with_its_claims_and_its_dials_end() {
    let mut host = connected(Origin::Claimed, 8);
    host.core.handle_dismissed(host.now, &1);
    host.disconnect(1);
    assert!(host.core.candidates(host.now).is_empty());

    let mut host = connected(Origin::Peer, 8);
    host.core.handle_quiet(host.now, &1);
    host.pass(5 * SECOND);
    let dial = host.dials().pop().expect("a quiet peer is dialed");
    host.core.handle_dismissed(host.now, &1);
    assert!(host.abandoned().contains(&dial.attempt));
}
