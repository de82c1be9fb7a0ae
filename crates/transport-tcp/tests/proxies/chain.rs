//! Proxies in a row: who is asked for what, and who is named when one fails.

use transport_tcp::{
    Chain, DialError, DialStage, Dialer, Fault, HttpConnect, Proxy, ProxyError, Socks5, Target,
};

use crate::support::proxy::{
    Http, Network, Socks, ahoy, at, cause, context, dial, echo, refused, silent,
};

const SOCKS: [&str; 2] = ["192.0.2.1:1080", "192.0.2.2:1080"];

const HTTP: [&str; 2] = ["192.0.2.3:3128", "proxy.example:3128"];

const TARGET: &str = "/dns4/target.example/tcp/80";

/// Four proxies, each of which reaches all others and a target, and what they were asked.
struct Row {
    network: Network,
    socks: [Socks; 2],
    http: [Http; 2],
}

impl Row {
    fn new() -> Self {
        Self::with(|_, _| ())
    }

    fn with(change: impl FnOnce(&mut [Socks; 2], &mut [Http; 2])) -> Self {
        let network = Network::default();
        network.add("target.example:80", echo());
        let mut socks = SOCKS.map(|_| Socks::onward(network.clone()));
        let mut http = HTTP.map(|_| Http::onward(network.clone()));
        change(&mut socks, &mut http);
        for (address, socks) in SOCKS.iter().zip(&socks) {
            network.add(address, socks.service());
        }
        for (address, http) in HTTP.iter().zip(&http) {
            network.add(address, http.service());
        }
        Self {
            network,
            socks,
            http,
        }
    }

    /// The proxy reached by the network; those that are not first must not be dialed by it.
    fn socks(&self, n: usize) -> Socks5 {
        Socks5::new(at(SOCKS[n])).through(self.network.clone())
    }

    fn http(&self, n: usize) -> HttpConnect {
        let addresses = ["/ip4/192.0.2.3/tcp/3128", "/dns/proxy.example/tcp/3128"];
        let address: Target = addresses[n].parse().unwrap();
        HttpConnect::new(address).through(self.network.clone())
    }
}

#[tokio::test]
async fn each_hop_is_asked_for_the_next_and_the_last_one_for_the_target() {
    let row = Row::new();
    let chain = Chain::new(row.socks(0), [row.http(1).into()]);
    let mut stream = dial(&chain, TARGET).await.unwrap();
    ahoy(&mut stream).await;
    assert_eq!(row.socks[0].log.lines()[2], "name proxy.example:3128");
    let asked = &row.http[1].log.lines()[1];
    assert!(asked.starts_with("CONNECT target.example:80 "), "{asked}");

    let row = Row::new();
    let chain = Chain::new(row.http(0), [row.socks(0).into()]);
    let mut stream = dial(&chain, TARGET).await.unwrap();
    ahoy(&mut stream).await;
    let asked = &row.http[0].log.lines()[1];
    assert!(asked.starts_with("CONNECT 192.0.2.1:1080 "), "{asked}");
    assert_eq!(row.socks[0].log.lines()[2], "name target.example:80");
}

#[tokio::test]
async fn three_hops_of_both_kinds_are_passed_in_order_each_with_its_own_password() {
    let row = Row::with(|socks, http| {
        socks[0].password = Some(("one", "1"));
        http[1].basic = Some("dHdvOjI=");
        socks[1].password = Some(("three", "3"));
    });
    let first = row.socks(0).with_password("one", "1");
    let second: Proxy = row.http(1).with_basic_auth("two", "2").into();
    let third: Proxy = row.socks(1).with_password("three", "3").into();
    let chain = Chain::new(first, [second, third]);
    let expected =
        "socks5://192.0.2.1:1080 then http://proxy.example:3128 then socks5://192.0.2.2:1080";
    assert_eq!(format!("{chain:?}"), expected);
    let mut stream = dial(&chain, TARGET).await.unwrap();
    ahoy(&mut stream).await;
    let order = [SOCKS[0], HTTP[1], SOCKS[1], "target.example:80"];
    assert_eq!(row.network.dialed(), order);
    assert_eq!(row.socks[0].log.count("password one:1"), 1);
    assert_eq!(row.socks[1].log.count("password three:3"), 1);
}

#[tokio::test]
async fn a_chain_of_one_is_that_proxy() {
    let row = Row::new();
    let mut stream = dial(&Chain::new(row.socks(0), []), TARGET).await.unwrap();
    ahoy(&mut stream).await;
    assert_eq!(row.network.dialed(), [SOCKS[0], "target.example:80"]);
}

