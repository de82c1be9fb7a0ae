//! The limits of a circuit.

use node::{
    Closing, ConnectionId, PeerId,
    conn_state::{LimitsConfig, Recommended},
    relay_slots::wire::HOP_PROTOCOL,
};

use super::*;

/// Waits until the connections at both ends have ended, and with them the circuit.
async fn is_over(relay: &Node, ends: [(&Node, &mut Events, ConnectionId); 2]) {
    for (end, events, over) in ends {
        wait(events, |event| match event {
            Event::Disconnected { connection, .. } => (connection == over).then_some(()),
            _ => None,
        })
        .await;
        assert!(end.connections().iter().all(|c| c.route() == Route::Direct));
    }
    while granted_by(relay)[0].circuits > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn data_past_the_limit_resets_both_ends() {
    let table = TableConfig::default().with_circuit_limits(None, Some(50_000));
    let (relay, hidden, seeker, connection) = circuit(table).await;
    let (mut here, mut there) = (seeker.events(), hidden.events());
    let at_hidden = over_circuit(&hidden).await.id();
    let (_, mut stream) = within(connection.open_limited(&[ECHO])).await.unwrap();
    let writing = async { while stream.write_all(&[7; 10_000]).await.is_ok() {} };
    within(writing).await;
    let ends = [
        (&seeker, &mut here, connection.id()),
        (&hidden, &mut there, at_hidden),
    ];
    within(is_over(&relay, ends)).await;
    let slots = granted_by(&relay);
    assert!(slots[0].bytes >= 50_000, "{slots:?}");
    assert_eq!(
        slots[0].peer,
        hidden.peer_id(),
        "the slot outlives the circuit"
    );
}

#[tokio::test]
async fn time_past_the_limit_resets_both_ends() {
    let table = TableConfig::default().with_circuit_limits(Some(Duration::from_secs(1)), None);
    let (relay, hidden, seeker, connection) = circuit(table).await;
    let (mut here, mut there) = (seeker.events(), hidden.events());
    let at_hidden = over_circuit(&hidden).await.id();
    assert!(matches!(connection.route(), Route::Relayed(Some(left)) if left.bytes.is_none()));
    let ends = [
        (&seeker, &mut here, connection.id()),
        (&hidden, &mut there, at_hidden),
    ];
    within(is_over(&relay, ends)).await;
}

#[tokio::test]
async fn a_circuit_without_limits_is_an_unlimited_connection() {
    let table = TableConfig::default().with_circuit_limits(None, None);
    let (_relay, hidden, seeker, connection) = circuit(table).await;
    assert_eq!(connection.route(), Route::Relayed(None));
    assert!(!connection.is_limited());
    assert_eq!(seeker.tracker().state(&hidden.peer_id()), State::Connected);
    let _streams = hidden.handle("/full/1", 1).unwrap();
    within(connection.open(&["/full/1"])).await.unwrap();
}

/// A node behind `relay` with these limits, and nodes that dial it through the relay.
async fn crowd(limits: LimitsConfig, state: Recommended, size: usize) -> (Node, Node, Vec<Node>) {
    let caps = Caps::default()
        .with_circuits(1_000, 1_000, 1_000)
        .with_connect_rates(None, None);
    let table = TableConfig::default().with_circuit_limits(None, Some(1 << 20));
    let relay = relay(caps, table);
    let relays = RelayConfig::default().with_reserve_at([listen(&relay, TCP).await]);
    let config = Config::default().with_relay(relays);
    let hidden = with(config.with_limits(limits).with_state(state));
    let at = reached_at(&hidden).await;
    let mut seekers = Vec::new();
    for _ in 0..size {
        let seeker = node();
        // A circuit that the hidden node refuses is up for a moment, or fails.
        let _ = within(seeker.dial([at.clone()])).await;
        seekers.push(seeker);
    }
    (relay, hidden, seekers)
}

fn circuits(node: &Node) -> usize {
    let connections = node.connections().into_iter();
    connections.filter(|one| is_circuit(one.address())).count()
}

#[tokio::test]
async fn inbound_circuits_count_as_inbound_connections_and_a_relay_has_its_share() {
    let limits = LimitsConfig::for_memory(0).with_trim_idle(None);
    for (limits, expected) in [
        (limits.clone().with_max_inbound(1), 1),
        (limits.with_max_per_relay(3), 3),
    ] {
        let (_relay, hidden, _seekers) = crowd(limits, Recommended::default(), 6).await;
        println!("{} of 6 circuits are up", circuits(&hidden));
        assert_eq!(circuits(&hidden), expected);
    }
}

#[tokio::test]
async fn circuits_that_a_relay_opens_keep_nobody_from_dialing_or_connecting() {
    let state = Recommended::default().with_max_transient(8, 8);
    let limits = LimitsConfig::for_memory(0);
    let (_relay, hidden, _seekers) = crowd(limits, state, 12).await;
    println!("{} of 12 circuits are up", circuits(&hidden));
    assert_eq!(circuits(&hidden), 4);
    for transport in [TCP, QUIC] {
        let (one, other) = (node(), node());
        let outbound = within(hidden.dial([listen(&one, transport).await])).await;
        within(outbound.unwrap().ping()).await.unwrap();
        let inbound = within(other.dial([listen(&hidden, transport).await])).await;
        within(inbound.unwrap().ping()).await.unwrap();
    }
}

#[tokio::test]
async fn a_full_relay_keeps_the_connections_of_the_peers_that_hold_its_slots() {
    let idle = Duration::from_millis(50);
    let server = RelayServerConfig::new(Caps::default(), TableConfig::default());
    let limits = LimitsConfig::for_memory(0)
        .with_max_inbound(2)
        .with_trim_idle(Some(idle));
    let config = Config::default().with_limits(limits);
    let relay = with(config.with_relay(RelayConfig::default().with_server(server)));
    let at = listen(&relay, TCP).await;
    let holder = behind(&[&at]);
    reached_at(&holder).await;
    let mut events = relay.events();
    let mut last = None;
    for _ in 0..5 {
        tokio::time::sleep(2 * idle).await;
        let newcomer = node();
        within(newcomer.dial([at.clone()])).await.unwrap();
        if let Some(last) = last.replace(newcomer) {
            let (peer, reason) = wait(&mut events, |event| match event {
                Event::Disconnected { peer, reason, .. } => Some((peer, reason)),
                _ => None,
            })
            .await;
            assert_eq!((peer, reason), (last.peer_id(), Closing::Trimmed));
        }
    }
    assert!(relay.connection(holder.peer_id()).is_some());
}

/// A full relay with a handler of its host, and its address.
async fn full_relay(places: usize) -> (Node, Multiaddr) {
    let server = RelayServerConfig::new(Caps::default(), TableConfig::default());
    let limits = LimitsConfig::for_memory(0)
        .with_max_inbound(places)
        .with_trim_idle(Some(Duration::from_millis(50)));
    let config = Config::default().with_limits(limits);
    let relay = with(config.with_relay(RelayConfig::default().with_server(server)));
    let at = listen(&relay, TCP).await;
    (relay, at)
}

/// The peer whose connection a full node closes for a newcomer. Tries until the node closes one.
async fn closed_for_a_newcomer(relay: &Node, at: &Multiaddr) -> PeerId {
    let mut events = relay.events();
    let newcomer = node();
    within(async {
        while newcomer.dial([at.clone()]).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let trimmed = |event| match event {
        Event::Disconnected { peer, reason, .. } => (reason == Closing::Trimmed).then_some(peer),
        _ => None,
    };
    wait(&mut events, trimmed).await
}

#[tokio::test]
async fn a_peer_that_only_opens_silent_streams_keeps_no_newcomer_out() {
    for protocol in [
        HOP_PROTOCOL,
        ECHO,
        "/ipfs/ping/1.0.0",
        "/ipfs/id/push/1.0.0",
    ] {
        let (relay, at) = full_relay(1).await;
        let mut handler = relay.handle(ECHO, 9).unwrap();
        let silent = node();
        let connection = within(silent.dial([at.clone()])).await.unwrap();
        let _stream = within(connection.open(&[protocol])).await.unwrap();
        if protocol == ECHO {
            // The host keeps the stream, but neither end writes.
            std::mem::forget(within(handler.next()).await.unwrap());
        }
        assert_eq!(closed_for_a_newcomer(&relay, &at).await, silent.peer_id());
    }
}

#[tokio::test]
async fn a_peer_that_uses_a_circuit_or_a_stream_stays_when_a_newcomer_comes() {
    let (relay, at) = full_relay(4).await;
    let mut handler = relay.handle(ECHO, 9).unwrap();
    let holder = behind(&[&at]);
    let circuit = reached_at(&holder).await;
    let (source, user, idle) = (node(), node(), node());
    within(source.dial([circuit])).await.unwrap();
    let used = within(user.dial([at.clone()])).await.unwrap();
    let (_, mut stream) = within(used.open(&[ECHO])).await.unwrap();
    stream.write_all(b"x").await.unwrap();
    stream.flush().await.unwrap();
    let mut kept = within(handler.next()).await.unwrap();
    within(kept.stream.read_u8()).await.unwrap();
    within(idle.dial([at.clone()])).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(closed_for_a_newcomer(&relay, &at).await, idle.peer_id());
}

#[tokio::test]
async fn requests_that_wait_are_bounded_per_connection() {
    let (_relay, at) = full_relay(4).await;
    let peer = node();
    let connection = within(peer.dial([at])).await.unwrap();
    let mut streams = Vec::new();
    let refused = within(async {
        loop {
            let (_, mut stream) = connection.open(&[HOP_PROTOCOL]).await.unwrap();
            let answer = tokio::time::timeout(Duration::from_millis(50), stream.read_u8()).await;
            if answer.is_ok() || streams.len() > 100 {
                break streams.len();
            }
            streams.push(stream);
        }
    });
    assert_eq!(refused.await, 64);
}
