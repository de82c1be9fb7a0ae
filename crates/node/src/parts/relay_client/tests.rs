//! Dials through relays that peers have named.
#![allow(clippy::unwrap_used, reason = "a panic is a test's verdict")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use conn_state::Source;
use libp2p_identity::Keypair;

use relay_slots::{Answer, AskError};
use transport_tcp::UpgradeConfig;

use super::*;
use crate::{DialError, Node, context::Context, error_chain};

fn node() -> (Node, Context) {
    let built = Node::builder(Keypair::generate_ed25519()).build_with_context();
    let (node, _, context) = built.unwrap();
    (node, context)
}

/// A TCP port at every loopback address, and the number of connections that it got.
async fn victim() -> (u16, Arc<AtomicUsize>) {
    let listener = tokio::net::TcpListener::bind("0.0.0.0:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    tokio::spawn(async move {
        while listener.accept().await.is_ok() {
            counted.fetch_add(1, Relaxed);
        }
    });
    (port, count)
}

fn behind(relay: PeerId) -> Multiaddr {
    Multiaddr::from(Protocol::P2p(relay)).with(Protocol::P2pCircuit)
}

#[tokio::test]
async fn a_dial_of_peers_that_claim_to_be_behind_themselves_or_each_other_ends() {
    let (node, context) = node();
    let (one, two, hermit) = (PeerId::random(), PeerId::random(), PeerId::random());
    for (peer, relay) in [(one, two), (two, one), (hermit, hermit)] {
        context.learn(&peer, Source::Identify, &[behind(relay)]);
    }
    for peer in [one, hermit] {
        let dial = node.dial([Multiaddr::from(Protocol::P2p(peer))]);
        let refused = tokio::time::timeout(Duration::from_secs(20), dial).await;
        let refused = refused.unwrap().unwrap_err();
        assert!(
            matches!(&refused, DialError::AllFailed(attempts) if attempts.len() == 1),
            "{refused:?}"
        );
        let chain = error_chain(&refused);
        assert!(chain.contains("through another relay"), "{chain}");
    }
}

#[tokio::test]
async fn a_dial_through_sixteen_relays_with_sixteen_addresses_each_tries_a_hundred_in_all() {
    let (node, context) = node();
    let (port, count) = victim().await;
    let hidden = PeerId::random();
    let mut circuits = Vec::new();
    for number in 1..=16 {
        let relay = PeerId::random();
        let at = |host: u8| -> Multiaddr {
            let text = format!("/ip4/127.0.{number}.{host}/tcp/{port}");
            text.parse().unwrap()
        };
        let addresses: Vec<Multiaddr> = (1..=16).map(at).collect();
        context.learn(&relay, Source::Identify, &addresses);
        circuits.push(behind(relay).with(Protocol::P2p(hidden)));
    }
    let dial = tokio::time::timeout(Duration::from_secs(60), node.dial(circuits));
    let refused = dial.await.unwrap().unwrap_err();
    let connects = count.load(Relaxed);
    println!("{connects} connects for one dial");
    assert!((64..=100).contains(&connects), "{connects}: {refused}");
}

#[tokio::test]
async fn a_change_of_the_network_ends_the_pause_before_the_next_request_of_a_slot() {
    let (node, context) = node();
    let keypair = Keypair::generate_ed25519();
    let relay = PeerId::random();
    let at: Multiaddr = format!("/ip4/192.0.2.1/tcp/1/p2p/{relay}").parse().unwrap();
    let config = RelayConfig::default().with_reserve_at([at]);
    let upgrader = Arc::new(Upgrader::new(&keypair, UpgradeConfig::default()).unwrap());
    let stranger: Stranger = Box::new(Vec::new);
    // This client runs without its loop, so that the test sees each request.
    let part = RelayClient::new(context, node.peer_id(), &config, upgrader, stranger);
    let ask = |part: &RelayClient| {
        part.client.with(|client| {
            client.handle_timeout(Instant::now());
            std::iter::from_fn(|| client.poll_event())
                .any(|event| matches!(event, ClientEvent::Ask { .. }))
        })
    };
    assert!(ask(&part));
    part.client.with(|client| {
        let failed = Answer::Failed(AskError::Unreachable {
            reason: "no route".into(),
        });
        client.handle_answer(Instant::now(), 0, &relay, failed);
    });
    assert!(!ask(&part), "the next request follows after a pause");
    part.handle(Instant::now(), &Change::Network);
    assert!(ask(&part));
}
