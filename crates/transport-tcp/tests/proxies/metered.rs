//! What is counted of a dial, and what is logged.

use std::{
    collections::BTreeMap,
    io::IoSlice,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{sleep, timeout},
};
use tracing::field::{Field, Visit};
use tracing_subscriber::{
    layer::{Context, Layer, SubscriberExt},
    registry,
};
use transport_tcp::{
    Balance, BalanceConfig, ByteStream, Chain, DialContext, DialStage, Dialer, HttpConnect,
    Matcher, Metered, Retry, RetryConfig, RouteCounters, Rules, Socks5, Target, Warm, WarmConfig,
};

use crate::support::{
    names::{Names, a},
    proxy::{Network, Socks, ahoy, at, context, dial, echo, head, listen, service, silent, until},
    scripted::{Outcome, Scripted},
};

const ONE: &str = "192.0.2.1:1080";

const TWO: &str = "192.0.2.2:3128";

const TARGET: &str = "/dns4/target.example/tcp/80";

fn network() -> Network {
    let network = Network::default();
    network.add("target.example:80", echo());
    network.add(ONE, Socks::onward(network.clone()).service());
    network
}

fn socks(network: &Network) -> Socks5 {
    Socks5::new(at(ONE)).through(network.clone())
}

fn way<D: Dialer + ?Sized>(metered: &Metered<D>, label: &str) -> RouteCounters {
    let counters = metered.counters();
    let ways: Vec<_> = counters.routes.keys().collect();
    let way = counters.routes.get(label);
    *way.unwrap_or_else(|| panic!("{label} is none of {ways:?}"))
}

#[tokio::test]
async fn dials_are_counted_by_how_they_end_and_failures_by_stage_and_way() {
    let network = network();
    network.add(TWO, silent());
    let two = HttpConnect::new(at(TWO)).through(network.clone());
    let by_port = |port| Matcher::any().ports(port..=port);
    let rules = Rules::new()
        .via("one", by_port(80), socks(&network))
        .via("two", by_port(81), two)
        .refuse("no", by_port(82));
    let metered = Metered::new(rules);
    for _ in 0..3 {
        dial(&metered, TARGET).await.unwrap();
    }
    dial(&metered, "/dns4/other.example/tcp/80")
        .await
        .unwrap_err();
    dial(&metered, "/dns4/target.example/tcp/82")
        .await
        .unwrap_err();
    network.remove(ONE);
    dial(&metered, TARGET).await.unwrap_err();
    let target: Target = "/dns4/target.example/tcp/81".parse().unwrap();
    let cx = context();
    let waiting = metered.dial(&target, &cx);
    timeout(Duration::from_millis(1), waiting)
        .await
        .unwrap_err();

    let counters = metered.counters();
    assert_eq!(counters.dials, 7);
    assert_eq!((counters.succeeded, counters.dropped), (3, 1));
    let stages = [DialStage::Choose, DialStage::Reach, DialStage::Request];
    assert_eq!(counters.failed, stages.map(|stage| (stage, 1)).into());
    let ways: Vec<_> = counters.routes.keys().map(|label| &**label).collect();
    assert_eq!(ways, ["none", "socks5://192.0.2.1:1080"]);
    let one = way(&metered, "socks5://192.0.2.1:1080");
    assert_eq!((one.dials, one.failed), (5, 2));
    assert_eq!(
        (way(&metered, "none").dials, way(&metered, "none").failed),
        (1, 1)
    );
}

#[tokio::test]
async fn bytes_are_counted_as_they_go_and_stay_when_the_streams_have_gone() {
    let metered = Metered::new(socks(&network()));
    let label = "socks5://192.0.2.1:1080";
    let mut last = RouteCounters::default();
    for n in 1..=3 {
        let mut stream = dial(&metered, TARGET).await.unwrap();
        assert_eq!(way(&metered, label).sent, last.sent, "the handshake counts");
        stream.write_all(&[7; 1000]).await.unwrap();
        stream.read_exact(&mut [0; 600]).await.unwrap();
        let now = way(&metered, label);
        assert_eq!(
            (now.sent, now.received),
            (last.sent + 1000, last.received + 600)
        );
        let pieces = [IoSlice::new(&[1; 30]), IoSlice::new(&[2; 4])];
        let sent = stream.write_vectored(&pieces).await.unwrap() as u64;
        stream.shutdown().await.unwrap();
        stream.read_to_end(&mut Vec::new()).await.unwrap();
        drop(stream);
        last = way(&metered, label);
        assert_eq!(last.sent, now.sent + sent);
        assert_eq!((last.dials, last.received), (n, last.sent));
    }
}

