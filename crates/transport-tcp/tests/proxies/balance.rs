//! Which way a dial takes when ways fail, come back, or are not to blame.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;
use transport_tcp::{Balance, BalanceConfig, DialContext, DialError, Dialer, Fault, Target};

use crate::support::{
    proxy::{ahoy, context, dial, until},
    scripted::{Outcome, Scripted},
};

const TARGET: &str = "/ip4/192.0.2.7/tcp/80";

const INTERVAL: Duration = Duration::from_secs(4);

const IDLE: Duration = Duration::from_secs(60);

const DIAL: Duration = Duration::from_millis(10);

fn balance(ways: &[&Scripted]) -> Balance {
    let ways = ways
        .iter()
        .map(|way| Arc::new((*way).clone()) as Arc<dyn Dialer>);
    let config = BalanceConfig::default()
        .with_interval(INTERVAL)
        .with_idle(IDLE)
        .with_seed(1);
    Balance::new(ways, config)
}

/// A way over which a dial takes as long as over most.
fn way(outcome: Outcome) -> Scripted {
    Scripted::new(outcome).taking(DIAL)
}

fn healthy(balance: &Balance) -> Vec<bool> {
    balance.health().iter().map(|way| way.healthy).collect()
}

fn target() -> Target {
    TARGET.parse().unwrap()
}

/// Lets this much time pass, and everything happen that happens in it.
async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_way_that_fails_is_followed_by_the_next_within_the_same_dial_and_is_out_after_two() {
    // Its check hangs, so that nothing but the dials can put it out.
    let bad = way(Outcome::Way).checked(Outcome::Never);
    let good = way(Outcome::Open);
    let balance = balance(&[&bad, &good]);
    for _ in 0..50 {
        ahoy(&mut dial(&balance, TARGET).await.unwrap()).await;
    }
    assert_eq!((bad.dials().len(), good.dials().len()), (2, 50));
    let health = balance.health();
    assert!(!health[0].healthy && health[1].healthy);
    assert_eq!((health[0].dials, health[0].failed), (2, 2));
    assert_eq!((health[1].dials, health[1].failed), (50, 0));
}

#[tokio::test(start_paused = true)]
async fn failures_that_do_not_follow_each_other_put_no_way_out() {
    let plan = [Outcome::Way, Outcome::Open].repeat(200);
    let flaky = Scripted::plan(plan, Outcome::Open)
        .taking(DIAL)
        .checked(Outcome::Open);
    let good = way(Outcome::Open);
    let balance = balance(&[&flaky, &good]);
    for _ in 0..100 {
        dial(&balance, TARGET).await.unwrap();
        assert_eq!(healthy(&balance), [true, true]);
    }
    assert!(flaky.dials().len() > 20, "{}", flaky.dials().len());
}

