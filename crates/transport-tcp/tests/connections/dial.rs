//! Dials on loopback, with a name server of our own.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use hickory_resolver::proto::rr::RecordType;
use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    time::{Instant, timeout},
};
use transport_tcp::{
    ByteStream, DialContext, DialError, Dialer, Direct, DirectConfig, Family, ListenConfig,
    Listener, ResolveError, Resolver, Target,
};

use crate::support::{
    PATIENCE,
    names::{Names, Zone, a, aaaa, silence},
};

fn context() -> DialContext {
    DialContext::new(Instant::now() + PATIENCE)
}

pub(crate) async fn dial(dialer: &dyn Dialer, address: &str) -> Result<ByteStream, DialError> {
    let target: Target = address.parse().unwrap();
    dialer.dial(&target, &context()).await
}

/// A port on which somebody listens, and one on which nobody does.
pub(crate) async fn ports() -> (TcpListener, u16, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let open = listener.local_addr().unwrap().port();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = taken.local_addr().unwrap().port();
    (listener, open, closed)
}

#[tokio::test]
async fn an_address_is_dialed_with_the_options_set() {
    let (listener, port, _) = ports().await;
    let stream = dial(&Direct::default(), &format!("/ip4/127.0.0.1/tcp/{port}"))
        .await
        .unwrap();
    let (mut accepted, from) = listener.accept().await.unwrap();
    assert_eq!(stream.local_addr(), Some(from));
    assert_eq!(stream.remote_addr(), Some(listener.local_addr().unwrap()));
    let socket = SockRef::from(stream.as_tcp().unwrap());
    assert!(socket.tcp_nodelay().unwrap() && socket.keepalive().unwrap());
    assert_eq!(
        socket.tcp_keepalive_time().unwrap(),
        Duration::from_secs(15)
    );
    assert_eq!(
        socket.tcp_keepalive_interval().unwrap(),
        Duration::from_secs(5)
    );
    assert_eq!(socket.tcp_keepalive_retries().unwrap(), 3);
    let mut stream = stream;
    stream.write_all(b"hello").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut heard = String::new();
    accepted.read_to_string(&mut heard).await.unwrap();
    assert_eq!(heard, "hello");
}

#[tokio::test]
async fn the_options_can_be_turned_off() {
    let (_listener, port, _) = ports().await;
    let config = DirectConfig::default()
        .with_nodelay(false)
        .with_keepalive(None);
    let address = format!("/ip4/127.0.0.1/tcp/{port}");
    let stream = dial(&Direct::new(config), &address).await.unwrap();
    let socket = SockRef::from(stream.as_tcp().unwrap());
    assert!(!socket.tcp_nodelay().unwrap() && !socket.keepalive().unwrap());
}

#[tokio::test]
async fn a_refused_dial_names_the_address_the_stage_and_the_cause() {
    let (_listener, _, port) = ports().await;
    let address = format!("/ip4/127.0.0.1/tcp/{port}");
    let error = dial(&Direct::default(), &address).await.unwrap_err();
    let expected = format!(
        "{address}: no address accepted the connection; 127.0.0.1:{port}: connect: Connection refused (os error 111)"
    );
    assert_eq!(error.to_string(), expected);
}

#[tokio::test]
async fn a_name_is_resolved_and_both_families_are_tried() {
    let (_listener, port, _) = ports().await;
    let zone = [(
        "peer.example",
        vec![a([127, 0, 0, 1]), aaaa(Ipv6Addr::LOCALHOST)],
    )];
    let names = Names::serve(zone.into()).await;
    // Nobody listens on the IPv6 address, which goes first.
    let stream = dial(&names.direct(), &format!("/dns/peer.example/tcp/{port}"))
        .await
        .unwrap();
    assert_eq!(stream.remote_addr().unwrap().ip(), Ipv4Addr::LOCALHOST);
    let both = [RecordType::A, RecordType::AAAA].map(|kind| ("peer.example".to_owned(), kind));
    assert_eq!(names.asked(), both);
}

#[tokio::test]
async fn dns4_and_dns6_ask_for_their_family_only() {
    let records = vec![a([127, 0, 0, 1]), aaaa(Ipv6Addr::LOCALHOST)];
    for (family, kind) in [(Family::V4, RecordType::A), (Family::V6, RecordType::AAAA)] {
        let names = Names::serve([("peer.example", records.clone())].into()).await;
        let found = names
            .resolver()
            .addresses("peer.example", family)
            .await
            .unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].is_ipv4(), kind == RecordType::A);
        assert_eq!(names.asked(), [("peer.example".to_owned(), kind)]);
    }
}

#[tokio::test]
async fn a_name_that_does_not_exist_is_named_in_the_error() {
    let names = Names::serve(Zone::new()).await;
    let error = dial(&names.direct(), "/dns4/nobody.example/tcp/1")
        .await
        .unwrap_err();
    let text = error.to_string();
    assert_eq!(text, "/dns4/nobody.example/tcp/1: the name did not resolve");
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(cause, "nobody.example has no usable DNS record");
}

