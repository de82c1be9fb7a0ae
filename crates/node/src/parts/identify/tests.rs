//! Descriptions that are kept, learned and pushed.
#![allow(clippy::unwrap_used, reason = "a panic is a test's verdict")]

use std::{net::SocketAddr, time::Duration};

use multiaddr::Multiaddr;
use tokio::io::AsyncReadExt;

use super::*;
use crate::{Keypair, Node, address, conn_state::Detail, event::Event, local::Announcer};

/// Two connected nodes, and the connection at both ends.
async fn pair() -> (Node, Node, Connection, Connection) {
    let node = || Node::builder(Keypair::generate_ed25519()).build().unwrap();
    let (here, there) = (node(), node());
    let mut events = there.events();
    let address = there.listen("/ip4/127.0.0.1/tcp/0".parse().unwrap()).await;
    let connection = here.dial(address.unwrap()).await.unwrap();
    while !matches!(events.next().await.unwrap(), Event::Identified { .. }) {}
    let theirs = there.connection(here.peer_id()).unwrap();
    (here, there, connection, theirs)
}

#[tokio::test]
async fn nothing_is_kept_of_a_connection_that_has_ended() {
    let (here, _there, connection, _) = pair().await;
    let mut events = here.events();
    let part = here.part::<Identify>().unwrap();
    assert!(!part.known().is_empty());
    connection.close();
    while !matches!(events.next().await.unwrap(), Event::Disconnected { .. }) {}
    assert!(part.known().is_empty());
}

#[tokio::test]
async fn a_signed_record_is_learned_as_signed_and_other_addresses_as_the_peers_word() {
    let (_here, there, _, theirs) = pair().await;
    let part = there.part::<Identify>().unwrap();
    let peer = theirs.peer();
    let say = |address: &str, signed| {
        let address: Multiaddr = address.parse().unwrap();
        let info = Info {
            peer,
            agent: Detail::default(),
            protocol_version: Detail::default(),
            protocols: Vec::new(),
            listen: vec![address.clone()],
            signed,
            observed: None,
        };
        part.note(theirs.clone(), Arc::new(info));
        address
    };
    // Each source has one list of a peer, and a signed record comes before what is not signed.
    let signed = say("/ip4/192.0.2.9/tcp/1", true);
    let unsigned = say("/ip4/192.0.2.1/tcp/1", false);
    assert_eq!(part.context.addresses(&peer), [signed, unsigned.clone()]);
    let signed = say("/ip4/192.0.2.8/tcp/1", true);
    assert_eq!(part.context.addresses(&peer), [signed, unsigned]);
}

#[tokio::test]
async fn a_fourth_push_stream_waits_for_its_message_and_a_fifth_is_reset() {
    let (_here, _there, connection, _) = pair().await;
    let mut waiting = Vec::new();
    for _ in 0..PUSHES_SERVED {
        let (_, stream) = connection.open(&[PUSH_PROTOCOL]).await.unwrap();
        waiting.push(stream);
    }
    let (_, mut fifth) = connection.open(&[PUSH_PROTOCOL]).await.unwrap();
    let ended = timeout(Duration::from_secs(10), fifth.read(&mut [0])).await;
    assert!(!matches!(ended.unwrap(), Ok(1..)));
    for stream in &mut waiting {
        let waits = timeout(Duration::from_millis(50), stream.read(&mut [0])).await;
        assert!(waits.is_err(), "{waits:?}");
    }
}

#[tokio::test]
async fn a_peer_has_eight_pushes_at_once_and_another_peer_its_own() {
    let (_here, there, _, theirs) = pair().await;
    let part = there.part::<Identify>().unwrap();
    let granted = (0..100).filter(|_| part.may_push(theirs.peer()));
    assert_eq!(granted.count(), PUSH_BURST as usize);
    assert!(part.may_push(PeerId::random()));
}

