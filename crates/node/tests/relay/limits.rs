//! The limits of a circuit.

use node::{
    Closing, ConnectionId,
    conn_state::{LimitsConfig, Recommended},
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
