//! A node that joins its network, loses a peer and rejoins: over loopback, with real sockets.
#![cfg(all(feature = "bootstrap", feature = "tcp"))]
#![allow(clippy::unwrap_used, reason = "a panic is a test's verdict")]

mod common;

use std::{fs, time::Duration};

use common::{QUIC, TCP, fragile_path, listen, node, wait, with, within};
use node::{
    BootstrapConfig, Config, Connection, Event, Events, Keypair, Multiaddr, NetworkEvent, Node,
    NodeCandidate, PeerId,
    bootstrap::{Candidate, Origin, RejoinConfig, State, sources::List},
    transport_tcp::Target,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    time::Instant,
};

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
    let (here, there) = (node(), node());
    let at = listen(&there, TCP).await;
    let mut events = here.events();
    let connection = here.dial([at]).await.unwrap();
    identified(&mut events, there.peer_id()).await;
    assert_eq!(here.candidates(), []);
    let soon = Instant::now();
    let late = here.joined(soon).await.unwrap_err();
    assert_eq!(late.status.state, State::Joining, "{late}");
    connection.close();
    let gone = state(&mut events, State::Isolated).await;
    assert_eq!(gone.from, State::Joining);
    here.shutdown().await;
    there.shutdown().await;
}

#[tokio::test]
async fn a_peer_that_the_host_closes_is_not_redialed_unless_a_source_names_it() {
    let here = joining(BootstrapConfig::default().with_redial(true));
    let there = node();
    let at = listen(&there, TCP).await;
    let mut events = here.events();
    let connection = here.dial([at]).await.unwrap();
    let peer = there.peer_id();
    identified(&mut events, peer).await;
    assert!(candidate(&here, peer).is_some());
    connection.close();
    state(&mut events, State::Isolated).await;
    assert!(candidate(&here, peer).is_none());
    here.shutdown().await;
    there.shutdown().await;
}

#[tokio::test]
async fn saved_peers_alone_bring_a_restarted_node_back() {
    let folder = tempfile::tempdir().unwrap();
    let saved = || BootstrapConfig::default().with_saved(folder.path().join("peers"));
    let there = node();
    let at = listen(&there, TCP).await;
    let here = joining(saved().with_list([at]));
    here.joined(soon()).await.unwrap();
    // The peer is on the disk when the shutdown has ended.
    here.shutdown().await;

    let here = joining(saved());
    here.joined(soon()).await.unwrap();
    let view = candidate(&here, there.peer_id()).unwrap();
    assert!(view.origins.contains(&Origin::Saved), "{view:?}");
    here.shutdown().await;
    there.shutdown().await;
}

#[tokio::test]
async fn a_damaged_file_of_saved_peers_is_set_aside_and_the_node_starts() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("peers");
    fs::write(&path, "nonsense ".repeat(4096)).unwrap();
    let there = node();
    let at = listen(&there, TCP).await;
    let here = joining(BootstrapConfig::default().with_saved(&path).with_list([at]));
    here.joined(soon()).await.unwrap();
    here.shutdown().await;
    assert!(folder.path().join("peers.damaged").exists());
}

#[tokio::test]
async fn a_source_of_the_host_names_a_peer() {
    let there = node();
    let mut at = listen(&there, TCP).await;
    at.pop();
    let named = Candidate::new(Some(there.peer_id()), vec![at], Origin::Other);
    let builder = Node::builder(Keypair::generate_ed25519());
    let config = BootstrapConfig::default().with_rejoin(quick());
    let builder = builder.config(Config::default().with_bootstrap(config));
    let here = builder
        .source(Box::new(List::new([named])))
        .build()
        .unwrap();
    here.joined(soon()).await.unwrap();
    here.shutdown().await;
    there.shutdown().await;
}

#[tokio::test]
async fn a_bootstrap_address_that_does_not_answer_is_told_once() {
    let there = node();
    let at = listen(&there, TCP).await;
    there.shutdown().await;
    let bootstrap = BootstrapConfig::default().with_list([at.clone()]);
    let builder = Node::builder(Keypair::generate_ed25519());
    let config = Config::default().with_bootstrap(bootstrap.with_rejoin(quick()));
    let (here, mut events) = builder.config(config).build_with_events().unwrap();
    let failed = |event: Event| match event {
        Event::Part(event) if event.name() == "dial_failed" => Some(event.to_json()),
        _ => None,
    };
    let told = wait(&mut events, failed).await;
    assert!(
        told["error"].as_str().unwrap().contains(&at.to_string()),
        "{told}"
    );
    // Three more dials have failed by then.
    let is_dialed = || {
        here.candidates()
            .iter()
            .any(|one| one.dials >= 4 && one.in_flight == 0)
    };
    while !is_dialed() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    here.shutdown().await;
    let mut further = 0;
    while let Ok(event) = events.next().await {
        further += usize::from(failed(event).is_some());
    }
    assert_eq!(further, 0);
}

