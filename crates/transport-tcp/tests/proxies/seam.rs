//! The trait itself: who implements it, and who may be gone around.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use transport_tcp::{
    Balance, BalanceConfig, Bound, ByteStream, Chain, Deadline, DeadlineConfig, DialContext,
    DialError, Dialer, Direct, DirectConfig, Fallback, HttpConnect, Matcher, Metered, Retry,
    RetryConfig, Rules, Socks5, Target, Uplink, Warm, WarmConfig, wrap,
};

use tokio::time::sleep;

use crate::support::{
    proxy::{Network, ahoy, at, context, dial, echo, listen, refused},
    scripted::{Outcome, Scripted},
};

const TARGET: &str = "/ip4/192.0.2.7/tcp/80";

#[tokio::test]
async fn a_closure_is_a_dialer() {
    let network = Network::default();
    network.add("192.0.2.7:80", echo());
    let calls = Arc::new(AtomicU32::new(0));
    let counted = calls.clone();
    let dialer = move |target: Target, cx: DialContext| {
        counted.fetch_add(1, Ordering::Relaxed);
        let network = network.clone();
        async move { network.dial(&target, &cx).await }
    };
    ahoy(&mut dial(&dialer, TARGET).await.unwrap()).await;
    let unknown = dial(&dialer, "/ip4/192.0.2.8/tcp/80").await;
    assert!(matches!(unknown, Err(DialError::Failed { .. })));
    dialer.check(&context()).await.unwrap();
    assert!(!dialer.is_direct(&TARGET.parse().unwrap()));
    // And composes like any other.
    let rules = Rules::new().via("all", Matcher::any(), Retry::new(dialer, retry()));
    ahoy(&mut dial(&rules, TARGET).await.unwrap()).await;
    assert_eq!(calls.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn a_dialer_behind_a_pointer_is_a_dialer_with_all_that_it_says() {
    let address = listen(echo()).await;
    let target = format!("/ip4/127.0.0.1/tcp/{}", address.port());
    let direct: Arc<dyn Dialer> = Arc::new(Direct::default());
    ahoy(&mut dial(&direct, &target).await.unwrap()).await;
    assert!(direct.is_direct(&address.into()));
    let nobody: Arc<dyn Dialer> = Arc::new(Socks5::new(at("192.0.2.1:1")).through(refusing));
    assert!(nobody.check(&context()).await.is_err());
    let nested: Arc<dyn Dialer> = Arc::new(nobody);
    assert!(dial(&nested, &target).await.is_err());
    assert!(nested.check(&context()).await.is_err());
}

async fn refusing(target: Target, _: DialContext) -> Result<ByteStream, DialError> {
    Err(refused(&target))
}

fn retry() -> RetryConfig {
    RetryConfig::default()
}

fn balance(ways: impl IntoIterator<Item = Arc<dyn Dialer>>) -> Balance {
    Balance::new(ways, BalanceConfig::default())
}

#[tokio::test]
async fn only_what_leads_to_direct_and_nowhere_else_is_direct() {
    let target: Target = TARGET.parse().unwrap();
    let direct = || -> Arc<dyn Dialer> { Arc::new(Direct::default()) };
    let proxy = || Socks5::new(at("127.0.0.1:1080"));
    let limits = DeadlineConfig::default();
    let via = |dialer: Arc<dyn Dialer>| Rules::new().via("all", Matcher::any(), dialer);
    let wrapped = |inner: Arc<dyn Dialer>| {
        wrap(inner, |inner, target, cx| async move {
            inner.dial(&target, &cx).await
        })
    };
    let fallback = |first| Fallback::new([first, direct()]);
    let answers: [(&str, Arc<dyn Dialer>, bool); 25] = [
        ("direct", direct(), true),
        ("retry", Arc::new(Retry::new(direct(), retry())), true),
        ("limited", Arc::new(Deadline::new(direct(), limits)), true),
        ("metered", Arc::new(Metered::new(direct())), true),
        ("a rule", Arc::new(via(direct())), true),
        ("balance", Arc::new(balance([direct(), direct()])), true),
        (
            "mixed",
            Arc::new(balance([direct(), Arc::new(proxy())])),
            false,
        ),
        ("no way", Arc::new(balance([])), false),
        ("wrapped", Arc::new(wrapped(direct())), true),
        ("wrapped proxy", Arc::new(wrapped(Arc::new(proxy()))), false),
        ("both direct", Arc::new(fallback(direct())), true),
        ("else direct", Arc::new(fallback(Arc::new(proxy()))), false),
        ("no route", Arc::new(Fallback::new([])), false),
        ("no rule", Arc::new(Rules::new()), false),
        (
            "refused",
            Arc::new(Rules::new().refuse("no", Matcher::any())),
            false,
        ),
        ("by rule", Arc::new(via(Arc::new(proxy()))), false),
        ("a closure", Arc::new(refusing), false),
        ("socks5", Arc::new(proxy()), false),
        (
            "over direct",
            Arc::new(proxy().through(Direct::default())),
            false,
        ),
        ("http", Arc::new(HttpConnect::new(at("127.0.0.1:1"))), false),
        ("chain", Arc::new(Chain::new(proxy(), [])), false),
        (
            "warm",
            Arc::new(Warm::new(proxy(), WarmConfig::default())),
            false,
        ),
        ("bound", Arc::new(bound()), false),
        ("retried", Arc::new(Retry::new(proxy(), retry())), false),
        ("limited", Arc::new(Deadline::new(bound(), limits)), false),
    ];
    for (name, dialer, expected) in answers {
        assert_eq!(dialer.is_direct(&target), expected, "{name}");
    }
}

fn bound() -> Bound {
    let uplink = Uplink::Address(at("127.0.0.1:0").ip());
    Bound::new([uplink], DirectConfig::default())
}

#[tokio::test]
async fn a_rule_answers_for_its_own_targets() {
    let matcher = Matcher::any().ports(80..=80);
    let rules = Rules::new().via("eighty", matcher, Direct::default()).via(
        "rest",
        Matcher::any(),
        refusing,
    );
    assert!(rules.is_direct(&TARGET.parse().unwrap()));
    assert!(!rules.is_direct(&"/ip4/192.0.2.7/tcp/81".parse().unwrap()));
}

#[tokio::test(start_paused = true)]
async fn a_wrapper_around_a_dead_proxy_is_out_after_one_interval_and_gets_no_dials() {
    let dead = Scripted::new(Outcome::Way);
    let alive = Scripted::new(Outcome::Open);
    let wrapped = |inner: &Scripted| -> Arc<dyn Dialer> {
        Arc::new(wrap(inner.clone(), |inner, target, cx| async move {
            inner.dial(&target, &cx).await
        }))
    };
    let balance = balance([wrapped(&dead), wrapped(&alive)]);
    // The first dial starts the checks. The alive one is back as soon as it is checked.
    drop(dial(&balance, TARGET).await);
    let interval = BalanceConfig::default().interval;
    for _ in 0..20 {
        sleep(interval).await;
        let before = dead.dials().len();
        for _ in 0..5 {
            dial(&balance, TARGET).await.unwrap();
        }
        assert_eq!(dead.dials().len(), before, "a dial went to the dead proxy");
    }
    assert!(dead.checks().len() > 20 && wrapped(&dead).check(&context()).await.is_err());
}
