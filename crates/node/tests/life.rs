//! Two nodes that meet, talk and part.

#![cfg(all(feature = "tcp", feature = "quic"))]

mod common;

use common::{QUIC, TCP, listen, node, wait, with, within};
use node::{
    AttemptCause, Config, DialError, Direction, Event, OpenError, PeerId, multiaddr::Protocol,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test]
async fn pings_that_are_asked_for_at_once_go_one_after_the_other() {
    // More at once than a peer puts up with, and some put up with one.
    for address in [TCP, QUIC] {
        let (here, there) = (node(), node());
        let address = listen(&there, address).await;
        let connection = here.dial([address]).await.unwrap();
        let pings = (0..6).map(|_| connection.ping());
        for outcome in within(futures::future::join_all(pings)).await {
            assert!(outcome.is_ok(), "{outcome:?}");
        }
    }
}

#[tokio::test]
async fn over_each_transport_two_nodes_identify_and_ping_each_other() {
    for (address, via) in [(TCP, "tcp/tls/yamux"), (QUIC, "quic")] {
        let (here, there) = (node(), node());
        let mut events = there.events();
        let address = listen(&there, address).await;
        let connection = here.dial([address]).await.unwrap();
        assert_eq!(
            (connection.via(), connection.peer()),
            (via, there.peer_id())
        );
        assert_eq!(connection.direction(), Direction::Outbound);
        connection.ping().await.unwrap();
        assert!(connection.rtt().is_some());
        let info = connection.identify().await.unwrap();
        assert!(info.agent.starts_with("bowline/") && info.signed);
        assert!(info.protocols.iter().any(|p| p == "/ipfs/id/push/1.0.0"));
        let (peer, info) = wait(&mut events, |event| match event {
            Event::Identified { peer, info, .. } => Some((peer, info)),
            _ => None,
        })
        .await;
        assert_eq!((peer, info.peer), (here.peer_id(), here.peer_id()));
        here.shutdown().await;
        let peer = wait(&mut events, |event| match event {
            Event::Disconnected {
                peer, remaining: 0, ..
            } => Some(peer),
            _ => None,
        })
        .await;
        assert_eq!(peer, here.peer_id());
        there.shutdown().await;
    }
}

#[tokio::test]
async fn a_connection_whose_close_has_begun_is_not_given_for_new_streams() {
    for address in [TCP, QUIC] {
        let (here, there) = (node(), node());
        let mut hellos = there.handle("/hello/1", 4).unwrap();
        let address = listen(&there, address).await;
        let first = here.dial([address.clone()]).await.unwrap();
        first.close();
        assert!(here.connection(there.peer_id()).is_none());
        let second = here.dial([address]).await.unwrap();
        assert_ne!(first.id(), second.id());
        second.open(&["/hello/1"]).await.unwrap();
        assert!(within(hellos.next()).await.is_some());
    }
}

#[tokio::test]
async fn a_stream_carries_what_is_written_both_ways_and_its_end() {
    for address in [TCP, QUIC] {
        let (here, there) = (node(), node());
        let mut streams = there.handle("/shout/1", 4).unwrap();
        let address = listen(&there, address).await;
        let served = tokio::spawn(async move {
            let mut incoming = streams.next().await.unwrap();
            let mut heard = String::new();
            incoming.stream.read_to_string(&mut heard).await.unwrap();
            let answer = heard.to_uppercase();
            incoming.stream.write_all(answer.as_bytes()).await.unwrap();
            incoming.stream.shutdown().await.unwrap();
        });
        here.dial([address]).await.unwrap();
        let opened = here.open(there.peer_id(), &["/shout/2", "/shout/1"]).await;
        let (protocol, mut stream) = opened.unwrap();
        assert_eq!(protocol, "/shout/1");
        let said = "ahoy ".repeat(100_000);
        stream.write_all(said.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer, said.to_uppercase());
        served.await.unwrap();
        here.shutdown().await;
        there.shutdown().await;
    }
}

#[tokio::test]
async fn a_protocol_that_the_peer_does_not_speak_is_a_typed_error() {
    let (here, there) = (node(), node());
    let address = listen(&there, TCP).await;
    let connection = here.dial([address]).await.unwrap();
    let error = connection.open(&["/no/1", "/no/2"]).await.unwrap_err();
    assert!(matches!(error, OpenError::Unsupported { .. }), "{error}");
    assert!(error.to_string().contains("/no/1, /no/2"), "{error}");
    let stranger = PeerId::random();
    let error = here.open(stranger, &["/no/1"]).await.unwrap_err();
    assert!(matches!(error, OpenError::NotConnected { peer } if peer == stranger));
}

