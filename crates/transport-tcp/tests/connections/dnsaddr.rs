//! Dials of a `/dnsaddr`, and its expansion.

use std::time::Duration;

use futures::FutureExt;
use hickory_resolver::proto::rr::{RData, RecordType, rdata::TXT};
use libp2p_identity::Keypair;
use tokio::time::Instant;
use transport_tcp::{
    DialContext, DialError, Fault, ListenConfig, Listener, Matcher, Multiaddr, PeerId, Rules,
    Target, UpgradeError,
};

use super::dial::{dial, ports};
use crate::support::{
    Node,
    names::{Names, a, dnsaddr, silence},
};

fn peer() -> PeerId {
    Keypair::generate_ed25519().public().to_peer_id()
}

#[tokio::test]
async fn a_dnsaddr_leads_through_names_to_a_socket() {
    let (_listener, port, _) = ports().await;
    let id = peer();
    let zone = [
        (
            "_dnsaddr.net.example",
            vec![
                dnsaddr(&format!("/dnsaddr/am6.net.example/p2p/{id}")),
                dnsaddr("/ip4/127.0.0.1/udp/1/quic-v1"),
                RData::TXT(TXT::new(vec!["v=spf1 -all".into()])),
            ],
        ),
        (
            "_dnsaddr.am6.net.example",
            vec![
                dnsaddr(&format!("/dns4/host.example/tcp/{port}/p2p/{id}")),
                dnsaddr(&format!("/dns4/gone.example/tcp/{port}/p2p/{id}")),
            ],
        ),
        ("host.example", vec![a([127, 0, 0, 1])]),
    ];
    let names = Names::serve(zone.into()).await;
    let stream = dial(&names.direct(), "/dnsaddr/net.example").await.unwrap();
    assert_eq!(stream.remote_addr().unwrap().port(), port);
}

#[tokio::test]
async fn a_dnsaddr_gives_addresses_of_any_transport_and_of_the_wanted_peer_only() {
    let (one, two) = (peer(), peer());
    let of = |ip: u8, peer: PeerId| format!("/ip4/192.0.2.{ip}/udp/1/quic-v1/p2p/{peer}");
    let records = vec![
        dnsaddr(&of(1, one)),
        dnsaddr(&of(2, two)),
        dnsaddr(&of(3, one)),
    ];
    let names = Names::serve([("_dnsaddr.net.example", records)].into()).await;
    let resolver = names.resolver();
    let parse = |text: String| text.parse::<Multiaddr>().unwrap();
    let mut found = resolver.dnsaddr("net.example", Some(one)).await.unwrap();
    found.sort();
    assert_eq!(found, [parse(of(1, one)), parse(of(3, one))]);
    assert_eq!(
        resolver.dnsaddr("net.example", None).await.unwrap().len(),
        3
    );
    let error = resolver
        .dnsaddr("net.example", Some(peer()))
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "net.example has no usable DNS record");
}

#[tokio::test]
async fn every_address_of_a_dnsaddr_carries_the_id_of_its_record_or_else_of_the_dial() {
    let (one, two) = (peer(), peer());
    let records = vec![
        dnsaddr(&format!("/ip4/192.0.2.1/tcp/1/p2p/{one}")),
        dnsaddr(&format!("/ip4/192.0.2.2/tcp/1/p2p/{two}")),
        dnsaddr("/ip4/192.0.2.3/tcp/1"),
        dnsaddr(&format!("/ip4/192.0.2.4/tcp/1/p2p/{two}/p2p-circuit")),
    ];
    let names = Names::serve([("_dnsaddr.net.example", records)].into()).await;
    let found = async |peer| {
        let found = names.resolver().dnsaddr("net.example", peer).await;
        let found = found.unwrap();
        found.iter().map(Multiaddr::to_string).collect::<Vec<_>>()
    };
    let bare = [
        format!("/ip4/192.0.2.1/tcp/1/p2p/{one}"),
        format!("/ip4/192.0.2.2/tcp/1/p2p/{two}"),
        "/ip4/192.0.2.3/tcp/1".to_owned(),
        format!("/ip4/192.0.2.4/tcp/1/p2p/{two}/p2p-circuit"),
    ];
    assert_eq!(found(None).await, bare);
    let wanted = [
        format!("/ip4/192.0.2.1/tcp/1/p2p/{one}"),
        format!("/ip4/192.0.2.3/tcp/1/p2p/{one}"),
        format!("/ip4/192.0.2.4/tcp/1/p2p/{two}/p2p-circuit/p2p/{one}"),
    ];
    assert_eq!(found(Some(one)).await, wanted);
}