#[tokio::test]
async fn however_fast_the_description_changes_it_is_pushed_at_the_pace_of_the_budget() {
    let built = Node::builder(Keypair::generate_ed25519()).build_with_context();
    let (here, mut events, context) = built.unwrap();
    let there = Node::builder(Keypair::generate_ed25519()).build().unwrap();
    let address = there.listen("/ip4/127.0.0.1/tcp/0".parse().unwrap()).await;
    let connection = here.dial(address.unwrap()).await.unwrap();
    while !matches!(events.next().await.unwrap(), Event::Identified { .. }) {}
    let part = here.part::<Identify>().unwrap();
    let (begun, mut told) = (Instant::now(), std::collections::BTreeSet::new());
    let (mut changes, announcer) = (0_u64, Announcer::Relay(there.peer_id()));
    while begun.elapsed() < Duration::from_millis(2_500) {
        let address = format!("/ip4/192.0.2.1/tcp/{}", changes % 60_000);
        context.publish(announcer, vec![address.parse().unwrap()]);
        changes += 1;
        tokio::time::sleep(Duration::from_millis(1)).await;
        told.extend(
            part.known()
                .get(&connection.id())
                .and_then(|known| known.told),
        );
    }
    // Each push notes a version when it is planned, and perhaps a later one when it is written.
    let most = 2 * (PUSH_BURST as usize + 3) + 1;
    println!("{} versions were pushed of {changes}", told.len());
    assert!(told.len() <= most, "{} of {changes}", told.len());
}

#[tokio::test]
async fn a_description_has_only_the_addresses_that_its_reader_can_use() {
    let (here, _there, connection, _) = pair().await;
    let part = here.part::<Identify>().unwrap();
    let all = [
        "/ip4/127.0.0.1/tcp/1",
        "/ip4/10.0.0.1/tcp/1",
        "/ip4/192.0.2.1/tcp/1",
    ];
    let all: Vec<Multiaddr> = all.map(|text| text.parse().unwrap()).to_vec();
    let announcer = Announcer::Relay(PeerId::random());
    part.context.publish(announcer, all.clone());
    for (audience, first) in [
        (Reach::Machine, 0),
        (Reach::Network, 1),
        (Reach::Internet, 2),
    ] {
        let frames = part
            .sign(audience)
            .unwrap()
            .encode_for(Some(connection.address()));
        let budget = connection.signatures();
        let info = identify::read(&frames[..], here.peer_id(), budget).await;
        let info = info.unwrap();
        // The signed record is as short as the plain list.
        assert!(info.signed);
        assert_eq!(info.listen, all[first..], "{audience:?}");
    }
}

#[tokio::test]
async fn no_peer_is_told_a_link_local_address_or_a_zone() {
    let (here, _there, connection, _) = pair().await;
    let part = here.part::<Identify>().unwrap();
    let usable: Multiaddr = "/ip4/127.0.0.1/tcp/1".parse().unwrap();
    let announced = ["/ip6zone/1/ip6/fe80::1/tcp/1", "/ip6/fe80::1/tcp/1"];
    let announced = announced.map(|text| text.parse::<Multiaddr>().unwrap());
    let all = announced.iter().cloned().chain([usable.clone()]).collect();
    part.context
        .publish(Announcer::Relay(PeerId::random()), all);
    let frames = part.sign(Reach::Machine).unwrap().encode_for(None);
    let budget = connection.signatures();
    // The reader ignores such addresses, so the bytes themselves are searched, with those of the signed record.
    for address in announced {
        let bytes = address.to_vec();
        assert!(!frames.windows(bytes.len()).any(|part| part == bytes));
    }
    let info = identify::read(&frames[..], here.peer_id(), budget).await;
    assert_eq!(info.unwrap().listen, [usable]);
}

/// A node whose dialer opens a stream to `address`, whatever the target is, as a proxy on another machine does.
fn through_a_proxy_to(address: SocketAddr) -> Node {
    use transport_tcp::{DialContext, Dialer, Direct, Target};
    let dialer = move |_: Target, context: DialContext| async move {
        let end = address::of_tcp(address);
        let end = Target::from_multiaddr(&end).unwrap();
        Direct::default().dial(&end, &context).await
    };
    let builder = Node::builder(Keypair::generate_ed25519());
    builder.dialer(Arc::new(dialer)).build().unwrap()
}

