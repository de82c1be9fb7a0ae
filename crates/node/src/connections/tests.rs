//! The map between the end of a handshake and the session.
#![allow(clippy::unwrap_used, reason = "a panic is a test's verdict")]

mod outside;
mod room;
mod successors;

use std::{
    net::IpAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use conn_state::{
    Closing, ConnectionId, Detail, Direction, LimitsConfig, Recommended, SharedTracker, State,
    TrackerConfig,
};
use futures::AsyncWriteExt;
use libp2p_identity::{Keypair, PeerId};
use transport_tcp::Upgrader;

use super::{ConnectionPermit, Connections};
use crate::{
    connection::{Connection, Muxed, Parameters, Path, Timeouts},
    error::AttemptCause,
    part::{Change, Source},
    protocols::identify,
};

/// A circuit of a relay that brings no other.
fn relayed() -> Source {
    Source::Relayed(PeerId::random())
}

fn connections(limits: LimitsConfig) -> Arc<Connections> {
    let local = PeerId::random();
    let config = TrackerConfig::default();
    let tracker = SharedTracker::new(Instant::now(), local, Recommended::default(), config);
    Connections::new(tracker, limits)
}

/// Two ends of a multiplexed connection in memory.
async fn pair() -> (transport_tcp::Connection, transport_tcp::Connection) {
    pair_with(&Keypair::generate_ed25519()).await
}

/// Like [`pair`], with the key of the far end. The near end sees it as its peer.
async fn pair_with(far: &Keypair) -> (transport_tcp::Connection, transport_tcp::Connection) {
    let upgrader = |key: &Keypair| Upgrader::new(key, Default::default()).unwrap();
    let (near_end, far_end) = (upgrader(&Keypair::generate_ed25519()), upgrader(far));
    let (near, far) = tokio::io::duplex(1 << 16);
    let (mut ignore, mut ignore_too) = (|_| {}, |_| {});
    let (near, far) = tokio::join!(
        near_end.outbound(near, None, &mut ignore),
        far_end.inbound(far, &mut ignore_too),
    );
    (near.unwrap(), far.unwrap())
}

fn connection(
    connections: &Connections,
    permit: &ConnectionPermit,
    muxed: &transport_tcp::Connection,
) -> Connection {
    let tracker = connections.tracker().clone();
    let timeout = Duration::from_secs(1);
    Connection::new(Parameters {
        id: permit.id(),
        muxed: Muxed::Tcp(muxed.clone()),
        address: "/memory/1".parse().unwrap(),
        path: Path::Direct,
        direction: Direction::Inbound,
        timeouts: Arc::new(Timeouts {
            negotiation: timeout,
            ping: timeout,
            signatures: Default::default(),
        }),
        streams: tracker.stream_count(permit.id()).unwrap(),
        tracker,
    })
}

/// A registered connection to the holder of `key`, with its far end.
async fn registered(
    connections: &Arc<Connections>,
    key: &Keypair,
) -> Result<(ConnectionPermit, Connection, transport_tcp::Connection), AttemptCause> {
    let (near, far) = pair_with(key).await;
    let mut permit = connections.begin_inbound(relayed())?;
    let connection = connection(connections, &permit, &near);
    connections.register(&mut permit, &connection)?;
    Ok((permit, connection, far))
}

fn seen(connections: &Connections) -> Arc<Mutex<Vec<(ConnectionId, &'static str)>>> {
    let seen: Arc<Mutex<Vec<_>>> = Arc::default();
    let log = Arc::clone(&seen);
    connections.observe(Box::new(move |change, _| {
        let entry = match change {
            Change::Connected { connection } => (connection.id(), "connected"),
            Change::Disconnected { connection, .. } => (connection.id(), "disconnected"),
            Change::Identified { connection, .. } => (connection.id(), "identified"),
            Change::Pong { connection, .. } => (connection.id(), "pong"),
            _ => return,
        };
        log.lock().unwrap().push(entry);
    }));
    seen
}

#[tokio::test]
async fn a_close_between_the_handshake_and_the_registration_is_not_lost() {
    let connections = connections(LimitsConfig::for_memory(0));
    let seen = seen(&connections);
    let (near, far) = pair().await;
    let mut permit = connections.begin_inbound(relayed()).unwrap();
    let handshake = permit.run(async { Ok(far.peer()) }).await.unwrap();
    // The handshake is over, but the map does not contain the connection as live yet.
    connections.close(permit.id(), Closing::TooLongTransient);
    let connection = connection(&connections, &permit, &near);
    let refused = connections.register(&mut permit, &connection).unwrap_err();
    assert!(
        matches!(refused, AttemptCause::Closed(Closing::TooLongTransient)),
        "{refused}"
    );
    drop(permit);
    assert!(connections.all().is_empty() && seen.lock().unwrap().is_empty());
    assert_eq!(connections.tracker().state(&handshake), State::NotConnected);
    assert_eq!(
        connections.tracker().state(&near.peer()),
        State::NotConnected
    );
}

#[tokio::test]
async fn a_close_right_after_the_registration_reaches_the_connection() {
    let connections = connections(LimitsConfig::for_memory(0));
    let seen = seen(&connections);
    let (near, _far) = pair().await;
    let mut permit = connections.begin_inbound(relayed()).unwrap();
    let connection = connection(&connections, &permit, &near);
    connections.register(&mut permit, &connection).unwrap();
    assert_eq!(
        connections.best(&near.peer()).unwrap().id(),
        connection.id()
    );
    connections.close(connection.id(), Closing::Superseded);
    assert_eq!(connection.closed().await, Closing::Superseded);
    let id = permit.id();
    drop(permit);
    assert_eq!(
        *seen.lock().unwrap(),
        [(id, "connected"), (id, "disconnected")]
    );
    assert!(connections.best(&near.peer()).is_none());
}

#[tokio::test]
async fn a_description_and_a_pong_that_come_after_the_end_of_their_connection_are_not_told() {
    let connections = connections(LimitsConfig::for_memory(0));
    let seen = seen(&connections);
    let (near, _far) = pair().await;
    let mut permit = connections.begin_inbound(relayed()).unwrap();
    let connection = connection(&connections, &permit, &near);
    connections.register(&mut permit, &connection).unwrap();
    let identified = || Change::Identified {
        connection: connection.clone(),
        info: Arc::new(identify::Info {
            peer: near.peer(),
            agent: Detail::default(),
            protocol_version: Detail::default(),
            protocols: Vec::new(),
            listen: Vec::new(),
            signed: false,
            observed: None,
        }),
    };
    let pong = || Change::Pong {
        connection: connection.clone(),
        rtt: Duration::from_millis(1),
    };
    connections.report(identified());
    connections.report(pong());
    drop(permit);
    connections.report(identified());
    connections.report(pong());
    let id = connection.id();
    assert_eq!(
        *seen.lock().unwrap(),
        ["connected", "identified", "pong", "disconnected"].map(|what| (id, what))
    );
}

#[tokio::test]
async fn a_claimed_address_is_charged_when_the_handshake_has_proved_it_and_not_before() {
    let limits = LimitsConfig::for_memory(0)
        .with_exempt_private(false)
        .with_max_per_address(1);
    let connections = connections(limits);
    let address: IpAddr = [192, 0, 2, 1].into();
    let claimed: Vec<_> = (0..10)
        .map(|_| connections.begin_inbound(Source::Claimed(address)).unwrap())
        .collect();
    // Ten connections with claimed addresses take no place from the connection with a proved address.
    let proved = connections
        .begin_inbound(Source::Validated(address))
        .unwrap();
    drop(proved);
    let mut kept = Vec::new();
    for (n, mut permit) in claimed.into_iter().enumerate() {
        let (near, far) = pair().await;
        let connection = connection(&connections, &permit, &near);
        let registered = connections.register(&mut permit, &connection);
        assert_eq!(registered.is_ok(), n == 0, "{n}");
        kept.push((permit, near, far));
    }
}

#[tokio::test]
async fn changes_reported_while_one_is_delivered_come_after_it_and_all_come() {
    let connections = connections(LimitsConfig::for_memory(0));
    let (order, weak) = (
        Arc::new(Mutex::new(Vec::new())),
        Arc::downgrade(&connections),
    );
    let log = Arc::clone(&order);
    connections.observe(Box::new(move |change, _| {
        let name = match change {
            Change::Connected { .. } => "connected",
            Change::Local => "local",
            _ => "other",
        };
        log.lock().unwrap().push(name);
        if name == "connected"
            && let Some(connections) = weak.upgrade()
        {
            connections.report(Change::Local);
            log.lock().unwrap().push("reported");
        }
    }));
    let (near, _far) = pair().await;
    let mut permit = connections.begin_inbound(relayed()).unwrap();
    let connection = connection(&connections, &permit, &near);
    connections.register(&mut permit, &connection).unwrap();
    assert_eq!(*order.lock().unwrap(), ["connected", "reported", "local"]);
}

#[tokio::test(start_paused = true)]
async fn a_close_ends_a_handshake_that_still_runs_and_says_why() {
    for reason in [Closing::TooLongTransient, Closing::Shutdown] {
        let connections = connections(LimitsConfig::for_memory(0));
        let mut permit = connections.begin_inbound(relayed()).unwrap();
        let id = permit.id();
        let (ended, ()) = tokio::join!(
            tokio::time::timeout(
                Duration::from_secs(1),
                permit.run(std::future::pending::<Result<(), _>>())
            ),
            async { connections.close(id, reason) },
        );
        let cause = ended.expect("the handshake ends").unwrap_err();
        match reason {
            Closing::TooLongTransient => {
                assert!(matches!(cause, AttemptCause::TimedOut { .. }), "{cause}");
            }
            reason => assert!(
                matches!(cause, AttemptCause::Closed(given) if given == reason),
                "{cause}"
            ),
        }
    }
}

#[tokio::test]
async fn the_end_of_a_connection_says_how_many_others_its_peer_has() {
    let connections = connections(LimitsConfig::for_memory(0));
    let log: Arc<Mutex<Vec<usize>>> = Arc::default();
    let ended = Arc::clone(&log);
    connections.observe(Box::new(move |change, _| {
        if let Change::Disconnected { remaining, .. } = change {
            ended.lock().unwrap().push(*remaining);
        }
    }));
    let key = Keypair::generate_ed25519();
    let (first, _, _far) = registered(&connections, &key).await.unwrap();
    let (second, _, _far_too) = registered(&connections, &key).await.unwrap();
    let (third, _, _far_as_well) = registered(&connections, &key).await.unwrap();
    [second, first, third].into_iter().for_each(drop);
    assert_eq!(*log.lock().unwrap(), [2, 1, 0]);
}

#[tokio::test]
async fn a_connection_that_has_ended_is_not_the_best_one_while_another_is_open() {
    let connections = connections(LimitsConfig::for_memory(0));
    let key = Keypair::generate_ed25519();
    let (_first, old, _far) = registered(&connections, &key).await.unwrap();
    let (_second, new, _far_too) = registered(&connections, &key).await.unwrap();
    let peer = old.peer();
    let best = connections.best(&peer).unwrap();
    let other = [old, new].into_iter().find(|one| one.id() != best.id());
    best.abort();
    best.closed().await;
    // Its permit is still held: the map has not forgotten it.
    assert_eq!(
        connections.best(&peer).unwrap().id(),
        other.as_ref().unwrap().id()
    );
    let other = other.unwrap();
    other.abort();
    other.closed().await;
    assert!(connections.best(&peer).is_none());
}

#[tokio::test]
async fn a_peer_has_no_more_connections_than_a_contest_needs_and_an_ended_one_makes_room() {
    let limits = LimitsConfig::for_memory(0).with_max_per_peer(1);
    let connections = connections(limits);
    let key = Keypair::generate_ed25519();
    let first = registered(&connections, &key).await.unwrap();
    // One that may replace it, and one that may be drained meanwhile. Nobody does here what the tracker asks for.
    let _second = registered(&connections, &key).await.unwrap();
    let _third = registered(&connections, &key).await.unwrap();
    for _ in 0..2 {
        let refused = registered(&connections, &key).await.err().unwrap();
        assert!(matches!(refused, AttemptCause::Refused(_)), "{refused}");
    }
    drop(first);
    let _fourth = registered(&connections, &key).await.unwrap();
}

#[tokio::test]
async fn streams_of_a_drained_connection_go_to_its_successor_until_it_is_resumed() {
    let connections = connections(LimitsConfig::for_memory(0));
    let key = Keypair::generate_ed25519();
    let (_first, one, _far) = registered(&connections, &key).await.unwrap();
    let (_second, two, _far_too) = registered(&connections, &key).await.unwrap();
    let (kept, drained) = match connections.best(&one.peer()).unwrap().id() == one.id() {
        true => (one, two),
        false => (two, one),
    };
    let open = || (kept.streams(), drained.streams());
    connections.drain(drained.id());
    assert!(drained.is_draining() && !kept.is_draining());
    let moved = drained.open_optimistic("/a/1").await.unwrap();
    assert_eq!(open(), (1, 0));
    // A question about the connection itself stays on it.
    let asked = drained.open_here("/a/1").await.unwrap();
    assert_eq!(open(), (1, 1));
    drop((moved, asked));
    assert_eq!(open(), (0, 0));

    connections.resume(drained.id());
    assert!(!drained.is_draining());
    let back = drained.open_optimistic("/a/1").await.unwrap();
    assert_eq!(open(), (0, 1));
    drop(back);

    // A successor that has ended takes no streams.
    connections.drain(drained.id());
    kept.abort();
    kept.closed().await;
    let fallen_back = drained.open_optimistic("/a/1").await.unwrap();
    assert_eq!(drained.streams(), 1);
    drop(fallen_back);
}

#[tokio::test(start_paused = true)]
async fn a_probe_is_answered_by_any_byte_that_arrives() {
    let connections = connections(LimitsConfig::for_memory(0));
    let key = Keypair::generate_ed25519();
    let (_permit, connection, far) = registered(&connections, &key).await.unwrap();
    // The far end never takes the ping's stream, so that nothing else answers.
    let data = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let mut stream = far.open().await.unwrap();
        stream.write_all(b"data").await.unwrap();
        stream.flush().await.unwrap();
        stream
    };
    let (answers, _open) = tokio::join!(connection.answers(Duration::from_secs(10)), data);
    assert!(answers);
}
