//! A node that finds its relays by itself, among the peers of its bootstrap list.

use node::{
    BootstrapConfig, Builder, PeerId,
    bootstrap::{Candidate, Origin, RejoinConfig, sources::List},
    conn_state::Closing,
};

use super::*;

/// A node that wants a slot at one relay.
fn seeking(bootstrap: BootstrapConfig) -> Builder {
    let client = ClientConfig::default().with_auto(1);
    let relays = RelayConfig::default().with_client(client);
    let config = Config::default().with_bootstrap(bootstrap);
    Node::builder(Keypair::generate_ed25519()).config(config.with_relay(relays))
}

/// The relay that grants the next slot. Every relay that is asked is in `asked`.
async fn granted(events: &mut Events, asked: &mut Vec<PeerId>) -> PeerId {
    reservation(events, |event| match event {
        ClientEvent::Ask { relay, .. } => {
            asked.push(relay);
            None
        }
        ClientEvent::Granted { relay, .. } => Some(relay),
        _ => None,
    })
    .await
}

#[tokio::test]
async fn a_node_finds_a_relay_in_its_list_and_another_one_when_the_first_is_gone() {
    let new = || relay(Caps::default(), TableConfig::default());
    let (relays, plain) = ([new(), new()], node());
    let mut list = vec![listen(&plain, TCP).await];
    for relay in &relays {
        list.push(listen(relay, TCP).await);
    }
    let builder = seeking(BootstrapConfig::default().with_list(list));
    let (hidden, mut events) = builder.build_with_events().unwrap();
    let mut asked = Vec::new();
    let first = granted(&mut events, &mut asked).await;
    let at = reached_at(&hidden).await;
    assert!(at.to_string().contains(&first.to_string()), "{at}");
    let seeker = node();
    let connection = within(seeker.dial([at])).await.unwrap();
    assert_eq!(connection.peer(), hidden.peer_id());

    let (gone, left) = match relays[0].peer_id() == first {
        true => (&relays[0], &relays[1]),
        false => (&relays[1], &relays[0]),
    };
    assert!(granted_by(left).is_empty(), "one slot is enough");
    gone.shutdown().await;
    let lost = |event| match event {
        ClientEvent::Lost { relay, .. } => Some(relay),
        _ => None,
    };
    assert_eq!(reservation(&mut events, lost).await, first);
    assert_eq!(granted(&mut events, &mut asked).await, left.peer_id());
    assert!(!asked.contains(&plain.peer_id()), "it is no relay");
    assert_eq!(granted_by(left).len(), 1);
    hidden.shutdown().await;
}

#[tokio::test]
async fn a_candidate_that_is_not_connected_is_dialed_and_left_again_unless_it_is_a_relay() {
    let (kept, plain) = (node(), node());
    let relay = relay(Caps::default(), TableConfig::default());
    let mut candidates = Vec::new();
    for peer in [&plain, &relay] {
        let mut at = listen(peer, TCP).await;
        at.pop();
        candidates.push(Candidate::new(Some(peer.peer_id()), vec![at], Origin::Peer));
    }
    // The node dials no candidate by itself.
    let bootstrap = BootstrapConfig::default()
        .with_keep([listen(&kept, TCP).await])
        .with_rejoin(RejoinConfig::default().with_target(0));
    let builder = seeking(bootstrap).source(Box::new(List::new(candidates)));
    let (hidden, mut events) = builder.build_with_events().unwrap();
    let (mut slot, mut left, mut joined) = (None, None, false);
    while slot.is_none() || left.is_none() || !joined {
        wait(&mut events, |event| {
            match event {
                Event::Connected { peer, .. } if peer == kept.peer_id() => joined = true,
                Event::Disconnected { peer, reason, .. } => left = Some((peer, reason)),
                Event::Part(event) => match event.downcast_ref()? {
                    ReservationEvent(ClientEvent::Granted { relay, .. }) => slot = Some(*relay),
                    _ => return None,
                },
                _ => return None,
            }
            Some(())
        })
        .await;
    }
    assert_eq!(slot, Some(relay.peer_id()));
    assert_eq!(left, Some((plain.peer_id(), Closing::Unneeded)));
    let mut connected: Vec<_> = hidden.connections().iter().map(Connection::peer).collect();
    connected.sort();
    let mut expected = [kept.peer_id(), relay.peer_id()];
    expected.sort();
    assert_eq!(connected, expected);
    // The node may still join its network through this peer.
    let mut candidates = hidden.candidates().into_iter();
    assert!(candidates.any(|candidate| candidate.peer == Some(plain.peer_id())));
    hidden.shutdown().await;
}
