//! What the recommended rules say of each pair of connections.

use super::*;
use crate::WithoutProbes;

const MS: Duration = Duration::from_millis(1);

fn contender(direction: Direction, age: Duration, up_for: Duration) -> Contender {
    Contender::new(direction, Phase::Established, age, up_for)
}

fn arbitrate(local: u8, old: Contender, new: Contender, answers: Option<bool>) -> Verdict {
    let contest = Contest::new(&local, &5, old, new).with_old_answers(answers);
    Recommended::default().arbitrate(&contest)
}

#[test]
fn of_dials_that_crossed_the_lower_ids_stays_whichever_came_first() {
    use Direction::{Inbound, Outbound};
    let old = |direction| contender(direction, 10 * MS, 2 * MS);
    let new = |direction| contender(direction, 9 * MS, MS);
    let verdict = |local, one, other| arbitrate(local, old(one), new(other), None);
    assert_eq!(verdict(1, Outbound, Inbound), Verdict::Old);
    assert_eq!(verdict(9, Outbound, Inbound), Verdict::New);
    // Our dial may have reached a peer that had forgotten the old one.
    assert_eq!(verdict(1, Inbound, Outbound), Verdict::Probe);
    assert_eq!(verdict(9, Inbound, Outbound), Verdict::Probe);
    let answered = |local, one, other| arbitrate(local, old(one), new(other), Some(true));
    assert_eq!(answered(1, Inbound, Outbound), Verdict::New);
    assert_eq!(answered(9, Inbound, Outbound), Verdict::Old);
}

#[test]
fn an_old_one_is_probed_before_it_is_believed_or_given_up() {
    use Direction::{Inbound, Outbound};
    for local in [1, 9] {
        for (one, other) in [(Outbound, Inbound), (Inbound, Outbound), (Inbound, Inbound)] {
            let old = contender(one, 1000 * MS, 990 * MS);
            let new = contender(other, 10 * MS, Duration::ZERO);
            assert_eq!(arbitrate(local, old, new, None), Verdict::Probe);
            assert_eq!(arbitrate(local, old, new, Some(false)), Verdict::New);
        }
    }
}

#[test]
fn of_our_own_two_dials_the_newer_stays_and_of_the_peers_two_it_decides() {
    use Direction::{Inbound, Outbound};
    let at = |direction, up| contender(direction, up + 10 * MS, up);
    let (old, new) = (at(Outbound, 500 * MS), at(Outbound, Duration::ZERO));
    assert_eq!(arbitrate(1, old, new, None), Verdict::New);
    let (old, new) = (at(Inbound, 500 * MS), at(Inbound, Duration::ZERO));
    assert_eq!(arbitrate(1, old, new, Some(true)), Verdict::Both);
}

#[test]
fn a_full_connection_wins_over_a_limited_one_on_either_side() {
    use Direction::{Inbound, Outbound};
    let full = contender(Outbound, 10 * MS, MS);
    let limited = Contender {
        phase: Phase::Limited,
        ..contender(Inbound, 500 * MS, 400 * MS)
    };
    assert_eq!(arbitrate(9, limited, full, None), Verdict::New);
    assert_eq!(arbitrate(9, full, limited, Some(true)), Verdict::Old);
    // It may be dead, and what a relay limits all that there is. That this host dialed both changes nothing: a dial by which
    // it was relayed says nothing about the full connection.
    for [one, other] in [
        [Outbound, Inbound],
        [Outbound, Outbound],
        [Inbound, Outbound],
        [Inbound, Inbound],
    ] {
        let full = contender(one, 1000 * MS, 990 * MS);
        let limited = Contender {
            phase: Phase::Limited,
            ..contender(other, 500 * MS, 400 * MS)
        };
        for (answers, verdict) in [
            (None, Verdict::Probe),
            (Some(true), Verdict::Old),
            (Some(false), Verdict::New),
        ] {
            assert_eq!(arbitrate(9, full, limited, answers), verdict);
            assert_eq!(arbitrate(1, full, limited, answers), verdict);
            assert_eq!(arbitrate(9, limited, full, answers), Verdict::New);
        }
    }
}

