//! `bowline up` joins its network, and rejoins it after a restart.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::Result;
use serde_json::Value;
use tests::harness::process::{Process, Signal, run};
use tests::harness::{Event, Home, Up};

use super::{QUIC, TCP, assert_done, soon};

/// A peer counts for the state at once, and is saved after a tenth of a second.
const QUICK: [(&str, &str); 2] = [
    ("BOWLINE_BOOTSTRAP__SETTLED_S", "0.05"),
    ("BOWLINE_BOOTSTRAP__LASTED_S", "0.1"),
];

fn up(home: &Home, args: &[&str]) -> Up {
    let mut command = home.bowline_with_data(&["up", "--json"]);
    command.args(args).envs(QUICK);
    Up::start(&mut command, soon()).unwrap()
}

fn wait(up: &mut Up, kind: &str, is_it: impl Fn(&Event) -> bool) -> Event {
    let found = up
        .process
        .wait_for(kind, soon(), |event| event.kind() == kind && is_it(event));
    found.unwrap()
}

fn reach(up: &mut Up, state: &str) -> Event {
    wait(up, "network", |event| event.text("to") == state)
}

fn candidates(home: &Home) -> Vec<Event> {
    let args = ["peers", "--candidates", "--json"];
    let listed = run("bowline", &mut home.bowline_with_data(&args), soon()).unwrap();
    assert_done(&listed);
    listed.events().unwrap()
}

/// The status and the body of a GET.
fn get(home: &Home, path: &str) -> (String, Value) {
    let mut stream = UnixStream::connect(home.data_dir().join("admin")).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap_or_default().to_owned();
    (status, serde_json::from_str(body).unwrap())
}

/// Waits until the file was written twice. The store writes a peer when it has lasted, and again when its stay has grown to four
/// times that. The first write is complete when the second one begins.
fn wait_until_saved(peers: &Path) {
    let written = || fs::metadata(peers).unwrap().modified().unwrap();
    let (opened, deadline) = (written(), SystemTime::now() + Duration::from_secs(20));
    let wait_for = |is_it: &dyn Fn(SystemTime) -> bool| {
        while !is_it(written()) {
            assert!(SystemTime::now() < deadline, "no peer is saved");
            std::thread::sleep(Duration::from_millis(10));
        }
        written()
    };
    let first = wait_for(&|at| at > opened);
    wait_for(&|at| at > first + Duration::from_millis(250));
}

#[test]
fn a_killed_node_rejoins_from_its_saved_peers_alone_over_tcp_and_quic() {
    for listen in [TCP, QUIC] {
        let (survivor, killed) = (Home::new().unwrap(), Home::new().unwrap());
        let survivor = up(&survivor, &["--listen", listen]);
        let address = &survivor.addresses()[0];
        let mut first = up(&killed, &["--listen", listen, "--bootstrap", address]);
        reach(&mut first, "joined");
        let before = candidates(&killed);
        assert_eq!(before[0].text("peer"), survivor.peer_id(), "{before:?}");
        wait_until_saved(&killed.data_dir().join("peers"));
        first.process.signal(Signal::KILL).unwrap();
        first.process.finish(soon()).unwrap();

        let mut second = up(&killed, &["--listen", listen]);
        let joined = reach(&mut second, "joining");
        assert_eq!(joined.text("from"), "isolated");
        reach(&mut second, "joined");
        let after = candidates(&killed);
        assert_eq!(after[0].text("peer"), survivor.peer_id(), "{after:?}");
        assert!(after[0].texts("origins").contains(&"saved".to_owned()));
    }
}

#[test]
fn a_damaged_file_of_saved_peers_is_named_and_set_aside_and_the_node_starts() {
    let home = Home::new().unwrap();
    let peers = home.data_dir().join("peers");
    fs::create_dir_all(home.data_dir()).unwrap();
    fs::write(&peers, "nonsense ".repeat(1000)).unwrap();
    let node = up(&home, &["--listen", TCP]);
    let aside = home.data_dir().join("peers.damaged");
    assert!(aside.exists());
    node.process.signal(Signal::TERM).unwrap();
    let finished = node.process.finish(soon()).unwrap();
    assert_done(&finished);
    let line = &finished.stderr[0];
    for named in [peers.to_str().unwrap(), aside.to_str().unwrap(), "damaged"] {
        assert!(line.contains(named), "{named}: {line}");
    }
}

#[test]
fn readyz_follows_the_state_and_says_the_reason() {
    let (first_home, second_home) = (Home::new().unwrap(), Home::new().unwrap());
    let mut first = up(&first_home, &["--listen", TCP]);
    let (status, body) = get(&first_home, "/readyz");
    assert_eq!(
        (status.as_str(), body["state"].as_str()),
        ("503", Some("isolated"))
    );
    assert_eq!(body["reason"], "no peer is known that could be dialed");

    let second = up(
        &second_home,
        &["--listen", TCP, "--bootstrap", &first.addresses()[0]],
    );
    reach(&mut first, "joined");
    let (status, body) = get(&first_home, "/readyz");
    assert_eq!(
        (status.as_str(), body["state"].as_str()),
        ("200", Some("joined"))
    );
    let reason = "1 of 1 wanted peers are connected and have settled";
    assert_eq!(body["reason"], reason);

    second.process.signal(Signal::TERM).unwrap();
    assert_done(&second.process.finish(soon()).unwrap());
    reach(&mut first, "isolated");
    assert_eq!(get(&first_home, "/readyz").0, "503");
    let (status, body) = get(&first_home, "/candidates");
    assert_eq!(
        (status.as_str(), body["state"].as_str()),
        ("200", Some("isolated"))
    );
    let known = &body["candidates"][0];
    assert_eq!(known["peer"].as_str(), Some(second.ready.text("peer_id")));
    assert_eq!(known["connected"], false);
    assert!(known["next_ms"].is_u64(), "{known}");
}

