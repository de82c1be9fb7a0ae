//! The limits of a circuit.

use node::ConnectionId;

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
