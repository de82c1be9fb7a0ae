//! A peer to keep that the user has named by a `/dnsaddr` name.

use std::time::Duration;

use node::{
    BootstrapConfig, Config, Event, Keypair, Multiaddr, Node,
    bootstrap::{Origin, RejoinConfig},
};

use super::{
    common::{TCP, listen, wait},
    names,
};

#[tokio::test]
async fn a_peer_to_keep_behind_a_name_is_dialed_anew_through_the_name_after_a_loss() {
    let key = Keypair::generate_ed25519();
    let start = || Node::builder(key.clone()).build().unwrap();
    let there = start();
    let at = listen(&there, TCP).await;
    let resolver = names::dnsaddr(vec![at.clone()]).await;
    let name = format!("/dnsaddr/peers.example/p2p/{}", there.peer_id());
    let ms = Duration::from_millis;
    let quick = RejoinConfig::default()
        .with_stays(ms(50), ms(50))
        .with_lost(ms(300), Duration::from_secs(120), 16);
    // Only the name leads to the peer: the node does not use the addresses that the peer announces.
    let bootstrap = BootstrapConfig::default()
        .with_keep([name.parse().unwrap()])
        .with_redial(false)
        .with_rejoin(quick);
    let builder = Node::builder(Keypair::generate_ed25519());
    let builder = builder.config(Config::default().with_bootstrap(bootstrap));
    let here = builder.resolver(resolver).build().unwrap();
    let soon = tokio::time::Instant::now() + Duration::from_secs(30);
    here.joined(soon).await.unwrap();
    let kept = &here.candidates()[0];
    assert_eq!(kept.peer, Some(there.peer_id()));
    assert!(kept.origins.contains(&Origin::Kept), "{kept:?}");

    let mut events = here.events();
    there.shutdown().await;
    let there = start();
    let port: Multiaddr = at.iter().take(2).collect();
    there.listen(port).await.unwrap();
    let again = wait(&mut events, |event| match event {
        Event::Connected { peer, .. } => Some(peer),
        _ => None,
    });
    assert_eq!(again.await, there.peer_id());
    here.shutdown().await;
    there.shutdown().await;
}
