//! What a relay allows a circuit.

use super::*;

/// Both ends' connections are over, and with them the circuit.
async fn is_over(relay: &Node, ends: [(&Node, &mut node::Events); 2]) {
    for (end, events) in ends {
        wait(events, |event| match event {
            Event::Disconnected { connection, .. } => (connection.address().iter())
                .any(|part| part == Protocol::P2pCircuit)
                .then_some(()),
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
    let (_, mut stream) = within(connection.open_limited(&[ECHO])).await.unwrap();
    let writing = async { while stream.write_all(&[7; 10_000]).await.is_ok() {} };
    within(writing).await;
    let ends = [(&seeker, &mut here), (&hidden, &mut there)];
    within(is_over(&relay, ends)).await;
    let slots = granted_by(&relay);
    assert!(slots[0].bytes >= 50_000, "{slots:?}");
    assert_eq!(
        slots[0].peer,
        hidden.peer_id(),
        "the slot is none of the circuit's"
    );
}

#[tokio::test]
async fn time_past_the_limit_resets_both_ends() {
    let table = TableConfig::default().with_circuit_limits(Some(Duration::from_secs(1)), None);
    let (relay, hidden, seeker, connection) = circuit(table).await;
    let (mut here, mut there) = (seeker.events(), hidden.events());
    assert!(matches!(connection.route(), Route::Relayed(Some(left)) if left.bytes.is_none()));
    let ends = [(&seeker, &mut here), (&hidden, &mut there)];
    within(is_over(&relay, ends)).await;
}

#[tokio::test]
async fn a_circuit_without_limits_is_a_full_connection() {
    let table = TableConfig::default().with_circuit_limits(None, None);
    let (_relay, hidden, seeker, connection) = circuit(table).await;
    assert_eq!(connection.route(), Route::Relayed(None));
    assert!(!connection.is_limited());
    assert_eq!(seeker.tracker().state(&hidden.peer_id()), State::Connected);
    let _streams = hidden.handle("/full/1", 1);
    within(connection.open(&["/full/1"])).await.unwrap();
}