#[tokio::test]
async fn bytes_that_came_with_a_proxys_answer_count_once_they_are_read() {
    let network = Network::default();
    let serve = |mut io: ByteStream| async move {
        head(&mut io).await.unwrap();
        let answer = b"HTTP/1.1 200 OK\r\n\r\nearly";
        io.write_all(answer).await.unwrap();
        let _ = io.read(&mut [0]).await;
    };
    network.add(TWO, service(serve));
    let metered = Metered::new(HttpConnect::new(at(TWO)).through(network));
    let mut stream = dial(&metered, TARGET).await.unwrap();
    let label = "http://192.0.2.2:3128";
    assert_eq!(way(&metered, label).received, 0);
    stream.read_exact(&mut [0; 5]).await.unwrap();
    assert_eq!(way(&metered, label).received, 5);
}

#[tokio::test]
async fn a_dial_over_several_ways_counts_for_the_last() {
    let network = network();
    network.remove(TWO);
    let gone = HttpConnect::new(at(TWO)).through(network.clone());
    let ways: [Arc<dyn Dialer>; 2] = [Arc::new(gone), Arc::new(socks(&network))];
    let metered = Metered::new(Balance::new(ways, BalanceConfig::default()));
    for _ in 0..10 {
        dial(&metered, TARGET).await.unwrap();
    }
    let counters = metered.counters();
    assert_eq!((counters.dials, counters.succeeded), (10, 10));
    assert_eq!(counters.routes.len(), 1);
    assert_eq!(way(&metered, "socks5://192.0.2.1:1080").failed, 0);
}

#[tokio::test]
async fn ways_that_somebody_makes_up_are_not_told_apart_without_end() {
    let count = std::sync::atomic::AtomicU32::new(0);
    let network = network();
    let inventive = move |target: Target, cx: DialContext| {
        let n = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        cx.take(&format!("way {n}").into());
        let network = network.clone();
        async move { network.dial(&target, &cx).await }
    };
    let metered = Metered::new(inventive);
    for _ in 0..1_000 {
        dial(&metered, TARGET).await.unwrap();
    }
    let counters = metered.counters();
    assert_eq!(counters.routes.len(), 257);
    assert_eq!(way(&metered, "other").dials, 1_000 - 256);
}

#[tokio::test]
async fn of_two_around_each_other_both_count() {
    let inner = Arc::new(Metered::new(socks(&network())));
    let outer = Metered::new(Retry::new(Arc::clone(&inner), RetryConfig::default()));
    ahoy(&mut dial(&outer, TARGET).await.unwrap()).await;
    let counted = way(&outer, "socks5://192.0.2.1:1080");
    assert_eq!(counted, way(&inner, "socks5://192.0.2.1:1080"));
    assert_eq!((counted.dials, counted.sent, counted.received), (1, 4, 4));
}

/// Keeps the fields of each event of a dial.
#[derive(Clone, Default)]
struct Events(Arc<Mutex<Vec<BTreeMap<&'static str, String>>>>);

impl<S: tracing::Subscriber> Layer<S> for Events {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() == "transport_tcp::dial" {
            assert_eq!(*event.metadata().level(), tracing::Level::DEBUG);
            let mut fields = Fields::default();
            event.record(&mut fields);
            self.0.lock().unwrap().push(fields.0);
        }
    }
}

#[derive(Default)]
struct Fields(BTreeMap<&'static str, String>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }
}

impl Events {
    /// What is logged on this thread from now on.
    fn listen() -> (Self, tracing::subscriber::DefaultGuard) {
        let events = Self::default();
        let subscriber = registry().with(events.clone());
        (events, tracing::subscriber::set_default(subscriber))
    }

    /// The route, the stages and the outcome of the one event that there is.
    fn take(&self) -> [String; 3] {
        let mut events = std::mem::take(&mut *self.0.lock().unwrap());
        assert_eq!(events.len(), 1, "{events:?}");
        let mut event = events.remove(0);
        event["attempt"].parse::<u64>().unwrap();
        assert!(event.contains_key("took") && event.contains_key("target"));
        ["route", "stages", "outcome"].map(|field| event.remove(field).unwrap())
    }
}

