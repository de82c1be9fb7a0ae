//! A relay that steers its client, or keeps circuits past their limit.
#![allow(
    clippy::unwrap_used,
    reason = "a panic in a helper is the test's verdict"
)]

use std::{net::SocketAddr, time::SystemTime};

use node::{
    IncomingStream,
    relay_slots::{
        AskError, Status,
        wire::{HOP_PROTOCOL, HopMessage, Limit, Reservation, STOP_PROTOCOL, StopMessage},
    },
    transport_tcp::{Connection as TcpConnection, Upgrader},
};
use tokio::net::TcpListener;

use super::*;

/// A relay in name only: it grants a slot to each peer that asks, for so many seconds and with these addresses.
fn liar(ttl: u64, addresses: impl Fn() -> Vec<Multiaddr> + Send + 'static) -> Node {
    let liar = node();
    let mut asked = liar.handle(HOP_PROTOCOL, 4).unwrap();
    tokio::spawn(async move {
        while let Some(asked) = asked.next().await {
            let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            let expire = unix.unwrap().as_secs() + ttl;
            let answer = HopMessage::Status {
                status: Status::Ok,
                reservation: Some(Reservation::new(expire, addresses(), None)),
                limit: None,
            };
            answer_with(asked, &answer).await;
        }
    });
    liar
}

/// Reads the request on a hop stream, and answers it.
async fn answer_with(asked: IncomingStream, answer: &HopMessage) -> node::Stream {
    let mut hop = asked.stream;
    let length = hop.read_u8().await.unwrap();
    hop.read_exact(&mut vec![0; length.into()]).await.unwrap();
    hop.write_all(&answer.encode().unwrap()).await.unwrap();
    hop.flush().await.unwrap();
    hop
}

/// A TCP port of a third party, and the number of connections that it got.
async fn victim(at: &str) -> (SocketAddr, tokio::sync::watch::Receiver<usize>) {
    let listener = TcpListener::bind(at).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (count, counted) = tokio::sync::watch::channel(0);
    tokio::spawn(async move {
        while listener.accept().await.is_ok() {
            count.send_modify(|count| *count += 1);
        }
    });
    (address, counted)
}

fn tcp(at: SocketAddr) -> Multiaddr {
    let host = Multiaddr::from(at.ip());
    host.with(Protocol::Tcp(at.port()))
}

#[tokio::test]
async fn a_node_announces_a_relay_only_where_it_found_it() {
    let (told, addresses) = std::sync::mpsc::channel::<Vec<Multiaddr>>();
    let addresses = std::sync::Mutex::new(addresses);
    let liar = liar(3600, move || addresses.lock().unwrap().recv().unwrap());
    let here = listen(&liar, TCP).await;
    let there = listen(&liar, "/ip4/127.0.0.2/tcp/0").await;
    let over_quic = listen(&liar, "/ip4/127.0.0.3/udp/0/quic-v1").await;
    let (third_party, mut dialed) = victim("127.0.0.9:0").await;
    let bystander = node();
    let elsewhere = listen(&bystander, "/ip4/127.0.0.10/tcp/0").await;
    let plain = |address: &Multiaddr| -> Multiaddr {
        let is_peer = |part: &Protocol<'_>| matches!(part, Protocol::P2p(_));
        address.iter().filter(|part| !is_peer(part)).collect()
    };
    let all = [&tcp(third_party), &elsewhere, &there, &over_quic, &here].map(plain);
    told.send(all.to_vec()).unwrap();
    let hidden = behind(&[&here]);
    let mut events = hidden.events();
    let circuit = |at: &Multiaddr| {
        let named = plain(at).with(Protocol::P2p(liar.peer_id()));
        let circuit = named.with(Protocol::P2pCircuit);
        circuit.with(Protocol::P2p(hidden.peer_id()))
    };
    let wanted = [&here, &there, &over_quic].map(circuit);
    let announced = || {
        let mut found = hidden.listen_addresses();
        found.retain(is_circuit);
        found
    };
    while !wanted.iter().all(|at| announced().contains(at)) {
        let _ = within(events.next()).await;
    }
    // The QUIC address is dialed last, after those of the third parties.
    assert_eq!(announced().len(), 3, "{:?}", announced());
    assert_eq!(
        *dialed.borrow_and_update(),
        1,
        "one dial of the third party"
    );
    let strangers = liar.connections();
    let own = strangers.iter().filter(|c| c.peer() == hidden.peer_id());
    assert_eq!(
        own.count(),
        1,
        "a probe is no second connection of the node"
    );
}

