//! After a loss.

use std::time::{Duration, Instant};

use bootstrap::{Candidate, Origin, RejoinConfig};

use crate::host::{Dial, Host, MS, SECOND};

/// A peer that is lost after it has been connected for so long. Another one stays connected.
fn lost_after(stay: Duration, origin: Origin) -> Host {
    let mut host = Host::new(RejoinConfig::default());
    host.connect(99);
    host.add(1, &[1], origin);
    host.connect(1);
    host.pass(stay);
    host.disconnect(1);
    host.events.clear();
    host
}

fn longest_gap(from: Instant, dials: &[Dial]) -> Duration {
    let times = std::iter::once(from).chain(dials.iter().map(|dial| dial.at));
    let times: Vec<_> = times.collect();
    times
        .windows(2)
        .map(|pair| pair[1] - pair[0])
        .max()
        .unwrap_or_default()
}

#[test]
fn a_peer_that_had_lasted_is_dialed_within_a_second_and_a_half_for_two_minutes_and_then_rarely() {
    let mut host = lost_after(10 * SECOND, Origin::Saved);
    let from = host.now;
    host.pass(120 * SECOND);
    let dials = host.dials();
    assert!(longest_gap(from, &dials) <= 1500 * MS);
    assert!(
        dials[0].at - from <= 250 * MS,
        "the first delay is the base"
    );
    assert!(
        (120..240).contains(&dials.len()),
        "{} dials in 120 s",
        dials.len()
    );
    host.pass(3600 * SECOND);
    let dials = host.dials();
    let rare = (12..=60).contains(&dials.len());
    assert!(
        rare && longest_gap(dials[0].at, &dials) > 100 * SECOND,
        "{} dials in an hour",
        dials.len()
    );
}

#[test]
fn a_connection_shorter_than_ten_seconds_does_not_reset_the_backoff() {
    let mut host = Host::new(RejoinConfig::default());
    host.connect(99);
    host.add(1, &[1], Origin::Saved);
    host.pass(1000 * SECOND);
    let failures = host.view(1).failures;
    assert!(failures > 8, "{failures}");
    host.connect(1);
    host.pass(10 * SECOND - MS);
    host.disconnect(1);
    assert_eq!(host.view(1).failures, failures);
    assert!(!host.view(1).lost);
    host.connect(1);
    host.pass(10 * SECOND);
    assert_eq!(host.view(1).failures, 0);
}

#[test]
fn peers_that_came_once_and_are_gone_make_place_for_new_ones_and_those_that_stayed_go_last() {
    // With 8 others, nobody is dialed but the peer that stayed.
    for others in [1, 8] {
        let mut host = Host::new(RejoinConfig::default().with_candidates(5, 8));
        (100..100 + others).for_each(|other| host.connect(other));
        let visit = |host: &mut Host, peer, stay| {
            host.connect(peer);
            assert!(host.add(peer, &[peer], Origin::Peer), "{peer}");
            host.pass(stay);
            host.disconnect(peer);
        };
        visit(&mut host, 1, 20 * SECOND);
        (2..=5).for_each(|visitor| visit(&mut host, visitor, 5 * SECOND));
        for newcomer in 10..20 {
            host.pass(1000 * SECOND);
            visit(&mut host, newcomer, SECOND);
            host.view(1);
        }
    }
}

#[test]
fn a_bootstrap_peer_that_is_lost_is_dialed_anywhere_in_the_cap_and_never_at_the_quick_pace() {
    let mut firsts = Vec::new();
    for seed in 0..200 {
        let mut host = Host::seeded(seed, RejoinConfig::default());
        host.add(1, &[1], Origin::List);
        host.connect(1);
        host.pass(10 * SECOND);
        host.disconnect(1);
        host.dials();
        let view = host.view(1);
        assert!(!view.lost);
        assert_eq!((view.dials, view.failures), (1, 0), "a loss is no dial");
        let from = host.now;
        host.pass(10 * SECOND);
        firsts.push(
            host.dials()
                .first()
                .expect("within the cap of an isolated node")
                .at
                - from,
        );
    }
    let early = firsts.iter().filter(|first| **first <= 2500 * MS).count();
    assert!(
        (30..70).contains(&early),
        "{early} of 200 in the first quarter"
    );
}

#[test]
fn a_bootstrap_peer_that_is_to_be_kept_is_dialed_at_the_quick_pace() {
    let mut host = Host::new(RejoinConfig::default());
    host.connect(99);
    host.add(1, &[1], Origin::List);
    host.add(1, &[1], Origin::Kept);
    host.connect(1);
    host.pass(10 * SECOND);
    host.disconnect(1);
    host.dials();
    let from = host.now;
    host.pass(60 * SECOND);
    assert!(longest_gap(from, &host.dials()) <= 1500 * MS);
}

