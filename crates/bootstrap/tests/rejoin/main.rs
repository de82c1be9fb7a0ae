//! What the core dials, when, and which state it reports. The program sets the time.

mod addresses;
mod candidates;
mod changes;
mod host;
mod losses;
mod pace;
mod properties;
mod quiet;
mod simulation;
mod states;

use std::time::Duration;

use bootstrap::{Candidate, Origin, Purpose, Reason, RejoinConfig, RejoinEvent, State};
use host::{Host, MS, SECOND};

#[test]
fn a_node_without_candidates_is_isolated_and_says_so() {
    let host = Host::new(RejoinConfig::default());
    let status = host.core.status();
    assert_eq!(
        (status.state, status.reason),
        (State::Isolated, Reason::NoCandidates)
    );
    assert_eq!(
        status.to_string(),
        "isolated: no peer is known that could be dialed"
    );
    assert_eq!(host.core.poll_timeout(), None);
}

#[test]
fn all_addresses_of_a_peer_are_in_one_dial_and_peers_are_dialed_in_parallel() {
    let mut host = Host::new(RejoinConfig::default());
    host.add(1, &[10, 11, 12], Origin::Saved);
    host.add(2, &[20], Origin::Saved);
    let dials = host.dials();
    assert_eq!(dials.len(), 2);
    assert_eq!(
        (dials[0].peer, &dials[0].addresses[..]),
        (Some(1), &[10, 11, 12][..])
    );
    assert_eq!(dials[1].peer, Some(2));
}

#[test]
fn this_node_is_no_candidate_even_if_a_source_names_it() {
    let mut host = Host::new(RejoinConfig::default());
    assert!(!host.add(host::LOCAL, &[1], Origin::List));
    assert!(host.dials().is_empty());
}

#[test]
fn the_bootstrap_list_waits_half_a_second_for_saved_peers_and_for_nothing_else() {
    let mut host = Host::new(RejoinConfig::default());
    host.add(1, &[1], Origin::List);
    assert_eq!(host.dials().len(), 1, "nothing else is known");
    let mut host = Host::new(RejoinConfig::default().with_target(1));
    host.add(1, &[1], Origin::Saved);
    host.add(2, &[2], Origin::List);
    assert_eq!(host.dialed(), [Some(1)]);
    host.connect(1);
    host.pass(10 * SECOND);
    assert!(
        host.dials().is_empty(),
        "the saved peer has spared the list"
    );
    let mut host = Host::new(RejoinConfig::default());
    host.add(1, &[1], Origin::Saved);
    host.add(2, &[2], Origin::List);
    host.dials();
    host.pass(499 * MS);
    assert!(!host.dialed().contains(&Some(2)));
    host.pass(MS);
    assert!(host.dialed().contains(&Some(2)));
}

#[test]
fn the_reason_counts_one_dial_and_one_peer_in_the_singular() {
    let mut host = Host::new(RejoinConfig::default());
    let reason = |host: &Host| host.core.status().reason.to_string();
    for (peer, dialing, waiting) in [
        (
            1,
            "1 dial is in flight",
            "the only known peer did not answer",
        ),
        (
            2,
            "2 dials are in flight",
            "none of the 2 known peers answered",
        ),
    ] {
        host.add(peer, &[peer], Origin::Saved);
        assert!(host.core.handle_user_dial(host.now, &1));
        let mut dials = host.dials();
        while dials.len() > peer as usize {
            host.core.handle_failed(host.now, dials.remove(0).attempt);
        }
        assert!(reason(&host).ends_with(dialing), "{}", reason(&host));
        for dial in dials {
            host.core.handle_failed(host.now, dial.attempt);
        }
        assert!(reason(&host).contains(waiting), "{}", reason(&host));
    }
}

#[test]
fn a_peer_that_is_connected_for_another_purpose_counts_and_is_not_dialed() {
    let mut host = Host::new(RejoinConfig::default());
    host.connect(1);
    host.add(1, &[1], Origin::Kept);
    assert!(host.dials().is_empty());
    host.pass(3 * SECOND);
    assert_eq!(host.core.state(), State::Joined);
    host.disconnect(1);
    host.pass(250 * MS);
    assert!(host.dialed().contains(&Some(1)));
}

#[test]
fn dials_end_when_their_peer_is_connected_and_after_three_seconds() {
    let mut host = Host::new(RejoinConfig::default());
    host.add(1, &[1], Origin::Saved);
    let dial = host.dials().remove(0);
    assert_eq!(dial.until - host.now, 3 * SECOND);
    host.connect(1);
    assert_eq!(host.abandoned(), [dial.attempt]);
    assert_eq!(host.core.candidates(host.now)[0].in_flight, 0);

    let mut host = Host::new(RejoinConfig::default().with_base(100 * SECOND));
    host.add(1, &[1], Origin::Saved);
    host.pass(3 * SECOND - MS);
    let before = host.core.candidates(host.now)[0].in_flight;
    host.pass(MS);
    let after = host.core.candidates(host.now)[0].in_flight;
    assert_eq!(before, after + 1);
}