/// Reaches `network` after a second.
fn slowly(network: &Network) -> impl Dialer + 'static {
    let network = network.clone();
    move |target: Target, cx: DialContext| {
        let network = network.clone();
        async move {
            sleep(Duration::from_secs(1)).await;
            network.dial(&target, &cx).await
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_dial_is_logged_with_its_way_the_time_of_each_stage_and_its_outcome() {
    let (events, _guard) = Events::listen();
    let network = network();
    let metered = Metered::new(Socks5::new(at(ONE)).through(slowly(&network)));
    dial(&metered, TARGET).await.unwrap();
    let stages = "reach 1.0s, greet 0.0ns, request 0.0ns";
    let label = "socks5://192.0.2.1:1080";
    assert_eq!(events.take(), [label, stages, "connected"]);

    network.add(ONE, silent());
    let error = dial(&metered, TARGET).await.unwrap_err();
    let stages = "reach 1.0s, greet 19.0s";
    assert_eq!(
        events.take(),
        [label, stages, &crate::support::chain(&error)]
    );

    let dropped = timeout(Duration::from_secs(3), dial(&metered, TARGET)).await;
    assert!(dropped.is_err());
    let stages = "reach 1.0s, greet 2.0s";
    assert_eq!(events.take(), [label, stages, "dropped in stage greet"]);
}

#[tokio::test(start_paused = true)]
async fn each_kind_of_dialer_logs_its_own_stages() {
    let (events, _guard) = Events::listen();
    let network = network();
    let chain = Chain::new(socks(&network), [socks(&network).into()]);
    dial(&Metered::new(chain), TARGET).await.unwrap();
    let label = "socks5://192.0.2.1:1080 then socks5://192.0.2.1:1080";
    let hop = "greet 0.0ns, request 0.0ns";
    let stages = format!("reach 0.0ns, {hop}, {hop}");
    assert_eq!(events.take(), [label, &stages, "connected"]);

    let warm = Warm::new(socks(&network), WarmConfig::default());
    let warm = Arc::new(warm);
    drop(dial(&warm, TARGET).await.unwrap());
    until("one is ready", || warm.ready() > 0).await;
    dial(&Metered::new(warm), TARGET).await.unwrap();
    let one = "socks5://192.0.2.1:1080";
    assert_eq!(events.take(), [one, "request 0.0ns", "connected"]);

    let rules = Rules::new().refuse("nothing", Matcher::any());
    dial(&Metered::new(rules), TARGET).await.unwrap_err();
    let outcome = format!("{TARGET}: refused by the rule `nothing`");
    assert_eq!(events.take(), ["none", "choose 0.0ns", &outcome]);

    let flaky = Scripted::plan([Outcome::Way], Outcome::Open);
    let config = RetryConfig::default().with_seed(1);
    dial(&Metered::new(Retry::new(flaky, config)), TARGET)
        .await
        .unwrap();
    let [way, stages, outcome] = events.take();
    assert_eq!((&*way, &*outcome), ("none", "connected"));
    assert!(stages.starts_with("pause "), "{stages}");
}

#[tokio::test]
async fn a_direct_dial_of_a_name_logs_how_long_the_name_took() {
    let (events, _guard) = Events::listen();
    let port = listen(echo()).await.port();
    let names = Names::serve([("peer.example", vec![a([127, 0, 0, 1])])].into()).await;
    let metered = Metered::new(names.direct());
    for (address, expected) in [
        (
            format!("/dns4/peer.example/tcp/{port}"),
            vec!["resolve", "connect"],
        ),
        (format!("/ip4/127.0.0.1/tcp/{port}"), vec!["connect"]),
    ] {
        dial(&metered, &address).await.unwrap();
        let [way, stages, outcome] = events.take();
        assert_eq!((&*way, &*outcome), ("direct", "connected"));
        let names = stages.split(", ").map(|stage| stage.split(' ').next());
        let names: Vec<_> = names.map(Option::unwrap).collect();
        assert_eq!(names, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn no_credentials_are_logged_whatever_comes_of_the_dial() {
    let (events, _guard) = Events::listen();
    let network = network();
    let guarded = |network: &Network| {
        let mut proxy = Socks::onward(network.clone());
        proxy.password = Some(("user-name", "pass-word"));
        network.add(ONE, proxy.service());
    };
    let http = HttpConnect::new(at(TWO)).through(network.clone());
    let http = Metered::new(http.with_basic_auth("user-name", "pass-word"));
    let socks = socks(&network).with_password("user-name", "pass-word");
    let socks = Metered::new(socks);
    dial(&socks, TARGET).await.unwrap();
    guarded(&network);
    dial(&socks, TARGET).await.unwrap();
    network.remove(ONE);
    dial(&socks, TARGET).await.unwrap_err();
    dial(&http, TARGET).await.unwrap_err();
    let said = format!("{:?} {:?} {:?}", events.0.lock().unwrap(), socks, http);
    assert_eq!(events.0.lock().unwrap().len(), 4);
    for secret in ["user-name", "pass-word", "dXNlci1uYW1l"] {
        assert!(!said.contains(secret), "{said}");
    }
}
