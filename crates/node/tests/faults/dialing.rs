//! The peer that a dial accepts, and what may delay it.

use std::time::Duration;

use node::{
    AttemptCause, Config, DialError, Event, Keypair, Multiaddr, Node, PeerId, error_chain,
    multiaddr::Protocol,
};

use super::{
    common::{QUIC, TCP, listen, node, wait, within},
    names,
};

fn with_resolver(config: Config, resolver: node::transport_tcp::Resolver) -> Node {
    let builder = Node::builder(Keypair::generate_ed25519()).config(config);
    builder.resolver(resolver).build().unwrap()
}

fn renamed(mut address: Multiaddr, peer: PeerId) -> Multiaddr {
    address.pop();
    address.with(Protocol::P2p(peer))
}

#[tokio::test]
async fn a_bare_dnsaddr_accepts_only_the_peer_that_its_record_names() {
    for transport in [TCP, QUIC] {
        let there = node();
        let address = listen(&there, transport).await;
        let lie = renamed(address.clone(), PeerId::random());
        let here = with_resolver(Config::default(), names::dnsaddr(vec![lie]).await);
        let name: Multiaddr = "/dnsaddr/peers.example".parse().unwrap();
        let refused = within(here.dial([name.clone()])).await.unwrap_err();
        assert!(matches!(refused, DialError::AllFailed(_)), "{refused}");
        assert!(here.connections().is_empty() && there.connections().is_empty());

        let here = with_resolver(Config::default(), names::dnsaddr(vec![address]).await);
        let connection = within(here.dial([name])).await.unwrap();
        assert_eq!(connection.peer(), there.peer_id());
    }
}

#[tokio::test]
async fn an_address_without_an_id_accepts_only_the_peer_that_the_dial_names() {
    let (here, there) = (node(), node());
    let mut quic = listen(&there, QUIC).await;
    quic.pop();
    let port = quic.iter().nth(1).unwrap();
    let by_name = Multiaddr::from(Protocol::Dns4("localhost".into()))
        .with(port)
        .with(Protocol::QuicV1);
    let mut tcp = listen(&there, TCP).await;
    tcp.pop();
    let other = "/ip4/127.0.0.1/tcp/1"
        .parse::<Multiaddr>()
        .unwrap()
        .with(Protocol::P2p(PeerId::random()));
    for impostor in [by_name, quic, tcp] {
        let refused = within(here.dial([other.clone(), impostor]))
            .await
            .unwrap_err();
        let DialError::AllFailed(attempts) = &refused else {
            panic!("{refused}");
        };
        assert_eq!(attempts.len(), 2, "{refused}");
        assert!(here.connections().is_empty() && there.connections().is_empty());
    }
}

#[tokio::test]
async fn a_record_of_another_peer_than_the_dial_names_is_not_dialed() {
    for transport in [TCP, QUIC] {
        let there = node();
        let address = listen(&there, transport).await;
        let here = with_resolver(Config::default(), names::dnsaddr(vec![address]).await);
        let name: Multiaddr = "/dnsaddr/peers.example".parse().unwrap();
        let wanted = "/ip4/127.0.0.1/tcp/1"
            .parse::<Multiaddr>()
            .unwrap()
            .with(Protocol::P2p(PeerId::random()));
        let refused = within(here.dial([wanted, name])).await.unwrap_err();
        assert!(matches!(refused, DialError::AllFailed(_)), "{refused}");
        assert!(here.connections().is_empty() && there.connections().is_empty());
    }
}

