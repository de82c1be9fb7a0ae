//! The sources of peers, and the reports about them.

use std::fs;

use node::bootstrap::{Candidate, sources::List};

use super::*;

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
    let left = |event| matches!(event, Event::Disconnected { .. }).then_some(());
    wait(&mut events, left).await;
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