#[test]
fn dials_that_crossed_between_the_same_two_sockets_are_probed_and_then_the_lower_ids_stays() {
    use Direction::{Inbound, Outbound};
    let old = contender(Outbound, 10 * MS, 2 * MS);
    let new = contender(Inbound, 9 * MS, MS);
    for (local, verdict) in [(1, Verdict::Old), (9, Verdict::New)] {
        let contest = Contest::new(&local, &5, old, new).with_same_remote(true);
        assert!(!contest.is_simultaneous());
        let policy = Recommended::default();
        assert_eq!(policy.arbitrate(&contest), Verdict::Probe);
        let answered = contest.with_old_answers(Some(true));
        assert_eq!(policy.arbitrate(&answered), verdict);
    }
}

#[test]
fn two_dials_of_the_peers_from_one_socket_are_probed_however_quickly_they_followed() {
    let old = contender(Direction::Inbound, 10 * MS, 2 * MS);
    let new = contender(Direction::Inbound, 9 * MS, MS);
    assert_eq!(arbitrate(1, old, new, None), Verdict::Both);
    let contest = Contest::new(&1, &5, old, new).with_same_remote(true);
    assert_eq!(Recommended::default().arbitrate(&contest), Verdict::Probe);
}

#[test]
fn a_host_that_cannot_probe_keeps_both_where_others_would_probe_and_decides_like_them_elsewhere() {
    use Direction::{Inbound, Outbound};
    let policy = WithoutProbes::<Recommended>::default();
    let old = |direction| contender(direction, 1000 * MS, 990 * MS);
    let new = |direction| contender(direction, 10 * MS, Duration::ZERO);
    let verdict = |one, other| policy.arbitrate(&Contest::new(&1, &5, old(one), new(other)));
    assert_eq!(verdict(Outbound, Inbound), Verdict::Both);
    assert_eq!(verdict(Inbound, Outbound), Verdict::Both);
    assert_eq!(verdict(Inbound, Inbound), Verdict::Both);
    assert_eq!(verdict(Outbound, Outbound), Verdict::New);
}

#[test]
fn a_dial_of_the_peers_is_simultaneous_if_it_began_no_later_than_the_old_handshake_ended() {
    use Direction::{Inbound, Outbound};
    for (began, simultaneous) in [(3 * MS, true), (2 * MS, true), (MS, false)] {
        let old = contender(Outbound, 10 * MS, 2 * MS);
        let new = contender(Inbound, began, Duration::ZERO);
        let contest = Contest::new(&1, &5, old, new);
        assert_eq!(contest.is_simultaneous(), simultaneous, "{began:?}");
        let own = contender(Outbound, began, Duration::ZERO);
        assert!(!Contest::new(&1, &5, old, own).is_simultaneous());
    }
}

#[test]
fn every_limit_can_be_set_and_the_policy_gives_what_was_set() {
    let set = Recommended::default()
        .with_max_ages(MS, Some(2 * MS))
        .with_max_transient(3, 4)
        .with_probe(5 * MS, 6 * MS)
        .with_drain(7 * MS, 8 * MS);
    fn read<P: Policy<u8>>(policy: &P) -> ([Option<Duration>; 2], [usize; 2], [Duration; 4]) {
        (
            [Reason::Handshaking, Reason::Limited].map(|reason| policy.max_age(reason)),
            [policy.max_transient(), policy.max_transient_per_peer()],
            [
                policy.probe(),
                policy.patience(),
                policy.quiet(),
                policy.drain(),
            ],
        )
    }
    let expected = (
        [Some(MS), Some(2 * MS)],
        [3, 4],
        [5 * MS, 6 * MS, 7 * MS, 8 * MS],
    );
    assert_eq!(read(&set), expected);
    assert_eq!(read(&WithoutProbes(set)), expected);
    let defaults = read(&Recommended::default());
    assert_eq!(defaults.0, [Some(30_000 * MS), None]);
    assert_eq!(defaults.1, [1024, 32]);
    assert_eq!(defaults.2, [500 * MS, 3_000 * MS, 1_000 * MS, 30_000 * MS]);
}
