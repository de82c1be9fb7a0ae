//! What a SOCKS5 proxy is asked for, and what its answers mean.

use transport_tcp::{
    DialError, DialStage, Dialer, Direct, DirectConfig, Fault, ProxyError, Socks5, Target,
};

use crate::support::proxy::{
    Network, Socks, ahoy, at, cause, context, dial, echo, listen, name, refused, silent,
};

const PROXY: &str = "192.0.2.1:1080";

const ONION: &str = "vww6ybal4bd7szmgncyruucpgfkqahzddi37ktceo3ah7ngmcopnpyyd";

/// A proxy in memory behind which everybody echoes, and the dialer to it.
fn proxy(change: impl FnOnce(&mut Socks)) -> (Socks, Socks5) {
    let network = Network::default();
    let anybody = |target: Target, _| async move {
        let far = Network::default();
        far.add(&target.authority(), echo());
        far.dial(&target, &context()).await
    };
    let mut socks = Socks::onward(anybody);
    change(&mut socks);
    network.add(PROXY, socks.service());
    let dialer = Socks5::new(at(PROXY)).through(network);
    (socks, dialer)
}

#[tokio::test]
async fn every_kind_of_host_reaches_the_proxy_as_it_is() {
    let onion = format!("/onion3/{ONION}:80");
    for (address, asked) in [
        ("/ip4/192.0.2.7/tcp/4001", "ip4 192.0.2.7:4001"),
        ("/ip6/2001:db8::7/tcp/65535", "ip6 [2001:db8::7]:65535"),
        ("/dns4/some.example/tcp/1", "name some.example:1"),
        ("/dns6/some.example/tcp/1", "name some.example:1"),
        ("/dns/Some.ÜBER.example./tcp/1", "name Some.ÜBER.example.:1"),
        ("/dns4/any.ONION/tcp/1", "name any.ONION:1"),
        (&onion, &format!("name {ONION}.onion:80")),
    ] {
        let (socks, dialer) = proxy(|_| ());
        let mut stream = dial(&dialer, address).await.unwrap();
        assert_eq!(socks.log.lines(), ["connected", "methods [0]", asked]);
        ahoy(&mut stream).await;
    }
}

#[tokio::test]
async fn a_name_goes_over_a_real_socket_as_well() {
    let target = listen(echo()).await;
    let direct =
        move |_: Target, cx| async move { Direct::default().dial(&target.into(), &cx).await };
    let socks = Socks::onward(direct);
    let address = listen(socks.service()).await;
    let dialer = Socks5::new(address);
    let mut stream = dial(&dialer, "/dns/nowhere.invalid/tcp/7").await.unwrap();
    assert_eq!(stream.remote_addr(), Some(address));
    assert_eq!(socks.log.lines()[2], "name nowhere.invalid:7");
    ahoy(&mut stream).await;
}

#[tokio::test]
async fn a_name_that_socks_cannot_say_is_refused_and_never_cut() {
    for length in [0, 256, 300, 512, 70_000] {
        let (socks, dialer) = proxy(|_| ());
        let target = Target::new(name("x".repeat(length)), 80, None);
        let error = dialer.dial(&target, &context()).await.unwrap_err();
        let unsupported = matches!(cause(&error), ProxyError::Unsupported(_));
        assert!(unsupported, "{length} bytes: {error}");
        assert_eq!(error.fault(), Fault::Setup);
        assert_eq!(socks.log.count("name"), 0, "{:?}", socks.log.lines());
    }
    let (socks, dialer) = proxy(|_| ());
    let target = Target::new(name("x".repeat(255)), 80, None);
    dialer.dial(&target, &context()).await.unwrap();
    let asked = format!("name {}:80", "x".repeat(255));
    assert_eq!(socks.log.lines()[2], asked);
}

#[tokio::test]
async fn credentials_are_used_where_the_proxy_asks_for_them() {
    let right = ("user", "pass:word");
    for (wanted, ours, log) in [
        (None, None, vec!["methods [0]"]),
        (None, Some(right), vec!["methods [0, 2]"]),
        (
            Some(right),
            Some(right),
            vec!["methods [0, 2]", "password user:pass:word"],
        ),
    ] {
        let (socks, mut dialer) = proxy(|socks| socks.password = wanted);
        if let Some((user, password)) = ours {
            dialer = dialer.with_password(user, password);
        }
        let mut stream = dial(&dialer, "/dns4/a.example/tcp/80").await.unwrap();
        assert_eq!(socks.log.lines()[1..][..log.len()], log);
        ahoy(&mut stream).await;
    }
}