#[tokio::test]
async fn a_new_listen_address_is_pushed_to_connected_peers() {
    let (here, there) = (node(), node());
    let mut events = here.events();
    let first = listen(&there, TCP).await;
    here.dial([first]).await.unwrap();
    let both = |event: &Event| matches!(event, Event::Identified { .. });
    wait(&mut events, |event| both(&event).then_some(())).await;
    let mut news = there.events();
    wait_identified(&there, &mut news).await;
    let mut second = listen(&there, QUIC).await;
    second.pop();
    wait(&mut events, |event| match event {
        Event::Identified { info, .. } => info.listen.contains(&second).then_some(()),
        _ => None,
    })
    .await;
}

/// The listener must have read that its peer takes pushes before it has something to push.
async fn wait_identified(node: &node::Node, events: &mut node::Events) {
    let known = || node.connections().iter().any(|c| c.identified().is_some());
    while !known() {
        wait(events, |_| Some(())).await;
    }
}

#[tokio::test]
async fn dialing_a_connected_peer_gives_the_connection_there_is() {
    let (here, there) = (node(), node());
    let address = listen(&there, QUIC).await;
    let first = here.dial([address.clone()]).await.unwrap();
    let again = here.dial([address]).await.unwrap();
    assert_eq!(first.id(), again.id());
    assert_eq!(here.connections().len(), 1);
}

#[tokio::test]
async fn of_two_good_addresses_one_connection_comes_and_the_loser_is_gone() {
    let (here, there) = (node(), node());
    let tcp = listen(&there, TCP).await;
    let quic = listen(&there, QUIC).await;
    let connection = here.dial([tcp, quic]).await.unwrap();
    assert_eq!(connection.via(), "quic");
    assert_eq!(here.connections().len(), 1);
    connection.ping().await.unwrap();
    assert_eq!(there.connections().len(), 1);
}

#[tokio::test]
async fn a_dead_address_does_not_hold_up_a_live_one() {
    let (here, there) = (node(), node());
    let tcp = listen(&there, TCP).await;
    let free = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    let silent = format!("/ip4/127.0.0.1/udp/{port}/quic-v1/p2p/{}", there.peer_id());
    let connection = within(here.dial([silent.parse().unwrap(), tcp]))
        .await
        .unwrap();
    assert_eq!(connection.via(), "tcp/tls/yamux");
}

#[tokio::test]
async fn a_wrong_peer_id_a_refusal_and_a_foreign_address_are_named_each_with_its_cause() {
    let (here, there) = (node(), node());
    let mut address = listen(&there, TCP).await;
    address.pop();
    let stranger = Protocol::P2p(PeerId::random());
    let wrong = address.with(stranger.clone());
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let refused = format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap();
    let foreign = "/ip4/127.0.0.1/tcp/1/ws".parse().unwrap();
    let error = here.dial([wrong, refused, foreign]).await.unwrap_err();
    let text = error.to_string();
    let DialError::AllFailed(attempts) = error else {
        panic!("{error}");
    };
    assert_eq!(attempts.len(), 3, "{text}");
    let any = |wanted: fn(&AttemptCause) -> bool| attempts.iter().any(|a| wanted(&a.cause));
    assert!(
        any(|cause| matches!(cause, AttemptCause::Upgrade(_))),
        "{text}"
    );
    assert!(
        any(|cause| matches!(cause, AttemptCause::Connect(_))),
        "{text}"
    );
    assert!(
        any(|cause| matches!(cause, AttemptCause::Unsupported { .. })),
        "{text}"
    );
    assert!(
        text.contains(&format!("{port}")) && text.contains("refused"),
        "{text}"
    );
    let oneself = format!("/ip4/127.0.0.1/tcp/1/p2p/{}", here.peer_id());
    let error = here.dial([oneself.parse().unwrap()]).await.unwrap_err();
    assert!(matches!(error, DialError::Oneself { .. }), "{error}");
    assert!(matches!(here.dial([]).await, Err(DialError::NoAddress)));
}

