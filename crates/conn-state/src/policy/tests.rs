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
    // It may be dead, and what a relay limits all that there is.
    let full = contender(Outbound, 1000 * MS, 990 * MS);
    assert_eq!(arbitrate(9, full, limited, None), Verdict::Probe);
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
