//! What the core remembers of its candidates, and what it forgets.

use bootstrap::{Candidate, Origin, Purpose, RejoinConfig, RejoinEvent};

use crate::host::{Host, MS, SECOND};

#[test]
fn the_origins_are_in_the_order_of_trust() {
    let all = [
        Origin::Kept,
        Origin::List,
        Origin::File,
        Origin::DnsAddr,
        Origin::Saved,
        Origin::Peer,
        Origin::Lan,
        Origin::Routing,
        Origin::Claimed,
        Origin::Other,
    ];
    assert!(all.is_sorted());
}

#[test]
fn a_list_in_a_file_or_in_the_dns_is_spared_and_never_dialed_at_the_quick_pace() {
    for origin in [Origin::File, Origin::DnsAddr] {
        let mut host = Host::new(RejoinConfig::default());
        host.add(1, &[1], Origin::Saved);
        host.add(2, &[2], origin);
        host.pass(499 * MS);
        assert!(!host.dialed().contains(&Some(2)), "{origin}");
        host.pass(MS);
        assert!(host.dialed().contains(&Some(2)), "{origin}");
        host.connect(2);
        host.pass(10 * SECOND);
        host.disconnect(2);
        assert!(!host.view(2).lost, "{origin}");
    }
}

#[test]
fn a_new_address_is_dialed_soon_whatever_the_backoff_and_delays_no_dial() {
    let mut host = Host::new(RejoinConfig::default());
    host.connect(99);
    host.add(1, &[1], Origin::Saved);
    host.pass_until_rare(1, 20 * SECOND);
    assert!(host.add(1, &[2], Origin::Saved));
    host.pass(1500 * MS);
    assert_eq!(host.dials()[0].addresses, [1, 2]);
    while host.wait_of(1) > MS {
        host.pass(MS);
    }
    let next = host.view(1).next;
    host.add(1, &[3], Origin::Saved);
    assert_eq!(host.view(1).next, next);
}

#[test]
fn a_candidate_whose_peer_is_connected_makes_no_place() {
    let mut host = Host::new(RejoinConfig::default().with_candidates(3, 2));
    for peer in 1..=3 {
        host.connect(peer);
        host.add(peer, &[peer], Origin::Lan);
    }
    assert!(!host.add(4, &[4], Origin::Saved));
    host.disconnect(2);
    assert!(host.add(4, &[4], Origin::Saved));
    let known = host.core.candidates(host.now);
    let known: Vec<_> = known.iter().map(|view| view.peer).collect();
    assert_eq!(known, [Some(1), Some(3), Some(4)]);
}

#[test]
fn bootstrap_peers_that_do_not_answer_keep_their_places() {
    let mut host = Host::new(RejoinConfig::default().with_candidates(2, 2));
    host.add(1, &[1], Origin::List);
    host.add(2, &[2], Origin::List);
    host.pass(60 * SECOND);
    assert!(host.view(1).failures > 1 && host.view(2).failures > 1);
    // No dial is in flight, so any other candidate could make place.
    for dial in host.dials() {
        host.core.handle_failed(host.now, dial.attempt);
    }
    assert!(!host.add(3, &[3], Origin::List));
}

#[test]
fn of_the_addresses_of_a_source_only_those_that_it_withdraws_are_forgotten() {
    let mut host = Host::new(RejoinConfig::default());
    host.add(1, &[1, 2, 3], Origin::File);
    let gone = Candidate::new(Some(1), vec![2], Origin::File);
    host.core.handle_withdrawn(host.now, &gone);
    assert_eq!(host.view(1).addresses, [1, 3]);
}

#[test]
fn the_longest_stay_of_a_peer_is_remembered() {
    let mut host = Host::new(RejoinConfig::default());
    host.add(1, &[1], Origin::Saved);
    for stay in [40, 10] {
        host.connect(1);
        host.pass(stay * SECOND);
        host.disconnect(1);
    }
    assert_eq!(host.view(1).longest, Some(40 * SECOND));
}

#[test]
fn a_peer_without_a_candidate_becomes_one_where_this_node_reached_it_once_its_connection_has_lasted()
 {
    let mut host = Host::new(RejoinConfig::default());
    host.connect(99);
    host.core.handle_connected(host.now, &1, Some(5));
    host.pass(10 * SECOND - MS);
    assert!(host.core.candidates(host.now).is_empty());
    host.pass(MS);
    let view = host.view(1);
    assert_eq!(
        (view.addresses, view.origins),
        (vec![5], vec![Origin::Peer])
    );
    host.disconnect(1);
    host.pass(250 * MS);
    assert_eq!(host.dials()[0].addresses, [5]);
}

#[test]
fn the_address_of_the_latest_dial_of_a_connected_peer_is_told_and_its_own_dial_changes_nothing() {
    let mut host = Host::new(RejoinConfig::default());
    for address in [None, Some(5), None] {
        host.core.handle_connected(host.now, &1, address);
    }
    host.pass(10 * SECOND);
    assert_eq!(host.told_lasted(), [(1, Some(5), vec![])]);
}

