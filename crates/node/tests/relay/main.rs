//! Relaying: a relay, a node that is reached through it, and a node that dials it.
#![cfg(all(feature = "relay", feature = "quic"))]

mod announced;
#[cfg(feature = "bootstrap")]
mod auto;
mod circuits;
#[path = "../common/mod.rs"]
mod common;
mod floods;
mod hostile;
mod limits;
mod shutdown;
mod slots;

use std::{net::Ipv4Addr, sync::Arc, time::Duration};

use common::{QUIC, TCP, fragile_path, listen, node, wait, with, within};
use node::{
    AttemptCause, Config, Connection, DialError, Event, Events, IncomingStreams, Keypair,
    Multiaddr, Node, OpenError, RelayConfig, RelayServerConfig, ReservationEvent, Slot,
    conn_state::{Reason, Route, State},
    multiaddr::Protocol,
    relay_slots::{Caps, ClientConfig, ClientEvent, TableConfig},
    transport_tcp::{Bound, DirectConfig, Uplink},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::Instant,
};

const ECHO: &str = "/echo/1";
const LIMITED: State = State::Transient(Reason::Limited);

fn relay(caps: Caps, table: TableConfig) -> Node {
    let server = RelayServerConfig::new(caps, table);
    with(Config::default().with_relay(RelayConfig::default().with_server(server)))
}

fn behind(relays: &[&Multiaddr]) -> Node {
    let client = ClientConfig::default()
        .with_backoff(Duration::from_millis(50), Duration::from_secs(1))
        .with_min_ttl(Duration::from_secs(1));
    let relays = RelayConfig::default()
        .with_reserve_at(relays.iter().map(|relay| (*relay).clone()))
        .with_client(client);
    with(Config::default().with_relay(relays))
}

/// A node that dials from this address.
fn from(address: [u8; 4], relaying: RelayConfig) -> Node {
    from_with(Keypair::generate_ed25519(), address, relaying)
}

fn from_with(key: Keypair, address: [u8; 4], relaying: RelayConfig) -> Node {
    let uplink = Uplink::Address(Ipv4Addr::from(address).into());
    let builder = Node::builder(key)
        .config(Config::default().with_relay(relaying))
        .dialer(Arc::new(Bound::new([uplink], DirectConfig::default())));
    builder.build().expect("the node is built")
}

fn is_circuit(address: &Multiaddr) -> bool {
    address.iter().any(|part| part == Protocol::P2pCircuit)
}

/// The node's first circuit address, once it has one.
async fn reached_at(node: &Node) -> Multiaddr {
    let mut events = node.events();
    loop {
        let mut addresses = node.listen_addresses().into_iter();
        if let Some(address) = addresses.find(is_circuit) {
            return address;
        }
        let _ = within(events.next()).await;
    }
}

/// Waits for an event about the node's slots at relays.
async fn reservation<T>(
    events: &mut Events,
    mut wanted: impl FnMut(ClientEvent) -> Option<T>,
) -> T {
    wait(events, |event| match event {
        Event::Part(event) => {
            let ReservationEvent(event) = event.downcast_ref()?;
            wanted(event.clone())
        }
        _ => None,
    })
    .await
}

/// The node's connection over a circuit, once it has one. The two ends do not register it at the same moment.
async fn over_circuit(node: &Node) -> Connection {
    within(async {
        loop {
            let connections = node.connections();
            if let Some(circuit) = connections.iter().find(|c| is_circuit(c.address())) {
                return circuit.clone();
            }
            tokio::task::yield_now().await;
        }
    })
    .await
}

fn granted_by(relay: &Node) -> Vec<Slot> {
    relay.slots().expect("the node is a relay")
}

/// Sends everything back.
fn echo(mut streams: IncomingStreams) {
    tokio::spawn(async move {
        while let Some(incoming) = streams.next().await {
            tokio::spawn(async move {
                let (mut reader, mut writer) = tokio::io::split(incoming.stream);
                if tokio::io::copy(&mut reader, &mut writer).await.is_ok() {
                    let _ = writer.shutdown().await;
                }
            });
        }
    });
}

/// A relay, a node that holds a slot there and echoes, a node that dialed it through the relay, and their connection.
async fn circuit(table: TableConfig) -> (Node, Node, Node, Connection) {
    let relay = relay(Caps::default(), table);
    let hidden = behind(&[&listen(&relay, TCP).await]);
    echo(hidden.handle_limited(ECHO, 4).expect("the name is free"));
    let at = reached_at(&hidden).await;
    let seeker = node();
    let connection = within(seeker.dial([at])).await;
    let connection = connection.expect("the hidden node is reached");
    (relay, hidden, seeker, connection)
}

#[tokio::test]
async fn over_each_transport_a_peer_behind_a_relay_is_reached_and_limited() {
    for transport in [TCP, QUIC] {
        let relay = relay(Caps::default(), TableConfig::default());
        let hidden = behind(&[&listen(&relay, transport).await]);
        let _echoes = hidden.handle(ECHO, 1).unwrap();
        let at = reached_at(&hidden).await;

        let seeker = node();
        let connection = within(seeker.dial([at])).await.unwrap();
        assert_eq!(connection.peer(), hidden.peer_id());
        assert_eq!(connection.via(), "relay/tls/yamux");
        assert!(connection.is_limited());
        let Route::Relayed(Some(left)) = connection.route() else {
            panic!("{:?}", connection.route());
        };
        // The handshake has used a few KiB of the 128 KiB.
        assert!((100 << 10..128 << 10).contains(&left.bytes.unwrap()));
        assert!(left.until.is_some());
        assert!(within(connection.ping()).await.is_ok());
        let info = within(connection.identify()).await.unwrap();
        assert_eq!(info.peer, hidden.peer_id());
        // A peer behind a relay can be anywhere, and all of these addresses are loopback addresses.
        assert_eq!(info.listen, []);
        assert_eq!(seeker.tracker().state(&hidden.peer_id()), LIMITED);
        assert_eq!(hidden.tracker().state(&seeker.peer_id()), LIMITED);

        // A protocol that is not for limited connections fails at once, at this end and at the other.
        let refused = connection.open(&[ECHO]).await;
        assert!(matches!(refused, Err(OpenError::Limited { .. })));
        let refused = connection.open_optimistic(ECHO).await;
        assert!(matches!(refused, Err(OpenError::Limited { .. })));
        let unknown = within(connection.open_limited(&[ECHO])).await;
        assert!(matches!(unknown, Err(OpenError::Unsupported { .. })));
    }
}

