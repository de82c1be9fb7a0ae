//! The limits of a dial's parts: each for itself, and none beyond the dial's own.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep};
use transport_tcp::{
    ByteStream, Chain, Deadline, DeadlineConfig, DialContext, DialError, DialStage, Dialer,
    DirectConfig, Fault, HttpConnect, Proxy, ProxyError, RuleText, Rules, Socks5, Target, Warm,
    WarmConfig,
};

use crate::support::{
    hole::Port,
    names::{Names, silence},
    proxy::{Network, Service, Socks, ahoy, at, cause, echo, service, silent},
    scripted::{Outcome, Scripted},
};

const TARGET: &str = "/dns4/target.example/tcp/80";

const HOPS: [&str; 3] = ["192.0.2.1:1080", "192.0.2.2:1080", "192.0.2.3:1080"];

const SECOND: Duration = Duration::from_secs(1);

/// Reaches `network` after so long, or says that it has not, as it must.
fn after(takes: Duration, network: Network) -> impl Dialer + Clone + 'static {
    move |target: Target, cx: DialContext| {
        let network = network.clone();
        async move {
            let limit = cx.reach.and_then(|reach| Instant::now().checked_add(reach));
            let by = limit.map_or(cx.deadline, |limit| limit.min(cx.deadline));
            tokio::select! {
                () = sleep(takes) => network.dial(&target, &cx).await,
                () = tokio::time::sleep_until(by) => Err(DialError::TimedOut {
                    address: target.to_multiaddr(),
                    stage: DialStage::Connect,
                    tried: Vec::new(),
                }),
            }
        }
    }
}

/// Takes its time before it says anything.
fn slow(takes: Duration, inner: Service) -> Service {
    service(move |io: ByteStream| {
        let inner = inner.clone();
        async move {
            sleep(takes).await;
            inner(io).await;
        }
    })
}

/// Three SOCKS5 proxies, each of which takes so long for its handshake, and the target.
fn row(takes: Duration) -> Network {
    let network = Network::default();
    network.add("target.example:80", echo());
    for hop in HOPS {
        let socks = Socks::onward(network.clone());
        network.add(hop, slow(takes, socks.service()));
    }
    network
}

fn limits(reach: u64, handshake: u64) -> DeadlineConfig {
    DeadlineConfig::default()
        .with_reach(SECOND * reach as u32)
        .with_handshake(SECOND * handshake as u32)
}

/// Dials with a minute's time. Gives what came of it and how long it took.
async fn timed(dialer: &dyn Dialer, limit: Duration) -> (Result<ByteStream, DialError>, Duration) {
    let target: Target = TARGET.parse().unwrap();
    let begun = Instant::now();
    let outcome = dialer.dial(&target, &DialContext::new(begun + limit)).await;
    (outcome, begun.elapsed())
}

async fn fails(dialer: &dyn Dialer, limit: Duration) -> (DialError, Duration) {
    let (outcome, took) = timed(dialer, limit).await;
    (outcome.unwrap_err(), took)
}

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn reaching_a_proxy_has_its_own_limit() {
    let socks = Socks5::new(at(HOPS[0])).through(after(4 * SECOND, row(Duration::ZERO)));
    let (error, took) = fails(&Deadline::new(socks.clone(), limits(3, 60)), MINUTE).await;
    assert_eq!((error.stage(), took), (DialStage::Reach, 3 * SECOND));
    assert!(matches!(cause(&error), ProxyError::Unreachable(_)));
    let (stream, took) = timed(&Deadline::new(socks, limits(5, 1)), MINUTE).await;
    assert_eq!(took, 4 * SECOND);
    ahoy(&mut stream.unwrap()).await;
}

