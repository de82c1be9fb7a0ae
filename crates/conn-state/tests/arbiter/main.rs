//! Two hosts decide alike which connection stays, without a message about it.

mod found;
mod world;

use std::cell::Cell;

use proptest::{prelude::*, test_runner::TestRunner};
use world::{Dial, Script, World};

/// Cases of each of the nine properties.
const CASES: u32 = 4_000;

/// What a message takes at most, in milliseconds: an answer is there before a probe's patience of 500 is over.
const SLOWEST: u64 = 240;

/// What else than dials is in a script.
#[derive(Debug, Clone, Copy, Default)]
struct With {
    limited: bool,
    sockets: bool,
    restarts: usize,
    breaks: usize,
    is_slow: bool,
    /// Each keeps one connection only.
    is_single: bool,
}

fn dial(with: With) -> impl Strategy<Value = Dial> {
    let busy = || prop_oneof![2 => Just(0), 1 => 0..4_000_u64];
    let at = prop_oneof![Just(0), 0..600_u64, 0..6_000_u64];
    let limited = prop::bool::weighted(if with.limited { 0.3 } else { 0.0 });
    let by_socket = prop::bool::weighted(if with.sockets { 0.8 } else { 0.0 });
    let refused = prop::bool::weighted(0.1);
    let kind = (refused, limited, by_socket);
    let parts = (0..2_usize, at, kind, busy(), busy());
    parts.prop_map(
        |(from, at, (refused, limited, by_socket), one, other)| Dial {
            from,
            at,
            refused,
            limited,
            by_socket,
            busy: [one, other],
        },
    )
}

fn delays(slowest: u64) -> impl Strategy<Value = Vec<u64>> {
    prop_oneof![Just(5), Just(60), Just(slowest)]
        .prop_flat_map(|slowest| prop::collection::vec(1..=slowest, 1..24))
}

fn script(with: With) -> impl Strategy<Value = Script> {
    let restart = (0..2_usize, 0..4_000_u64, SLOWEST + 1..1_500);
    let restarts = prop::collection::vec(restart, 0..=with.restarts);
    let breaks = prop::collection::vec((0..6_usize, 0..2_usize, 0..6_000_u64), 0..=with.breaks);
    let dials = prop::collection::vec(dial(with), 1..=6);
    let slowest = if with.is_slow { 2_000 } else { SLOWEST };
    let parts = (any::<bool>(), delays(slowest), dials, restarts, breaks);
    parts.prop_map(
        move |(lower_first, delays, dials, restarts, breaks)| Script {
            lower_first,
            delays,
            dials,
            restarts,
            breaks,
            is_slow: with.is_slow,
            is_single: with.is_single,
        },
    )
}

/// Plays scripts, most of which must have come to something. How many dead connections were gone in time.
fn hold(with: With) -> usize {
    let config = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(CASES)
    };
    let (met, contested, gone) = (Cell::new(0), Cell::new(0), Cell::new(0));
    let outcome = TestRunner::new(config).run(&script(with), |script| {
        let world = World::play(&script).map_err(TestCaseError::fail)?;
        met.set(met.get() + u32::from(world.has_met()));
        contested.set(contested.get() + u32::from(world.drained() > 0));
        gone.set(gone.get() + world.gone_in_time());
        Ok(())
    });
    if let Err(failed) = outcome {
        panic!("{failed}");
    }
    assert!(met.get() > CASES / 2, "{} met", met.get());
    assert!(contested.get() > CASES / 3, "{} contested", contested.get());
    gone.get()
}

#[test]
fn whoever_dials_whenever_one_connection_is_left_and_there_is_never_none() {
    hold(With::default());
}

#[test]
fn after_restarts_a_live_connection_takes_the_dead_ones_place() {
    hold(With {
        restarts: 2,
        ..With::default()
    });
}

#[test]
fn two_that_keep_one_connection_each_keep_the_same_one() {
    hold(With {
        is_single: true,
        ..With::default()
    });
}

#[test]
fn two_that_keep_one_connection_each_replace_a_dead_one() {
    hold(With {
        is_single: true,
        restarts: 2,
        ..With::default()
    });
}

#[test]
fn limited_connections_give_way_to_full_ones_that_live() {
    hold(With {
        limited: true,
        restarts: 1,
        ..With::default()
    });
}

#[test]
fn when_what_was_kept_breaks_both_ends_resume_the_same() {
    hold(With {
        limited: true,
        breaks: 2,
        ..With::default()
    });
}

#[test]
fn on_a_path_slower_than_a_probes_patience_both_ends_still_agree_in_the_end() {
    hold(With {
        limited: true,
        is_slow: true,
        ..With::default()
    });
}

#[test]
fn between_two_sockets_one_connection_is_left_and_a_dead_one_is_gone_within_a_second() {
    let gone = hold(With {
        sockets: true,
        limited: true,
        restarts: 2,
        ..With::default()
    });
    assert!(gone > CASES as usize / 100, "{gone} were gone in time");
}

#[test]
fn between_two_sockets_on_a_slow_path_both_ends_still_agree_in_the_end() {
    hold(With {
        sockets: true,
        limited: true,
        is_slow: true,
        ..With::default()
    });
}
