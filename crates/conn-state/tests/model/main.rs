//! A tracker, its shared handle and those who read from it, against a reference that is too plain to be wrong.

mod readers;
mod reference;
mod run;

use std::{cell::Cell, time::Duration};

use conn_state::{Closing, TrackerConfig, Verdict};
use proptest::{prelude::*, test_runner::TestRunner};

use reference::{PEERS, Rules};
use run::{Met, Run, Step, Way};

/// Half of them by the recommended rules, half by others.
const CASES: u32 = 10_000;

/// How much happens in each at the most.
const STEPS: usize = 100;

fn way() -> impl Strategy<Value = Way> {
    prop_oneof![4 => Just(Way::Direct), 4 => Just(Way::Socket), 1 => Just(Way::Relayed), 3 => Just(Way::Limited)]
}

fn closing() -> impl Strategy<Value = Closing> {
    prop::sample::select(vec![
        Closing::Local,
        Closing::Remote { code: None },
        Closing::Lost,
        Closing::Handshake,
        Closing::Refused,
    ])
}

fn step() -> impl Strategy<Value = Step> {
    let one = any::<u16>;
    // Some are met more often than others.
    let peer = || prop_oneof![0..PEERS.len(), 0..2_usize];
    let stranger = prop::bool::weighted(0.1);
    prop_oneof![
        4 => Just(Step::Inbound),
        6 => prop::option::weighted(0.8, peer()).prop_map(Step::Dial),
        14 => (one(), peer(), stranger, way())
            .prop_map(|(one, peer, stranger, way)| Step::Authenticated(one, peer, stranger, way)),
        3 => (one(), way()).prop_map(|(one, way)| Step::Route(one, way)),
        4 => (one(), any::<bool>()).prop_map(|(one, is_opened)| Step::Stream(one, is_opened)),
        3 => one().prop_map(Step::Alive),
        3 => (one(), closing()).prop_map(|(one, closing)| Step::Closed(one, closing)),
        2 => Just(Step::Obey),
        6 => Just(Step::Timeout),
        1 => prop::option::of(peer()).prop_map(Step::Subscribe),
        2 => (0..6_usize).prop_map(Step::Read),
    ]
}

fn steps() -> impl Strategy<Value = Vec<(u64, Step)>> {
    let after =
        prop_oneof![12 => Just(0), 12 => 0..50_u64, 6 => 200..600_u64, 1 => 1_000..6_000_u64];
    let forgotten = Just((0, Step::Forget));
    let step = prop_oneof![80 => (after, step()), 1 => forgotten];
    prop::collection::vec(step, 1..=STEPS)
}

fn rules() -> impl Strategy<Value = Rules> {
    let verdict = prop_oneof![
        4 => Just(None),
        1 => Just(Some(Verdict::Both)),
        1 => Just(Some(Verdict::Probe)),
        1 => Just(Some(Verdict::Old)),
        1 => Just(Some(Verdict::New)),
    ];
    (verdict, any::<bool>()).prop_map(|(verdict, strict)| Rules::new(verdict, strict))
}

fn play(rules: &Rules, history: usize, steps: &[(u64, Step)]) -> Result<Met, String> {
    let config = TrackerConfig::default().with_history(history, 5);
    let mut run = Run::new(rules.clone(), config)?;
    for (number, (after, step)) in steps.iter().enumerate() {
        run.step(Duration::from_millis(*after), step)
            .map_err(|wrong| format!("step {number}, {step:?}: {wrong}"))?;
    }
    run.end().map_err(|wrong| format!("in the end: {wrong}"))?;
    Ok(run.met())
}

#[test]
fn whatever_happens_each_peers_events_are_one_gapless_story_and_nothing_is_left_in_the_end() {
    let config = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(CASES)
    };
    let met = Cell::new(Met::default());
    let outcome = TestRunner::new(config).run(&(rules(), 12..28_usize, steps()), |case| {
        let (rules, history, steps) = case;
        let of_case = play(&rules, history, &steps).map_err(TestCaseError::fail)?;
        met.set(met.get() + of_case);
        Ok(())
    });
    if let Err(failed) = outcome {
        panic!("{failed}");
    }
    assert!(
        met.get().least() > u64::from(CASES) / 100,
        "{:?}",
        met.get()
    );
}