#[test]
fn a_loss_is_told_only_of_a_peer_whose_connection_had_lasted() {
    for (stay, expected) in [(10 * SECOND - MS, 0), (10 * SECOND, 1)] {
        let mut host = Host::new(RejoinConfig::default());
        host.connect(1);
        host.pass(stay);
        host.disconnect(1);
        let is_lost = |event: &&RejoinEvent<u32, u32>| matches!(event, RejoinEvent::Lost { .. });
        let told = host.events.iter().filter(is_lost).count();
        assert_eq!(told, expected, "{stay:?}");
    }
}

/// A dial reports the connection before its own end.
#[test]
fn an_address_without_a_peer_is_not_dialed_if_the_connection_is_told_before_the_answer() {
    let mut host = Host::new(RejoinConfig::default());
    let unnamed = Candidate::new(None, vec![1], Origin::List);
    host.core.handle_candidate(host.now, unnamed);
    let dial = host.dials().remove(0);
    host.connect(7);
    host.core.handle_answered(host.now, dial.attempt, &7);
    host.pass(60 * SECOND);
    assert!(host.dials().is_empty());
    let view = host.core.candidates(host.now).remove(0);
    assert!(view.connected && view.last_connected.is_some(), "{view:?}");
}

#[test]
fn of_the_candidates_that_were_never_offered_the_most_trusted_one_is_offered_first() {
    let mut host = Host::new(RejoinConfig::default());
    for (peer, origin) in [(1, Origin::Other), (2, Origin::Saved), (3, Origin::Lan)] {
        host.add(peer, &[peer], origin);
    }
    host.core.handle_wanted(host.now, Purpose("relay"), 3);
    assert_eq!(host.offered(), [2, 3, 1]);
}

/// The peer may have a new key.
#[test]
fn an_address_that_is_named_with_a_peer_and_without_one_is_dialed_for_each() {
    let mut host = Host::new(RejoinConfig::default());
    host.add(1, &[5], Origin::Saved);
    let unnamed = Candidate::new(None, vec![5], Origin::File);
    host.core.handle_candidate(host.now, unnamed);
    host.pass(500 * MS);
    let dialed = host.dialed();
    assert!(
        dialed.contains(&Some(1)) && dialed.contains(&None),
        "{dialed:?}"
    );
}

#[test]
fn a_core_without_places_for_candidates_or_addresses_dials_nobody() {
    for (candidates, addresses) in [(0, 8), (8, 0)] {
        let config = RejoinConfig::default().with_candidates(candidates, addresses);
        let mut host = Host::new(config);
        assert!(!host.add(1, &[1], Origin::Kept));
        assert!(host.dials().is_empty());
    }
}

#[test]
fn a_node_keeps_1024_candidates_with_eight_addresses_each() {
    let mut host = Host::new(RejoinConfig::default().with_target(0));
    let kept = (1..=1100).filter(|peer| host.add(*peer, &[1], Origin::Other));
    assert_eq!(kept.count(), 1024);
    assert_eq!(host.core.candidates(host.now).len(), 1024);
    host.add(1, &[2, 3, 4, 5, 6, 7, 8, 9], Origin::Other);
    assert_eq!(host.view(1).addresses, [1, 2, 3, 4, 5, 6, 7, 8]);
}

#[test]
fn of_the_peers_that_do_not_answer_the_one_with_the_shortest_stay_makes_place() {
    for seed in 0..20 {
        let mut host = Host::seeded(seed, RejoinConfig::default().with_candidates(3, 2));
        for peer in [1, 3, 2] {
            host.add(peer, &[peer], Origin::Saved);
            host.connect(peer);
            host.pass(20 * SECOND);
        }
        (1..=3).for_each(|peer| host.disconnect(peer));
        host.pass(300 * SECOND);
        for dial in host.dials() {
            host.core.handle_failed(host.now, dial.attempt);
        }
        assert!(host.add(4, &[4], Origin::Saved));
        let known = host.core.candidates(host.now);
        let known: Vec<_> = known.iter().map(|view| view.peer).collect();
        assert_eq!(known, [Some(1), Some(3), Some(4)], "seed {seed}");
    }
}

/// Each dial in flight belongs to a candidate.
#[test]
fn a_peer_whose_connection_has_lasted_displaces_no_candidate_with_a_dial_in_flight() {
    let mut host = Host::new(RejoinConfig::default().with_candidates(1, 2));
    host.core.handle_connected(host.now, &2, Some(2));
    host.pass(9 * SECOND);
    host.add(1, &[1], Origin::Lan);
    host.pass(SECOND);
    let known = host.core.candidates(host.now);
    assert_eq!((known[0].peer, known[0].in_flight > 0), (Some(1), true));
}
