//! Topics: nodes that take part in them, and the commands that publish and print messages.

use std::io::Write;

use tests::harness::process::{Process, run};
use tests::harness::{Event, Home, Up};

use super::{TCP, assert_done, assert_refused, soon};

/// Two nodes in the topic, of which the second one has joined by the first one.
fn members(homes: &[Home; 2]) -> [Up; 2] {
    let first = homes[0].up(&["--listen", TCP, "--topic", "news"]).unwrap();
    let at = &first.addresses()[0];
    let args = ["--listen", TCP, "--topic", "news", "--bootstrap", at];
    let mut second = homes[1].up(&args).unwrap();
    let up = second.process.wait_for("a neighbour", soon(), |event| {
        event.kind() == "neighbour_up"
    });
    assert_eq!(up.unwrap().text("peer_id"), first.peer_id());
    [first, second]
}

/// `bowline sub news` of the node in this home, after its first line.
fn subscriber(home: &Home) -> Process {
    let mut command = home.bowline_with_data(&["sub", "news", "--json"]);
    let mut process = Process::spawn("bowline sub", &mut command).unwrap();
    let first = process.next(soon()).unwrap();
    assert_eq!(first.kind(), "subscribed");
    process
}

fn message(subscriber: &mut Process) -> Event {
    let is_message = |event: &Event| event.kind() == "message";
    let message = subscriber.wait_for("a message", soon(), is_message);
    message.unwrap()
}

/// Publishes the bytes with the command, and returns what it printed.
fn publish(home: &Home, args: &[&str], input: &[u8]) -> Vec<Event> {
    let mut command = home.bowline_with_data(&["pub", "news", "--json"]);
    let mut process = Process::spawn("bowline pub", command.args(args)).unwrap();
    process.take_stdin().unwrap().write_all(input).unwrap();
    let finished = process.finish(soon()).unwrap();
    assert_done(&finished);
    finished.events().unwrap()
}

#[test]
fn each_line_of_the_input_reaches_the_subscribers_of_another_node() {
    let homes = [(); 2].map(|()| Home::new().unwrap());
    let [first, _second] = members(&homes);
    let mut there = subscriber(&homes[1]);
    let told = publish(
        &homes[0],
        &[],
        b"plain\n\xff\x00\nwith \x1b[31mcolour\nplain\n",
    );
    let kinds: Vec<&str> = told.iter().map(Event::kind).collect();
    assert_eq!(kinds, ["published", "published", "published", "duplicate"]);
    assert_eq!(told[0].number("neighbours").unwrap(), 1.0);

    let mut all = [(); 3].map(|()| message(&mut there));
    all.sort_by_key(|event| event.text("data").to_owned());
    let [bytes, plain, colour] = &all;
    assert_eq!(bytes.text("base64"), "/wA=");
    assert_eq!(plain.text("data"), "plain");
    assert_eq!(colour.text("data"), "with \u{1b}[31mcolour");
    for event in &all {
        assert_eq!(event.text("via"), first.peer_id());
        assert_eq!(event.text("topic").len(), 64);
    }
}

#[test]
fn topics_lists_the_neighbours_in_both_spellings() {
    let homes = [(); 2].map(|()| Home::new().unwrap());
    let [first, _second] = members(&homes);
    publish(&homes[1], &[], b"one\n");
    let listed = |args: &[&str]| {
        let mut command = homes[1].bowline_with_data(&["topics"]);
        let finished = run("bowline topics", command.args(args), soon()).unwrap();
        assert_done(&finished);
        finished
    };
    let topics = listed(&["--json"]).events().unwrap();
    assert_eq!(topics.len(), 1, "{topics:?}");
    let topic = &topics[0].0;
    assert_eq!(topic["published"], 1);
    assert_eq!(
        topic["eager"].as_u64().unwrap() + topic["lazy"].as_u64().unwrap(),
        1
    );
    let neighbour = &topic["neighbours"][0];
    assert_eq!(neighbour["peer_id"], first.peer_id());
    let endpoint = neighbour["endpoint_id"].as_str().unwrap();
    assert_eq!(endpoint.len(), 64);
    let plain = listed(&[]).stdout;
    assert_eq!(plain.len(), 2, "{plain:?}");
    assert!(plain[1].contains(first.peer_id()) && plain[1].contains(endpoint));
}

#[test]
fn without_a_running_node_the_commands_join_through_a_named_member() {
    let [at, alone] = [(); 2].map(|()| Home::new().unwrap());
    let member = at.up(&["--listen", TCP, "--topic", "news"]).unwrap();
    let addresses = member.addresses();
    let bootstrap = ["--bootstrap", &addresses[0]];
    let mut there = subscriber(&at);
    let told = publish(&alone, &bootstrap, b"from afar\n");
    assert_eq!(told[0].kind(), "published");
    assert_eq!(message(&mut there).text("data"), "from afar");

    let mut command = alone.bowline_with_data(&["sub", "news", "--json"]);
    let mut listening = Process::spawn("bowline sub", command.args(bootstrap)).unwrap();
    let is_up = |event: &Event| event.kind() == "neighbour_up";
    listening.wait_for("a neighbour", soon(), is_up).unwrap();
    publish(&at, &[], b"to all\n");
    let message = message(&mut listening);
    assert_eq!(
        (message.text("data"), message.text("via")),
        ("to all", member.peer_id())
    );
}

#[test]
fn nodes_and_commands_join_a_topic_by_the_iroh_endpoint_of_a_node() {
    let [at, other, alone] = [(); 3].map(|()| Home::new().unwrap());
    let args = ["--listen", TCP, "--topic", "news"];
    let listens = [&args[..], &["--iroh-listen", "127.0.0.1:0"]].concat();
    let member = at.up(&listens).unwrap();
    let endpoints = member.ready.texts("iroh");
    assert_eq!(endpoints.len(), 1, "{:?}", member.ready);
    let iroh = ["--iroh-peer", &endpoints[0]];
    let mut second = other.up(&[&args[..], &iroh].concat()).unwrap();
    let is_up = |event: &Event| event.kind() == "neighbour_up";
    let up = second.process.wait_for("a neighbour", soon(), is_up);
    assert_eq!(up.unwrap().text("peer_id"), member.peer_id());

    let [mut there, mut elsewhere] = [subscriber(&at), subscriber(&other)];
    publish(&alone, &iroh, b"over iroh\n");
    for subscriber in [&mut there, &mut elsewhere] {
        assert_eq!(message(subscriber).text("data"), "over iroh");
    }
    // The nodes have no libp2p connection.
    let mut command = at.bowline_with_data(&["peers", "--json"]);
    let finished = run("bowline peers", &mut command, soon()).unwrap();
    let peers = finished.events().unwrap();
    assert!(peers.is_empty(), "{peers:?}");
}

#[test]
fn a_message_that_cannot_be_published_is_an_error() {
    let home = Home::new().unwrap();
    let _up = home.up(&["--listen", TCP]).unwrap();
    for (input, named) in [
        (vec![b'a'; 5000], "5000"),
        (b"nobody hears this".to_vec(), "no neighbour"),
    ] {
        let mut command = home.bowline_with_data(&["pub", "news"]);
        let mut process = Process::spawn("bowline pub", &mut command).unwrap();
        process.take_stdin().unwrap().write_all(&input).unwrap();
        let finished = process.finish(soon()).unwrap();
        assert_refused(&finished, 1, &[named]);
    }
}
