//! A DHT of thirty peers that are named by strings and exchange messages in memory: `cargo run -p bootstrap --features kad
//! --example lookup`.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use bootstrap::kad::{
    Kad, KadConfig, KadEvent, Mode, Namespaces, Outcome, Place, Preset, Reply, Request, RequestId,
    Validator,
};

type Node = Kad<String, String>;

/// The requests in transit: who asks whom what.
type Transit = VecDeque<(String, RequestId, String, Request<String, String>)>;

fn main() {
    let now = Instant::now();
    let config = KadConfig::default()
        .with_mode(Mode::Server)
        .with_preset(Preset::Private);
    let names = Namespaces::new().with("city", Validator::new(|_, value| !value.is_empty()));
    let mut nodes: BTreeMap<String, Node> = BTreeMap::new();
    for number in 0..30 {
        let name = format!("peer-{number}");
        let mut node = Kad::new(
            now,
            name.clone(),
            number,
            config.clone(),
            names.clone(),
            |_| Place::Named,
        );
        node.handle_addresses(now, vec![format!("memory:{name}")]);
        nodes.insert(name, node);
    }

    // Each peer meets peer-0, asks it for its neighbours, and finds all others.
    let later = now + Duration::from_secs(1);
    for number in 1..30 {
        let node = nodes
            .get_mut(&format!("peer-{number}"))
            .expect("the peer was added");
        let first = "peer-0".to_owned();
        node.handle_connected(later, &first, None, false);
        node.handle_identified(later, &first, vec!["memory:peer-0".to_owned()], true);
        run(&mut nodes, later);
    }

    ask(&mut nodes, later, "peer-7", |node| {
        node.put(later, b"/city/oslo".to_vec(), b"59.9 N 10.8 E".to_vec())
    });
    let found = ask(&mut nodes, later, "peer-23", |node| {
        node.get(later, b"/city/oslo".to_vec())
    });
    let Outcome::Value { record, .. } = found else {
        panic!("another outcome: {found:?}")
    };
    println!("peer-23 reads {}", String::from_utf8_lossy(&record.value));
    assert_eq!(record.value, b"59.9 N 10.8 E");

    let found = ask(&mut nodes, later, "peer-23", |node| {
        node.find(later, "peer-11".to_owned())
    });
    let Outcome::Found { peer, reached } = found else {
        panic!("another outcome: {found:?}")
    };
    println!(
        "peer-23 finds {} at {:?}, reached: {reached}",
        peer.id, peer.addresses
    );
}

/// Starts a query and returns its outcome.
fn ask(
    nodes: &mut BTreeMap<String, Node>,
    now: Instant,
    asker: &str,
    start: impl FnOnce(&mut Node) -> Result<bootstrap::kad::QueryId, bootstrap::kad::QueryError>,
) -> Outcome<String, String> {
    let node = nodes.get_mut(asker).expect("the peer was added");
    let query = start(node).expect("the query starts");
    let ended = run(nodes, now);
    let (_, outcome) = ended
        .into_iter()
        .find(|(ended, _)| *ended == query)
        .expect("the query ends");
    outcome
}

/// Delivers messages until there are no more. Returns the outcomes of the queries that have ended.
fn run(
    nodes: &mut BTreeMap<String, Node>,
    now: Instant,
) -> Vec<(bootstrap::kad::QueryId, Outcome<String, String>)> {
    let (mut transit, mut ended) = (Transit::new(), Vec::new());
    loop {
        for (name, node) in nodes.iter_mut() {
            while let Some(event) = node.poll_event() {
                match event {
                    KadEvent::Send {
                        request,
                        peer,
                        message,
                        ..
                    } => {
                        // A host with a queue calls this later, when the request leaves the queue.
                        node.handle_started(now, request);
                        transit.push_back((name.clone(), request, peer, message));
                    }
                    KadEvent::Done {
                        query,
                        result: Ok(outcome),
                    } => ended.push((query, outcome)),
                    _ => {}
                }
            }
        }
        let Some((from, request, to, message)) = transit.pop_front() else {
            return ended;
        };
        let server = nodes.get_mut(&to).expect("only known peers are asked");
        let reply = server.handle_request(now, &from, None, message);
        // The connection tells the server who asks.
        server.handle_identified(now, &from, vec![format!("memory:{from}")], true);
        let Reply::Answer(response) = reply else {
            continue;
        };
        let asker = nodes.get_mut(&from).expect("the asker was added");
        asker.handle_response(now, request, None, response);
    }
}