#[tokio::test]
async fn a_cancelled_dial_leaves_no_connection_and_no_task() {
    let (here, there) = (node(), node());
    let address = listen(&there, TCP).await;
    for polls in 0..20 {
        let dial = here.dial([address.clone()]);
        tokio::pin!(dial);
        let mut left = polls;
        let outcome = std::future::poll_fn(|cx| {
            if left == 0 {
                return std::task::Poll::Ready(None);
            }
            left -= 1;
            dial.as_mut().poll(cx).map(Some)
        });
        if let Some(Ok(connection)) = within(outcome).await {
            connection.close();
            connection.closed().await;
            break;
        }
    }
    here.shutdown().await;
    there.shutdown().await;
    assert!(here.connections().is_empty() && there.connections().is_empty());
}

#[tokio::test]
async fn after_shutdown_nothing_is_left_and_nothing_begins() {
    let (here, there) = (node(), node());
    let address = listen(&there, TCP).await;
    let quic = listen(&there, QUIC).await;
    here.dial([address.clone()]).await.unwrap();
    let alive = || {
        tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks()
    };
    within(here.shutdown()).await;
    within(there.shutdown()).await;
    while alive() > 0 {
        tokio::task::yield_now().await;
    }
    assert!(matches!(
        here.dial([address]).await,
        Err(DialError::ShutDown)
    ));
    assert!(there.listen(TCP.parse().unwrap()).await.is_err());
    // Both ports are free again.
    let port = |address: &node::Multiaddr| match address.iter().nth(1) {
        Some(Protocol::Tcp(port) | Protocol::Udp(port)) => port,
        other => panic!("{other:?}"),
    };
    std::net::UdpSocket::bind(("127.0.0.1", port(&quic))).unwrap();
}

#[tokio::test]
async fn whoever_waits_on_a_stream_is_answered_when_the_connection_is_closed_here() {
    for address in [TCP, QUIC] {
        let (here, there) = (node(), node());
        let mut streams = there.handle("/wait/1", 1).unwrap();
        let address = listen(&there, address).await;
        let connection = here.dial([address]).await.unwrap();
        let (_, mut stream) = connection.open(&["/wait/1"]).await.unwrap();
        let _held = within(streams.next()).await.unwrap();
        let reader = tokio::spawn(async move { stream.read(&mut [0; 1]).await });
        // The reader waits by the time a ping has gone there and back.
        connection.ping().await.unwrap();
        connection.close();
        let read = within(reader).await.unwrap();
        assert!(!matches!(read, Ok(1)), "{read:?}");
    }
}

#[tokio::test]
async fn questions_asked_together_are_one_question_and_a_later_one_is_another() {
    let (here, there) = (node(), node());
    let address = listen(&there, TCP).await;
    let connection = here.dial([address]).await.unwrap();
    let (one, two) = tokio::join!(connection.identify(), connection.identify());
    let (one, two) = (one.unwrap(), two.unwrap());
    assert!(std::sync::Arc::ptr_eq(&one, &two));
    let later = connection.identify().await.unwrap();
    assert!(!std::sync::Arc::ptr_eq(&one, &later));
}

#[tokio::test]
async fn listening_everywhere_is_on_one_port_and_all_or_nothing() {
    let first = node();
    let addresses = first.listen_everywhere(0).await.unwrap();
    let ports: std::collections::BTreeSet<u16> = addresses
        .iter()
        .flat_map(|address| address.iter())
        .filter_map(|protocol| match protocol {
            Protocol::Tcp(port) | Protocol::Udp(port) => Some(port),
            _ => None,
        })
        .collect();
    assert_eq!(ports.len(), 1, "{addresses:?}");
    let port = *ports.first().unwrap();
    let second = with(Config::default());
    let error = second.listen_everywhere(port).await.unwrap_err();
    assert!(error.is_address_in_use(), "{error}");
    assert!(second.listen_addresses().is_empty());
}

#[tokio::test]
async fn a_quic_dial_starts_from_the_socket_that_listens() {
    let (here, there) = (node(), node());
    let mut own = listen(&here, QUIC).await;
    own.pop();
    let mut events = there.events();
    here.dial([listen(&there, QUIC).await]).await.unwrap();
    let seen = wait(&mut events, |event| match event {
        Event::Connected { address, .. } => Some(address),
        _ => None,
    })
    .await;
    assert_eq!(seen, own);
}