#[tokio::test]
async fn a_slot_of_two_seconds_is_refused_and_asked_for_less_and_less_often() {
    let liar = liar(2, Vec::new);
    let relays = RelayConfig::default().with_reserve_at([listen(&liar, TCP).await]);
    let hidden = with(Config::default().with_relay(relays));
    let mut events = hidden.events();
    let failed = |event| match event {
        ClientEvent::Failed {
            error, retry_in, ..
        } => Some((error, retry_in)),
        ClientEvent::Granted { .. } => panic!("accepted"),
        _ => None,
    };
    let mut longest = Duration::ZERO;
    for _ in 0..4 {
        let (error, retry_in) = reservation(&mut events, failed).await;
        assert!(matches!(error, AskError::ShortTtl { .. }), "{error}");
        longest = longest.max(retry_in);
    }
    println!("after four requests the relay is left alone for {longest:?}");
    assert!(longest >= Duration::from_secs(4), "{longest:?}");
    assert!(!hidden.listen_addresses().iter().any(is_circuit));
}

#[tokio::test]
async fn renewals_that_change_nothing_and_shuffled_addresses_cause_no_push() {
    let turn = std::sync::atomic::AtomicUsize::new(0);
    let liar = liar(2, move || {
        let mut told: Vec<Multiaddr> = ["/ip4/127.0.0.1/tcp/1", "/ip4/127.0.0.1/tcp/2"]
            .map(|at| at.parse().unwrap())
            .into();
        let turn = turn.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        told.rotate_left(turn % 2);
        told
    });
    let watcher = node();
    let watcher_at = listen(&watcher, TCP).await;
    let mut heard = watcher.events();
    // The least time is a setting: here it is short, so that there are many renewals.
    let client = ClientConfig::default().with_min_ttl(Duration::ZERO);
    let relays = RelayConfig::default()
        .with_reserve_at([listen(&liar, TCP).await])
        .with_client(client);
    let hidden = with(Config::default().with_relay(relays));
    let mut events = hidden.events();
    within(hidden.dial([watcher_at])).await.unwrap();
    wait(&mut heard, |event| match event {
        Event::Identified { info, .. } => info.listen.iter().any(is_circuit).then_some(()),
        _ => None,
    })
    .await;
    let renewed = |event| matches!(event, ClientEvent::Renewed { .. }).then_some(());
    for _ in 0..3 {
        reservation(&mut events, renewed).await;
    }
    // What was pushed before this stream opens has been heard.
    let connection = watcher.connection(hidden.peer_id()).unwrap();
    within(connection.ping()).await.unwrap();
    let mut pushes = 0;
    while let Some(event) = futures::FutureExt::now_or_never(heard.next()) {
        pushes += usize::from(matches!(event, Ok(Event::Identified { .. })));
    }
    assert_eq!(pushes, 0);
}

/// Who dials a circuit that its relay never ends, whatever limit it tells.
#[derive(Clone, Copy, Debug)]
enum Dialed {
    ByUs,
    ByThePeer,
}

/// A connection over a circuit with this limit, and the events of the node whose connection it is. The relay is also the
/// peer at the other end, which takes streams and drops them.
async fn kept(limit: Limit, dialed: Dialed) -> (Node, Events, Connection, Node) {
    let key = Keypair::generate_ed25519();
    let peer = key.public().to_peer_id();
    let upgrader = Upgrader::new(&key, Default::default()).unwrap();
    let serve = |upgraded: TcpConnection| {
        tokio::spawn(async move {
            while let Some(stream) = upgraded.accept().await {
                drop(stream);
            }
        });
    };
    match dialed {
        Dialed::ByUs => {
            let liar = node();
            let mut asked = liar.handle(HOP_PROTOCOL, 1).unwrap();
            let at = listen(&liar, TCP).await;
            tokio::spawn(async move {
                let answer = HopMessage::Status {
                    status: Status::Ok,
                    reservation: None,
                    limit: Some(limit),
                };
                let hop = answer_with(asked.next().await.unwrap(), &answer).await;
                serve(upgrader.inbound(hop, &mut |_| {}).await.unwrap());
            });
            let seeker = node();
            let events = seeker.events();
            let circuit = at.with(Protocol::P2pCircuit).with(Protocol::P2p(peer));
            let connection = within(seeker.dial([circuit])).await.unwrap();
            (seeker, events, connection, liar)
        }
        Dialed::ByThePeer => {
            let liar = relay(Caps::default(), TableConfig::default());
            let hidden = behind(&[&listen(&liar, TCP).await]);
            let events = hidden.events();
            reached_at(&hidden).await;
            let opened = liar.open(hidden.peer_id(), &[STOP_PROTOCOL]).await;
            let (_, mut stop) = opened.unwrap();
            let limit = Some(limit);
            let announced = StopMessage::Connect { peer, limit }.encode().unwrap();
            stop.write_all(&announced).await.unwrap();
            stop.flush().await.unwrap();
            let length = within(stop.read_u8()).await.unwrap();
            stop.read_exact(&mut vec![0; length.into()]).await.unwrap();
            let hidden_id = Some(hidden.peer_id());
            let upgraded = within(upgrader.outbound(stop, hidden_id, &mut |_| {})).await;
            serve(upgraded.unwrap());
            let connection = over_circuit(&hidden).await;
            (hidden, events, connection, liar)
        }
    }
}

