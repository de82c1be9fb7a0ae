//! A relay, one who is reached through it, and one who reaches.
#![cfg(all(feature = "relay", feature = "quic"))]

mod common;

use std::time::Duration;

use common::{QUIC, TCP, listen, node, with, within};
use node::{
    Config, Multiaddr, Node, OpenError, RelayConfig, RelayServerConfig,
    conn_state::{Reason, Route, State},
    multiaddr::Protocol,
    relay_slots::{Caps, TableConfig},
};

fn relay(caps: Caps, table: TableConfig) -> Node {
    let server = RelayServerConfig::new(caps, table);
    with(Config::default().with_relay(RelayConfig::default().with_server(server)))
}

fn behind(relays: &[Multiaddr]) -> Node {
    let relays = RelayConfig::default().with_reserve_at(relays.iter().cloned());
    with(Config::default().with_relay(relays))
}

/// Where it is reached through a relay, once it is.
async fn reached_at(node: &Node) -> Multiaddr {
    let mut events = node.events();
    let circuit = |address: &Multiaddr| address.iter().any(|part| part == Protocol::P2pCircuit);
    loop {
        if let Some(address) = node.listen_addresses().into_iter().find(circuit) {
            return address;
        }
        let _ = within(events.next()).await;
    }
}

#[tokio::test]
async fn over_each_transport_a_peer_behind_a_relay_is_reached_and_limited() {
    for transport in [TCP, QUIC] {
        let relay = relay(Caps::default(), TableConfig::default());
        let relay_at = listen(&relay, transport).await;
        let hidden = behind(&[relay_at]);
        let mut echoes = hidden.handle("/echo/1", 1);
        let at = reached_at(&hidden).await;

        let seeker = node();
        let connection = within(seeker.dial([at])).await.unwrap();
        assert_eq!(connection.peer(), hidden.peer_id());
        assert!(connection.is_limited());
        assert!(matches!(connection.route(), Route::Relayed(Some(_))));
        assert!(within(connection.ping()).await.is_ok());
        let info = within(connection.identify()).await.unwrap();
        assert!(
            info.listen
                .iter()
                .any(|a| a.iter().any(|p| p == Protocol::P2pCircuit))
        );
        let limited = State::Transient(Reason::Limited);
        assert_eq!(seeker.tracker().state(&hidden.peer_id()), limited);
        assert_eq!(hidden.tracker().state(&seeker.peer_id()), limited);

        // What is not for limited connections fails at once.
        let refused = connection.open(&["/echo/1"]).await;
        assert!(matches!(refused, Err(OpenError::Limited { .. })));
        let deadline = tokio::time::Instant::now() + Duration::from_millis(50);
        let late = seeker
            .open_by(hidden.peer_id(), &["/echo/1"], deadline)
            .await;
        assert!(matches!(late, Err(OpenError::NotInTime { state, .. }) if state == limited));
        // Nor does the other end serve it.
        let unknown = connection.open_limited(&["/echo/1"]).await;
        assert!(matches!(unknown, Err(OpenError::Unsupported { .. })));
        let _ = &mut echoes;
    }
}