#[tokio::test]
async fn a_dead_name_server_delays_neither_good_addresses_nor_shutdown() {
    let there = node();
    let address = listen(&there, TCP).await;
    let (resolver, _server) = names::silent().await;
    // A dial that waited for the name would wait for longer than this test may take.
    let hour = Duration::from_secs(3600);
    let config = Config::default().with_dial_timeouts(hour, hour);
    let here = with_resolver(config, resolver);
    let name: Multiaddr = "/dnsaddr/peers.example".parse().unwrap();
    let connection = within(here.dial([name.clone(), address])).await.unwrap();
    assert_eq!(connection.peer(), there.peer_id());

    let dialing = tokio::spawn({
        let here = here.clone();
        async move { here.dial([name]).await }
    });
    tokio::task::yield_now().await;
    within(here.shutdown()).await;
    assert!(matches!(
        within(dialing).await.unwrap(),
        Err(DialError::ShutDown)
    ));
}

#[tokio::test]
async fn a_node_that_dials_its_own_address_is_told_so_and_nobody_else() {
    for transport in [TCP, QUIC] {
        let here = node();
        let mut events = here.events();
        let mut address = listen(&here, transport).await;
        address.pop();
        let refused = within(here.dial([address])).await.unwrap_err();
        let DialError::AllFailed(attempts) = &refused else {
            panic!("{refused}");
        };
        assert!(
            matches!(attempts[0].cause, AttemptCause::Oneself),
            "{}",
            error_chain(&refused)
        );
        assert!(here.connections().is_empty());
        // Everything that the dial leads to is over before this stranger's connection is.
        let stranger = node();
        let other = listen(&here, TCP).await;
        stranger.dial([other]).await.unwrap();
        wait(&mut events, |event| match event {
            Event::Connected { peer, .. } => {
                assert_eq!(peer, stranger.peer_id());
                Some(())
            }
            Event::InboundFailed { cause, .. } => panic!("{cause}"),
            _ => None,
        })
        .await;
        assert_eq!(
            here.tracker()
                .connections(std::time::Instant::now(), &here.peer_id()),
            []
        );
    }
}

#[tokio::test]
async fn a_peer_is_dialed_by_its_id_alone_once_its_addresses_are_known() {
    let (here, there) = (node(), node());
    let unknown = Multiaddr::from(Protocol::P2p(there.peer_id()));
    let refused = within(here.dial([unknown.clone()])).await.unwrap_err();
    let DialError::AllFailed(attempts) = &refused else {
        panic!("{refused}");
    };
    assert!(
        matches!(attempts[0].cause, AttemptCause::NoKnownAddress),
        "{refused}"
    );

    let tcp = listen(&there, TCP).await;
    let mut quic = listen(&there, QUIC).await;
    let connection = here.dial([tcp.clone()]).await.unwrap();
    // What worked is known at once, and what the peer says once it has described itself.
    connection.identify().await.unwrap();
    quic.pop();
    within(async {
        while !here.addresses_of(there.peer_id()).contains(&quic) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let mut worked = tcp;
    worked.pop();
    assert_eq!(here.addresses_of(there.peer_id())[0], worked);

    connection.close();
    connection.closed().await;
    within(async {
        while here.connection(there.peer_id()).is_some() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let again = within(here.dial([unknown])).await.unwrap();
    assert_eq!(again.peer(), there.peer_id());
}

#[tokio::test]
async fn of_a_peers_addresses_the_latest_that_worked_comes_first_and_a_failed_one_last() {
    let (here, there) = (node(), node());
    let tcp = listen(&there, TCP).await;
    let quic = listen(&there, QUIC).await;
    let plain = |address: &Multiaddr| {
        let mut plain = address.clone();
        plain.pop();
        plain
    };
    for worked in [&quic, &tcp] {
        let connection = within(here.dial([worked.clone()])).await.unwrap();
        assert_eq!(here.addresses_of(there.peer_id())[0], plain(worked));
        let mut events = here.events();
        connection.close();
        wait(&mut events, |event| {
            matches!(event, Event::Disconnected { .. }).then_some(())
        })
        .await;
    }
    within(there.shutdown()).await;
    within(here.dial([tcp.clone()])).await.unwrap_err();
    let known = here.addresses_of(there.peer_id());
    assert_eq!(known, [plain(&quic), plain(&tcp)]);
}
