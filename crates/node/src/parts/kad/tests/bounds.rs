//! Peers that do not answer, ask too much or send nonsense, and the ends of queries.

use bootstrap::kad::{
    Request, Response,
    wire::{KAD_PROTOCOL, MAX_MESSAGE},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::{connection::Stream, parts::kad::messages::Messages};

/// A server, and the connection of a peer to it.
async fn served() -> (Node, Node, Connection) {
    let server = node(dht(Mode::Server), &[], 8);
    let at = listen(&server).await;
    let peer = Node::builder(Keypair::generate_ed25519()).build().unwrap();
    let connection = peer.dial([at]).await.unwrap();
    (server, peer, connection)
}

async fn open(connection: &Connection) -> Stream {
    connection.open(&[KAD_PROTOCOL]).await.unwrap().1
}

/// The answer to a PING.
async fn ping(stream: &mut Stream) -> std::io::Result<Response<PeerId, Multiaddr>> {
    stream.write_all(&Request::Ping.encode().unwrap()).await?;
    stream.flush().await?;
    let body = Messages::new(MAX_MESSAGE).next(stream).await?;
    let body = body.ok_or(std::io::ErrorKind::UnexpectedEof)?;
    Ok(Response::decode(&body).unwrap())
}

#[tokio::test]
async fn a_stream_carries_several_requests_and_of_seventeen_streams_one_is_reset() {
    let (server, peer, connection) = served().await;
    let mut streams = Vec::new();
    for _ in 0..=serving::MAX_SERVED {
        streams.push(open(&connection).await);
    }
    let (mut answered, mut reset) = (0, 0);
    for stream in &mut streams {
        match ping(stream).await {
            Ok(Response::Empty) => answered += 1,
            Ok(other) => panic!("{other:?}"),
            Err(_) => reset += 1,
        }
    }
    assert_eq!((answered, reset), (serving::MAX_SERVED, 1));
    // A stream that has ended leaves its place to the next one.
    let mut first = None;
    for mut stream in streams {
        if first.is_none() && ping(&mut stream).await.is_ok() {
            first = Some(stream);
        }
    }
    assert!(ping(&mut first.unwrap()).await.is_ok());
    let next = async { while ping(&mut open(&connection).await).await.is_err() {} };
    tokio::time::timeout(Duration::from_secs(20), next)
        .await
        .unwrap();
    end(vec![peer, server]).await;
}

#[tokio::test]
async fn a_request_that_is_too_long_malformed_or_refused_resets_its_stream_and_no_other() {
    let (server, peer, connection) = served().await;
    let mut good = open(&connection).await;
    // The length 16,385 as a varint, the type 9, and a value without a namespace.
    let record = bootstrap::kad::Record::new(b"/other/name".to_vec(), b"value".to_vec());
    let refused = Request::<PeerId, Multiaddr>::PutValue { record };
    let long = [0x81, 0x80, 0x01];
    for bytes in [&long[..], &[2, 0x08, 9], &refused.encode().unwrap()] {
        let mut bad = open(&connection).await;
        bad.write_all(bytes).await.unwrap();
        bad.flush().await.unwrap();
        let end = tokio::time::timeout(Duration::from_secs(20), bad.read_u8()).await;
        assert!(end.unwrap().is_err(), "{bytes:?}");
        assert!(ping(&mut good).await.is_ok());
    }
    assert!(!connection.is_closed());
    end(vec![peer, server]).await;
}

#[tokio::test]
async fn a_query_ends_although_the_only_server_never_answers_and_leaves_no_request() {
    let silent = Node::builder(Keypair::generate_ed25519()).build().unwrap();
    let mut streams = silent.handle(KAD_PROTOCOL, 64).unwrap();
    let held = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Some(stream) = streams.next().await {
            held.push(stream);
        }
        held.len()
    });
    let at = listen(&silent).await;
    let short = Duration::from_secs(1);
    let figures = KadConfig::default()
        .with_mode(Mode::Client)
        .with_request_timeout(short)
        .with_query_timeout(2 * short);
    let config = dht(Mode::Client)
        .with_figures(figures)
        .with_preset(Preset::Private);
    let client = node(config, &[at], 1);
    let late = client.get_value(KEY.to_vec(), soon()).await;
    let is_unanswered = matches!(late, Err(DhtError::Query(QueryError::NoPeers(_))));
    assert!(is_unanswered, "{late:?}");
    assert_eq!(peers(&client), 0);
    until("no request is left", || {
        client.dht_status().unwrap().requests == 0
    })
    .await;
    client.shutdown().await;
    silent.shutdown().await;
    assert!(held.await.unwrap() > 0);
}