#[tokio::test(start_paused = true)]
async fn a_proxys_handshake_has_its_own_limit() {
    let network = Network::default();
    network.add(HOPS[0], silent());
    let base = after(2 * SECOND, network);
    let socks = Socks5::new(at(HOPS[0])).through(base.clone());
    let http = HttpConnect::new(at(HOPS[0])).through(base);
    for (dialer, stage) in [
        (Arc::new(socks) as Arc<dyn Dialer>, DialStage::Greet),
        (Arc::new(http), DialStage::Request),
    ] {
        let (error, took) = fails(&Deadline::new(dialer, limits(3, 7)), MINUTE).await;
        assert!(matches!(cause(&error), ProxyError::TimedOut), "{error}");
        assert_eq!((error.stage(), took), (stage, 9 * SECOND));
    }
}

#[tokio::test(start_paused = true)]
async fn a_greeting_and_a_request_share_the_handshakes_limit() {
    let network = Network::default();
    let onward = |_: Target, _| async { std::future::pending().await };
    network.add(HOPS[0], slow(3 * SECOND, Socks::onward(onward).service()));
    let socks = Socks5::new(at(HOPS[0])).through(network);
    let (error, took) = fails(&Deadline::new(socks, limits(1, 5)), MINUTE).await;
    assert_eq!((error.stage(), took), (DialStage::Request, 5 * SECOND));
}

#[tokio::test(start_paused = true)]
async fn each_proxy_of_a_row_has_the_handshakes_limit_for_itself_however_the_row_is_made() {
    let socks = |n: usize, base: Arc<dyn Dialer>| Socks5::new(at(HOPS[n])).through(base);
    let rows = |takes| -> [(&str, Arc<dyn Dialer>); 4] {
        let base: Arc<dyn Dialer> = Arc::new(after(2 * SECOND, row(takes)));
        let [one, two, three] = [0, 1, 2].map(|n| socks(n, base.clone()));
        let chain = || {
            let rest: [Proxy; 2] = [two.clone().into(), three.clone().into()];
            Chain::new(one.clone(), rest)
        };
        let nested = three.clone().through(two.clone().through(one.clone()));
        let last = three
            .clone()
            .through(Chain::new(one.clone(), [two.clone().into()]));
        [
            ("chain", Arc::new(chain())),
            ("nested", Arc::new(nested)),
            ("through a chain", Arc::new(last.clone())),
            (
                "warm",
                Arc::new(Warm::new(last, WarmConfig::default().with_size(0))),
            ),
        ]
    };
    for (name, dialer) in rows(4 * SECOND) {
        let (stream, took) = timed(&Deadline::new(dialer, limits(3, 5)), MINUTE).await;
        ahoy(&mut stream.unwrap_or_else(|error| panic!("{name}: {error}"))).await;
        assert_eq!(took, 2 * SECOND + 3 * 4 * SECOND, "{name}");
    }
    for (name, dialer) in rows(6 * SECOND) {
        let (error, took) = fails(&Deadline::new(dialer, limits(3, 5)), MINUTE).await;
        assert_eq!(took, (2 + 5) * SECOND, "{name}: {error}");
    }
}

