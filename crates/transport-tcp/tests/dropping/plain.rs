//! Dials without a proxy, and upgrades.

use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use transport_tcp::{Direct, DirectConfig, Security, UpgradeConfig};

use crate::{
    cut::{self, alone, cut, for_every_cut},
    support::{
        Node,
        hole::Port,
        names::{Names, a, dnsaddr},
    },
};

async fn dial(config: DirectConfig, address: &str, polls: usize) -> bool {
    cut::dial(&Direct::new(config), &address.parse().unwrap(), polls).await
}

#[test]
fn a_dropped_dial_of_an_address_leaves_nothing() {
    alone(async {
        let port = Port::new();
        let address = format!("/ip4/127.0.0.1/tcp/{}", port.number());
        for_every_cut("a dial", async |polls| {
            dial(DirectConfig::default(), &address, polls).await
        })
        .await;
    });
}

#[test]
fn a_dropped_dial_of_a_name_leaves_nothing() {
    alone(async {
        let port = Port::new();
        // The first address never answers, the second one is refused, the third one works.
        let ips = [[127, 0, 0, 2], [127, 0, 0, 3], [127, 0, 0, 1]].map(a);
        let names = Names::serve([("some.example", ips.into())].into()).await;
        let address = format!("/dns4/some.example/tcp/{}", port.number());
        for_every_cut("a dial of a name", async |polls| {
            // A new one has nothing in its cache.
            let config = DirectConfig::default().with_resolver(names.resolver());
            dial(
                config.with_attempt_delay(Duration::from_millis(5)),
                &address,
                polls,
            )
            .await
        })
        .await;
    });
}

#[test]
fn a_dropped_dial_of_a_dnsaddr_leaves_nothing() {
    alone(async {
        let port = Port::new();
        let zone = [
            (
                "_dnsaddr.net.example",
                vec![
                    dnsaddr("/dnsaddr/more.example"),
                    dnsaddr(&format!("/ip4/127.0.0.2/tcp/{}", port.number())),
                ],
            ),
            (
                "_dnsaddr.more.example",
                vec![dnsaddr(&format!(
                    "/dns4/some.example/tcp/{}",
                    port.number()
                ))],
            ),
            ("some.example", vec![a([127, 0, 0, 1])]),
        ];
        let names = Names::serve(zone.into()).await;
        for_every_cut("a dial of a dnsaddr", async |polls| {
            let config = DirectConfig::default().with_resolver(names.resolver());
            let config = config.with_attempt_delay(Duration::from_millis(5));
            dial(config, "/dnsaddr/net.example", polls).await
        })
        .await;
    });
}

/// Upgrades over a socket; `outbound` tells which end is cut after so many polls.
async fn upgrade(dialer: &Node, listener: &Node, outbound: bool, polls: usize) -> bool {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let near = TcpStream::connect(socket.local_addr().unwrap())
        .await
        .unwrap();
    let (far, _) = socket.accept().await.unwrap();
    let (cut_after, other) = match outbound {
        true => (polls, usize::MAX),
        false => (usize::MAX, polls),
    };
    let (dialed, accepted) = tokio::join!(
        cut(cut_after, dialer.outbound(near, Some(listener.id()))),
        cut(other, listener.inbound(far)),
    );
    let (dialed, accepted) = (dialed.and_then(Result::ok), accepted.and_then(Result::ok));
    match outbound {
        true => dialed.is_some(),
        false => accepted.is_some(),
    }
}

#[test]
fn a_dropped_upgrade_leaves_nothing() {
    alone(async {
        use Security::{Noise, Tls};
        for offers in [vec![Tls], vec![Noise], vec![Tls, Noise]] {
            for outbound in [true, false] {
                let config = || UpgradeConfig::default().with_security(offers.clone());
                let (dialer, listener) = (Node::new(config()), Node::new(config()));
                let what = format!("an upgrade with {offers:?}, outbound {outbound},");
                for_every_cut(&what, async |polls| {
                    upgrade(&dialer, &listener, outbound, polls).await
                })
                .await;
            }
        }
    });
}
