//! A node that joins its network, loses a peer and rejoins: over loopback, with real sockets.
#![cfg(all(feature = "bootstrap", feature = "tcp"))]
#![allow(clippy::unwrap_used, reason = "a panic is a test's verdict")]

#[path = "../common/mod.rs"]
mod common;
mod quiet;
mod sources;

use std::time::Duration;

use common::{QUIC, TCP, listen, node, wait, with, within};
use node::{
    BootstrapConfig, Config, Event, Events, Keypair, Multiaddr, NetworkEvent, Node, NodeCandidate,
    PeerId,
    bootstrap::{Origin, RejoinConfig, State},
};
use tokio::time::Instant;

/// Quick figures, so that a test waits for events and not for time.
fn quick() -> RejoinConfig {
    let ms = Duration::from_millis;
    RejoinConfig::default()
        .with_stays(ms(100), ms(100))
        .with_lost(ms(300), Duration::from_secs(120), 16)
}

fn joining(bootstrap: BootstrapConfig) -> Node {
    let bootstrap = bootstrap.with_rejoin(quick());
    with(Config::default().with_bootstrap(bootstrap))
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(30)
}

async fn connected(events: &mut Events, peer: PeerId) -> Multiaddr {
    wait(events, |event| match event {
        Event::Connected {
            peer: who, address, ..
        } if who == peer => Some(address),
        _ => None,
    })
    .await
}

async fn identified(events: &mut Events, peer: PeerId) {
    wait(events, |event| match event {
        Event::Identified { peer: who, .. } => (who == peer).then_some(()),
        _ => None,
    })
    .await;
}

async fn state(events: &mut Events, wanted: State) -> NetworkEvent {
    wait(events, |event| match event {
        Event::Part(event) => {
            let event = event.downcast_ref::<NetworkEvent>()?;
            (event.to == wanted).then(|| event.clone())
        }
        _ => None,
    })
    .await
}

fn candidate(node: &Node, peer: PeerId) -> Option<NodeCandidate> {
    let mut all = node.candidates().into_iter();
    all.find(|candidate| candidate.peer == Some(peer))
}

#[tokio::test]
async fn a_node_joins_through_its_list_and_rejoins_after_the_peer_was_restarted() {
    let key = Keypair::generate_ed25519();
    let start = || Node::builder(key.clone()).build().unwrap();
    let there = start();
    let at = listen(&there, TCP).await;
    let here = joining(BootstrapConfig::default().with_list([at.clone()]));
    let mut events = here.events();
    here.joined(soon()).await.unwrap();
    assert_eq!(here.rejoin_status().state, State::Joined);
    let peer = there.peer_id();
    let view = candidate(&here, peer).unwrap();
    assert!(
        view.connected && view.origins.contains(&Origin::List),
        "{view:?}"
    );

    // A bootstrap peer that many nodes may have lost is dialed at a random time within the cap, which is 10 s.
    there.shutdown().await;
    let lost = state(&mut events, State::Isolated).await;
    assert_eq!(lost.from, State::Joined);
    let there = start();
    let port = at.to_string().replace(&format!("/p2p/{peer}"), "");
    within(there.listen(port.parse().unwrap())).await.unwrap();
    state(&mut events, State::Joined).await;
    here.shutdown().await;
    there.shutdown().await;
}

/// The value of a metric without labels.
#[cfg(feature = "metrics")]
fn metric(node: &Node, name: &str) -> u64 {
    let text = node.metrics();
    let mut lines = text.lines();
    let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value
        .unwrap_or_else(|| panic!("{name}: {text}"))
        .parse()
        .unwrap()
}

#[cfg(feature = "metrics")]
#[tokio::test]
async fn the_metrics_have_the_state_the_candidates_and_the_dials() {
    let (there, gone) = (node(), node());
    let list = [listen(&there, TCP).await, listen(&gone, TCP).await];
    gone.shutdown().await;
    let here = joining(BootstrapConfig::default());
    assert_eq!(metric(&here, "bowline_network_state"), 0);
    assert_eq!(metric(&here, "bowline_network_candidates"), 0);
    assert_eq!(metric(&here, "bowline_network_dials_total"), 0);
    here.shutdown().await;

    let here = joining(BootstrapConfig::default().with_list(list));
    here.joined(soon()).await.unwrap();
    assert_eq!(metric(&here, "bowline_network_state"), 3);
    assert_eq!(metric(&here, "bowline_network_candidates"), 2);
    while metric(&here, "bowline_network_dials_failed_total") == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let view = candidate(&here, gone.peer_id()).unwrap();
    let dials = metric(&here, "bowline_network_dials_total");
    assert!(dials > view.dials, "{dials}: {view:?}");
    here.shutdown().await;
    there.shutdown().await;
}

#[tokio::test]
async fn a_node_redials_a_peer_that_dialed_it_at_the_address_that_the_peer_announced() {
    let here = joining(BootstrapConfig::default().with_redial(true));
    let at = listen(&here, TCP).await;
    let mut events = here.events();
    let key = Keypair::generate_ed25519();
    let start = || Node::builder(key.clone()).build().unwrap();
    let there = start();
    let announced = listen(&there, TCP).await;
    there.dial([at]).await.unwrap();
    let peer = there.peer_id();
    identified(&mut events, peer).await;
    state(&mut events, State::Joined).await;
    there.shutdown().await;
    state(&mut events, State::Isolated).await;

    let there = start();
    let plain: Multiaddr = announced.iter().take(2).collect();
    there.listen(plain.clone()).await.unwrap();
    assert_eq!(connected(&mut events, peer).await, plain);
    here.shutdown().await;
    there.shutdown().await;
}

#[tokio::test]
async fn a_node_without_a_source_dials_nobody_and_still_knows_its_state() {
    let (here, there) = (joining(BootstrapConfig::default()), node());
    let at = listen(&there, TCP).await;
    let mut events = here.events();
    let late = here.joined(Instant::now()).await.unwrap_err();
    assert_eq!(late.status.state, State::Isolated, "{late}");
    let connection = here.dial([at]).await.unwrap();
    identified(&mut events, there.peer_id()).await;
    here.joined(soon()).await.unwrap();
    assert_eq!(here.candidates(), []);
    connection.close();
    let gone = state(&mut events, State::Isolated).await;
    assert_eq!(gone.from, State::Joined);
    here.shutdown().await;
    there.shutdown().await;
}

/// The address that the peer sees of a dialing node tells the port at which that node can be reached.
#[tokio::test]
async fn a_node_that_listens_first_dials_from_its_listener_and_dials_nobody_before_it_begins() {
    let there = Node::builder(Keypair::generate_ed25519()).build().unwrap();
    let mut events = there.events();
    let list = [listen(&there, QUIC).await];
    let bootstrap = BootstrapConfig::default().with_list(list);
    let config = Config::default().with_bootstrap(bootstrap.with_rejoin(quick()));
    let builder = Node::builder(Keypair::generate_ed25519()).config(config);
    let here = builder.listen_first().build().unwrap();
    let at = listen(&here, QUIC).await;
    // Every task that is ready has run by then.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(here.rejoin_status().state, State::Isolated);
    assert!(here.candidates().is_empty());
    here.begin();
    let seen = connected(&mut events, here.peer_id()).await;
    assert!(
        at.to_string().starts_with(&seen.to_string()),
        "{seen}, {at}"
    );
    here.shutdown().await;
    there.shutdown().await;
}