#[test]
fn after_the_two_minutes_an_isolated_node_dials_within_ten_seconds() {
    let mut host = Host::new(RejoinConfig::default());
    host.add(1, &[1], Origin::Saved);
    host.connect(1);
    host.pass(10 * SECOND);
    host.disconnect(1);
    host.pass(130 * SECOND);
    host.dials();
    let from = host.now;
    host.pass(1800 * SECOND);
    let gap = longest_gap(from, &host.dials());
    assert!(gap <= 10 * SECOND && gap > 2 * SECOND, "{gap:?}");
}

#[test]
fn a_node_that_loses_its_last_peer_does_not_wait_for_the_long_backoff_of_the_others() {
    let mut host = Host::new(RejoinConfig::default());
    host.connect(99);
    host.add(1, &[1], Origin::Saved);
    host.pass(7200 * SECOND);
    host.dials();
    host.disconnect(99);
    let from = host.now;
    host.pass(10 * SECOND);
    let dials = host.dials();
    assert!(!dials.is_empty(), "no dial within {:?}", host.now - from);
}

#[test]
fn of_seventeen_lost_peers_the_sixteen_that_were_lost_last_are_dialed_at_the_quick_pace() {
    let mut host = Host::new(RejoinConfig::default());
    host.connect(99);
    for peer in 1..=17 {
        host.add(peer, &[peer], Origin::Saved);
        host.connect(peer);
    }
    host.add(18, &[18], Origin::Kept);
    host.connect(18);
    host.pass(10 * SECOND);
    for peer in (1..=17).rev() {
        host.disconnect(peer);
        host.pass(MS);
    }
    host.disconnect(18);
    let lost: Vec<_> = (1..=18).filter(|peer| host.view(*peer).lost).collect();
    assert_eq!(lost, [(1..=16).collect::<Vec<_>>(), vec![18]].concat());
}

#[test]
fn a_peer_that_dialed_this_node_is_redialed_at_the_addresses_it_told() {
    let mut host = Host::new(RejoinConfig::default().with_target(0));
    host.connect(1);
    host.core
        .handle_candidate(host.now, Candidate::new(Some(1), vec![5], Origin::Peer));
    host.pass(10 * SECOND);
    host.disconnect(1);
    host.pass(250 * MS);
    let dials = host.dials();
    assert_eq!(
        dials[0].addresses,
        [5],
        "lost peers are dialed although enough peers are connected"
    );
}

#[test]
fn a_peer_that_closes_at_once_again_and_again_is_dialed_at_the_backoff_s_pace() {
    // A bootstrap peer that had lasted would wait long from its first loss on, and any other peer would have the quick pace.
    for origin in [Origin::List, Origin::Saved] {
        let mut early = 0;
        for seed in 0..20 {
            let mut host = Host::seeded(seed, RejoinConfig::default());
            host.add(1, &[1], origin);
            let from = host.now;
            let (mut dials, mut failures) = (0, 0);
            while host.now - from < 300 * SECOND {
                if let Some(dial) = host.dials().first() {
                    dials += 1;
                    early += u32::from(host.now - from < 2 * SECOND);
                    host.core.handle_answered(host.now, dial.attempt, &1);
                    host.connect(1);
                    host.pass(100 * MS);
                    host.disconnect(1);
                    let view = host.view(1);
                    assert!(!view.lost && view.failures > failures, "{view:?}");
                    failures = view.failures;
                } else {
                    host.pass(10 * MS);
                }
            }
            // With n dials, the mean delay is half of the ceiling: 0.125 s, 0.25 s, … 5 s, and then 5 s for each.
            assert!((45..=85).contains(&dials), "{dials} dials in 300 s");
        }
        assert!((50..=90).contains(&early), "{early} in the first 2 s");
    }
}

/// Eight peers that have lasted are lost. Returns how many of them have a dial in flight after `time`.
fn lose_eight(host: &mut Host, time: Duration) -> usize {
    for peer in 1..=8 {
        host.add(peer, &[peer], Origin::Saved);
        host.connect(peer);
    }
    host.pass(10 * SECOND);
    (1..=8).for_each(|peer| host.disconnect(peer));
    host.pass(time);
    of_eight_in_flight(host)
}

fn of_eight_in_flight(host: &Host) -> usize {
    let in_flight = (1..=8).filter(|peer| host.view(*peer).in_flight > 0);
    in_flight.count()
}

#[test]
fn lost_peers_in_flight_take_no_place_of_the_other_candidates() {
    let mut host = Host::new(RejoinConfig::default().with_target(4));
    assert_eq!(lose_eight(&mut host, 5 * SECOND), 8);
    host.dials();
    host.add(9, &[9], Origin::Saved);
    assert_eq!(host.dialed(), [Some(9)]);
}

#[test]
fn after_its_two_minutes_a_lost_peer_is_one_of_the_few_dials_in_flight_again() {
    let mut host = Host::new(RejoinConfig::default().with_target(1));
    lose_eight(&mut host, 130 * SECOND);
    for _ in 0..600 {
        host.pass(100 * MS);
        let in_flight = of_eight_in_flight(&host);
        assert!(
            in_flight <= 2,
            "{in_flight} peers, twice as many as are missing"
        );
    }
}
