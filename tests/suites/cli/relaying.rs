//! A relay, one who is behind it, and what they say of it.

use std::fs;

use tests::harness::process::{Process, Signal, run};
use tests::harness::{Event, Finished, Home, Up};

use super::{NOBODY, TCP, assert_done, assert_refused, soon};

/// `bowline slots ARGS` of the node in this home.
fn slots(home: &Home, args: &[&str]) -> Finished {
    let mut command = home.bowline_with_data(&["slots"]);
    run("bowline slots", command.args(args), soon()).unwrap()
}

/// The slots, once there are as many as wanted.
fn slots_until(home: &Home, wanted: impl Fn(&[Event]) -> bool) -> Vec<Event> {
    let deadline = soon();
    loop {
        let found = slots(home, &["--json"]);
        assert_done(&found);
        let rows = found.events().unwrap();
        if wanted(&rows) {
            return rows;
        }
        assert!(!deadline.left().is_zero(), "{rows:?}");
    }
}

fn relay(home: &Home, terms: &str) -> Up {
    let file = home.path().join("relay.toml");
    fs::write(&file, format!("[relay.terms]\n{terms}\n")).unwrap();
    let file = file.to_str().unwrap();
    home.up(&["--relay-server", "--listen", TCP, "--config", file])
        .unwrap()
}

/// A node that accepts slots for as short a time as the relays here grant.
fn behind(home: &Home, relay: &Up) -> Up {
    let (at, file) = (&relay.addresses()[0], home.path().join("behind.toml"));
    fs::write(&file, "[relay]\nmin_ttl_s = 1.0\n").unwrap();
    let file = file.to_str().unwrap();
    home.up(&["--listen", TCP, "--reserve-at", at, "--config", file])
        .unwrap()
}

fn reservation(process: &mut Process, kind: &str) -> Event {
    let kind = format!("reservation_{kind}");
    let waited = process.wait_for(&kind, soon(), |event| event.kind() == kind);
    waited.unwrap()
}

#[test]
fn a_node_behind_a_relay_is_pinged_through_it_and_the_relay_tells_who_holds_what() {
    let [at, hidden, pinger] = [(); 3].map(|()| Home::new().unwrap());
    let relay = relay(&at, "");
    let mut behind = behind(&hidden, &relay);
    assert_eq!(
        reservation(&mut behind.process, "granted").text("relay"),
        relay.peer_id()
    );
    let circuit = format!(
        "{}/p2p-circuit/p2p/{}",
        relay.addresses()[0],
        behind.peer_id()
    );
    let ping = pinger.run(&["ping", &circuit, "-c", "2", "--json"]);
    let ping = ping.unwrap();
    assert_done(&ping);
    let pongs = ping.events().unwrap();
    assert_eq!(pongs.len(), 2, "{pongs:?}");
    assert_eq!(pongs[0].text("via"), "relay/tls/yamux");

    let rows = slots_until(&at, |rows| !rows.is_empty());
    assert_eq!(rows[0].text("peer_id"), behind.peer_id());
    assert_eq!(
        [rows[0].text("state"), rows[0].text("address")],
        ["active", "127.0.0.1"]
    );
    assert!(rows[0].number("bytes").unwrap() > 1_000.0, "{rows:?}");
    assert!(rows[0].number("expires_s").unwrap() > 3_000.0, "{rows:?}");

    let table = slots(&at, &[]);
    assert_done(&table);
    let lines: Vec<_> = table.stdout.iter().collect();
    assert!(lines[0].starts_with("peer ") && lines[0].contains("circuits"));
    assert!(lines[1].starts_with(behind.peer_id()), "{lines:?}");
}

