//! `bowline dht`: through the running node, and with a new node.

use serde_json::{Value, json};
use tests::harness::process::run;
use tests::harness::{Event, Finished, Home, Up};

use super::{NOBODY, TCP, assert_done, assert_refused, soon};

/// A DHT on one machine.
const DHT: [(&str, &str); 4] = [
    ("BOWLINE_KADEMLIA__MODE", "server"),
    ("BOWLINE_KADEMLIA__PRESET", "private"),
    ("BOWLINE_KADEMLIA__PROTOCOLS", "/test/kad/1.0.0"),
    ("BOWLINE_KADEMLIA__NAMESPACES", "app"),
];

const CID: &str = "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG";

fn up(home: &Home, args: &[&str]) -> Up {
    let mut command = home.bowline_with_data(&["up", "--json", "--listen", TCP, "--no-mdns"]);
    command.args(args).envs(DHT);
    Up::start(&mut command, soon()).unwrap()
}

/// `bowline dht` of the node in this home.
fn dht(home: &Home, args: &[&str]) -> Finished {
    let mut command = home.bowline(&["dht"]);
    command.args(args).arg("--data-dir").arg(home.data_dir());
    command.envs(DHT);
    run("bowline", &mut command, soon()).unwrap()
}

/// `bowline dht` with a new node.
fn alone(home: &Home, args: &[&str]) -> Finished {
    let mut command = home.bowline(&["dht"]);
    command.args(args).envs(DHT);
    run("bowline", &mut command, soon()).unwrap()
}

fn results(finished: &Finished) -> Vec<Event> {
    assert_done(finished);
    finished.events().unwrap()
}

#[test]
fn a_value_a_provider_and_a_peer_are_found_through_another_node_and_by_a_new_one() {
    let homes = [(); 3].map(|()| Home::new().unwrap());
    let first = up(&homes[0], &[]);
    let at = first.addresses()[0].clone();
    let others = [1, 2].map(|number| up(&homes[number], &["--bootstrap", &at]));

    let put = dht(&homes[1], &["put", "/app/a b&c", "a value", "--json"]);
    let stored = &results(&put)[0];
    assert_eq!(stored.kind(), "stored");
    assert!(stored.number("stored").unwrap() >= 1.0, "{put:?}");
    let get = dht(&homes[2], &["get", "/app/a b&c"]);
    assert_done(&get);
    assert_eq!(get.stdout, ["a value"]);
    let get = alone(
        &homes[2],
        &["get", "/app/a b&c", "--json", "--bootstrap", &at],
    );
    let value = &results(&get)[0];
    assert_eq!(value.text("value_hex"), "612076616c7565");

    assert_done(&dht(&homes[1], &["provide", CID]));
    let expected = others[0].peer_id().to_owned();
    for found in [
        dht(&homes[2], &["providers", CID, "--json"]),
        alone(&homes[2], &["providers", CID, "--json", "--bootstrap", &at]),
    ] {
        let found = results(&found);
        let peers: Vec<&str> = found.iter().map(|one| one.text("peer_id")).collect();
        assert_eq!(peers, [&expected[..]]);
    }

    let config = homes[0].path().join("c.toml");
    let peers = json!([at]);
    std::fs::write(&config, format!("[node]\nbootstrap = {peers}\n")).unwrap();
    let config = config.to_str().unwrap();
    for found in [
        dht(&homes[1], &["find", others[1].peer_id(), "--json"]),
        alone(
            &homes[1],
            &["find", others[1].peer_id(), "--json", "--config", config],
        ),
    ] {
        let found = &results(&found)[0];
        assert_eq!(found.kind(), "found");
        assert_eq!(found.text("peer_id"), others[1].peer_id());
        let listening = &others[1].addresses()[0];
        let addresses = found.texts("addresses");
        assert!(
            addresses
                .iter()
                .any(|address| listening.starts_with(address)),
            "{addresses:?}: {listening}"
        );
    }
}