/// A server that answers requests for peers, and no others.
fn half_silent(node: &Node) -> tokio::task::JoinHandle<()> {
    let mut streams = node.handle(KAD_PROTOCOL, 64).unwrap();
    tokio::spawn(async move {
        let mut tasks = tokio::task::JoinSet::new();
        while let Some(incoming) = streams.next().await {
            tasks.spawn(async move {
                let mut stream = incoming.stream;
                let mut messages = Messages::new(MAX_MESSAGE);
                while let Ok(Some(body)) = messages.next(&mut stream).await {
                    let request = Request::decode(&body).unwrap();
                    if let Request::FindNode { .. } = request {
                        let closer = Vec::new();
                        let answer = Response::FindNode { closer };
                        let bytes = answer.encode(&request).unwrap();
                        stream.write_all(&bytes).await.unwrap();
                        stream.flush().await.unwrap();
                    }
                }
            });
        }
    })
}

#[tokio::test]
async fn a_server_that_falls_silent_holds_a_query_up_for_a_moment_only() {
    let silent = Node::builder(Keypair::generate_ed25519()).build().unwrap();
    let held = half_silent(&silent);
    let server = node(dht(Mode::Server), &[], 8);
    let list = [listen(&silent).await, listen(&server).await];
    let client = node(dht(Mode::Client), &list, 8);
    until("both are in the table", || peers(&client) == 2).await;
    let begun = Instant::now();
    let none = client.get_value(KEY.to_vec(), soon()).await;
    let is_over = matches!(
        none,
        Err(DhtError::Query(QueryError::NotFound { asked: 1 }))
    );
    assert!(is_over, "{none:?}");
    // The silent server has 10 s for its answer, but the query waits for a second at most.
    assert!(begun.elapsed() < Duration::from_secs(5));
    end(vec![client, server, silent]).await;
    held.abort();
}

#[tokio::test]
async fn a_value_on_which_the_validator_panics_ends_neither_the_dht_nor_its_queries() {
    let validator = || Validator::new(|_, value| !value.is_empty());
    let fussy = Validator::new(|_, value| {
        assert_ne!(value, b"boom", "this panic is part of a test");
        true
    });
    let with =
        |mode, validator| dht(mode).with_namespaces(Namespaces::new().with("app", validator));
    let server = node(with(Mode::Server, validator()), &[], 8);
    let at = listen(&server).await;
    let writer = node(
        with(Mode::Client, validator()),
        std::slice::from_ref(&at),
        1,
    );
    let client = node(with(Mode::Client, fussy), &[at], 1);
    for (name, value) in [("bad", "boom"), ("good", "1")] {
        let key = format!("/app/{name}").into_bytes();
        writer.put_value(key, value.into(), soon()).await.unwrap();
    }
    let bad = client.get_value(b"/app/bad".to_vec(), soon()).await;
    assert!(
        matches!(bad, Err(DhtError::Query(QueryError::NotFound { asked: 1 }))),
        "{bad:?}"
    );
    let good = client.get_value(b"/app/good".to_vec(), soon()).await;
    assert_eq!(good.unwrap().value, b"1");
    end(vec![writer, client, server]).await;
}

#[tokio::test]
async fn queries_end_when_the_task_of_the_part_ends() {
    let lonely = node(dht(Mode::Client), &[], 8);
    let part = part(&lonely);
    let begun = part.begin(|kad, now| kad.get(now, KEY.to_vec()));
    let (_, waits) = begun.unwrap();
    drop(Finish(&part));
    let ended = tokio::time::timeout(Duration::from_secs(20), waits).await;
    assert!(ended.unwrap().is_err());
    let after = lonely.get_value(KEY.to_vec(), soon()).await;
    assert_eq!(after, Err(DhtError::ShutDown));
    end(vec![lonely]).await;
}

#[tokio::test]
async fn a_node_keeps_two_of_the_connections_that_its_requests_have_opened() {
    let (nodes, at) = network(8).await;
    let client = node(dht(Mode::Client).with_max_connections(2), &[at], 1);
    until("the table is full", || peers(&client) == 8).await;
    // `rejoin` has opened one more connection.
    until("the others are closed", || client.connections().len() <= 3).await;
    assert!(part(&client).links().len() <= 2);
    // A closed connection costs no peer its place in the table, and each peer is still found.
    assert_eq!(peers(&client), 8);
    for node in &nodes {
        client.find_peer(node.peer_id(), soon()).await.unwrap();
    }
    until("the others are closed", || client.connections().len() <= 3).await;
    client.shutdown().await;
    end(nodes).await;
}