#[test]
fn the_only_slot_is_its_holders_until_it_is_killed_and_the_grace_is_over() {
    let [at, first, second] = [(); 3].map(|()| Home::new().unwrap());
    let relay = relay(&at, "slots = 1\nttl_s = 2.0\ngrace_s = 1.0");
    let mut holder = behind(&first, &relay);
    reservation(&mut holder.process, "granted");
    let mut newcomer = behind(&second, &relay);
    let refused = reservation(&mut newcomer.process, "refused");
    assert_eq!(refused.number("status").unwrap(), 201.0);
    assert!(!refused.text("reason").is_empty());
    // Though the relay is full.
    reservation(&mut holder.process, "renewed");
    holder.process.signal(Signal::KILL).unwrap();
    reservation(&mut newcomer.process, "granted");
    let rows = slots_until(&at, |rows| !rows.is_empty());
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert_eq!(rows[0].text("peer_id"), newcomer.peer_id());
}

#[test]
fn a_slot_that_lasts_for_seconds_is_refused_unless_the_settings_accept_it() {
    let [at, hidden] = [(); 2].map(|()| Home::new().unwrap());
    let relay = relay(&at, "ttl_s = 59.0");
    let at = &relay.addresses()[0];
    let mut behind = hidden.up(&["--listen", TCP, "--reserve-at", at]).unwrap();
    let failed = reservation(&mut behind.process, "failed");
    assert!(
        failed.text("reason").contains("no less than 60s"),
        "{}",
        failed.0
    );
}

#[test]
fn terms_are_changed_while_the_relay_runs_and_a_wrong_one_is_named() {
    let [at, hidden, plain] = [(); 3].map(|()| Home::new().unwrap());
    let relay = relay(&at, "");
    let mut behind = behind(&hidden, &relay);
    reservation(&mut behind.process, "granted");
    let set = slots(
        &at,
        &[
            "--json",
            "--set",
            "slots=0",
            "--set",
            "reserve_of_peer=[2,0.5]",
        ],
    );
    assert_done(&set);
    let terms = &set.events().unwrap()[0].0;
    assert_eq!(terms["slots"], 0, "{terms}");
    assert_eq!(terms["reserve_of_peer"][1], 0.5, "{terms}");
    assert_eq!(slots_until(&at, |_| true).len(), 1, "nobody is put out");

    for (said, code, named) in [
        ("slots", 2, "slots"),
        ("slots=many", 2, "slots=many"),
        ("slots=-1", 1, "slots"),
        ("frobnicate=1", 1, "frobnicate"),
        ("ttl_s=0", 1, "ttl_s"),
    ] {
        assert_refused(&slots(&at, &["--set", said]), code, &[named]);
    }
    let terms = slots(&at, &["--json", "--set", "slots=0"]);
    assert_eq!(terms.events().unwrap()[0].0["ttl_s"], 3600.0);

    let _plain = plain.up(&["--listen", TCP]).unwrap();
    assert_refused(&slots(&plain, &[]), 1, &["not a relay"]);
}

#[test]
fn what_is_wrong_with_relays_is_named_with_exit_code_2() {
    let home = Home::new().unwrap();
    let file = home.path().join("wrong.toml");
    let named_file = file.to_str().unwrap();
    for (terms, named) in [
        ("[relay.terms]\nslots = -1", "relay.terms.slots"),
        ("[relay.terms]\nttl_s = 0", "relay.terms.ttl_s"),
        ("[relay.terms]\nfrobnicate = 1", "frobnicate"),
        (
            "[relay.terms]\nconnect_of_peer = [1]",
            "relay.terms.connect_of_peer",
        ),
        ("[relay]\nreservations = \"two\"", "relay.reservations"),
        ("[relay]\nmin_ttl_s = 0", "relay.min_ttl_s"),
    ] {
        fs::write(&file, terms).unwrap();
        let args = ["up", "--relay-server", "--config", named_file];
        assert_refused(&home.run(&args).unwrap(), 2, &[named]);
    }
    for at in ["nonsense", "/ip4/127.0.0.1/tcp/1"] {
        let refused = home.run(&["up", "--reserve-at", at]);
        assert_refused(&refused.unwrap(), 2, &[at]);
    }
    // A relay without an address of its own cannot be reached.
    let by_itself = format!("/p2p/{NOBODY}");
    let refused = home.run(&["up", "--reserve-at", &by_itself]);
    assert_refused(&refused.unwrap(), 2, &[&by_itself]);
}