#[test]
fn two_nodes_that_keep_each_other_are_connected_again_after_a_restart_of_each() {
    let homes = [Home::new().unwrap(), Home::new().unwrap()];
    let mut first = up(&homes[0], &["--listen", TCP]);
    let port = |up: &Up| up.addresses()[0].split("/p2p/").next().unwrap().to_owned();
    let (first_at, first_full) = (port(&first), first.addresses()[0].clone());
    let mut second = up(&homes[1], &["--listen", TCP, "--keep", &first_full]);
    let (second_at, second_full) = (port(&second), second.addresses()[0].clone());
    reach(&mut second, "joined");
    reach(&mut first, "joined");
    // Without saved peers, only `--keep` brings them back.
    let saved = ("BOWLINE_BOOTSTRAP__SAVED", "false");
    let restart = |home: &Home, up: Up, listen: &str, keep: &str| -> Result<Up> {
        up.process.signal(Signal::KILL)?;
        up.process.finish(soon())?;
        let mut command = home.bowline_with_data(&["up", "--json"]);
        command
            .args(["--listen", listen, "--keep", keep])
            .envs(QUICK);
        Up::start(command.env(saved.0, saved.1), soon())
    };
    let mut first = restart(&homes[0], first, &first_at, &second_full).unwrap();
    reach(&mut first, "joined");
    reach(&mut second, "isolated");
    reach(&mut second, "joined");
    let mut second = restart(&homes[1], second, &second_at, &first_full).unwrap();
    reach(&mut second, "joined");
    let kept = candidates(&homes[1]);
    assert!(
        kept[0].texts("origins").contains(&"keep".to_owned()),
        "{kept:?}"
    );
}

#[test]
fn a_file_of_peers_is_read_and_its_bad_lines_are_named() {
    let (first_home, second_home) = (Home::new().unwrap(), Home::new().unwrap());
    let first = up(&first_home, &["--listen", TCP]);
    let list = second_home.path().join("list");
    fs::write(
        &list,
        format!("# peers\nnonsense\n{}\n", first.addresses()[0]),
    )
    .unwrap();
    let args = ["--listen", TCP, "--bootstrap-file", "list"];
    let mut second = up(&second_home, &args);
    reach(&mut second, "joined");
    let listed = candidates(&second_home);
    assert!(
        listed[0].texts("origins").contains(&"file".to_owned()),
        "{listed:?}"
    );
    second.process.signal(Signal::TERM).unwrap();
    let finished = second.process.finish(soon()).unwrap();
    assert_done(&finished);
    assert!(
        finished.stderr[0].contains("list:2: \"nonsense\""),
        "{finished:?}"
    );
}

#[test]
fn a_bootstrap_address_that_does_not_answer_is_told_once_until_it_has_answered() {
    let home = Home::new().unwrap();
    let nowhere = format!("/ip4/127.0.0.1/tcp/1/p2p/{}", super::NOBODY);
    let mut node = up(&home, &["--listen", TCP, "--bootstrap", &nowhere]);
    let failed = wait(&mut node, "dial_failed", |_| true);
    assert!(failed.text("error").contains(&nowhere), "{failed:?}");
    let mut dials = 0.0;
    while dials < 4.0 {
        dials = candidates(&home)[0].number("dials").unwrap();
    }
    node.process.signal(Signal::TERM).unwrap();
    let finished = node.process.finish(soon()).unwrap();
    assert_done(&finished);
    let told = finished
        .stdout
        .iter()
        .filter(|line| line.contains("dial_failed"));
    assert_eq!(told.count(), 0, "{finished:?}");
}

#[test]
fn behind_a_proxy_the_node_asks_no_name_server_and_does_not_search_the_lan() {
    let home = Home::new().unwrap();
    let mut command = home.bowline_with_data(&["up", "--json", "--listen", TCP]);
    command
        .args(["--bootstrap", "/dnsaddr/leak.invalid"])
        .args(["--dialer", "* via socks5://127.0.0.1:1"])
        .env("BOWLINE_BOOTSTRAP__MDNS", "true");
    let mut node = Process::spawn("bowline", &mut command).unwrap();
    node.next(soon()).unwrap();
    node.signal(Signal::TERM).unwrap();
    let finished = node.finish(soon()).unwrap();
    assert_done(&finished);
    let lines: Vec<_> = finished
        .stderr
        .iter()
        .filter(|line| line.contains("bypass"))
        .collect();
    assert_eq!(lines.len(), 1, "{finished:?}");
    for named in ["mDNS", "/dnsaddr/leak.invalid"] {
        assert!(lines[0].contains(named), "{named}: {finished:?}");
    }
}