#[tokio::test]
async fn a_query_ends_with_its_future_its_deadline_and_its_node() {
    let lonely = node(dht(Mode::Client), &[], 8);
    let queries = |node: &Node| node.dht_status().unwrap().queries;
    let late = lonely.get_value(KEY.to_vec(), Instant::now()).await;
    assert_eq!(late, Err(DhtError::NotInTime));
    assert_eq!(queries(&lonely), 0);
    let asking = lonely.clone();
    let dropped = tokio::spawn(async move { asking.get_value(KEY.to_vec(), soon()).await });
    until("the query runs", || queries(&lonely) == 1).await;
    dropped.abort();
    until("the query has ended", || queries(&lonely) == 0).await;
    assert!(part(&lonely).waiters().open.is_empty());

    let asking = lonely.clone();
    let waiting = tokio::spawn(async move { asking.get_value(KEY.to_vec(), soon()).await });
    until("the query runs", || queries(&lonely) == 1).await;
    lonely.shutdown().await;
    assert_eq!(waiting.await.unwrap(), Err(DhtError::ShutDown));
    let after = lonely.get_value(KEY.to_vec(), soon()).await;
    assert_eq!(after, Err(DhtError::ShutDown));
}

/// A live connection to a server. The DHT may close it at any time.
async fn reach(client: &Node, peer: PeerId) -> Connection {
    loop {
        client.find_peer(peer, soon()).await.unwrap();
        let connection = client.connection(peer);
        if let Some(live) = connection.filter(|one| !one.is_closed()) {
            return live;
        }
    }
}

#[tokio::test]
async fn the_dht_closes_no_connection_that_the_host_uses_or_protects() {
    const ECHO: &str = "/test/echo/1.0.0";
    let (nodes, at) = network(8).await;
    let mut streams = nodes[6].handle(ECHO, 8).unwrap();
    let echo = tokio::spawn(async move {
        while let Some(incoming) = streams.next().await {
            tokio::spawn(async move {
                let (mut reader, mut writer) = tokio::io::split(incoming.stream);
                tokio::io::copy(&mut reader, &mut writer).await
            });
        }
    });
    let client = node(dht(Mode::Client).with_max_connections(2), &[at], 1);
    until("the table is full", || peers(&client) == 8).await;

    let [protected, used] = [nodes[5].peer_id(), nodes[6].peer_id()];
    let _protection = client.protect(protected);
    let held = tokio::time::timeout(Duration::from_secs(20), async {
        let kept = reach(&client, protected).await;
        loop {
            let in_use = reach(&client, used).await;
            if let Ok((_, stream)) = in_use.open(&[ECHO]).await {
                break (kept, in_use, stream);
            }
        }
    });
    let (kept, in_use, mut stream) = held.await.unwrap();
    for _ in 0..3 {
        for node in &nodes {
            client.find_peer(node.peer_id(), soon()).await.unwrap();
        }
    }
    // `rejoin` has opened one more connection.
    until("the others are closed", || client.connections().len() <= 3).await;
    assert!(!kept.is_closed() && !in_use.is_closed());
    stream.write_u8(7).await.unwrap();
    stream.flush().await.unwrap();
    let answer = tokio::time::timeout(Duration::from_secs(20), stream.read_u8());
    assert_eq!(answer.await.unwrap().unwrap(), 7);
    echo.abort();
    client.shutdown().await;
    end(nodes).await;
}

/// A server, and a client whose table has only this server.
async fn pair() -> [Node; 2] {
    let server = node(dht(Mode::Server), &[], 8);
    let at = listen(&server).await;
    let client = node(dht(Mode::Client), &[at], 1);
    until("the server is in the table", || peers(&client) == 1).await;
    [server, client]
}

fn has_asked_one<T>(result: &Result<T, DhtError>) -> bool {
    matches!(
        result,
        Err(DhtError::Query(QueryError::NotFound { asked: 1 }))
    )
}

#[tokio::test]
async fn a_server_whose_connection_was_quiet_is_asked_again_when_it_is_heard() {
    let [server, client] = pair().await;
    let connection = client.connection(server.peer_id()).unwrap();
    let now = std::time::Instant::now();
    let quiet = connection.clone();
    part(&client).handle(now, &Change::Quiet { connection: quiet });
    let until = Instant::now() + Duration::from_millis(300);
    let late = client.get_value(KEY.to_vec(), until).await;
    assert_eq!(late, Err(DhtError::NotInTime));
    part(&client).handle(now, &Change::Heard { connection });
    let none = client.get_value(KEY.to_vec(), soon()).await;
    assert!(has_asked_one(&none), "{none:?}");
    end(vec![client, server]).await;
}

#[tokio::test]
async fn sixty_queries_at_once_exceed_no_limit_of_the_only_server() {
    let [server, client] = pair().await;
    let get = |number| client.get_value(format!("/app/{number}").into_bytes(), soon());
    for none in futures::future::join_all((0..60).map(get)).await {
        assert!(has_asked_one(&none), "{none:?}");
    }
    assert_eq!(peers(&client), 1);
    end(vec![client, server]).await;
}
