//! What a running node says of its peers' states, and a peer that is killed and comes back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use tests::harness::process::{Process, Signal};
use tests::harness::{Event, Home, Up};

use super::{NOBODY, ONCE, QUIC, TCP, assert_done, assert_refused, soon};

/// `bowline events` of the node in this home, its snapshot read.
fn events(home: &Home) -> (Process, Event) {
    let mut command = home.bowline_with_data(&["events", "--json"]);
    let mut events = Process::spawn("bowline events", &mut command).unwrap();
    let snapshot = events.next(soon()).unwrap();
    assert_eq!(snapshot.kind(), "snapshot", "{snapshot:?}");
    (events, snapshot)
}

fn is_state<'a>(peer: &'a str, to: &'a str) -> impl Fn(&Event) -> bool + 'a {
    move |event| event.kind() == "state" && event.text("peer_id") == peer && event.text("to") == to
}

/// Of one peer's events: numbers without a gap, each from where the one before went to.
#[track_caller]
fn assert_is_one_story(story: &[Event]) {
    for pair in story.windows(2) {
        let [before, after] = [&pair[0], &pair[1]];
        assert_eq!(before.text("to"), after.text("from"), "{story:?}");
        let numbers = [before, after].map(|event| event.number("number").unwrap());
        assert_eq!(numbers[0] + 1.0, numbers[1], "{story:?}");
    }
}

fn connect(home: &Home, to: &Up, listen: &str) -> Up {
    let address = &to.addresses()[0];
    let mut command = home.bowline_with_data(&["up", "--json"]);
    command.args(["--listen", listen, "--bootstrap", address]);
    Up::start(command.envs(ONCE), soon()).unwrap()
}

#[test]
fn peers_events_and_why_tell_one_story() {
    let (here, there) = (Home::new().unwrap(), Home::new().unwrap());
    let up = here.up(&["--listen", TCP]).unwrap();
    let (mut events, snapshot) = events(&here);
    assert!(snapshot.0["peers"].as_array().unwrap().is_empty());
    let other = connect(&there, &up, TCP);
    let id = other.peer_id().to_owned();
    let connected = events.wait_for("connected", soon(), is_state(&id, "connected"));
    let mut story = vec![connected.unwrap()];

    let peers = here.bowline_with_data(&["peers", "--json"]);
    let peers = tests::harness::process::run("bowline", &mut { peers }, soon()).unwrap();
    assert_done(&peers);
    let rows = peers.events().unwrap();
    assert_eq!(rows.len(), 1, "{rows:?}");
    let row = &rows[0];
    let fields = ["peer_id", "state", "phase", "direction", "via"].map(|name| row.text(name));
    assert_eq!(
        fields,
        [&id, "connected", "established", "inbound", "tcp/tls/yamux"]
    );
    assert!(row.number("age_s").unwrap() < 60.0 && row.0["streams"].is_number());

    let mut table = here.bowline_with_data(&["peers"]);
    let table = tests::harness::process::run("bowline", &mut table, soon()).unwrap();
    assert_done(&table);
    let lines: Vec<_> = table.stdout.iter().collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].starts_with("peer ") && lines[0].contains("RTT in ms"));
    assert!(lines[1].starts_with(&id), "{lines:?}");

    other.process.signal(Signal::TERM).unwrap();
    let gone = events.wait_for("not connected", soon(), is_state(&id, "not connected"));
    story.push(gone.unwrap());
    assert_is_one_story(&story);

    let why = here.bowline_with_data(&["why", &id, "--json"]);
    let why = tests::harness::process::run("bowline", &mut { why }, soon()).unwrap();
    assert_done(&why);
    let why = why.events().unwrap();
    // The node may already dial the peer again.
    assert_eq!(why[..2], story[..]);
    assert!(why[1].text("cause").contains("closed"), "{why:?}");
}

#[test]
fn what_is_not_there_to_be_asked_is_named() {
    let home = Home::new().unwrap();
    let data = home.data_dir();
    let data = data.to_str().unwrap();
    for args in [&["peers"][..], &["events"], &["why", NOBODY]] {
        let mut command = home.bowline_with_data(args);
        let refused = tests::harness::process::run("bowline", &mut command, soon()).unwrap();
        assert_refused(&refused, 1, &[data]);
    }
    let _up = home.up(&["--listen", TCP]).unwrap();
    let run = |args: &[&str]| {
        let mut command = home.bowline_with_data(args);
        tests::harness::process::run("bowline", &mut command, soon()).unwrap()
    };
    assert_refused(&run(&["why", NOBODY]), 1, &[NOBODY]);
    assert_refused(&run(&["why", "nobody"]), 2, &["nobody"]);
}

