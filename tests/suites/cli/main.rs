//! The binary's face, as its users and their scripts meet it.

#![expect(
    clippy::unwrap_used,
    reason = "a helper of tests may panic as its tests may"
)]

mod admin;
mod announced;
mod dht;
mod disk;
#[cfg(target_os = "linux")]
mod errors;
mod escapes;
mod floods;
mod hosts;
mod keys;
mod killed;
#[cfg(target_os = "linux")]
mod little_memory;
#[cfg(target_os = "linux")]
mod memory;
#[cfg(target_os = "linux")]
mod network;
mod nodes;
#[cfg(target_os = "linux")]
mod open_files;
mod order;
#[cfg(target_os = "linux")]
mod read_only;
mod rejoining;
mod relaying;
mod rules;
#[cfg(target_os = "linux")]
mod settings;
mod shutdown;
mod states;
#[cfg(target_os = "linux")]
mod table;
mod topics;
mod unread;
mod wrong_input;

use std::net::TcpListener;
use std::path::PathBuf;

use tests::harness::{Finished, Home};

const TCP: &str = "/ip4/127.0.0.1/tcp/0";
const QUIC: &str = "/ip4/127.0.0.1/udp/0/quic-v1";

/// An identity that no node of these tests has.
const NOBODY: &str = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";

/// Each node dials its bootstrap peer once, and no peer again: the next dial is due at a random time within a day. The second
/// dials of two nodes would otherwise add connections, and changes of states, to the ones that a test expects.
const ONCE: [(&str, &str); 3] = [
    ("BOWLINE_BOOTSTRAP__BASE_S", "86400"),
    ("BOWLINE_BOOTSTRAP__ISOLATED_CAP_S", "86400"),
    ("BOWLINE_BOOTSTRAP__LOST_CAP_S", "86400"),
];

/// A command that went wrong: the right exit code, and one line on standard error that names each thing.
#[track_caller]
fn assert_refused(finished: &Finished, code: i32, named: &[&str]) {
    assert_eq!(finished.code, Some(code), "{finished:?}");
    assert_eq!(finished.stderr.len(), 1, "not one line: {finished:?}");
    for name in named {
        assert!(
            finished.stderr[0].contains(name),
            "the line does not name {name}: {finished:?}"
        );
    }
}

#[track_caller]
fn assert_done(finished: &Finished) {
    assert_eq!(finished.code, Some(0), "{finished:?}");
}

/// A home with a new identity, and the file that holds it: the only one there.
fn home_with_key() -> (Home, PathBuf) {
    let home = Home::new().unwrap();
    let new = tests::harness::process::run(
        "bowline",
        &mut home.bowline_with_data(&["key", "new"]),
        soon(),
    );
    assert_done(&new.unwrap());
    let files: Vec<_> = std::fs::read_dir(home.data_dir())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(files.len(), 1, "{files:?}");
    (home, files[0].clone())
}

/// A TCP port that was free a moment ago.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

fn soon() -> tests::harness::Deadline {
    tests::harness::Deadline::within(tests::harness::bowline::PATIENCE)
}
