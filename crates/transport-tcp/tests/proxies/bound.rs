//! From which of this machine's addresses a dial comes.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use socket2::SockRef;
use tokio::net::TcpListener;
use transport_tcp::{Bound, DialError, Dialer, DirectConfig, Fault, Socks5, Uplink};

use crate::support::proxy::{Network, Socks, ahoy, context, dial, echo, listen};

/// An address of TEST-NET-1, which is nobody's.
const NOT_OURS: &str = "192.0.2.55";

fn from(uplinks: &[&str]) -> Bound {
    let uplink = |text: &&str| match text.parse::<IpAddr>() {
        Ok(ip) => Uplink::Address(ip),
        Err(_) => Uplink::Interface((*text).into()),
    };
    Bound::new(uplinks.iter().map(uplink), DirectConfig::default())
}

async fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, format!("/ip4/127.0.0.1/tcp/{port}"))
}

#[tokio::test]
async fn the_source_address_is_what_the_target_sees() {
    let (listener, address) = listener().await;
    for source in ["127.0.0.2", "127.1.2.3"] {
        let stream = dial(&from(&[source]), &address).await.unwrap();
        let (_, seen) = listener.accept().await.unwrap();
        assert_eq!(seen.ip().to_string(), source);
        assert_eq!(stream.local_addr(), Some(seen));
    }
}

#[tokio::test]
async fn an_interface_is_what_the_socket_is_bound_to() {
    let address = format!("/ip4/127.0.0.1/tcp/{}", listen(echo()).await.port());
    let mut stream = dial(&from(&["lo"]), &address).await.unwrap();
    let device = SockRef::from(stream.as_tcp().unwrap()).device().unwrap();
    assert_eq!(device.as_deref(), Some(&b"lo"[..]));
    ahoy(&mut stream).await;
}

#[tokio::test]
async fn an_uplink_that_is_not_there_is_named_and_nothing_goes_around_it() {
    let (listener, address) = listener().await;
    for (uplinks, causes) in [
        (vec![NOT_OURS], vec!["bind failed: Cannot assign"]),
        (vec!["nosuch0"], vec!["bind failed: No such device"]),
        (
            vec![NOT_OURS, "nosuch0"],
            vec!["bind failed: Cannot assign", "bind failed: No such device"],
        ),
    ] {
        let error = dial(&from(&uplinks), &address).await.unwrap_err();
        let DialError::Failed { tried, .. } = &error else {
            panic!("{error}");
        };
        let texts: Vec<_> = tried
            .iter()
            .map(|one| crate::support::chain(&one.error))
            .collect();
        assert_eq!(texts.len(), causes.len());
        for (text, cause) in texts.iter().zip(causes) {
            assert!(text.starts_with(cause), "{text}");
        }
        assert_eq!(error.fault(), Fault::Route, "{error}");
        assert!(error.is_worth_retrying());
    }
    nobody_came(&listener).await;
}

/// A dial that was over before this call would be the first in the queue.
async fn nobody_came(listener: &TcpListener) {
    let last = tokio::net::TcpStream::connect(listener.local_addr().unwrap());
    let last = last.await.unwrap();
    let (_, first) = listener.accept().await.unwrap();
    assert_eq!(first, last.local_addr().unwrap(), "somebody came unbound");
}

#[tokio::test]
async fn the_second_uplink_is_used_when_the_first_fails() {
    let (listener, address) = listener().await;
    for uplinks in [
        [NOT_OURS, "127.0.0.3"],
        ["nosuch0", "127.0.0.3"],
        ["127.0.0.3", NOT_OURS],
    ] {
        let _stream = dial(&from(&uplinks), &address).await.unwrap();
        let (_, seen) = listener.accept().await.unwrap();
        assert_eq!(seen.ip().to_string(), "127.0.0.3");
    }
}

#[tokio::test]
async fn a_target_that_refuses_is_no_fault_of_the_uplinks() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("/ip4/127.0.0.1/tcp/{}", taken.local_addr().unwrap().port());
    drop(taken);
    let error = dial(&from(&["127.0.0.2"]), &address).await.unwrap_err();
    assert_eq!(error.fault(), Fault::Target, "{error}");
}

#[tokio::test]
async fn a_family_that_no_uplink_has_is_not_dialed_at_all() {
    let (listener, address) = listener().await;
    for (uplinks, target) in [
        (&["127.0.0.2"][..], "/ip6/::1/tcp/1"),
        (&["::1"], &address),
        (&[], &address),
    ] {
        let error = dial(&from(uplinks), target).await.unwrap_err();
        let refused = matches!(error, DialError::Unsupported { .. });
        assert!(refused, "{error}");
        assert_eq!(error.fault(), Fault::Setup);
    }
    nobody_came(&listener).await;
}

#[tokio::test]
async fn each_family_goes_from_the_uplink_that_has_it() {
    let Ok(listener) = TcpListener::bind(SocketAddr::from((Ipv6Addr::LOCALHOST, 0))).await else {
        return;
    };
    let port = listener.local_addr().unwrap().port();
    let bound = from(&["127.0.0.2", "::1"]);
    let stream = dial(&bound, &format!("/ip6/::1/tcp/{port}")).await.unwrap();
    assert_eq!(stream.local_addr().unwrap().ip(), Ipv6Addr::LOCALHOST);
}

#[tokio::test]
async fn a_proxy_can_be_reached_from_an_uplink() {
    let far = Network::default();
    far.add("target.example:80", echo());
    let socks = Socks::onward(far);
    let proxy = listen(socks.service()).await;
    let dialer = Socks5::new(proxy).through(from(&["127.0.0.2"]));
    let mut stream = dial(&dialer, "/dns/target.example/tcp/80").await.unwrap();
    assert_eq!(stream.local_addr().unwrap().ip().to_string(), "127.0.0.2");
    ahoy(&mut stream).await;
    dialer.check(&context()).await.unwrap();
}