/// A clock that counts short sleeps. On a busy machine each sleep takes longer, as everything else does.
struct Ticks(Arc<AtomicU32>);

impl Ticks {
    /// No more than this many ticks fit into a second.
    const PER_SECOND: u32 = 100;

    fn start() -> Self {
        let ticks = Arc::new(AtomicU32::new(0));
        let weak = Arc::downgrade(&ticks);
        thread::spawn(move || {
            while let Some(ticks) = weak.upgrade() {
                ticks.fetch_add(1, Ordering::Relaxed);
                thread::sleep(Duration::from_secs(1) / Self::PER_SECOND);
            }
        });
        Self(ticks)
    }

    fn now(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What the survivor did with the connection to a node that was killed and came back.
struct Survived {
    /// How long the survivor still had the dead connection after the new one was up, in ticks.
    held: u32,
    /// Why the dead connection ended.
    reason: String,
    /// What the survivor told its subscribers.
    story: Vec<Event>,
}

/// Kills a node and starts it again with the same key on the same port; it dials.
fn comes_back(listen: &str) -> Survived {
    let (here, there) = (Home::new().unwrap(), Home::new().unwrap());
    let mut command = here.bowline_with_data(&["up", "--json", "--listen", listen]);
    let mut up = Up::start(command.envs(ONCE), soon()).unwrap();
    let (mut events, _) = events(&here);
    let other = connect(&there, &up, listen);
    let (id, address) = (other.peer_id().to_owned(), other.addresses()[0].clone());
    let is_up = |event: &Event| event.kind() == "connected" && event.text("peer_id") == id;
    let old = up
        .process
        .wait_for("the connection", soon(), is_up)
        .unwrap();
    let old = old.text("connection").to_owned();

    other.process.signal(Signal::KILL).unwrap();
    other.process.finish(soon()).unwrap();
    let port = address.split("/p2p/").next().unwrap();
    let back = connect(&there, &up, port);
    assert_eq!(back.peer_id(), id);
    // Over TCP the kernel closes the old one at the kill, over QUIC it is found out.
    let ticks = Ticks::start();
    let (mut new_at, mut gone) = (None, None::<(u32, String)>);
    let (new_at, (gone_at, reason)) = loop {
        if let (Some(new_at), Some(gone)) = (new_at, &gone) {
            break (new_at, Clone::clone(gone));
        }
        let event = up.process.next(soon()).unwrap();
        if is_up(&event) {
            new_at = Some(ticks.now());
        }
        if event.kind() == "disconnected" && event.text("connection") == old {
            gone = Some((ticks.now(), event.text("reason").to_owned()));
        }
    };
    let held = gone_at.saturating_sub(new_at);

    let mut command = here.bowline_with_data(&["peers", "--json"]);
    let peers = tests::harness::process::run("bowline", &mut command, soon()).unwrap();
    let rows = peers.events().unwrap();
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert_ne!(rows[0].text("connection"), old);
    assert_eq!(rows[0].text("state"), "connected");
    drop(back);
    let gone = |event: &Event| is_state(&id, "not connected")(event);
    let mut story = Vec::new();
    let mut ends = match listen {
        TCP => 2,
        _ => 1,
    };
    while ends > 0 {
        let event = events.next(soon()).unwrap();
        ends -= i32::from(gone(&event));
        story.push(event);
    }
    Survived {
        held,
        reason,
        story,
    }
}

#[test]
fn a_peer_that_was_killed_and_is_back_has_one_connection_within_a_second_and_one_story() {
    for listen in [TCP, QUIC] {
        let Survived {
            held,
            reason,
            story,
        } = comes_back(listen);
        println!("{listen}: two connections for {held} ticks, until: {reason}");
        // A reset ends the dead connection. A QUIC connection without a reset token ends after a probe that nothing answers.
        let reset = reason.starts_with("connection lost");
        let silent = listen == QUIC && reason == "unresponsive";
        assert!(reset || silent, "{listen}: {reason}");
        assert!(held < Ticks::PER_SECOND, "{listen}: {held} ticks");
        assert_is_one_story(&story);
    }
}
