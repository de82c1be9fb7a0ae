//! Connections that are ready before they are needed.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use tokio::time::{Instant, sleep};
use transport_tcp::{
    ByteStream, DialError, DialStage, Dialer, HttpConnect, ProxyError, Socks5, Warm, WarmConfig,
};

use crate::support::proxy::{
    Http, Log, Network, Socks, ahoy, at, cause, context, dial, echo, service, until,
};

pub(crate) const PROXY: &str = "192.0.2.1:1080";

pub(crate) const TARGET: &str = "/dns4/target.example/tcp/80";

const ASKED: &str = "name target.example:80";

const SECOND: Duration = Duration::from_secs(1);

pub(crate) fn config(size: usize) -> WarmConfig {
    WarmConfig::default().with_size(size)
}

/// A proxy in memory, and warm connections to it.
fn warm(config: WarmConfig, change: impl FnOnce(&mut Socks)) -> (Log, Network, Warm) {
    let network = Network::default();
    network.add("target.example:80", echo());
    let mut socks = Socks::onward(network.clone());
    change(&mut socks);
    network.add(PROXY, socks.service());
    let (log, warm) = (socks.log.clone(), over(&network, config));
    (log, network, warm)
}

pub(crate) fn over(network: &Network, config: WarmConfig) -> Warm {
    Warm::new(Socks5::new(at(PROXY)).through(network.clone()), config)
}

/// Waits until so many are ready.
pub(crate) async fn ready(warm: &Warm, size: usize) {
    until(&format!("{size} are ready"), || warm.ready() == size).await;
}

/// Connections to the proxy that are open.
pub(crate) fn open(log: &Log) -> usize {
    log.count("connected") - log.count("ended")
}

fn tasks() -> usize {
    tokio::runtime::Handle::current()
        .metrics()
        .num_alive_tasks()
}

