//! Peers that steer the search, and any sequence of inputs.

use proptest::prelude::*;

use super::*;

#[test]
fn ten_thousand_offers_cause_eight_dials_and_then_six_a_minute() {
    let mut bench = searching(4);
    for number in 0..10_000 {
        bench.offer(number);
    }
    assert_eq!(bench.client.relays.len(), 128);
    let mut next = 10_000;
    let nobody = |bench: &mut Bench, event: &ClientEvent| match event {
        ClientEvent::Examine { relay, .. } => {
            let now = bench.now;
            bench.client.handle_examined(now, relay, None);
        }
        ClientEvent::Wanted { count } => {
            for _ in 0..*count {
                bench.offer(next);
                next += 1;
            }
        }
        _ => {}
    };
    let events = bench.pass_with(3600 * SECOND, nobody);
    let dials = examined(&events);
    let at_once = dials.iter().filter(|(at, _)| *at == SECOND).count();
    assert_eq!(at_once, 8);
    assert_eq!(dials.len(), 8 + 359, "one per 10 s");
    assert!(bench.client.relays.len() <= 128);
    let mut last: BTreeMap<PeerId, Duration> = BTreeMap::new();
    for (at, relay) in dials {
        let before = last.insert(relay, at);
        assert!(
            before.is_none_or(|before| at - before >= 150 * SECOND),
            "{relay} at {at:?}"
        );
    }
}

#[test]
fn at_most_four_peers_are_examined_at_the_same_time() {
    let mut bench = searching(8);
    (0..20).for_each(|number| bench.offer(number));
    assert_eq!(examined(&bench.pass(SECOND)).len(), 4);
    bench.found(0, None);
    assert_eq!(examined(&bench.pass(Duration::ZERO)).len(), 1);
}

#[test]
fn a_relay_that_refuses_is_not_asked_for_its_pause_whatever_it_tells_and_however_often_it_is_offered()
 {
    for answer in [
        Answer::Refused(Status::PermissionDenied),
        gone(),
        granted(5),
    ] {
        let mut bench = searching(1);
        bench.offer(1);
        bench.identified(1, true);
        assert_eq!(asked(&bench.pass(Duration::ZERO)), [peer(1)]);
        bench.answers(1, answer);
        let mut next = Vec::new();
        for second in 1..=300 {
            bench.offer(1);
            bench.identified(1, false);
            bench.identified(1, true);
            if !asked(&bench.pass(SECOND)).is_empty() {
                next.push(second);
                break;
            }
        }
        assert!((150..=300).contains(&next[0]), "{next:?}");
    }
}

#[test]
fn a_relay_that_breaks_off_its_slots_at_once_rests_after_the_second_time() {
    let mut bench = searching(1);
    bench.offer(1);
    let mut asks = 0;
    for _ in 0..60 {
        bench.identified(1, true);
        if asked(&bench.pass(SECOND)).is_empty() {
            continue;
        }
        asks += 1;
        bench.answers(1, granted(3600));
        bench.client.handle_disconnected(bench.now, &peer(1));
    }
    assert_eq!(asks, 2);
}

#[derive(Debug, Clone)]
enum Input {
    Offered(u16),
    Candidate(u8),
    Identified(u16, bool),
    Examined(u16, Option<bool>),
    Granted(u16),
    Refused(u16),
    Disconnected(u16),
    Network,
    Pass(u64),
}

fn inputs() -> impl Strategy<Value = Vec<Input>> {
    let number = 0u16..10;
    let input = prop_oneof![
        4 => number.clone().prop_map(Input::Offered),
        1 => (0u8..2).prop_map(Input::Candidate),
        2 => (number.clone(), any::<bool>()).prop_map(|(peer, serves)| Input::Identified(peer, serves)),
        3 => (number.clone(), any::<Option<bool>>()).prop_map(|(peer, serves)| Input::Examined(peer, serves)),
        3 => number.clone().prop_map(Input::Granted),
        2 => number.clone().prop_map(Input::Refused),
        2 => number.prop_map(Input::Disconnected),
        1 => Just(Input::Network),
        5 => (0u64..60_000).prop_map(Input::Pass),
    ];
    prop::collection::vec(input, 1..150)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn whatever_happens_the_core_does_not_spin_and_the_pace_and_the_number_of_slots_hold(
        inputs in inputs(), auto in 1usize..4,
    ) {
        let config = ClientConfig::default().with_auto(auto).with_reservations(1);
        let mut bench = with(config);
        let (mut events, mut excused) = (Vec::new(), 0);
        for input in inputs {
            match input {
                Input::Offered(number) => bench.offer(number),
                Input::Candidate(number) => {
                    let at = address(&format!("/ip4/192.0.{number}.1/tcp/1"));
                    bench.client.handle_candidate(bench.now, id(number), &at, None);
                }
                Input::Identified(number, serves) => bench.identified(number, serves),
                Input::Examined(number, serves) => bench.found(number, serves),
                Input::Granted(number) => bench.answers(number, granted(86_000)),
                Input::Refused(number) => bench.answers(number, Answer::Refused(Status::ResourceLimitExceeded)),
                Input::Disconnected(number) => bench.client.handle_disconnected(bench.now, &peer(number)),
                Input::Network => {
                    // Each peer gets one more try for it.
                    excused += 10;
                    bench.client.handle_network_changed(bench.now);
                }
                Input::Pass(ms) => {
                    let begin = bench.now - bench.start;
                    let passed = bench.pass(Duration::from_millis(ms));
                    events.extend(passed.into_iter().map(|(at, event)| (begin + at, event)));
                }
            }
            let counts = bench.client.counts();
            prop_assert!(counts.kept <= auto && counts.examined <= 4);
        }
        let is_offer = |relay: &PeerId| (0..10).any(|number| peer(number) == *relay);
        let tries = examined(&events).len() + asked(&events).iter().filter(|id| is_offer(id)).count();
        let seconds = usize::try_from((bench.now - bench.start).as_secs()).unwrap();
        // An examination and the request after it are one try. No slot is old enough for a renewal.
        prop_assert!(tries <= 2 * (8 + seconds / 10 + 1 + excused), "{} tries in {} s", tries, seconds);
        prop_assert!(released(&events).len() <= tries);
    }
}