/// Two nodes that are not connected. The first node's dialer reaches the second at its address, whatever the target is.
async fn pair_through_a_proxy() -> (Node, Node, Multiaddr) {
    let there = Node::builder(Keypair::generate_ed25519()).build().unwrap();
    let listening = there.listen("/ip4/127.0.0.1/tcp/0".parse().unwrap()).await;
    let listening = listening.unwrap().remove(0);
    let here = through_a_proxy_to(address::socket(&listening).unwrap());
    (here, there, listening)
}

#[tokio::test]
async fn a_peer_behind_a_proxy_is_told_no_private_or_loopback_address() {
    let (here, there, _) = pair_through_a_proxy().await;
    here.listen("/ip4/127.0.0.1/tcp/0".parse().unwrap())
        .await
        .unwrap();
    let (private, public) = ["/ip4/10.0.0.1/tcp/1", "/ip4/192.0.2.1/tcp/1"]
        .map(|text| text.parse::<Multiaddr>().unwrap())
        .into();
    let part = here.part::<Identify>().unwrap();
    let announcer = Announcer::Relay(PeerId::random());
    let announced = vec![private, public.clone()];
    part.context.publish(announcer, announced);
    let mut events = there.events();
    // The dialed addresses belong to the network of the proxy.
    for (dialed, observed) in [
        ("/ip4/127.0.0.1/tcp/9", None),
        ("/ip4/10.0.0.9/tcp/9", None),
        ("/ip4/192.0.2.9/tcp/9", Some("/ip4/192.0.2.9/tcp/9")),
    ] {
        let connection = here.dial([dialed.parse().unwrap()]).await.unwrap();
        let info = loop {
            if let Event::Identified { info, .. } = events.next().await.unwrap() {
                break info;
            }
        };
        assert_eq!(info.listen, std::slice::from_ref(&public), "{dialed}");
        let observed = observed.map(|text| text.parse().unwrap());
        assert_eq!(info.observed, observed, "{dialed}");
        connection.close();
        while !matches!(events.next().await.unwrap(), Event::Disconnected { .. }) {}
    }
}

#[tokio::test]
async fn a_dialer_that_did_not_use_its_proxy_leaves_the_peer_its_own_audience() {
    let (here, _there, listening) = pair_through_a_proxy().await;
    let connection = here.dial([listening]).await.unwrap();
    assert_eq!(connection.audience(), Reach::Machine);
}

#[cfg(feature = "relay")]
#[tokio::test]
async fn the_loopback_addresses_of_a_peer_behind_a_relay_are_not_learned() {
    use crate::{Config, RelayConfig, RelayServerConfig};
    let of = |relaying| {
        let builder = Node::builder(Keypair::generate_ed25519());
        let config = Config::default().with_relay(relaying);
        builder.config(config).build_with_events().unwrap()
    };
    let server = RelayConfig::default().with_server(RelayServerConfig::default());
    let (relay, _) = of(server);
    let at = relay.listen("/ip4/127.0.0.1/tcp/0".parse().unwrap()).await;
    let (hidden, mut events) = of(RelayConfig::default().with_reserve_at(at.unwrap()));
    let circuit = loop {
        if let Event::Listening { address } = events.next().await.unwrap() {
            break address;
        }
    };
    let (here, _) = of(RelayConfig::default());
    let connection = here.dial([circuit.clone()]).await.unwrap();
    let far: Multiaddr = "/ip4/192.0.2.1/tcp/1".parse().unwrap();
    let info = Info {
        listen: vec!["/ip4/127.0.0.1/tcp/1".parse().unwrap(), far.clone()],
        signed: false,
        ..Info::clone(&*connection.identify().await.unwrap())
    };
    let part = here.part::<Identify>().unwrap();
    part.note(connection, Arc::new(info));
    let known = part.context.addresses(&hidden.peer_id());
    assert!(known.contains(&far), "{known:?}");
    let is_loopback = |address: &Multiaddr| address.to_string() == "/ip4/127.0.0.1/tcp/1";
    assert!(!known.iter().any(is_loopback), "{known:?}");
}
