//! What is dialed again, how often, and until when.

use std::time::Duration;

use tokio::time::Instant;
use transport_tcp::{DialContext, DialError, Dialer, Retry, RetryConfig, Target};

use crate::support::{
    PATIENCE,
    proxy::{ahoy, context, dial},
    scripted::{Outcome, Scripted},
};

const TARGET: &str = "/ip4/192.0.2.7/tcp/80";

fn target() -> Target {
    TARGET.parse().unwrap()
}

#[tokio::test(start_paused = true)]
async fn what_another_try_may_mend_is_tried_again() {
    for outcome in [Outcome::Target, Outcome::Way, Outcome::Foreign] {
        let inner = Scripted::plan([outcome, outcome], Outcome::Open);
        let retry = Retry::new(inner.clone(), RetryConfig::default());
        let mut stream = dial(&retry, TARGET).await.unwrap();
        ahoy(&mut stream).await;
        assert_eq!(inner.dials().len(), 3, "{outcome:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_no_other_try_mends_is_said_at_once() {
    for outcome in [
        Outcome::Setup,
        Outcome::Policy,
        Outcome::NoAddress,
        Outcome::NoResolver,
        Outcome::Unresolved,
    ] {
        let inner = Scripted::new(outcome);
        let retry = Retry::new(inner.clone(), RetryConfig::default());
        let begun = Instant::now();
        let error = dial(&retry, TARGET).await.unwrap_err();
        assert_eq!(error.to_string(), outcome.error(&target()).to_string());
        assert_eq!((inner.dials().len(), begun.elapsed()), (1, Duration::ZERO));
    }
}

#[tokio::test(start_paused = true)]
async fn ways_that_all_failed_are_tried_again_if_one_of_them_may_do() {
    let no_way = |ways: &[Outcome]| DialError::NoRoute {
        address: target().to_multiaddr(),
        routes: ways.iter().map(|way| way.error(&target())).collect(),
    };
    assert!(!no_way(&[]).is_worth_retrying());
    assert!(!no_way(&[Outcome::Setup, Outcome::Setup]).is_worth_retrying());
    assert!(no_way(&[Outcome::Setup, Outcome::Way]).is_worth_retrying());
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_turns_into_another_kind_ends_it() {
    let inner = Scripted::plan([Outcome::Way], Outcome::Policy);
    let retry = Retry::new(inner.clone(), RetryConfig::default());
    let error = dial(&retry, TARGET).await.unwrap_err();
    assert_eq!(inner.dials().len(), 2);
    assert!(!error.is_worth_retrying());
    let DialError::GaveUp { attempts, source } = error else {
        panic!("{error}");
    };
    assert!(matches!(*source, DialError::NoRule(_)));
    assert_eq!(attempts, 2);
}

#[tokio::test(start_paused = true)]
async fn giving_up_names_the_attempts_and_the_last_failure() {
    for attempts in [2, 3, 7] {
        let inner = Scripted::new(Outcome::Way);
        let config = RetryConfig::default().with_attempts(attempts);
        let retry = Retry::new(inner.clone(), config);
        let error = dial(&retry, TARGET).await.unwrap_err();
        let last = Outcome::Way.error(&target());
        let expected = format!(
            "gave up after {attempts} attempts: {}",
            crate::support::chain(&last)
        );
        assert_eq!(crate::support::chain(&error), expected);
        assert_eq!((error.stage(), error.fault()), (last.stage(), last.fault()));
        assert_eq!(inner.dials().len(), attempts as usize);
    }
    for attempts in [0, 1] {
        let inner = Scripted::new(Outcome::Way);
        let config = RetryConfig::default().with_attempts(attempts);
        let error = dial(&Retry::new(inner, config), TARGET).await.unwrap_err();
        assert!(matches!(error, DialError::Proxy { .. }), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn it_rests_between_attempts_and_no_longer_than_it_says() {
    let (base, cap) = (Duration::from_millis(100), Duration::from_millis(250));
    let config = RetryConfig::default()
        .with_attempts(6)
        .with_pauses(base, cap)
        .with_seed(3);
    let inner = Scripted::new(Outcome::Target);
    let retry = Retry::new(inner.clone(), config);
    let begun = Instant::now();
    dial(&retry, TARGET).await.unwrap_err();
    let dials = inner.dials();
    let mut longest = base;
    for pair in dials.windows(2) {
        let pause = pair[1] - pair[0];
        // The clock counts whole milliseconds.
        assert!(pause <= longest + Duration::from_millis(1), "{pause:?}");
        longest = (longest * 2).min(cap);
    }
    assert!(dials[5] > begun, "there was no pause at all");
    assert_eq!(
        begun.elapsed(),
        dials[5] - begun,
        "it rested after the last"
    );
}

#[tokio::test(start_paused = true)]
async fn it_does_not_rest_beyond_the_deadline() {
    // Endless attempts: what ends it is the time.
    let config = RetryConfig::default().with_attempts(u32::MAX);
    for pauses in [
        (Duration::from_millis(100), Duration::from_secs(1)),
        (Duration::from_secs(3600), Duration::from_secs(3600)),
        (Duration::MAX, Duration::MAX),
    ] {
        let inner = Scripted::new(Outcome::Way).taking(Duration::from_millis(300));
        let retry = Retry::new(inner.clone(), config.with_pauses(pauses.0, pauses.1));
        let limit = Duration::from_secs(10);
        let begun = Instant::now();
        let cx = DialContext::new(begun + limit);
        let error = retry.dial(&target(), &cx).await.unwrap_err();
        let last = *inner.dials().last().unwrap();
        assert!(last < cx.deadline, "an attempt began too late");
        assert_eq!(Instant::now(), last + Duration::from_millis(300));
        assert_eq!(error.fault(), Outcome::Way.error(&target()).fault());
    }
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_uses_up_the_time_is_the_last() {
    let inner = Scripted::new(Outcome::Silence);
    let retry = Retry::new(inner.clone(), RetryConfig::default());
    let begun = Instant::now();
    dial(&retry, TARGET).await.unwrap_err();
    assert_eq!((inner.dials().len(), begun.elapsed()), (1, PATIENCE));
}

#[tokio::test(start_paused = true)]
async fn a_check_is_not_repeated() {
    let inner = Scripted::new(Outcome::Way);
    let retry = Retry::new(inner.clone(), RetryConfig::default());
    retry.check(&context()).await.unwrap_err();
    assert_eq!(inner.checks().len(), 1);
}