#[tokio::test]
async fn a_protocol_for_limited_connections_carries_the_whole_limit_in_both_directions() {
    let (_relay, _hidden, _seeker, connection) = circuit(TableConfig::default()).await;
    let (_, mut stream) = within(connection.open_limited(&[ECHO])).await.unwrap();
    let sent: Vec<u8> = (0..100_000_u32).map(|n| (n % 251) as u8).collect();
    let (mut reader, mut writer) = tokio::io::split(&mut stream);
    let mut heard = Vec::new();
    let (written, read) = within(futures::future::join(
        async {
            writer.write_all(&sent).await?;
            writer.shutdown().await
        },
        reader.read_to_end(&mut heard),
    ))
    .await;
    written.unwrap();
    read.unwrap();
    assert!(heard == sent, "{} bytes came back", heard.len());
    let Route::Relayed(Some(left)) = connection.route() else {
        panic!("{:?}", connection.route());
    };
    assert!(left.bytes.unwrap() < (28 << 10) + 3_000, "{left:?}");
}

#[tokio::test]
async fn a_stream_that_is_not_for_a_limited_connection_waits_for_a_direct_connection() {
    let (_relay, hidden, seeker, _connection) = circuit(TableConfig::default()).await;
    let _streams = hidden.handle("/full/1", 1).unwrap();
    let deadline = Instant::now() + Duration::from_millis(50);
    let late = seeker.open_by(hidden.peer_id(), &["/full/1"], deadline);
    let late = within(late).await;
    assert!(matches!(late, Err(OpenError::NotInTime { state, .. }) if state == LIMITED));

    let direct = listen(&hidden, QUIC).await;
    let deadline = Instant::now() + Duration::from_secs(30);
    let waiting = seeker.open_by(hidden.peer_id(), &["/full/1"], deadline);
    let dialed = async {
        tokio::task::yield_now().await;
        seeker.dial([direct]).await
    };
    let (opened, dialed) = within(futures::future::join(waiting, dialed)).await;
    assert_eq!(opened.unwrap().0, "/full/1");
    assert!(!dialed.unwrap().is_limited());
    assert_eq!(seeker.tracker().state(&hidden.peer_id()), State::Connected);
}

#[tokio::test]
async fn circuit_addresses_come_and_go_with_the_slot_and_connected_peers_hear_of_it() {
    let relay = relay(Caps::default(), TableConfig::default());
    let relay_at = listen(&relay, TCP).await;
    let watcher = node();
    let watcher_at = listen(&watcher, TCP).await;
    let mut heard = watcher.events();
    let hidden = behind(&[&relay_at]);
    within(hidden.dial([watcher_at])).await.unwrap();
    let mut identified = async |with_circuit: bool| {
        wait(&mut heard, |event| match event {
            Event::Identified { info, .. } => {
                (info.listen.iter().any(is_circuit) == with_circuit).then_some(())
            }
            _ => None,
        })
        .await;
    };
    identified(true).await;
    let mut events = hidden.events();
    relay.shutdown().await;
    reservation(&mut events, |event| match event {
        ClientEvent::Lost { relay: lost, .. } => (lost == relay.peer_id()).then_some(()),
        _ => None,
    })
    .await;
    assert!(!hidden.listen_addresses().iter().any(is_circuit));
    identified(false).await;
}

/// The reason why a dial through a relay failed.
async fn refused(node: &Node, address: Multiaddr) -> String {
    match within(node.dial([address])).await {
        Err(DialError::AllFailed(attempts)) => match &attempts[..] {
            [attempt] => match &attempt.cause {
                AttemptCause::Relay { reason, .. } => reason.clone(),
                other => panic!("{other}"),
            },
            others => panic!("{others:?}"),
        },
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_dial_through_a_relay_that_fails_says_why() {
    let relay = relay(Caps::default(), TableConfig::default());
    let relay_at = listen(&relay, TCP).await;
    let (seeker, absent) = (node(), node());
    let through = |relay: &Multiaddr, peer: &Node| {
        let circuit = relay.clone().with(Protocol::P2pCircuit);
        circuit.with(Protocol::P2p(peer.peer_id()))
    };
    let reason = refused(&seeker, through(&relay_at, &absent)).await;
    assert!(reason.contains("204"), "no reservation: {reason}");
    let reason = refused(&seeker, relay_at.clone().with(Protocol::P2pCircuit)).await;
    assert!(reason.contains("does not name the peer"), "{reason}");
    // A node that is not a relay.
    let plain_at = listen(&absent, TCP).await;
    let reason = refused(&seeker, through(&plain_at, &node())).await;
    assert!(reason.contains("hop"), "{reason}");
    // A failed dial leaves nothing at the relay.
    assert_eq!(relay.slots().unwrap(), []);
}