#[test]
fn what_is_not_found_and_a_node_without_a_dht_are_errors_with_exit_code_1() {
    let (home, other, off) = (
        Home::new().unwrap(),
        Home::new().unwrap(),
        Home::new().unwrap(),
    );
    let first = up(&home, &[]);
    let _second = up(&other, &["--bootstrap", &first.addresses()[0]]);
    let none = ["none of the", "asked peers has it"];
    let find = dht(&home, &["find", NOBODY]);
    assert_refused(&find, 1, &[NOBODY, none[0], none[1]]);
    let get = dht(&home, &["get", "/app/none"]);
    assert_refused(&get, 1, &["/app/none", none[0], none[1]]);
    let providers = dht(&home, &["providers", CID]);
    assert_refused(&providers, 1, &[CID, none[0], none[1]]);
    let put = dht(&home, &["put", "/other/name", "value"]);
    assert_refused(&put, 1, &["/other/name", "in no known namespace"]);

    let mut command = off.bowline_with_data(&["up", "--json", "--listen", TCP]);
    let _off = Up::start(&mut command, soon()).unwrap();
    let find = dht(&off, &["find", NOBODY]);
    assert_refused(&find, 1, &["no DHT", "BOWLINE_KADEMLIA__MODE"]);
    let missing = alone(&home, &["find", NOBODY, "--config", "/dev/null"]);
    assert_refused(&missing, 2, &["--bootstrap"]);
}

/// Other queries of the admin endpoint must begin their answer within 5 s.
#[test]
fn a_query_without_any_peer_waits_until_its_time_limit() {
    let home = Home::new().unwrap();
    let _lonely = up(&home, &[]);
    let get = dht(&home, &["get", "/app/name", "--timeout", "6"]);
    assert_refused(&get, 1, &["/app/name", "deadline"]);
    let at = "/ip4/127.0.0.1/tcp/1";
    let get = alone(
        &home,
        &["get", "/app/name", "--bootstrap", at, "--timeout", "1"],
    );
    assert_refused(&get, 1, &["/app/name", "no peer of the DHT answered"]);
}

/// What the admin endpoint says about the DHT.
fn status(home: &Home) -> Value {
    use std::io::{Read, Write};
    let socket = home.data_dir().join("admin");
    let mut stream = std::os::unix::net::UnixStream::connect(socket).unwrap();
    let request = "GET /dht HTTP/1.1\r\nhost: localhost\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    serde_json::from_str(body).unwrap()
}

#[test]
fn what_the_node_publishes_is_counted_until_it_is_unpublished() {
    let (home, other) = (Home::new().unwrap(), Home::new().unwrap());
    let first = up(&home, &[]);
    let _second = up(&other, &["--bootstrap", &first.addresses()[0]]);
    assert_done(&dht(&other, &["put", "/app/name", "2"]));
    assert_done(&dht(&other, &["provide", CID]));
    assert_eq!(status(&other)["published"], 2);
    let worse = dht(&other, &["put", "/app/name", "1"]);
    assert_refused(&worse, 1, &["/app/name", "a better value"]);
    for (what, left) in [("/app/name", 1), (CID, 0)] {
        let ended = dht(&other, &["unpublish", what]);
        assert_done(&ended);
        assert_eq!(ended.stdout, ["no longer published"]);
        assert_eq!(status(&other)["published"], left);
        let again = dht(&other, &["unpublish", what]);
        assert_refused(&again, 1, &[what, "this node does not publish it"]);
    }
}

#[test]
fn the_admin_endpoint_lists_the_routing_table() {
    let (home, other) = (Home::new().unwrap(), Home::new().unwrap());
    let first = up(&home, &[]);
    let second = up(&other, &["--bootstrap", &first.addresses()[0]]);
    // The query waits until the table has a peer.
    assert_done(&dht(&other, &["find", first.peer_id()]));
    let status = status(&other);
    assert_eq!(status["serves"], true);
    assert_eq!(status["protocols"], json!(["/test/kad/1.0.0"]));
    assert_eq!(status["peers"], 1);
    assert_eq!(status["table"][0]["peer_id"], first.peer_id());
    drop(second);
}
