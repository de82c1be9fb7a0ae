//! A circuit as a byte stream, and as a stream of the connection to the relay.

use std::io::IoSlice;

use node::{
    relay_slots::{
        driver,
        wire::{HOP_PROTOCOL, STOP_PROTOCOL},
    },
    transport_tcp::Upgrader,
};
use tokio::io::{AsyncRead, AsyncWrite};

use super::*;

#[tokio::test]
async fn a_circuit_takes_many_small_buffers_in_one_write() {
    let relay = relay(Caps::default(), TableConfig::default());
    let relay_at = listen(&relay, TCP).await;
    let hidden = behind(&[&relay_at]);
    reached_at(&hidden).await;
    let seeker = node();
    let connection = within(seeker.dial([relay_at])).await.unwrap();
    let (_, hop) = within(connection.open(&[HOP_PROTOCOL])).await.unwrap();
    let circuit = driver::connect(hop, hidden.peer_id(), Duration::from_secs(10));
    let mut circuit = within(circuit).await.unwrap();
    // The muxer makes a frame of each write, and a cipher writes many small buffers.
    assert!(circuit.stream.is_write_vectored());
    let buffers = [IoSlice::new(&[7; 10]); 1_000];
    let written = within(circuit.stream.write_vectored(&buffers)).await;
    assert_eq!(written.unwrap(), 10_000);
    assert_eq!(circuit.stream.allowance().bytes_written(), 10_000);
}

#[tokio::test]
async fn a_circuit_is_no_inbound_stream_of_the_connection_to_the_relay() {
    let (relay, hidden, _seeker, connection) = circuit(TableConfig::default()).await;
    over_circuit(&hidden).await;
    let to_relay = hidden.connection(relay.peer_id()).unwrap();
    // A stream of identify or ping may be open for a moment.
    within(async {
        while to_relay.inbound_streams() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(within(connection.ping()).await.is_ok());
}

#[tokio::test]
async fn one_attempt_at_a_time_is_enough_to_dial_through_a_relay_and_a_second_dial_needs_none() {
    let relay = relay(Caps::default(), TableConfig::default());
    let hidden = behind(&[&listen(&relay, TCP).await]);
    let at = reached_at(&hidden).await;
    let mut config = Config::default();
    config.dials = 1;
    let seeker = with(config);
    let connection = within(seeker.dial([at.clone()])).await.unwrap();
    let again = within(seeker.dial([at])).await.unwrap();
    assert_eq!(again.id(), connection.id());
}

#[tokio::test]
async fn a_node_without_relays_takes_no_circuits() {
    let (here, there) = (node(), node());
    let connection = here.dial([listen(&there, TCP).await]).await.unwrap();
    let refused = within(connection.open(&[STOP_PROTOCOL])).await;
    assert!(matches!(refused, Err(OpenError::Unsupported { .. })));
}

#[tokio::test]
async fn nothing_is_relayed_over_a_connection_that_a_relay_limits() {
    let relay = relay(Caps::default(), TableConfig::default());
    let relaying = RelayConfig::default()
        .with_reserve_at([listen(&relay, TCP).await])
        .with_server(RelayServerConfig::default());
    let both = with(Config::default().with_relay(relaying));
    let seeker = node();
    let dialed = within(seeker.dial([reached_at(&both).await])).await;
    let limited = dialed.unwrap();
    assert!(limited.is_limited());
    for protocol in [HOP_PROTOCOL, STOP_PROTOCOL] {
        let refused = within(limited.open_limited(&[protocol])).await;
        assert!(matches!(refused, Err(OpenError::Unsupported { .. })));
    }
}

fn upgrader() -> Upgrader {
    Upgrader::new(&Keypair::generate_ed25519(), Default::default()).expect("the key fits")
}

/// Reads a message of the relay protocol.
async fn message(stream: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let length = stream.read_u8().await.expect("a length");
    assert!(length < 0x80, "longer than a test needs");
    let mut message = vec![0; length.into()];
    stream.read_exact(&mut message).await.expect("a message");
    message
}

#[tokio::test]
async fn a_relay_that_connects_to_another_peer_than_was_asked_for_gives_no_connection() {
    let liar = node();
    let mut asked = liar.handle(HOP_PROTOCOL, 1).unwrap();
    let at = listen(&liar, TCP).await;
    let lying = tokio::spawn(async move {
        let mut hop = asked.next().await.unwrap().stream;
        message(&mut hop).await;
        // A HopMessage: type STATUS, status OK.
        hop.write_all(&[4, 0x08, 2, 0x28, 100]).await.unwrap();
        hop.flush().await.unwrap();
        upgrader().inbound(hop, &mut |_| {}).await.is_ok()
    });
    let seeker = node();
    let circuit = at.with(Protocol::P2pCircuit);
    let peer = Keypair::generate_ed25519().public().to_peer_id();
    let refused = within(seeker.dial([circuit.with(Protocol::P2p(peer))])).await;
    let Err(DialError::AllFailed(attempts)) = &refused else {
        panic!("{refused:?}");
    };
    assert!(
        matches!(attempts[0].cause, AttemptCause::Upgrade(_)),
        "{refused:?}"
    );
    assert!(!within(lying).await.unwrap());
    assert!(
        seeker
            .connections()
            .iter()
            .all(|c| !is_circuit(c.address()))
    );
}

#[tokio::test]
async fn a_relay_that_announces_another_peer_than_there_is_gives_no_connection() {
    let liar = relay(Caps::default(), TableConfig::default());
    let hidden = behind(&[&listen(&liar, TCP).await]);
    let mut events = hidden.events();
    reached_at(&hidden).await;
    let opened = liar.open(hidden.peer_id(), &[STOP_PROTOCOL]).await;
    let (_, mut stop) = opened.unwrap();
    let announced = Keypair::generate_ed25519().public().to_peer_id().to_bytes();
    let length = announced.len() as u8;
    // A StopMessage: type CONNECT, and the peer with its id.
    let head = [length + 6, 0x08, 0, 0x12, length + 2, 0x0a, length];
    stop.write_all(&[&head[..], &announced].concat())
        .await
        .unwrap();
    stop.flush().await.unwrap();
    message(&mut stop).await;
    // The hidden node's end of the handshake is in order: only the announcement is wrong.
    let hidden_id = Some(hidden.peer_id());
    let _ = within(upgrader().outbound(stop, hidden_id, &mut |_| {})).await;
    let cause = wait(&mut events, |event| match event {
        Event::InboundFailed { cause, .. } => Some(cause),
        Event::Connected { address, .. } => {
            assert!(!is_circuit(&address), "{address}");
            None
        }
        _ => None,
    })
    .await;
    assert!(cause.to_string().contains("announced"), "{cause}");
}

#[cfg(feature = "bootstrap")]
#[tokio::test]
async fn a_circuit_that_its_relay_limits_is_no_connection_to_the_network() {
    let relay = relay(Caps::default(), TableConfig::default());
    let hidden = behind(&[&listen(&relay, TCP).await]);
    let at = reached_at(&hidden).await;
    // A candidate whose own address does not answer.
    let nowhere = format!("/ip4/127.0.0.1/tcp/1/p2p/{}", hidden.peer_id());
    let list = [nowhere.parse().unwrap()];
    let bootstrap = node::BootstrapConfig::default().with_list(list);
    let seeker = with(Config::default().with_bootstrap(bootstrap));
    within(seeker.dial([at])).await.unwrap();
    let known = seeker.candidates();
    let candidate = known.iter().find(|one| one.peer == Some(hidden.peer_id()));
    assert!(!candidate.unwrap().connected, "{known:?}");
    seeker.shutdown().await;
}