#[tokio::test(start_paused = true)]
async fn a_dial_asks_for_the_target_and_nothing_comes_before_that() {
    let (log, _, warm) = warm(config(2), |_| ());
    let mut cold = dial(&warm, TARGET).await.unwrap();
    ahoy(&mut cold).await;
    for _ in 0..10 {
        ready(&warm, 2).await;
        let before = log.lines().len();
        let mut stream = dial(&warm, TARGET).await.unwrap();
        assert_eq!(log.lines()[before], ASKED, "{:?}", log.lines());
        ahoy(&mut stream).await;
        // What was taken is replaced.
        until("another one is greeted", || {
            log.count("methods") == log.count(ASKED) + 2
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_password_is_said_before_the_dial_as_well() {
    let (log, network, _) = warm(config(0), |socks| socks.password = Some(("u", "p")));
    let proxy = Socks5::new(at(PROXY)).through(network);
    let warm = Warm::new(proxy.clone().with_password("u", "p"), config(1));
    drop(dial(&warm, TARGET).await.unwrap());
    ready(&warm, 1).await;
    let before = log.lines().len();
    ahoy(&mut dial(&warm, TARGET).await.unwrap()).await;
    let after = log.lines();
    let ours = after[before..].iter().filter(|line| *line != "ended");
    assert_eq!(ours.clone().next().unwrap(), ASKED);
    // A wrong one makes no connection ready, and every dial says so.
    let wrong = Warm::new(proxy.with_password("u", "q"), config(1));
    for _ in 0..3 {
        let error = dial(&wrong, TARGET).await.unwrap_err();
        assert!(matches!(cause(&error), ProxyError::AuthenticationFailed));
        sleep(3 * SECOND).await;
        assert_eq!(wrong.ready(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn an_http_proxy_is_connected_to_before_the_dial() {
    let network = Network::default();
    network.add("target.example:80", echo());
    let http = Http::onward(network.clone());
    network.add(PROXY, http.service());
    let warm = Warm::new(HttpConnect::new(at(PROXY)).through(network), config(1));
    drop(dial(&warm, TARGET).await.unwrap());
    ready(&warm, 1).await;
    let before = http.log.count("connected");
    ahoy(&mut dial(&warm, TARGET).await.unwrap()).await;
    let lines = http.log.lines();
    let asked = lines.iter().rposition(|line| line.starts_with("CONNECT"));
    let connected = lines[..asked.unwrap()]
        .iter()
        .filter(|line| *line == "connected");
    assert_eq!(connected.count(), before);
}

#[tokio::test(start_paused = true)]
async fn there_are_never_more_than_its_size() {
    let (log, _, warm) = warm(config(3), |_| ());
    for _ in 0..50 {
        drop(dial(&warm, TARGET).await.unwrap());
        for _ in 0..7 {
            tokio::task::yield_now().await;
            // The dial's own, until the proxy has noticed its end.
            assert!(open(&log) <= 3 + 1, "{} are open", open(&log));
            assert!(warm.ready() <= 3);
        }
    }
    ready(&warm, 3).await;
    until("the dials' own are closed", || open(&log) == 3).await;
    let all = (0..20).map(|_| dial(&warm, TARGET));
    let streams = futures::future::join_all(all).await;
    assert!(streams.iter().all(Result::is_ok));
    ready(&warm, 3).await;
    assert_eq!(open(&log), 20 + 3);
    drop(streams);
    until("the dials' own are closed", || open(&log) == 3).await;
}

#[tokio::test(start_paused = true)]
async fn aged_ones_are_replaced_and_not_used() {
    let (log, _, warm) = warm(config(2).with_max_age(20 * SECOND), |_| ());
    drop(dial(&warm, TARGET).await.unwrap());
    ready(&warm, 2).await;
    until("the dial's own is closed", || log.count("ended") == 1).await;
    for round in 1..=2 {
        sleep(19 * SECOND).await;
        assert_eq!((log.count("ended"), warm.ready()), (2 * round - 1, 2));
        sleep(SECOND + SECOND / 10).await;
        ready(&warm, 2).await;
        until("the old ones are closed", || {
            log.count("ended") == 2 * round + 1
        })
        .await;
    }
    // Nobody has dialed for a minute: they go, and are not replaced.
    sleep(40 * SECOND).await;
    assert_eq!((warm.ready(), open(&log)), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn it_rests_when_nobody_dials_and_starts_again_with_the_next_dial() {
    let (log, _, warm) = warm(config(2).with_idle(60 * SECOND), |_| ());
    sleep(200 * SECOND).await;
    assert_eq!((log.count("connected"), tasks()), (0, 0), "before any dial");
    for _ in 0..3 {
        drop(dial(&warm, TARGET).await.unwrap());
        sleep(59 * SECOND).await;
        assert_eq!(warm.ready(), 2);
        sleep(22 * SECOND).await;
        assert_eq!((warm.ready(), open(&log)), (0, 0));
        assert_eq!(tasks(), 0, "the task outlived its use");
        let connected = log.count("connected");
        sleep(200 * SECOND).await;
        assert_eq!(log.count("connected"), connected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_proxy_that_is_away_is_tried_less_and_less_often_and_used_when_it_is_back() {
    let (log, network, warm) = warm(config(4), |_| ());
    let proxy = Socks::onward(network.clone());
    network.remove(PROXY);
    let begun = Instant::now();
    let error = dial(&warm, TARGET).await.unwrap_err();
    assert_eq!(error.stage(), DialStage::Reach);
    sleep(10 * SECOND).await;
    let tries = network.dialed().len() - 1;
    assert!(
        // At 0, 1, 3 and 7 s.
        (4..=4 * 4).contains(&tries),
        "{tries} in {:?}",
        begun.elapsed()
    );
    network.add(PROXY, proxy.service());
    sleep(6 * SECOND).await;
    ready(&warm, 4).await;
    assert_eq!(log.count("connected"), 0);
    ahoy(&mut dial(&warm, TARGET).await.unwrap()).await;
}

#[tokio::test(start_paused = true)]
async fn a_proxy_that_closes_each_connection_is_dialed_ahead_less_and_less_often() {
    let network = Network::default();
    network.add(PROXY, service(|io: ByteStream| async move { drop(io) }));
    let proxy = HttpConnect::new(at(PROXY)).through(network.clone());
    let warm = Warm::new(proxy, config(4));
    let mut dials = 0;
    let mut ahead = async |seconds: u32| {
        let before = network.dialed().len() - dials;
        for _ in 0..2 * seconds {
            assert!(dial(&warm, TARGET).await.is_err());
            dials += 1;
            sleep(SECOND / 2).await;
        }
        network.dialed().len() - dials - before
    };
    let (first, later) = (ahead(15).await, ahead(60).await);
    // At 0, 1, 3, 7 and 15 s, and then at 31 and 63 s.
    assert!((4..=6 * 4).contains(&first), "{first}");
    assert!((4..=3 * 4).contains(&later), "{later}");
}

#[tokio::test(start_paused = true)]
async fn one_that_is_slow_to_be_made_holds_up_no_other() {
    let network = Network::default();
    network.add("target.example:80", echo());
    let socks = Socks::onward(network.clone());
    let (count, inner) = (AtomicUsize::new(0), socks.service());
    let serve = move |io: ByteStream| {
        // The first one is the dial's own.
        let stuck = count.fetch_add(1, Ordering::Relaxed) == 1;
        let inner = inner.clone();
        async move {
            match stuck {
                true => sleep(3600 * SECOND).await,
                false => inner(io).await,
            }
        }
    };
    network.add(PROXY, service(serve));
    let limit = config(2).with_timeout(10 * SECOND, SECOND);
    let warm = over(&network, limit);
    let begun = Instant::now();
    for _ in 0..20 {
        ahoy(&mut dial(&warm, TARGET).await.unwrap()).await;
        ready(&warm, 1).await;
    }
    assert_eq!(begun.elapsed(), Duration::ZERO);
    sleep(11 * SECOND + SECOND / 2).await;
    ready(&warm, 2).await;
}

#[tokio::test(start_paused = true)]
async fn what_it_holds_goes_with_the_dialer() {
    let (log, _, warm) = warm(config(3), |_| ());
    drop(dial(&warm, TARGET).await.unwrap());
    ready(&warm, 3).await;
    drop(warm);
    until("all is closed", || open(&log) == 0).await;
    until("no task is left", || tasks() == 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_check_uses_up_none_of_them() {
    let (_, network, warm) = warm(config(1), |_| ());
    drop(dial(&warm, TARGET).await.unwrap());
    ready(&warm, 1).await;
    warm.check(&context()).await.unwrap();
    assert_eq!(warm.ready(), 1);
    network.remove(PROXY);
    assert!(warm.check(&context()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn without_any_it_is_the_proxy_itself() {
    let (log, _, warm) = warm(config(0).with_max_age(Duration::MAX), |_| ());
    for dials in 1..=3 {
        ahoy(&mut dial(&warm, TARGET).await.unwrap()).await;
        sleep(SECOND).await;
        assert_eq!(log.count("connected"), dials);
    }
    let error = dial(&warm, "/dnsaddr/some.example").await.unwrap_err();
    assert!(matches!(error, DialError::Unsupported { .. }));
    assert_eq!(log.count("connected"), 3);
}

#[tokio::test(start_paused = true)]
async fn settings_beyond_all_time_are_no_overflow() {
    let forever = config(2)
        .with_max_age(Duration::MAX)
        .with_idle(Duration::MAX)
        .with_timeout(Duration::MAX, Duration::MAX);
    let (_, _, warm) = warm(forever, |_| ());
    drop(dial(&warm, TARGET).await.unwrap());
    sleep(1000 * SECOND).await;
    assert_eq!(warm.ready(), 2);
    ahoy(&mut dial(&warm, TARGET).await.unwrap()).await;
}
