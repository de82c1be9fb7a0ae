//! Cases in which rules that seemed right were not.

use crate::world::{Dial, Script, Side, World};

fn dial(from: Side, at: u64) -> Dial {
    Dial {
        from,
        at,
        refused: false,
        limited: false,
        by_socket: false,
        busy: [0; 2],
    }
}

fn by_socket(from: Side, at: u64) -> Dial {
    Dial {
        by_socket: true,
        ..dial(from, at)
    }
}

fn refused(from: Side, at: u64) -> Dial {
    Dial {
        refused: true,
        ..dial(from, at)
    }
}

/// The first has the lower id, and each message takes a millisecond unless told otherwise.
fn script(dials: &[Dial]) -> Script {
    Script {
        lower_first: true,
        delays: vec![1],
        dials: dials.to_vec(),
        ..Script::default()
    }
}

/// Which dial's connection is left.
fn play(script: &Script) -> Option<usize> {
    match World::play(script) {
        Ok(world) => world.kept(),
        Err(story) => panic!("{story}"),
    }
}

#[test]
fn of_two_dials_at_the_same_instant_the_lower_ids_stays() {
    assert_eq!(play(&script(&[dial(0, 0), dial(1, 0)])), Some(0));
    assert_eq!(play(&script(&[dial(1, 0), dial(0, 0)])), Some(1));
}

#[test]
fn losers_to_one_that_was_refused_are_resumed_alike_though_they_came_up_in_another_order() {
    // The first one's last message takes longer than the second one's, and the refused one's the longest.
    let script = Script {
        delays: vec![1, 1, 1, 1, 1, 1, 1, 1, 1, 3, 1, 6],
        ..script(&[dial(1, 0), dial(1, 0), refused(0, 0)])
    };
    assert_eq!(play(&script), Some(1));
}

#[test]
fn a_loser_to_one_that_was_refused_contends_with_one_that_is_still_probed() {
    // The probe takes longer than the word that the third one was refused.
    let script = Script {
        delays: vec![1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 5],
        ..script(&[dial(1, 0), dial(0, 2_000), refused(0, 2_001)])
    };
    assert_eq!(play(&script), Some(1));
}

#[test]
fn a_peer_that_is_back_through_a_relay_is_not_held_against_its_dead_direct_connection() {
    let limited = Dial {
        limited: true,
        ..dial(1, 1_000)
    };
    let script = Script {
        restarts: vec![(1, 100, 300)],
        ..script(&[dial(1, 0), limited])
    };
    assert_eq!(play(&script), Some(1));
}

#[test]
fn a_dial_repeated_until_the_peer_was_back_does_not_lose_to_its_dead_connection() {
    // The peer stops once the connection that it dialed is up, and before our dial has reached it.
    let script = Script {
        lower_first: false,
        delays: vec![1, 1, 1, 1, 10, 1, 1],
        restarts: vec![(1, 3, 300)],
        ..script(&[dial(1, 0), dial(0, 1)])
    };
    assert_eq!(play(&script), Some(1));
}

#[test]
fn one_that_is_resumed_while_its_late_answer_is_on_its_way_is_asked_anew() {
    // Two of the second's dials are refused or lost to; the first's probe is answered only after it was resumed.
    let of_second = |at| dial(1, at);
    let idle = |at| Dial {
        busy: [1; 2],
        ..dial(0, at)
    };
    let script = Script {
        delays: vec![1057, 575, 798, 846, 1, 1875, 1300, 485, 1640],
        is_slow: true,
        ..script(&[
            refused(1, 0),
            of_second(595),
            of_second(1336),
            idle(334),
            idle(0),
        ])
    };
    assert_eq!(play(&script), Some(3));
}

#[test]
fn a_client_that_is_back_at_its_old_socket_has_one_connection_within_a_second() {
    // Killed just after its handshake, with a stream open at the other end.
    for (killed_at, away) in [(3, 1), (3, 300), (4, 20), (8, 100)] {
        let old = Dial {
            busy: [20_000, 20_000],
            ..by_socket(1, 0)
        };
        let script = Script {
            restarts: vec![(1, killed_at, away)],
            ..script(&[old, by_socket(1, killed_at + away + 1)])
        };
        match World::play(&script) {
            Ok(world) => assert_eq!((world.kept(), world.gone_in_time()), (Some(1), 1)),
            Err(story) => panic!("{story}"),
        }
    }
}

#[test]
fn crossing_dials_between_two_sockets_both_answer_and_the_lower_ids_stays() {
    for delay in [1, 60, 240] {
        for (one, other) in [(0, 1), (1, 0)] {
            let script = Script {
                delays: vec![delay],
                ..script(&[by_socket(one, 0), by_socket(other, 0)])
            };
            assert_eq!(play(&script), Some(one));
        }
    }
}

#[test]
fn a_dead_connection_is_closed_for_the_one_from_its_socket_though_another_was_judged_before() {
    // The dialer keeps the third, and drains the first for as long as there are streams on it.
    let first = Dial {
        busy: [20_000; 2],
        ..by_socket(0, 4272)
    };
    let script = Script {
        lower_first: false,
        restarts: vec![(0, 3, 241)],
        ..script(&[first, by_socket(0, 0), dial(0, 4273)])
    };
    match World::play(&script) {
        Ok(world) => assert_eq!(world.gone_in_time(), 1),
        Err(story) => panic!("{story}"),
    }
}

#[test]
fn a_dead_connection_that_loses_to_a_further_dial_while_it_is_probed_is_closed_with_the_probe() {
    let script = Script {
        lower_first: false,
        restarts: vec![(1, 2, 241)],
        ..script(&[by_socket(0, 0), dial(0, 1946), by_socket(1, 1445)])
    };
    match World::play(&script) {
        Ok(world) => assert_eq!(world.gone_in_time(), 1),
        Err(story) => panic!("{story}"),
    }
}