#[tokio::test(start_paused = true)]
async fn no_limit_extends_the_dials_deadline() {
    let stuck = |takes| {
        let network = Network::default();
        network.add(HOPS[0], silent());
        Socks5::new(at(HOPS[0])).through(after(takes, network))
    };
    let never = DeadlineConfig::default()
        .with_reach(Duration::MAX)
        .with_handshake(Duration::MAX)
        .with_total(Duration::MAX);
    for config in [limits(30, 30), never, DeadlineConfig::default()] {
        for takes in [10 * SECOND, SECOND] {
            let dialer = Deadline::new(stuck(takes), config);
            let (error, took) = fails(&dialer, 2 * SECOND).await;
            assert_eq!(took, 2 * SECOND, "{error}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn all_of_a_dial_can_be_limited() {
    let dialer = Socks5::new(at(HOPS[0])).through(after(2 * SECOND, row(2 * SECOND)));
    let total = |secs: u32| DeadlineConfig::default().with_total(SECOND * secs);
    let (_, took) = fails(&Deadline::new(dialer.clone(), total(3)), MINUTE).await;
    assert_eq!(took, 3 * SECOND);
    let (stream, took) = timed(&Deadline::new(dialer, total(5)), MINUTE).await;
    assert!(stream.is_ok() && took == 4 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn of_two_limits_the_shorter_one_counts() {
    let network = Network::default();
    network.add(HOPS[0], silent());
    let dialer = Socks5::new(at(HOPS[0])).through(network);
    for (outer, inner) in [(4, 9), (9, 4)] {
        let inner = Deadline::new(dialer.clone(), limits(1, inner));
        let (_, took) = fails(&Deadline::new(inner, limits(1, outer)), MINUTE).await;
        assert_eq!(took, 4 * SECOND);
    }
}

#[tokio::test(start_paused = true)]
async fn a_check_has_the_same_limits() {
    let network = Network::default();
    network.add(HOPS[0], silent());
    let dialer = Socks5::new(at(HOPS[0])).through(network);
    let begun = Instant::now();
    let cx = DialContext::new(begun + MINUTE);
    let checked = Deadline::new(dialer, limits(1, 4)).check(&cx).await;
    assert_eq!(checked.unwrap_err().stage(), DialStage::Greet);
    assert_eq!(begun.elapsed(), 4 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn without_a_proxy_the_target_and_its_name_share_the_limit() {
    let port = Port::new();
    let hole: Target = format!("/ip4/127.0.0.2/tcp/{}", port.number())
        .parse()
        .unwrap();
    let names = Names::serve([("slow.example", vec![silence()])].into()).await;
    let slow: Target = "/dns4/slow.example/tcp/80".parse().unwrap();
    for (target, stage) in [(hole, DialStage::Connect), (slow, DialStage::Resolve)] {
        let begun = Instant::now();
        let cx = DialContext::new(begun + MINUTE);
        let dialer = Deadline::new(names.direct(), limits(3, 60));
        let error = dialer.dial(&target, &cx).await.unwrap_err();
        let DialError::TimedOut { stage: at, .. } = error else {
            panic!("{error}");
        };
        assert_eq!((at, begun.elapsed()), (stage, 3 * SECOND));
    }
}

#[tokio::test(start_paused = true)]
async fn a_rules_limits_are_these() {
    let port = Port::new();
    let rule = format!(
        "* via socks5://127.0.0.2:{} reach=3 handshake=9",
        port.number()
    );
    let rules = [rule.parse::<RuleText>().unwrap()];
    let rules = Rules::from_texts(&rules, &DirectConfig::default()).unwrap();
    let (error, took) = fails(&rules, MINUTE).await;
    assert_eq!((error.stage(), took), (DialStage::Reach, 3 * SECOND));
}

#[tokio::test(start_paused = true)]
async fn a_dialer_that_ignores_its_context_is_dropped_at_the_limit_all_the_same() {
    let careless = Scripted::new(Outcome::Never);
    for (limit, dials) in [
        (DeadlineConfig::default().with_total(SECOND), SECOND),
        (DeadlineConfig::default(), MINUTE),
    ] {
        let dialer = Deadline::new(careless.clone(), limit);
        let (error, took) = fails(&dialer, MINUTE).await;
        assert_eq!(took, dials);
        let other = matches!(
            error,
            DialError::TimedOut {
                stage: DialStage::Other,
                ..
            }
        );
        assert!(other && error.fault() == Fault::Route, "{error}");
        let begun = Instant::now();
        let checked = dialer.check(&DialContext::new(begun + MINUTE)).await;
        assert!(matches!(checked, Err(DialError::CheckTimedOut { .. })));
        assert_eq!(begun.elapsed(), dials);
    }
}

#[tokio::test(start_paused = true)]
async fn a_dialer_that_keeps_to_its_context_has_the_last_word() {
    let network = Network::default();
    network.add(HOPS[0], silent());
    let dialer = Socks5::new(at(HOPS[0])).through(network);
    let limit = DeadlineConfig::default().with_total(SECOND);
    let (error, took) = fails(&Deadline::new(dialer, limit), MINUTE).await;
    assert_eq!((error.stage(), took), (DialStage::Greet, SECOND));
    assert!(matches!(cause(&error), ProxyError::TimedOut), "{error}");
}