#[tokio::test]
async fn wrong_or_missing_credentials_are_told_apart() {
    let guarded = |socks: &mut Socks| socks.password = Some(("user", "secret"));
    for ours in [("user", "wrong"), ("other", "secret")] {
        let (socks, dialer) = proxy(guarded);
        let dialer = dialer.with_password(ours.0, ours.1);
        let error = dial(&dialer, "/dns4/a.example/tcp/80").await.unwrap_err();
        let DialError::Proxy { stage, source, .. } = &error else {
            panic!("{error}");
        };
        assert_eq!(*stage, DialStage::Greet);
        assert!(matches!(source, ProxyError::AuthenticationFailed));
        assert_eq!(error.fault(), Fault::Setup);
        assert_eq!(socks.log.count("name"), 0, "asked all the same");
        assert_eq!(
            crate::support::chain(&error),
            "/dns4/a.example/tcp/80: via socks5://192.0.2.1:1080: the proxy's greeting: \
             it refuses the user or the password"
        );
    }
    let (_, dialer) = proxy(guarded);
    let error = dial(&dialer, "/dns4/a.example/tcp/80").await.unwrap_err();
    let required = matches!(cause(&error), ProxyError::AuthenticationRequired);
    assert!(required && error.fault() == Fault::Setup, "{error}");
    assert_eq!(error.stage(), DialStage::Greet);
}

#[tokio::test]
async fn credentials_that_socks_cannot_say_are_refused() {
    let long = "x".repeat(256);
    for (user, password) in [("", "p"), ("u", ""), (&long, "p"), ("u", &long)] {
        let (socks, dialer) = proxy(|socks| socks.password = Some(("u", "p")));
        let dialer = dialer.with_password(user, password);
        let error = dial(&dialer, "/dns4/a.example/tcp/80").await.unwrap_err();
        assert!(matches!(cause(&error), ProxyError::Unsupported(_)));
        assert_eq!(socks.log.count("password"), 0);
    }
}

#[tokio::test]
async fn each_reply_has_its_error_and_its_fault() {
    use Fault::{Route, Setup, Target};
    for (code, message, fault) in [
        (1, "it could not connect: general failure", Target),
        (2, "it does not allow this target", Setup),
        (3, "it could not connect: network unreachable", Target),
        (4, "it could not connect: host unreachable", Target),
        (5, "it could not connect: connection refused", Target),
        (6, "it could not connect: ttl expired", Target),
        (7, "it does not support this: the command connect", Setup),
        (8, "it does not support this: this type of address", Setup),
        (
            9,
            "its answer does not follow the protocol: unknown method or reply",
            Route,
        ),
        (
            255,
            "its answer does not follow the protocol: unknown method or reply",
            Route,
        ),
    ] {
        let (_, dialer) = proxy(|socks| socks.reply = code);
        let error = dial(&dialer, "/ip4/192.0.2.7/tcp/80").await.unwrap_err();
        assert_eq!(error.stage(), DialStage::Request);
        assert_eq!(cause(&error).to_string(), message, "reply {code}");
        assert_eq!(error.fault(), fault, "reply {code}");
    }
}

#[tokio::test]
async fn a_dnsaddr_is_refused_before_anything_is_connected() {
    let network = Network::default();
    network.add(PROXY, silent());
    let dialer = Socks5::new(at(PROXY)).through(network.clone());
    let error = dial(&dialer, "/dnsaddr/some.example").await.unwrap_err();
    assert!(matches!(error, DialError::Unsupported { .. }), "{error}");
    assert!(network.dialed().is_empty());
}

#[tokio::test]
async fn a_proxy_that_is_not_there_is_unreachable() {
    let dialer = Socks5::new(at(PROXY)).through(Network::default());
    let error = dial(&dialer, "/dns4/a.example/tcp/80").await.unwrap_err();
    let ProxyError::Unreachable(source) = cause(&error) else {
        panic!("{error}");
    };
    assert_eq!(source.to_string(), refused(&at(PROXY).into()).to_string());
    assert_eq!(error.stage(), DialStage::Reach);
    assert_eq!(error.fault(), Fault::Route);
    assert!(error.is_worth_retrying());
}

#[tokio::test]
async fn a_proxy_that_cannot_be_found_by_its_name_without_a_resolver_is_not_worth_retrying() {
    let proxy: Target = "/dns/proxy.example/tcp/1080".parse().unwrap();
    let base = Direct::new(DirectConfig::default().with_resolver(None));
    let dialer = Socks5::new(proxy).through(base);
    let error = dial(&dialer, "/ip4/192.0.2.7/tcp/80").await.unwrap_err();
    assert_eq!(error.fault(), Fault::Setup, "{error}");
    assert!(!error.is_worth_retrying());
}

#[tokio::test]
async fn a_check_greets_the_proxy_and_asks_for_nothing() {
    let (socks, dialer) = proxy(|socks| socks.password = Some(("u", "p")));
    let authorized = dialer.clone().with_password("u", "p");
    authorized.check(&context()).await.unwrap();
    let log = ["connected", "methods [0, 2]", "password u:p"];
    assert_eq!(socks.log.lines(), log);
    let error = dialer.check(&context()).await.unwrap_err();
    assert!(matches!(cause(&error), ProxyError::AuthenticationRequired));
}
