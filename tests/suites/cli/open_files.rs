//! A process with few file descriptors: the node serves its user, and peers again once it can.

use std::fs;
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use tests::harness::process::{Finished, Signal, run};
use tests::harness::{Home, Up};

use super::{TCP, assert_done, assert_refused, soon};

/// The number of connection attempts.
const FLOOD: usize = 200;

/// Starts a node that may open at most `limit` files.
fn start(home: &Home, limit: u32) -> Up {
    let inner = home.bowline_with_data(&["up", "--json", "--listen", TCP]);
    Up::start(&mut limited(&inner, limit), soon()).unwrap()
}

/// The command in a process that may open at most `limit` files.
fn limited(command: &Command, limit: u32) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("ulimit -n {limit}; exec \"$@\""), "sh"]);
    super::disk::append(&mut shell, command);
    shell
}

/// Opens many connections, and asks the admin endpoint after every tenth one.
fn flood(home: &Home, up: &Up) -> Vec<TcpStream> {
    let address: Vec<_> = up.addresses()[0].split('/').map(str::to_owned).collect();
    let port: u16 = address[4].parse().unwrap();
    let mut open = Vec::new();
    let mut slowest = Duration::ZERO;
    for number in 0..FLOOD {
        open.push(TcpStream::connect(("127.0.0.1", port)).unwrap());
        if number % 10 == 0 {
            let begun = Instant::now();
            let mut peers = home.bowline_with_data(&["peers"]);
            assert_done(&run("bowline", &mut peers, soon()).unwrap());
            slowest = slowest.max(begun.elapsed());
        }
    }
    println!("the slowest of {} answers took {slowest:?}", FLOOD / 10);
    open
}

/// Waits until the node has reported the end of all these connections, and then pings the node.
#[track_caller]
fn assert_recovers(home: &Home, up: &mut Up, connections: usize) {
    let mut failed = 0;
    let all = up.process.wait_for("all failures", soon(), |line| {
        if line.kind() == "inbound_failed" {
            failed += line.number("count").unwrap() as usize;
        }
        failed >= connections
    });
    all.unwrap();
    assert_done(&home.run(&["ping", "-c", "1", &up.addresses()[0]]).unwrap());
}

/// The lines of the log that are about descriptors.
fn about_files(finished: &Finished) -> Vec<&String> {
    let lines = finished.stderr.iter();
    lines
        .filter(|line| line.contains("open files") || line.contains("pauses"))
        .collect()
}

#[test]
fn with_64_files_and_200_connection_attempts_the_admin_endpoint_answers_and_a_ping_succeeds_afterwards()
 {
    let home = Home::new().unwrap();
    let mut up = start(&home, 64);
    let connections = flood(&home, &up);
    let files = fs::read_dir(format!("/proc/{}/fd", up.process.id()));
    println!("the node has {} files open", files.unwrap().count());
    drop(connections);
    assert_recovers(&home, &mut up, FLOOD);
    up.process.signal(Signal::TERM).unwrap();
    let finished = up.process.finish(soon()).unwrap();
    assert_done(&finished);
    let lines = about_files(&finished);
    assert_eq!(lines.len(), 1, "{finished:?}");
    assert!(
        lines[0].contains("is only 64: max_inbound is 16 instead of"),
        "{lines:?}"
    );
}

#[test]
fn with_31_files_a_node_does_not_start_and_with_32_its_admin_endpoint_answers() {
    let home = Home::new().unwrap();
    for limit in [8, 31] {
        let inner = home.bowline_with_data(&["up", "--listen", TCP]);
        let mut shell = limited(&inner, limit);
        let refused = run("bowline", &mut shell, soon()).unwrap();
        let named = [&*format!("limit of open files is {limit}"), "ulimit -n"];
        assert_refused(&refused, 2, &named);
    }
    let _up = start(&home, 32);
    let mut peers = home.bowline_with_data(&["peers"]);
    assert_done(&run("bowline", &mut peers, soon()).unwrap());
}

#[test]
fn without_a_free_file_the_listener_pauses_and_the_admin_endpoint_answers_from_its_reserve() {
    let home = Home::new().unwrap();
    let mut up = start(&home, 64);
    // The limit is just above the descriptors that are open. The flood takes the free ones below, and then nothing can be
    // opened. Below a lower limit, a descriptor in reserve would be of no use.
    let open = fs::read_dir(format!("/proc/{}/fd", up.process.id())).unwrap();
    let names = open.map(|entry| entry.unwrap().file_name());
    let numbers = names.map(|name| name.to_str().unwrap().parse::<u64>().unwrap());
    let beyond = numbers.filter(|number| *number < 64).max().unwrap() + 1;
    let id = up.process.id();
    let limit = |files: u64| {
        let both = Rlimit {
            current: Some(files),
            maximum: Some(64),
        };
        let pid = Pid::from_raw(id.try_into().unwrap());
        prlimit(pid, Resource::Nofile, both).unwrap();
    };
    limit(beyond);
    let connections = flood(&home, &up);
    // The kernel holds the connections, because the node cannot accept them.
    let mut ping = home.bowline(&["ping", "-c", "1", &up.addresses()[0]]);
    let refused = run("bowline", &mut ping, soon()).unwrap();
    assert_eq!(refused.code, Some(1), "{refused:?}");
    limit(64);
    drop(connections);
    // The ping was a connection, too.
    assert_recovers(&home, &mut up, FLOOD + 1);
    up.process.signal(Signal::TERM).unwrap();
    let finished = up.process.finish(soon()).unwrap();
    assert_done(&finished);
    let lines = about_files(&finished);
    assert!((2..=3).contains(&lines.len()), "{finished:?}");
    assert!(lines[1].contains("the listener pauses"), "{lines:?}");
    assert!(lines[1].contains("Too many open files"), "{lines:?}");
}