#[tokio::test(start_paused = true)]
async fn a_dead_way_is_out_within_one_interval_and_back_within_one_whatever_the_others_do() {
    for dead in [Outcome::Way, Outcome::Never] {
        for (dies_after, returns_after) in [(1, 3_300), (900, 2_000), (1_999, 1), (3_999, 1_999)] {
            let stuck = way(Outcome::Open).checked(Outcome::Never);
            let one = way(Outcome::Open);
            let balance = balance(&[&stuck, &one]);
            dial(&balance, TARGET).await.unwrap();
            pass(Duration::from_millis(dies_after)).await;
            assert!(balance.health()[1].healthy);

            one.set(dead);
            pass(INTERVAL).await;
            let what = format!("{dead:?} after {dies_after} ms, back after {returns_after} ms");
            assert!(!balance.health()[1].healthy, "still in: {what}");

            pass(Duration::from_millis(returns_after)).await;
            assert!(!balance.health()[1].healthy, "{what}");
            one.set(Outcome::Open);
            pass(INTERVAL).await;
            assert!(balance.health()[1].healthy, "still out: {what}");
            let before = one.dials().len();
            for _ in 0..20 {
                dial(&balance, TARGET).await.unwrap();
            }
            assert!(one.dials().len() > before, "it gets no dials: {what}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn ways_that_are_dialed_are_not_checked_and_ways_that_are_not_are() {
    let [busy, spare] = [(); 2].map(|()| way(Outcome::Open));
    // Nobody takes the slow one while the other is so much quicker.
    let spare = spare.taking(Duration::from_secs(1));
    let balance = balance(&[&busy, &spare]);
    for _ in 0..100 {
        dial(&balance, TARGET).await.unwrap();
        pass(Duration::from_millis(100)).await;
    }
    // One at the beginning, when nothing was known of it.
    assert_eq!(busy.checks().len(), 1);
    let gaps: Vec<_> = spare
        .checks()
        .windows(2)
        .map(|pair| pair[1] - pair[0])
        .collect();
    assert!(!gaps.is_empty(), "the spare way was not looked at");
    assert!(gaps.iter().all(|gap| *gap >= INTERVAL / 2), "{gaps:?}");
}

#[tokio::test(start_paused = true)]
async fn when_all_are_out_all_are_tried() {
    let [one, two] = [(); 2].map(|()| way(Outcome::Way));
    let balance = balance(&[&one, &two]);
    for _ in 0..5 {
        let error = dial(&balance, TARGET).await.unwrap_err();
        let DialError::NoRoute { routes: ways, .. } = &error else {
            panic!("{error}");
        };
        assert_eq!(ways.len(), 2);
        assert_eq!(error.fault(), Fault::Route);
        let text = crate::support::chain(&Outcome::Way.error(&target()));
        let expected = format!("{TARGET}: every route failed; {text}; {text}");
        assert_eq!(error.to_string(), expected);
    }
    assert_eq!(healthy(&balance), [false, false]);
    assert_eq!((one.dials().len(), two.dials().len()), (5, 5));
    // The first dial after one of them is back finds it, before any check does.
    two.set(Outcome::Open);
    dial(&balance, TARGET).await.unwrap();
    assert_eq!(healthy(&balance), [false, true]);
}

#[tokio::test(start_paused = true)]
async fn what_is_the_targets_fault_or_a_rules_is_said_at_once_and_puts_no_way_out() {
    for outcome in [Outcome::Target, Outcome::NoAddress, Outcome::Policy] {
        let [one, two] = [(); 2].map(|()| way(outcome).checked(Outcome::Open));
        let balance = balance(&[&one, &two]);
        for dials in 1..=30 {
            let error = dial(&balance, TARGET).await.unwrap_err();
            assert_eq!(error.to_string(), outcome.error(&target()).to_string());
            assert_eq!(one.dials().len() + two.dials().len(), dials);
        }
        assert_eq!(healthy(&balance), [true, true]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_way_that_does_not_serve_the_target_is_passed_over_and_is_not_ill() {
    for outcome in [Outcome::Setup, Outcome::NoResolver] {
        let other = way(outcome).checked(Outcome::Open);
        let good = way(Outcome::Open);
        let both = balance(&[&other, &good]);
        for _ in 0..30 {
            dial(&both, TARGET).await.unwrap();
        }
        assert!(other.dials().len() > 2, "it was put out");
        assert_eq!(healthy(&both), [true, true]);
        let error = dial(&balance(&[&other, &other]), TARGET).await.unwrap_err();
        assert_eq!(error.fault(), Fault::Setup);
        assert!(!error.is_worth_retrying());
    }
}

#[tokio::test(start_paused = true)]
async fn a_way_that_was_given_no_time_is_not_blamed() {
    let limit = Duration::from_secs(10);
    // The first one tried uses up all of the time, or nearly.
    for slow in [
        way(Outcome::Silence),
        way(Outcome::Way).taking(limit - Duration::from_millis(100)),
    ] {
        let slow = slow.checked(Outcome::Never);
        let good = way(Outcome::Silence).checked(Outcome::Open);
        let balance = balance(&[&slow, &good]);
        let mut firsts = 0;
        for _ in 0..40 {
            let before = slow.dials().len();
            let cx = DialContext::new(Instant::now() + limit);
            let error = balance.dial(&target(), &cx).await.unwrap_err();
            assert!(Instant::now() <= cx.deadline, "{error}");
            if good.dials().last() == Some(&(cx.deadline - limit)) {
                // It was the first, had all of the time, and is to blame.
                return;
            }
            firsts += slow.dials().len() - before;
            assert_eq!(balance.health()[1].failed, 0, "blamed after {firsts}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_quicker_way_gets_more() {
    let quick = way(Outcome::Open).taking(Duration::from_millis(10));
    let slow = way(Outcome::Open).taking(Duration::from_millis(90));
    let balance = balance(&[&slow, &quick]);
    for _ in 0..500 {
        dial(&balance, TARGET).await.unwrap();
    }
    let share = slow.dials().len();
    assert!((20..90).contains(&share), "the slow one got {share} of 500");
    let time = balance.health()[0].dial_time.unwrap();
    assert!((85..95).contains(&time.as_millis()), "{time:?}");
}

#[tokio::test(start_paused = true)]
async fn a_dropped_dial_is_not_under_way_any_more() {
    let ways = [(); 2].map(|()| way(Outcome::Open).checked(Outcome::Open));
    let balance = balance(&[&ways[0], &ways[1]]);
    for _ in 0..20 {
        dial(&balance, TARGET).await.unwrap();
    }
    ways[0].set(Outcome::Never);
    for _ in 0..500 {
        let dropped = tokio::time::timeout(Duration::from_millis(20), dial(&balance, TARGET));
        drop(dropped.await);
    }
    ways[0].set(Outcome::Open);
    let before = ways[0].dials().len();
    for _ in 0..100 {
        dial(&balance, TARGET).await.unwrap();
    }
    let share = ways[0].dials().len() - before;
    assert!((30..70).contains(&share), "it got {share} of 100");
}

fn tasks() -> usize {
    tokio::runtime::Handle::current()
        .metrics()
        .num_alive_tasks()
}

#[tokio::test(start_paused = true)]
async fn checks_go_on_from_the_first_dial_until_nobody_dials() {
    let one = way(Outcome::Open);
    let balance = balance(&[&one, &one]);
    pass(IDLE * 2).await;
    assert_eq!((one.checks().len(), tasks()), (0, 0), "before any dial");
    for _ in 0..3 {
        let begun = Instant::now();
        drop(dial(&balance, TARGET).await.unwrap());
        pass(IDLE - DIAL - Duration::from_millis(1)).await;
        assert_eq!(tasks(), 1, "it is needed until the end");
        pass(Duration::from_millis(2)).await;
        assert_eq!(tasks(), 0, "it outlived its use");
        let checks = one.checks();
        let since = checks.iter().filter(|at| **at >= begun).count();
        let most = 2 * 2 * (IDLE.as_secs() / INTERVAL.as_secs()) as usize + 2;
        assert!((most - 6..=most).contains(&since), "{since} checks");
        pass(IDLE * 2).await;
        assert_eq!(one.checks().len(), checks.len(), "somebody still checks");
    }
}

#[tokio::test(start_paused = true)]
async fn the_task_ends_with_the_dialer_even_in_the_middle_of_a_check() {
    let one = way(Outcome::Open).checked(Outcome::Never);
    let balance = balance(&[&one]);
    drop(dial(&balance, TARGET).await.unwrap());
    until("nothing else is left", || tasks() == 1).await;
    assert_eq!(one.checks().len(), 1);
    drop(balance);
    until("the task has ended", || tasks() == 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_runtime_that_is_gone_took_the_task_with_it_and_the_next_dial_starts_another() {
    let one = way(Outcome::Open);
    let balance = balance(&[&one]);
    let dialing = Arc::new(balance);
    let elsewhere = Arc::clone(&dialing);
    let other = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime
            .unwrap()
            .block_on(async { dial(&elsewhere, TARGET).await.map(drop) })
    });
    other.join().unwrap().unwrap();
    assert_eq!(tasks(), 0);
    drop(dial(&dialing, TARGET).await.unwrap());
    until("the task runs here", || tasks() == 1).await;
}

#[tokio::test(start_paused = true)]
async fn without_ways_every_dial_fails_and_none_is_worth_another() {
    let error = dial(&balance(&[]), TARGET).await.unwrap_err();
    assert_eq!(error.to_string(), format!("{TARGET}: every route failed"));
    assert!(!error.is_worth_retrying());
}

#[tokio::test(start_paused = true)]
async fn a_balance_is_open_as_soon_as_one_of_its_ways_is() {
    let stuck = way(Outcome::Never);
    let open = way(Outcome::Open);
    let begun = Instant::now();
    balance(&[&stuck, &open]).check(&context()).await.unwrap();
    assert_eq!(begun.elapsed(), DIAL);
    let broken = way(Outcome::Way);
    balance(&[&broken, &open]).check(&context()).await.unwrap();
    balance(&[&broken, &broken])
        .check(&context())
        .await
        .unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn settings_beyond_all_time_are_no_overflow() {
    let way: Arc<dyn Dialer> = Arc::new(way(Outcome::Open));
    for interval in [Duration::MAX, Duration::ZERO] {
        let config = BalanceConfig::default()
            .with_interval(interval)
            .with_idle(Duration::MAX);
        let balance = Balance::new([way.clone()], config);
        drop(dial(&balance, TARGET).await.unwrap());
        pass(Duration::from_millis(20)).await;
        assert_eq!(tasks(), 1, "the task panicked");
        drop(balance);
        until("the task has ended", || tasks() == 0).await;
    }
}