#[test]
fn beyond_four_dials_of_one_peer_the_oldest_is_abandoned_and_the_next_is_on_time() {
    let config = RejoinConfig::default().with_lost(100 * MS, 120 * SECOND, 16);
    let mut host = Host::new(config);
    host.add(1, &[1], Origin::Saved);
    host.connect(1);
    host.pass(10 * SECOND);
    host.disconnect(1);
    host.dials();
    host.abandoned();
    host.pass(2 * SECOND);
    let (dials, abandoned) = (host.dials(), host.abandoned());
    assert!(dials.len() >= 20, "{} dials in 2 s", dials.len());
    assert_eq!(host.core.candidates(host.now)[0].in_flight, 4);
    let first = dials.iter().map(|dial| dial.attempt).zip(&abandoned);
    assert!(
        first
            .into_iter()
            .all(|(dialed, abandoned)| dialed == *abandoned),
        "the oldest go first"
    );
}

#[test]
fn the_user_s_dial_waits_for_no_backoff() {
    let mut host = Host::new(RejoinConfig::default());
    host.add(1, &[1], Origin::Other);
    host.add(2, &[2], Origin::Other);
    host.connect(2);
    host.pass(1000 * SECOND);
    host.dials();
    assert!(host.core.handle_user_dial(host.now, &1));
    assert_eq!(host.dialed(), [Some(1)]);
    assert!(!host.core.handle_user_dial(host.now, &9), "an unknown peer");
    assert!(host.core.handle_user_dial(host.now, &2));
    assert!(host.dials().is_empty(), "it is connected");
}

#[test]
fn a_change_of_the_network_redials_at_once_but_no_more_often_than_once_a_second() {
    let mut host = Host::new(RejoinConfig::default());
    for peer in 1..=5 {
        host.add(peer, &[peer], Origin::Saved);
    }
    host.pass(1000 * SECOND);
    host.dials();
    host.pass(8 * SECOND);
    host.dials();
    host.core.handle_changed(host.now);
    assert_eq!(host.dials().len(), 5);
    let later = host.now + 200 * MS;
    host.core.handle_changed(later);
    host.core.handle_changed(later + MS);
    host.now = later + MS;
    let in_between: usize = host.dials().len();
    host.pass(798 * MS);
    let in_between = in_between + host.dials().len();
    host.pass(MS);
    assert!(
        host.dials().len() >= 5,
        "the second change is answered after a second"
    );
    assert!(
        in_between <= 20,
        "{in_between} dials are at the backoff's pace"
    );
}

#[test]
fn dials_stop_when_enough_peers_are_connected_and_few_more_than_missing_are_in_flight() {
    let mut host = Host::new(RejoinConfig::default().with_target(3));
    for peer in 1..=100 {
        host.add(peer, &[peer], Origin::Other);
    }
    assert_eq!(host.dials().len(), 6, "twice as many as are missing");
    for peer in 1..=3 {
        host.connect(peer);
    }
    host.dials();
    host.pass(600 * SECOND);
    assert!(host.dials().is_empty());
    assert_eq!(host.core.need(), bootstrap::Need::new(0, false));
}

#[test]
fn a_less_trusted_source_displaces_no_candidate_and_no_address_of_a_more_trusted_one() {
    let config = RejoinConfig::default().with_candidates(3, 2);
    let mut host = Host::new(config.with_target(0));
    assert!(host.add(1, &[1, 2], Origin::Saved));
    assert!(host.add(2, &[1], Origin::List));
    assert!(host.add(3, &[1], Origin::Lan));
    assert!(!host.add(4, &[1], Origin::Lan), "as good as those it knows");
    assert!(!host.add(5, &[1], Origin::Other));
    assert!(
        host.add(6, &[1], Origin::Saved),
        "the peer on the LAN makes place"
    );
    assert!(!host.add(7, &[1], Origin::Saved));
    assert!(host.add(1, &[3], Origin::Lan));
    assert_eq!(host.view(1).addresses, [1, 2]);
    assert!(host.add(1, &[3], Origin::Kept));
    assert_eq!(host.view(1).addresses, [1, 3]);
    let peers: Vec<_> = host
        .core
        .candidates(host.now)
        .iter()
        .map(|view| view.peer)
        .collect();
    assert_eq!(peers, [Some(1), Some(2), Some(6)]);
}