#[tokio::test]
async fn whoever_answers_a_bare_dnsaddr_must_be_the_peer_that_the_record_names() {
    let any = "127.0.0.1:0".parse().unwrap();
    let listener = Listener::bind(any, &ListenConfig::default()).unwrap();
    let port = listener.local_addr().unwrap().port();
    let (dialer, answering) = (Node::new(Default::default()), Node::new(Default::default()));
    for named in [answering.id(), peer()] {
        let record = dnsaddr(&format!("/ip4/127.0.0.1/tcp/{port}/p2p/{named}"));
        let names = Names::serve([("_dnsaddr.net.example", vec![record])].into()).await;
        let stream = dial(&names.direct(), "/dnsaddr/net.example").await.unwrap();
        assert_eq!(stream.peer(), Some(named));
        let accept = async {
            let (stream, _) = listener.accept().await.unwrap();
            answering.inbound(stream).await
        };
        let (dialed, _accepted) = tokio::join!(dialer.outbound(stream, None), accept);
        match dialed {
            Ok(connection) => assert_eq!(connection.peer(), named),
            Err(UpgradeError::WrongPeer { expected, found }) => {
                assert_eq!((*expected, *found), (named, answering.id()));
                assert_ne!(named, answering.id());
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn a_slow_name_server_holds_up_neither_the_addresses_beside_it_nor_the_end_of_the_dial() {
    let (_listener, port, _) = ports().await;
    let zone = [
        (
            "_dnsaddr.net.example",
            vec![
                dnsaddr("/dns4/slow.example/tcp/1"),
                dnsaddr("/dnsaddr/slow.example"),
                dnsaddr(&format!("/ip4/127.0.0.1/tcp/{port}")),
            ],
        ),
        ("slow.example", vec![silence()]),
        ("_dnsaddr.slow.example", vec![silence()]),
    ];
    let names = Names::serve(zone.into()).await;
    let begun = Instant::now();
    dial(&names.direct(), "/dnsaddr/net.example").await.unwrap();
    assert!(
        begun.elapsed() < Duration::from_secs(2),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn a_dnsaddr_that_leads_in_a_circle_ends() {
    let zone = [
        (
            "_dnsaddr.a.example",
            vec![
                dnsaddr("/dnsaddr/b.example"),
                dnsaddr("/ip4/192.0.2.1/tcp/1"),
            ],
        ),
        (
            "_dnsaddr.b.example",
            vec![dnsaddr("/dnsaddr/a.example"), dnsaddr("/dnsaddr/B.example")],
        ),
    ];
    let names = Names::serve(zone.into()).await;
    let found = names.resolver().dnsaddr("a.example", None).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(names.asked().len(), 2);
}

#[tokio::test]
async fn a_dnsaddr_without_a_tcp_address_is_named_in_the_error() {
    let records = vec![dnsaddr("/ip4/192.0.2.1/udp/1/quic-v1")];
    let names = Names::serve([("_dnsaddr.net.example", records)].into()).await;
    let error = dial(&names.direct(), "/dnsaddr/net.example")
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "/dnsaddr/net.example: resolved to no TCP address"
    );
}

/// The owner of a name cannot lead a dial past the rules around the dialer.
#[tokio::test]
async fn records_are_followed_only_to_targets_that_the_rules_dial_directly() {
    let (listener, port, _) = ports().await;
    let here = format!("/ip4/127.0.0.1/tcp/{port}");
    let records = vec![
        dnsaddr(&here),
        dnsaddr(&format!("/dns4/host.hidden.example/tcp/{port}")),
        dnsaddr("/dnsaddr/more.hidden.example"),
        dnsaddr("/ip4/192.0.2.1/tcp/1"),
    ];
    let zone = [
        ("_dnsaddr.net.example", records),
        ("_dnsaddr.more.hidden.example", vec![dnsaddr(&here)]),
        ("host.hidden.example", vec![a([127, 0, 0, 1])]),
    ];
    let names = Names::serve(zone.into()).await;
    let network = |text: &str| Matcher::any().cidr(text.parse().unwrap());
    let around = |first: Rules| {
        let proxy =
            |target: Target, _| async move { Err(DialError::NoAddress(target.to_multiaddr())) };
        first
            .refuse("hidden", Matcher::any().suffix("hidden.example"))
            .via("proxy", network("192.0.2.0/24"), proxy)
            .via("rest", Matcher::any(), names.direct())
    };
    let strict = around(Rules::new().refuse("loopback", network("127.0.0.0/8")));
    let refused = dial(&strict, "/dnsaddr/net.example").await.unwrap_err();
    assert!(matches!(refused, DialError::NotFollowed(_)), "{refused:?}");
    assert_eq!(refused.fault(), Fault::Policy);
    let text = "/dnsaddr/net.example: the rules refuse its records, or do not dial them directly";
    assert_eq!(refused.to_string(), text);
    // The rules around the rules count, too.
    let inner = around(Rules::new());
    let outer =
        Rules::new()
            .refuse("loopback", network("127.0.0.0/8"))
            .via("inner", Matcher::any(), inner);
    assert!(dial(&outer, "/dnsaddr/net.example").await.is_err());
    assert!(listener.accept().now_or_never().is_none());
    let question = ("_dnsaddr.net.example".to_owned(), RecordType::TXT);
    assert!(names.asked().contains(&question));

    let stream = dial(&around(Rules::new()), "/dnsaddr/net.example").await;
    assert_eq!(stream.unwrap().remote_addr().unwrap().port(), port);
    let hidden = |name: &str| name.contains("hidden");
    let asked = names.asked();
    assert!(!asked.iter().any(|(name, _)| hidden(name)), "{asked:?}");
}

#[tokio::test]
async fn a_dialer_that_looks_up_a_name_is_told_which_records_it_may_follow() {
    let context = DialContext::new(Instant::now() + Duration::from_secs(1));
    let target = |text: &str| -> Target { text.parse().unwrap() };
    let (low, high) = (
        target("/ip4/192.0.2.1/tcp/80"),
        target("/ip4/192.0.2.1/tcp/4001"),
    );
    assert!(context.may_follow(&low) && context.may_follow(&high));
    let below = |port: u16| move |target: &Target| target.port() < port;
    let context = context.following(below(4002)).following(below(100));
    assert!(context.may_follow(&low) && !context.may_follow(&high));
    let context = context.following(below(1));
    assert!(!context.may_follow(&low));
}