#[tokio::test]
async fn the_line_of_a_failed_dial_names_what_failed() {
    let at: Multiaddr = "/ip4/127.0.0.1/tcp/1".parse().unwrap();
    let list = BootstrapConfig::default().with_list([at.clone()]);
    let keep = BootstrapConfig::default().with_keep([at.clone()]);
    for (what, bootstrap) in [("bootstrap peer: ", list), ("peer to keep: ", keep)] {
        let here = Node::builder(Keypair::generate_ed25519());
        let here = here.config(Config::default().with_bootstrap(bootstrap));
        let (here, mut events) = here.build_with_events().unwrap();
        let failed = wait(&mut events, |event| match event {
            Event::Part(event) => (event.name() == "dial_failed").then(|| event.to_string()),
            _ => None,
        });
        let line = failed.await;
        assert!(
            line.starts_with(what) && line.contains(&at.to_string()),
            "{line}"
        );
        here.shutdown().await;
    }
}

/// A connection over a path that goes dead without a notice, and the peer's own address.
async fn silent_peer(here: &Node, events: &mut Events) -> (Node, Connection, Multiaddr) {
    let there = node();
    let at = listen(&there, TCP).await;
    let (through, kill) = fragile_path(&at).await;
    let connection = here.dial([through]).await.unwrap();
    identified(events, there.peer_id()).await;
    kill.send(()).unwrap();
    (there, connection, at.iter().take(2).collect())
}

#[tokio::test]
async fn a_peer_that_owes_a_ping_is_dialed_anew_although_its_connection_is_open() {
    let here = joining(BootstrapConfig::default().with_redial(true));
    let mut events = here.events();
    let (there, connection, at) = silent_peer(&here, &mut events).await;
    let silent = Instant::now();
    // The ping never ends in time. Only its connection shows the silence.
    let pinging = tokio::spawn(async move { connection.ping().await });
    assert_eq!(connected(&mut events, there.peer_id()).await, at);
    println!(
        "connected anew {:?} after the path was gone",
        silent.elapsed()
    );
    let new = here.connection(there.peer_id()).unwrap();
    within(new.ping()).await.unwrap();
    pinging.abort();
    here.shutdown().await;
    there.shutdown().await;
}

/// A path to `address` that stalls while the value is true. No end notices.
async fn stalling_path(address: &Multiaddr) -> (Multiaddr, watch::Sender<bool>) {
    let target = Target::from_multiaddr(address).unwrap();
    let forwarder = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = forwarder.local_addr().unwrap().port();
    let (stall, stalled) = watch::channel(false);
    tokio::spawn(async move {
        let (near, _) = forwarder.accept().await.unwrap();
        let far = TcpStream::connect(target.authority()).await.unwrap();
        let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
        let there = forward(near_in, far_out, stalled.clone());
        tokio::join!(there, forward(far_in, near_out, stalled));
    });
    let through = format!("/ip4/127.0.0.1/tcp/{port}");
    let through: Multiaddr = through.parse().unwrap();
    let peer = address.iter().last().unwrap();
    (through.with(peer), stall)
}

async fn forward(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut stalled: watch::Receiver<bool>,
) {
    let mut bytes = vec![0; 4096];
    while let Ok(length) = from.read(&mut bytes).await
        && length > 0
    {
        if stalled.wait_for(|stalled| !stalled).await.is_err() {
            return;
        }
        to.write_all(&bytes[..length]).await.unwrap();
    }
}

#[tokio::test]
async fn a_stream_on_a_quiet_connection_that_works_again_loses_nothing() {
    const ECHO: &str = "/echo/1";
    let here = joining(BootstrapConfig::default().with_redial(true));
    let mut events = here.events();
    let there = node();
    let mut streams = there.handle(ECHO, 1).unwrap();
    let at = listen(&there, TCP).await;
    let (through, stall) = stalling_path(&at).await;
    let old = here.dial([through]).await.unwrap();
    identified(&mut events, there.peer_id()).await;
    let (_, mut stream) = old.open(&[ECHO]).await.unwrap();
    stream.write_all(b"before").await.unwrap();
    let mut far = within(streams.next()).await.unwrap().stream;
    let mut read = [0; 6];
    within(far.read_exact(&mut read)).await.unwrap();

    stall.send(true).unwrap();
    let pinging = tokio::spawn({
        let old = old.clone();
        async move { old.ping().await }
    });
    connected(&mut events, there.peer_id()).await;
    // The peer has not heard these bytes when the new connection is there.
    stream.write_all(b"within").await.unwrap();
    stall.send(false).unwrap();
    within(far.read_exact(&mut read)).await.unwrap();
    assert_eq!(&read, b"within");
    far.write_all(b"answer").await.unwrap();
    within(stream.read_exact(&mut read)).await.unwrap();
    assert_eq!(&read, b"answer");
    let _ = within(pinging).await;
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