#[test]
fn a_withdrawn_address_is_forgotten_only_if_no_other_source_names_it() {
    let mut host = Host::new(RejoinConfig::default());
    host.add(1, &[1], Origin::Lan);
    host.add(1, &[1, 2], Origin::File);
    let dial = host.dials().remove(0);
    host.core
        .handle_withdrawn(host.now, &Candidate::new(Some(1), vec![1, 2], Origin::File));
    assert_eq!(
        (host.view(1).addresses, host.view(1).origins),
        (vec![1], vec![Origin::Lan])
    );
    host.core
        .handle_withdrawn(host.now, &Candidate::new(Some(1), vec![1], Origin::Lan));
    assert!(host.core.candidates(host.now).is_empty());
    assert!(host.abandoned().contains(&dial.attempt));
}

#[test]
fn addresses_without_a_peer_are_not_dialed_while_the_peer_that_answered_is_connected() {
    let mut host = Host::new(RejoinConfig::default());
    host.core
        .handle_candidate(host.now, Candidate::new(None, vec![1], Origin::List));
    let dial = host.dials().remove(0);
    assert_eq!(dial.peer, None);
    host.core.handle_answered(host.now, dial.attempt, &7);
    host.connect(7);
    host.pass(20 * SECOND);
    assert!(host.dials().is_empty());
    host.disconnect(7);
    let again = loop {
        host.pass(100 * MS);
        if let Some(dial) = host.dials().pop() {
            break dial;
        }
    };
    assert_eq!(again.peer, None, "anyone may answer there");
    host.core
        .handle_answered(host.now, again.attempt, &host::LOCAL);
    host.pass(1000 * SECOND);
    assert!(host.dials().is_empty(), "the address is this node's own");
}

#[test]
fn candidates_are_offered_once_per_wish_connected_ones_first_and_new_ones_as_they_come() {
    let relay = Purpose("relay");
    let mut host = Host::new(RejoinConfig::default());
    host.add(1, &[1], Origin::Saved);
    host.add(2, &[2], Origin::Lan);
    host.connect(2);
    host.core.handle_wanted(host.now, relay, 3);
    assert_eq!(host.offered(), [2, 1]);
    host.add(3, &[3], Origin::Other);
    host.add(4, &[4], Origin::Other);
    assert_eq!(host.offered(), [3], "three were wanted");
    host.core.handle_wanted(host.now, relay, 2);
    assert_eq!(
        host.offered(),
        [4, 2],
        "the one that was never offered comes first"
    );
    host.core.handle_wanted(host.now, relay, 0);
    host.add(5, &[5], Origin::Kept);
    assert!(host.offered().is_empty());
}

#[test]
fn a_peer_that_lasted_is_told_with_the_address_that_worked_and_then_its_loss_with_its_stay() {
    let mut host = Host::new(RejoinConfig::default());
    host.add(1, &[10, 11], Origin::List);
    host.core.handle_connected(host.now, &1, Some(11));
    host.pass(10 * SECOND - MS);
    assert!(host.told_lasted().is_empty());
    host.pass(MS);
    assert_eq!(host.told_lasted(), [(1, Some(11), vec![10])]);
    assert_eq!(
        host.view(1).addresses,
        [11, 10],
        "the address that worked is dialed first"
    );
    host.pass(5 * SECOND);
    assert!(host.told_lasted().is_empty());
    host.pass(25 * SECOND);
    assert_eq!(host.told_lasted().len(), 1, "told again after 40 s");
    host.disconnect(1);
    let lost = |event: &RejoinEvent<u32, u32>| matches!(event, RejoinEvent::Lost { peer: 1, stayed } if *stayed == 40 * SECOND);
    assert!(host.events.iter().any(lost));
    assert_eq!(host.view(1).longest, Some(40 * SECOND));
}

#[test]
fn figures_of_zero_and_without_end_neither_spin_nor_overflow() {
    for figure in [Duration::ZERO, Duration::MAX] {
        let config = RejoinConfig::default()
            .with_base(figure)
            .with_caps(figure, figure)
            .with_lost(figure, figure, 16)
            .with_stays(figure, figure)
            .with_list_delay(figure)
            .with_change_gap(figure)
            .with_dials(figure, 64, 4)
            .with_pace(figure, 0);
        let mut host = Host::new(config);
        host.add(1, &[1], Origin::Saved);
        host.add(2, &[2], Origin::List);
        host.core.handle_changed(host.now);
        host.pass(SECOND);
        host.connect(1);
        host.pass(SECOND);
        host.disconnect(1);
        host.pass(SECOND);
        assert!(
            host.dials().len() <= 4 * 4000,
            "no more than a dial per millisecond and peer"
        );
    }
}