#[tokio::test]
async fn a_name_server_that_says_nothing_runs_into_the_deadline_of_the_dial() {
    let names = Names::serve([("slow.example", vec![silence()])].into()).await;
    let target: Target = "/dns/slow.example/tcp/1".parse().unwrap();
    let limit = Duration::from_millis(200);
    let cx = DialContext::new(Instant::now() + limit);
    let dialer = names.direct();
    let error = timeout(PATIENCE, dialer.dial(&target, &cx))
        .await
        .unwrap()
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "/dns/slow.example/tcp/1: timed out while resolving"
    );
}

#[tokio::test]
async fn without_a_resolver_no_name_is_dialed_and_nothing_is_asked() {
    for address in ["/dns/localhost/tcp/1", "/dnsaddr/localhost"] {
        let dialer = Direct::new(DirectConfig::default().with_resolver(None));
        let error = dial(&dialer, address).await.unwrap_err();
        assert!(matches!(error, DialError::NoResolver(_)), "{error}");
    }
}

#[tokio::test]
async fn an_onion_address_is_refused_and_not_asked_for() {
    let onion = "/onion3/vww6ybal4bd7szmgncyruucpgfkqahzddi37ktceo3ah7ngmcopnpyyd:1234";
    let names = Names::serve(Zone::new()).await;
    let error = dial(&names.direct(), onion).await.unwrap_err();
    let expected = format!("{onion}: this dialer cannot reach an onion service");
    assert_eq!(error.to_string(), expected);
    assert!(names.asked().is_empty());
}

#[tokio::test]
async fn by_default_names_are_resolved_as_the_system_does_and_without_asking_early() {
    let (_listener, port, _) = ports().await;
    let resolver = Resolver::system();
    match resolver.ready() {
        Ok(()) => {
            let address = format!("/dns4/localhost/tcp/{port}");
            dial(&Direct::default(), &address).await.unwrap();
        }
        // A machine without a resolv.conf.
        Err(error) => {
            assert!(matches!(error, ResolveError::NoConfig(_)));
            assert_eq!(
                error.to_string(),
                "no DNS configuration: host names will not resolve"
            );
        }
    }
}

#[tokio::test]
async fn a_listener_accepts_with_the_options_set_and_shares_its_port_between_families() {
    let four = Listener::bind("127.0.0.1:0".parse().unwrap(), &ListenConfig::default()).unwrap();
    let port = four.local_addr().unwrap().port();
    let six = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    let six = Listener::bind(six, &ListenConfig::default());
    let (dialer, address) = (Direct::default(), format!("/ip4/127.0.0.1/tcp/{port}"));
    let (stream, accepted) = tokio::join!(dial(&dialer, &address), four.accept());
    let ((accepted, from), stream) = (accepted.unwrap(), stream.unwrap());
    assert_eq!(Some(from), stream.local_addr());
    let socket = SockRef::from(accepted.as_tcp().unwrap());
    assert!(socket.tcp_nodelay().unwrap() && socket.keepalive().unwrap());
    // Where the machine has IPv6 at all, it must be to be had.
    if std::net::TcpListener::bind("[::1]:0").is_ok() {
        let six = six.unwrap();
        let address = format!("/ip6/::1/tcp/{port}");
        let (stream, accepted) = tokio::join!(dial(&dialer, &address), six.accept());
        assert!(stream.is_ok() && accepted.is_ok());
    }
}

#[tokio::test]
async fn a_listener_gets_its_port_back_at_once_and_a_taken_one_is_named() {
    let any = "127.0.0.1:0".parse().unwrap();
    let listener = Listener::bind(any, &ListenConfig::default()).unwrap();
    let address = listener.local_addr().unwrap();
    let error = Listener::bind(address, &ListenConfig::default()).unwrap_err();
    let text = error.to_string();
    assert!(
        text.starts_with(&format!("listening on {address} failed: bind")),
        "{text}"
    );
    // A connection that our side closes first leaves the port in TIME_WAIT.
    let target = format!("/ip4/127.0.0.1/tcp/{}", address.port());
    let dialer = Direct::default();
    let (stream, accepted) = tokio::join!(dial(&dialer, &target), listener.accept());
    drop(accepted);
    let _ = stream.unwrap().read(&mut [0]).await;
    drop(listener);
    Listener::bind(address, &ListenConfig::default()).unwrap();
}

#[tokio::test]
async fn a_dropped_accept_loses_no_connection() {
    let any = "127.0.0.1:0".parse().unwrap();
    let listener = Listener::bind(any, &ListenConfig::default()).unwrap();
    let target = format!(
        "/ip4/127.0.0.1/tcp/{}",
        listener.local_addr().unwrap().port()
    );
    for _ in 0..20 {
        let mut accept = Box::pin(listener.accept());
        tokio::select! {
            biased;
            _ = &mut accept => panic!("nobody has dialed"),
            () = tokio::task::yield_now() => {}
        }
        let _stream = dial(&Direct::default(), &target).await.unwrap();
        drop(accept);
        timeout(PATIENCE, listener.accept())
            .await
            .expect("the connection was lost")
            .unwrap();
    }
}

#[test]
fn every_dial_has_an_attempt_id_of_its_own() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let _guard = runtime.enter();
    assert_ne!(context().attempt, context().attempt);
}