fn proxy_of(error: &DialError) -> (&str, DialStage) {
    match error {
        DialError::Proxy { proxy, stage, .. } => (proxy, *stage),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn the_hop_that_failed_is_named() {
    let (one, two) = ("socks5://192.0.2.1:1080", "http://proxy.example:3128");
    let chain = |row: &Row| Chain::new(row.socks(0), [row.http(1).into()]);

    let row = Row::new();
    row.network.remove(SOCKS[0]);
    let error = dial(&chain(&row), TARGET).await.unwrap_err();
    assert_eq!(proxy_of(&error), (one, DialStage::Reach), "{error}");

    let row = Row::with(|socks, _| socks[0].password = Some(("u", "p")));
    let error = dial(&chain(&row), TARGET).await.unwrap_err();
    assert_eq!(proxy_of(&error), (one, DialStage::Greet), "{error}");
    assert_eq!(error.fault(), Fault::Setup);

    let row = Row::with(|_, http| http[1].status = 504);
    let error = dial(&chain(&row), TARGET).await.unwrap_err();
    assert_eq!(proxy_of(&error), (two, DialStage::Request), "{error}");
    assert_eq!(error.fault(), Fault::Target);
}

#[tokio::test]
async fn a_hop_that_the_one_before_it_does_not_reach_is_named_with_that_one_and_is_no_fault_of_the_target()
 {
    let row = Row::new();
    row.network.remove(HTTP[1]);
    let chain = Chain::new(row.socks(0), [row.http(1).into()]);
    let error = dial(&chain, TARGET).await.unwrap_err();
    assert_eq!(
        crate::support::chain(&error),
        "/dns4/target.example/tcp/80: via http://proxy.example:3128: connecting to the proxy: \
         /dns/proxy.example/tcp/3128: via socks5://192.0.2.1:1080: \
         waiting for the proxy to connect: it could not connect: connection refused"
    );
    assert_eq!(error.fault(), Fault::Route);

    // A proxy that must not reach the next one never will.
    let row = Row::with(|socks, _| socks[0].reply = 2);
    let chain = Chain::new(row.socks(0), [row.http(1).into()]);
    let error = dial(&chain, TARGET).await.unwrap_err();
    assert_eq!(error.fault(), Fault::Setup, "{error}");
}

#[tokio::test]
async fn a_proxy_through_another_one_is_the_same_as_a_chain() {
    let row = Row::new();
    let mut stream = dial(&row.socks(1).through(row.http(0)), TARGET)
        .await
        .unwrap();
    ahoy(&mut stream).await;
    let order = [HTTP[0], SOCKS[1], "target.example:80"];
    assert_eq!(row.network.dialed(), order);
    row.network.remove(HTTP[0]);
    let error = dial(&row.socks(1).through(row.http(0)), TARGET).await;
    let error = error.unwrap_err();
    let ProxyError::Unreachable(inner) = cause(&error) else {
        panic!("{error}");
    };
    let ProxyError::Unreachable(innermost) = cause(inner) else {
        panic!("{inner}");
    };
    let proxy: Target = at(HTTP[0]).into();
    assert_eq!(innermost.to_string(), refused(&proxy).to_string());
}

#[tokio::test]
async fn a_dnsaddr_is_refused_as_target_and_as_hop_before_anything_is_connected() {
    let network = Network::default();
    network.add(SOCKS[0], silent());
    let first = Socks5::new(at(SOCKS[0])).through(network.clone());
    let names: Target = "/dnsaddr/proxy.example".parse().unwrap();
    let second: Proxy = Socks5::new(names).into();
    let error = dial(&Chain::new(first.clone(), []), "/dnsaddr/some.example").await;
    assert!(matches!(error, Err(DialError::Unsupported { .. })));
    let error = dial(&Chain::new(first, [second]), TARGET).await;
    assert!(matches!(error, Err(DialError::Unsupported { .. })));
    assert!(network.dialed().is_empty());
}

#[tokio::test]
async fn a_check_goes_as_far_as_the_last_proxys_greeting() {
    let row = Row::with(|socks, _| socks[1].password = Some(("u", "p")));
    let chain = |last: Socks5| Chain::new(row.http(0), [last.into()]);
    let right = row.socks(1).with_password("u", "p");
    chain(right).check(&context()).await.unwrap();
    assert_eq!(row.network.dialed(), [HTTP[0], SOCKS[1]]);
    let wrong = row.socks(1).with_password("u", "q");
    let error = chain(wrong).check(&context()).await.unwrap_err();
    assert_eq!(proxy_of(&error).1, DialStage::Greet);
}
