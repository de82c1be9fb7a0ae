//! Handlers, pushes, listeners and pings.

use std::{sync::Arc, time::Duration};

use node::{
    Config, Event, HandleError, Keypair, Multiaddr, Node,
    conn_state::LivenessConfig,
    transport_quic::{Faults, Misbehaving, Tuned},
    transport_tcp::{self, Target, Upgrader},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_util::compat::FuturesAsyncReadCompatExt;

use super::common::{QUIC, TCP, listen, node, wait, with, within};

#[tokio::test]
async fn the_nodes_own_protocols_and_what_is_no_name_are_refused() {
    let here = node();
    for protocol in ["/ipfs/ping/1.0.0", "/ipfs/id/1.0.0", "/ipfs/id/push/1.0.0"] {
        let refused = here.handle(protocol, 1).unwrap_err();
        assert!(matches!(refused, HandleError::Reserved { .. }), "{refused}");
        assert!(refused.to_string().contains(protocol));
    }
    let long = format!("/{}", "x".repeat(256));
    for protocol in ["", "greet/1", "/a\nb", &long] {
        assert!(matches!(
            here.handle(protocol, 1),
            Err(HandleError::Invalid { .. })
        ));
        assert!(matches!(
            here.handle_limited(protocol, 1),
            Err(HandleError::Invalid { .. })
        ));
    }
    assert!(here.handle(&long[..256], 1).is_ok());
}

#[tokio::test]
async fn who_waits_for_streams_is_told_when_the_node_is_shut_down() {
    let here = node();
    let mut streams = here.handle("/wait/1", 1).unwrap();
    let waiting = tokio::spawn(async move { streams.next().await.is_none() });
    tokio::task::yield_now().await;
    within(here.shutdown()).await;
    assert!(within(waiting).await.unwrap());
    assert!(matches!(
        here.handle("/late/1", 1),
        Err(HandleError::ShutDown)
    ));
}

#[tokio::test]
async fn pushes_that_say_nothing_new_are_no_events_and_new_ones_are_few() {
    let (here, there) = (node(), node());
    let mut events = there.events();
    let address = listen(&there, TCP).await;
    let connection = here.dial([address]).await.unwrap();
    let identified = |event| matches!(event, Event::Identified { .. }).then_some(());
    wait(&mut events, identified).await;
    let push = async |agent: &str| {
        let opened = connection.open(&["/ipfs/id/push/1.0.0"]).await;
        let (_, mut stream) = opened.unwrap();
        let mut frame = vec![agent.len() as u8 + 2, 0x32, agent.len() as u8];
        frame.extend(agent.as_bytes());
        let _ = stream.write_all(&frame).await;
        let _ = stream.shutdown().await;
        // The end of the stream says that it was served, or reset.
        let _ = within(stream.read_to_end(&mut Vec::new())).await;
    };
    push("one").await;
    wait(&mut events, identified).await;
    for _ in 0..5 {
        push("one").await;
    }
    connection.ping().await.unwrap();
    // A pong of the other side is the last of its events.
    let theirs = there.connection(here.peer_id()).unwrap();
    let mut after = there.events();
    theirs.ping().await.unwrap();
    let flood: Vec<String> = (0..40).map(|n| format!("agent {n}")).collect();
    for agent in &flood {
        let opened = connection.open_optimistic("/ipfs/id/push/1.0.0").await;
        let mut stream = opened.unwrap();
        let mut frame = vec![agent.len() as u8 + 2, 0x32, agent.len() as u8];
        frame.extend(agent.as_bytes());
        let _ = stream.write_all(&frame).await;
        let _ = stream.shutdown().await;
    }
    connection.ping().await.unwrap();
    let marker = node();
    marker.dial([listen(&there, TCP).await]).await.unwrap();
    let mut told = 0;
    wait(&mut after, |event| match event {
        Event::Identified { peer, .. } if peer == here.peer_id() => {
            told += 1;
            None
        }
        Event::Connected { peer, .. } => (peer == marker.peer_id()).then_some(()),
        _ => None,
    })
    .await;
    assert!(told <= 8, "{told} events of 40 pushes");
}

/// A peer that says nothing about itself but what a test makes it push.
async fn mute(address: &Multiaddr) -> transport_tcp::Connection {
    let upgrader = Upgrader::new(&Keypair::generate_ed25519(), Default::default()).unwrap();
    let target = Target::from_multiaddr(address).unwrap();
    let stream = TcpStream::connect(target.authority()).await.unwrap();
    let upgraded = upgrader.outbound(stream, target.peer(), &mut |_| {}).await;
    upgraded.unwrap()
}

/// Pushes one field of identify, and waits until the push was served.
async fn push(connection: &transport_tcp::Connection, field: u8, value: &[u8]) {
    let mut stream = connection.open().await.unwrap().compat();
    let mut bytes = b"\x13/multistream/1.0.0\n\x14/ipfs/id/push/1.0.0\n".to_vec();
    bytes.extend([value.len() as u8 + 2, field << 3 | 2, value.len() as u8]);
    bytes.extend(value);
    stream.write_all(&bytes).await.unwrap();
    stream.shutdown().await.unwrap();
    let _ = within(stream.read_to_end(&mut Vec::new())).await;
}

const PUBLIC_KEY: u8 = 1;
const PROTOCOLS: u8 = 3;
const AGENT: u8 = 6;

#[tokio::test]
async fn a_push_that_says_nothing_new_is_no_event_and_one_field_changes_no_other() {
    let there = node();
    let mut events = there.events();
    let connection = mute(&listen(&there, TCP).await).await;
    push(&connection, PROTOCOLS, b"/a/1").await;
    push(&connection, AGENT, b"one").await;
    for _ in 0..3 {
        push(&connection, AGENT, b"one").await;
    }
    push(&connection, AGENT, b"two").await;
    let mut told = Vec::new();
    while told.last().is_none_or(|(agent, _)| agent != "two") {
        let next = wait(&mut events, |event| match event {
            Event::Identified { info, .. } => {
                Some((info.agent.to_string(), info.protocols.clone()))
            }
            _ => None,
        });
        told.push(next.await);
    }
    let expected = ["", "one", "two"].map(|agent| (agent.to_owned(), vec!["/a/1".to_owned()]));
    assert_eq!(told, expected);
}

#[tokio::test]
async fn a_peer_that_takes_pushes_is_told_what_changed_before_it_said_so() {
    let (there, witness) = (node(), node());
    let address = listen(&there, TCP).await;
    let connection = mute(&address).await;
    let witnessed = witness.dial([address]).await.unwrap();
    let mut events = witness.events();
    witnessed.identify().await.unwrap();
    // Once the witness has been told, the change has been pushed to all that were known to take pushes.
    let _handler = there.handle("/news/1", 1).unwrap();
    let knows =
        |info: &node::protocols::identify::Info| info.protocols.iter().any(|p| p == "/news/1");
    while witnessed.identified().is_none_or(|info| !knows(&info)) {
        wait(&mut events, |event| {
            matches!(event, Event::Identified { .. }).then_some(())
        })
        .await;
    }
    push(&connection, PROTOCOLS, b"/ipfs/id/push/1.0.0").await;
    // This peer answers none of the questions that `there` asks. One of its streams is a push.
    let mut open = Vec::new();
    let pushed = async {
        loop {
            let mut stream = connection.accept().await.unwrap().compat();
            let answer = b"\x13/multistream/1.0.0\n";
            stream.write_all(answer).await.unwrap();
            stream.flush().await.unwrap();
            let mut proposal = vec![0; answer.len() + 1];
            stream.read_exact(&mut proposal).await.unwrap();
            let mut protocol = vec![0; proposal[answer.len()].into()];
            stream.read_exact(&mut protocol).await.unwrap();
            if protocol == b"/ipfs/id/push/1.0.0\n" {
                return;
            }
            open.push(stream);
        }
    };
    within(pushed).await;
}

#[tokio::test]
async fn a_peer_that_describes_itself_with_anothers_key_is_cut_off() {
    let there = node();
    let mut events = there.events();
    let connection = mute(&listen(&there, TCP).await).await;
    let foreign = Keypair::generate_ed25519().public().encode_protobuf();
    push(&connection, PUBLIC_KEY, &foreign).await;
    let reason = wait(&mut events, |event| match event {
        Event::Disconnected { reason, .. } => Some(reason),
        _ => None,
    })
    .await;
    assert_eq!(reason, node::Closing::Violation);
}

#[tokio::test]
async fn streams_beyond_the_limit_are_reset_while_those_within_it_are_served() {
    let there = with(Config::default().with_max_inbound_streams(4));
    let here = node();
    let mut streams = there.handle("/hold/1", 16).unwrap();
    let address = listen(&there, TCP).await;
    let connection = here.dial([address]).await.unwrap();
    let (mut open, mut held) = (Vec::new(), Vec::new());
    // Identify and ping take a place for a moment, too.
    let fill = async {
        while held.len() < 4 {
            if let Ok((_, stream)) = connection.open(&["/hold/1"]).await {
                open.push(stream);
                held.push(streams.next().await.unwrap());
            }
        }
    };
    within(fill).await;
    for _ in 0..3 {
        let beyond = within(connection.open(&["/hold/1"])).await;
        assert!(beyond.is_err(), "{beyond:?}");
    }
    held.pop();
    let again = async { while connection.open(&["/hold/1"]).await.is_err() {} };
    within(again).await;
}

#[tokio::test]
async fn a_limit_above_the_default_of_the_transports_is_reached_over_tcp_and_quic() {
    let there = with(Config::default().with_max_inbound_streams(300));
    let mut streams = there.handle("/hold/1", 16).unwrap();
    let accept = async {
        let mut held = Vec::new();
        while let Some(stream) = streams.next().await {
            held.push(stream);
        }
    };
    let serving = async {
        for transport in [TCP, QUIC] {
            let here = node();
            let address = listen(&there, transport).await;
            let connection = here.dial([address]).await.unwrap();
            connection.identify().await.unwrap();
            let mut open = Vec::new();
            for n in 0..290 {
                let stream = within(connection.open(&["/hold/1"])).await;
                open.push(
                    stream.unwrap_or_else(|error| panic!("stream {n} over {transport}: {error}")),
                );
            }
        }
    };
    tokio::select! {
        () = serving => {}
        () = accept => unreachable!("the handler stays"),
    }
}

#[tokio::test]
async fn a_handler_that_is_dropped_is_announced_no_longer_and_its_replacement_stays() {
    let (here, there) = (node(), node());
    let address = listen(&there, TCP).await;
    let connection = here.dial([address]).await.unwrap();
    let mut events = here.events();
    let told = async |events: &mut node::Events, offered: bool| {
        let is_told = |info: &node::protocols::identify::Info| {
            info.protocols.iter().any(|p| p == "/greet/1") == offered
        };
        while connection.identified().is_none_or(|info| !is_told(&info)) {
            wait(events, |event| {
                matches!(event, Event::Identified { .. }).then_some(())
            })
            .await;
        }
    };
    connection.identify().await.unwrap();
    let handler = there.handle("/greet/1", 1).unwrap();
    told(&mut events, true).await;
    drop(handler);
    told(&mut events, false).await;
    assert!(connection.open(&["/greet/1"]).await.is_err());

    let first = there.handle("/greet/1", 1).unwrap();
    let _second = there.handle("/greet/1", 1).unwrap();
    drop(first);
    connection.open(&["/greet/1"]).await.unwrap();
}

#[tokio::test]
async fn a_listener_that_broke_is_announced_no_longer() {
    let misbehaving = Misbehaving::new(Arc::new(Tuned::default()), 1, Faults::default());
    let control = misbehaving.control();
    let there = Node::builder(Keypair::generate_ed25519())
        .binder(Arc::new(misbehaving))
        .build()
        .unwrap();
    let mut events = there.events();
    let tcp = listen(&there, TCP).await;
    let quic = listen(&there, QUIC).await;
    assert_eq!(there.listen_addresses(), [tcp.clone(), quic.clone()]);
    let here = node();
    let connection = here.dial([tcp.clone()]).await.unwrap();
    connection.identify().await.unwrap();

    control.break_socket(std::io::ErrorKind::NetworkDown);
    // A broken socket is found out when it is used.
    let _ = std::net::UdpSocket::bind("127.0.0.1:0")
        .unwrap()
        .send_to(&[0; 32], "127.0.0.1:9");
    let failed = wait(&mut events, |event| match event {
        Event::ListenerFailed { address, .. } => Some(address),
        _ => None,
    })
    .await;
    assert_eq!(failed, QUIC.parse().unwrap());
    assert_eq!(there.listen_addresses(), [tcp]);
    // The peer is told.
    let mut news = here.events();
    let listen = |info: &node::protocols::identify::Info| info.listen.clone();
    if connection
        .identified()
        .is_none_or(|info| listen(&info).len() != 1)
    {
        wait(&mut news, |event| match event {
            Event::Identified { info, .. } => (listen(&info).len() == 1).then_some(()),
            _ => None,
        })
        .await;
    }
}

#[tokio::test]
async fn a_connection_without_room_for_a_ping_lives_while_data_arrives() {
    let ping = LivenessConfig::default()
        .with_interval(Duration::from_millis(50))
        .with_timeout(Duration::from_millis(100))
        .with_failures(2);
    let here = with(
        Config::default()
            .with_ping(ping)
            .with_negotiation_timeout(Duration::from_secs(1)),
    );
    let there = node();
    let mut streams = there.handle("/hold/1", 512).unwrap();
    let address = listen(&there, QUIC).await;
    let connection = here.dial([address]).await.unwrap();
    connection.identify().await.unwrap();
    let (_, mut data) = connection.open(&["/hold/1"]).await.unwrap();
    let mut sender = within(streams.next()).await.unwrap();
    let sending = tokio::spawn(async move {
        while sender.stream.write_all(&[1; 512]).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let (mut open, mut held) = (Vec::new(), Vec::new());
    while let Ok((_, stream)) = connection.open(&["/hold/1"]).await {
        open.push(stream);
        held.push(within(streams.next()).await.unwrap());
    }
    assert!(open.len() > 250, "{}", open.len());
    // Ten pings cannot be sent while this arrives.
    let mut bytes = vec![0; 512 * 100];
    within(data.read_exact(&mut bytes)).await.unwrap();
    assert!(!connection.is_closed());
    assert_eq!(here.connections().len(), 1);
    sending.abort();
}