const DIALED: [Dialed; 2] = [Dialed::ByUs, Dialed::ByThePeer];

#[tokio::test]
async fn a_circuit_ends_in_time_although_its_relay_keeps_it_open() {
    for dialed in DIALED {
        let limit = Limit::new(Some(Duration::from_secs(1)), None);
        let (_node, mut events, connection, _liar) = kept(limit, dialed).await;
        assert!(connection.is_limited(), "{dialed:?}");
        let lasted = wait(&mut events, |event| match event {
            Event::Disconnected {
                connection: over, ..
            } => (over == connection.id()).then(|| connection.age()),
            _ => None,
        })
        .await;
        println!("{dialed:?}: closed after {lasted:?}, with a limit of 1 s");
        assert!(lasted < Duration::from_secs(5), "{lasted:?}");
    }
}

#[tokio::test]
async fn a_circuit_carries_no_byte_past_its_limit_although_its_relay_would() {
    for dialed in DIALED {
        let limit = Limit::new(None, Some(8_000));
        let (_node, _events, connection, _liar) = kept(limit, dialed).await;
        let closed = async {
            let mut streams = 0_u32;
            while !connection.is_closed() {
                let _ = connection.open_limited(&["/nobody/answers/1"]).await;
                streams += 1;
                // At no more than 100 bytes per stream and direction, the limit is passed long before.
                assert!(streams < 2_000, "the circuit does not end");
            }
            streams
        };
        let streams = within(closed).await;
        println!("{dialed:?}: closed after {streams} streams, with a limit of 8,000 bytes");
    }
}

#[tokio::test]
async fn at_a_data_limit_our_relay_resets_both_ends_and_neither_sees_an_end_of_the_stream() {
    // The first message of a handshake, from each end.
    const HEADER: &[u8; 20] = b"\x13/multistream/1.0.0\n";
    let table = TableConfig::default().with_circuit_limits(None, Some(20));
    let relay = relay(Caps::default(), table);
    let relay_at = listen(&relay, TCP).await;
    let hidden = behind(&[&relay_at]);
    reached_at(&hidden).await;
    let mut events = hidden.events();
    // A source that does not count its bytes: the relay must end the circuit.
    let seeker = node();
    let to_relay = within(seeker.dial([relay_at])).await.unwrap();
    let (_, mut hop) = within(to_relay.open(&[HOP_PROTOCOL])).await.unwrap();
    let request = HopMessage::Connect(hidden.peer_id()).encode().unwrap();
    hop.write_all(&request).await.unwrap();
    hop.flush().await.unwrap();
    let length = within(hop.read_u8()).await.unwrap();
    hop.read_exact(&mut vec![0; length.into()]).await.unwrap();
    hop.write_all(HEADER).await.unwrap();
    hop.flush().await.unwrap();
    let mut heard = [0; 20];
    within(hop.read_exact(&mut heard)).await.unwrap();
    assert_eq!(&heard, HEADER);
    // The byte past the limit.
    hop.write_all(&[5]).await.unwrap();
    hop.flush().await.unwrap();
    let at_source = within(hop.read(&mut heard)).await;
    let reset = std::io::ErrorKind::ConnectionReset;
    assert!(
        matches!(&at_source, Err(error) if error.kind() == reset),
        "{at_source:?}"
    );
    let at_hidden = wait(&mut events, |event| match event {
        Event::InboundFailed { cause, .. } => Some(node::error_chain(&*cause)),
        _ => None,
    })
    .await;
    assert!(at_hidden.contains("reset"), "{at_hidden}");
    assert_eq!(granted_by(&relay)[0].bytes, 40);
}
