//! TLS to an HTTP proxy.

use transport_tcp::{DialStage, Dialer, Fault, HttpConnect, ProxyError, Target};

use crate::support::{
    proxy::{Http, Log, Network, ahoy, cause, context, dial, echo, service, silent, until},
    tls::secured,
};

const TARGET: &str = "/dns4/target.example/tcp/80";

/// A proxy with such a certificate at `address`, and the dialer to it that trusts it.
fn proxy(address: &str, names: &[&str]) -> (Http, HttpConnect, Log) {
    let far = Network::default();
    far.add("target.example:80", echo());
    let http = Http::onward(far);
    let (service, tls, log) = secured(names, http.service());
    let address: Target = address.parse().unwrap();
    let network = Network::default();
    network.add(&address.authority(), service);
    let dialer = HttpConnect::new(address).with_tls(tls).through(network);
    (http, dialer, log)
}

#[tokio::test]
async fn a_proxy_by_its_name_shows_a_certificate_for_it() {
    let (http, dialer, log) = proxy("/dns4/proxy.example/tcp/443", &["proxy.example"]);
    let mut stream = dial(&dialer, TARGET).await.unwrap();
    ahoy(&mut stream).await;
    assert_eq!(
        log.lines(),
        [
            "connected",
            r#"name Some("proxy.example")"#,
            r#"alpn Some("http/1.1")"#
        ]
    );
    assert_eq!(http.log.count("CONNECT target.example:80"), 1);
    assert!(stream.as_tcp().is_none() && stream.link().is_none());
}

#[tokio::test]
async fn a_proxy_by_its_address_shows_a_certificate_for_that() {
    for (address, name) in [
        ("/ip4/192.0.2.1/tcp/443", "192.0.2.1"),
        ("/ip6/2001:db8::1/tcp/443", "2001:db8::1"),
    ] {
        let (_, dialer, log) = proxy(address, &[name]);
        let mut stream = dial(&dialer, TARGET).await.unwrap();
        ahoy(&mut stream).await;
        // RFC 6066 section 3: an address is no server name.
        assert_eq!(log.lines()[1], "name None");
    }
}

#[tokio::test]
async fn a_certificate_for_somebody_else_is_refused() {
    for (address, names) in [
        ("/dns4/proxy.example/tcp/443", ["other.example"]),
        ("/dns4/proxy.example/tcp/443", ["192.0.2.1"]),
        ("/ip4/192.0.2.1/tcp/443", ["192.0.2.2"]),
        ("/ip4/192.0.2.1/tcp/443", ["proxy.example"]),
    ] {
        let (http, dialer, _) = proxy(address, &names);
        let error = dial(&dialer, TARGET).await.unwrap_err();
        assert!(matches!(cause(&error), ProxyError::Tls(_)), "{error}");
        assert_eq!(error.stage(), DialStage::Secure);
        assert_eq!(error.fault(), Fault::Setup);
        assert!(!error.is_worth_retrying());
        let text = crate::support::chain(&error);
        assert!(text.contains("not valid for name"), "{text}");
        assert!(http.log.lines().is_empty(), "something was said");
    }
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_refused() {
    let (http, dialer, log) = proxy("/dns4/proxy.example/tcp/443", &["proxy.example"]);
    let strangers = secured(&["proxy.example"], silent()).1;
    let error = dial(&dialer.with_tls(strangers), TARGET).await.unwrap_err();
    assert!(matches!(cause(&error), ProxyError::Tls(_)), "{error}");
    assert_eq!(error.fault(), Fault::Setup);
    let text = crate::support::chain(&error);
    assert!(text.contains("invalid peer certificate"), "{text}");
    assert!(http.log.lines().is_empty(), "something was said");
    assert_eq!(log.count("name"), 0);
}

#[tokio::test]
async fn a_proxy_that_speaks_no_tls_is_found_out() {
    let (_, dialer, _) = proxy("/dns4/proxy.example/tcp/443", &["proxy.example"]);
    for (plain, closed) in [(echo(), false), (service(|io| async { drop(io) }), true)] {
        let network = Network::default();
        network.add("proxy.example:443", plain);
        let dialer = dialer.clone().through(network);
        let error = dial(&dialer, TARGET).await.unwrap_err();
        assert_eq!(error.stage(), DialStage::Secure);
        let cause = cause(&error);
        let expected = match closed {
            true => matches!(cause, ProxyError::Closed),
            false => matches!(cause, ProxyError::Tls(_)),
        };
        assert!(expected, "{error}");
        assert_eq!(error.fault(), Fault::Route);
    }
}

#[tokio::test]
async fn a_check_ends_with_the_handshake() {
    let (http, dialer, log) = proxy("/dns4/proxy.example/tcp/443", &["proxy.example"]);
    dialer.check(&context()).await.unwrap();
    until("the server has seen the end", || {
        http.log.count("ended") == 1
    })
    .await;
    assert_eq!(log.count("name"), 1);
    assert_eq!(http.log.lines(), ["connected", "ended"]);
    let (_, wrong, _) = proxy("/dns4/proxy.example/tcp/443", &["other.example"]);
    let error = wrong.check(&context()).await.unwrap_err();
    assert_eq!(error.stage(), DialStage::Secure);
}
