//! The events about announced addresses, and the end of a node's events.

#![cfg(all(feature = "tcp", feature = "quic"))]

mod common;

use common::{QUIC, TCP, listen, node, wait, with, within};
use node::{
    AnnounceConfig, Config, Event, EventsError, Keypair, Moment, Multiaddr, Node,
    conn_state::State, multiaddr::Protocol,
};

/// The next change of the announced addresses: all of them, the new ones and those that are gone.
async fn next_addresses(events: &mut node::Events) -> [Vec<Multiaddr>; 3] {
    wait(events, |event| match event {
        Event::Addresses {
            addresses,
            added,
            removed,
        } => Some([addresses, added, removed].map(|addresses| addresses.to_vec())),
        _ => None,
    })
    .await
}

#[tokio::test]
async fn each_change_of_the_announced_addresses_is_an_event_with_the_whole_list() {
    let node = node();
    let mut events = node.events();
    let first = listen(&node, TCP).await;
    let expected = [vec![first.clone()], vec![first.clone()], vec![]];
    assert_eq!(next_addresses(&mut events).await, expected);
    let second = listen(&node, QUIC).await;
    let both = vec![first, second.clone()];
    let expected = [both.clone(), vec![second], vec![]];
    assert_eq!(next_addresses(&mut events).await, expected);
    assert_eq!(node.listen_addresses(), both);
}

#[tokio::test]
async fn a_peer_is_told_the_configured_addresses_in_place_of_those_that_the_node_detects() {
    let public: Multiaddr = "/ip4/192.0.2.7/tcp/4077".parse().unwrap();
    let announce = AnnounceConfig::default().with_addresses([public.clone()]);
    let there = with(Config::default().with_announce(announce));
    let bound = there.listen(TCP.parse().unwrap()).await.unwrap();
    let named = public.clone().with(Protocol::P2p(there.peer_id()));
    assert_eq!(there.listen_addresses(), [named]);
    // The node is reached where it listens, and says that it is elsewhere.
    let here = node();
    let connection = here.dial(bound).await.unwrap();
    let info = within(connection.identify()).await.unwrap();
    assert_eq!(info.listen, [public]);
    assert!(there.is_listening());
}

#[tokio::test]
async fn configured_addresses_are_the_first_change_of_the_announced_addresses() {
    let public: Multiaddr = "/ip4/192.0.2.7/tcp/4077".parse().unwrap();
    let announce = AnnounceConfig::default().with_addresses([public.clone()]);
    let config = Config::default().with_announce(announce);
    let builder = Node::builder(Keypair::generate_ed25519()).config(config);
    let (node, mut events) = builder.build_with_events().unwrap();
    let named = vec![public.with(Protocol::P2p(node.peer_id()))];
    let expected = [named.clone(), named, vec![]];
    assert_eq!(next_addresses(&mut events).await, expected);
}

#[tokio::test]
async fn a_node_with_an_address_that_it_cannot_announce_is_not_built() {
    let id = "12D3KooWJRSrypvnpHgc6ZAgyCni4KcSmbV7uGRaMw5LgMKT18fq";
    for (address, problem) in [
        (
            format!("/ip4/192.0.2.1/tcp/1/p2p/{id}"),
            "must not contain /p2p/ID",
        ),
        (
            "/ip6zone/1/ip6/fe80::1/tcp/1".to_owned(),
            "is an IPv6 link-local address",
        ),
        ("/ip4/10.0.0.1/tcp/1".to_owned(), "must never announce"),
    ] {
        let announce = AnnounceConfig::default()
            .with_never(["10.0.0.0/8".parse().unwrap()])
            .with_addresses([address.parse().unwrap()]);
        let config = Config::default().with_announce(announce);
        let builder = Node::builder(Keypair::generate_ed25519()).config(config);
        let error = builder.build().unwrap_err().to_string();
        let begins = format!("cannot announce {address}: the address ");
        assert!(
            error.starts_with(&begins) && error.contains(problem),
            "{error}"
        );
    }
}

#[tokio::test]
async fn events_and_the_timeline_end_at_shutdown_after_their_last_items() {
    let (here, there) = (node(), node());
    let (mut events, mut timeline) = (here.events(), here.timeline());
    here.dial([listen(&there, TCP).await]).await.unwrap();
    here.shutdown().await;
    let mut last = None;
    let end = loop {
        match within(events.next()).await {
            Ok(event) => last = Some(event),
            Err(end) => break end,
        }
    };
    assert_eq!(end, EventsError::Closed);
    assert!(matches!(last, Some(Event::Disconnected { .. })), "{last:?}");
    let mut moments = Vec::new();
    while let Some(moment) = within(timeline.next()).await {
        moments.push(moment);
    }
    let is_end =
        |moment: &Moment| matches!(moment, Moment::State(state) if state.to == State::NotConnected);
    assert!(moments.iter().any(is_end), "{moments:?}");
    let last = moments.last();
    assert!(
        matches!(last, Some(Moment::Event(Event::Disconnected { .. }))),
        "{last:?}"
    );
    assert_eq!(
        within(here.events().next()).await.unwrap_err(),
        EventsError::Closed
    );
    assert!(within(here.timeline().next()).await.is_none());
}
