//! Shutdown with relay streams that hang, and what becomes of circuits and slots.

use node::{
    conn_state::Closing,
    relay_slots::{LostCause, driver, wire::HOP_PROTOCOL},
};

use super::*;

/// Longer than all goodbyes of a node together, shorter than any timeout of a relay stream.
const SOON: Duration = Duration::from_secs(6);

/// How long `node` takes to shut down.
async fn shutdown_of(node: &Node) -> Duration {
    let begun = Instant::now();
    within(node.shutdown()).await;
    begun.elapsed()
}

#[tokio::test]
async fn a_relay_with_streams_that_hang_shuts_down_in_time() {
    let relay = relay(Caps::default(), TableConfig::default());
    let relay_at = listen(&relay, TCP).await;
    let hidden = behind(&[&relay_at]);
    reached_at(&hidden).await;
    let seeker = node();
    let connection = within(seeker.dial([relay_at])).await.unwrap();
    // One stream that never sends its request, one that stops in the middle of it, and a circuit that carries nothing.
    let (_, _silent) = within(connection.open(&[HOP_PROTOCOL])).await.unwrap();
    let (_, mut torn) = within(connection.open(&[HOP_PROTOCOL])).await.unwrap();
    torn.write_all(&[100, 8]).await.unwrap();
    torn.flush().await.unwrap();
    let (_, hop) = within(connection.open(&[HOP_PROTOCOL])).await.unwrap();
    let circuit = driver::connect(hop, hidden.peer_id(), Duration::from_secs(10));
    let _idle = within(circuit).await.unwrap();
    assert_eq!(granted_by(&relay)[0].circuits, 1);
    let took = shutdown_of(&relay).await;
    assert!(took < SOON, "{took:?}");
}

#[tokio::test]
async fn a_node_whose_relay_never_answers_shuts_down_in_time() {
    let relay = node();
    let mut asked = relay.handle(HOP_PROTOCOL, 4).unwrap();
    let relay_at = listen(&relay, TCP).await;
    let hidden = behind(&[&relay_at]);
    let _unanswered = within(asked.next()).await.unwrap();
    let took = shutdown_of(&hidden).await;
    assert!(took < SOON, "{took:?}");
}

#[tokio::test]
async fn a_node_that_shuts_down_gives_its_slots_up_and_announces_no_circuit_any_more() {
    let relay = relay(Caps::default(), TableConfig::default());
    let hidden = behind(&[&listen(&relay, TCP).await]);
    reached_at(&hidden).await;
    let mut events = hidden.events();
    within(hidden.shutdown()).await;
    let cause = reservation(&mut events, |event| match event {
        ClientEvent::Lost { relay: lost, cause } => (lost == relay.peer_id()).then_some(cause),
        _ => None,
    });
    assert_eq!(within(cause).await, LostCause::Closing);
    assert!(!hidden.listen_addresses().iter().any(is_circuit));
}

#[tokio::test]
async fn circuits_end_with_their_relay() {
    let (relay, hidden, _seeker, connection) = circuit(TableConfig::default()).await;
    let at_hidden = over_circuit(&hidden).await;
    let took = shutdown_of(&relay).await;
    assert!(took < SOON, "{took:?}");
    for end in [connection, at_hidden] {
        let closing = within(end.closed()).await;
        assert!(
            matches!(closing, Closing::Lost | Closing::Remote { .. }),
            "{closing:?}"
        );
    }
}
