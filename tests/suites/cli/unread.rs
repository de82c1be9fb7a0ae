//! Standard output and standard error that nobody reads: the node neither ends nor waits.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tests::harness::{Home, process};

use super::{TCP, assert_done, soon};

/// A `bowline up --json` whose outputs are pipes that only the test reads.
struct Unread {
    home: Home,
    process: Child,
    stdout: Option<BufReader<ChildStdout>>,
    _stderr: ChildStderr,
    address: String,
}

impl Unread {
    /// Starts the node and reads the ready line, and no other line.
    fn start(log: &str) -> Self {
        let home = Home::new().unwrap();
        let mut command = home.bowline_with_data(&["up", "--json", "--listen", TCP]);
        command.env("RUST_LOG", log);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let mut stdout = BufReader::new(process.stdout.take().unwrap());
        let mut ready = String::new();
        stdout.read_line(&mut ready).unwrap();
        let ready: Value = serde_json::from_str(&ready).unwrap();
        let stderr = process.stderr.take().unwrap();
        Self {
            home,
            process,
            stdout: Some(stdout),
            _stderr: stderr,
            address: ready["addresses"][0].as_str().unwrap().to_owned(),
        }
    }

    /// The node serves peers and its user.
    #[track_caller]
    fn assert_alive(&self) {
        assert_done(&self.home.run(&["ping", "-c", "2", &self.address]).unwrap());
        let mut peers = self.home.bowline_with_data(&["peers"]);
        assert_done(&process::run("bowline", &mut peers, soon()).unwrap());
    }

    /// SIGTERM ends the node within the documented times: 1 s for relaying, 3 s for connections and 0.5 s for the last lines.
    #[track_caller]
    fn assert_ends(mut self) {
        kill_process(Pid::from_child(&self.process), Signal::TERM).unwrap();
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                break status;
            }
            assert!(
                begun.elapsed() < Duration::from_millis(4_500),
                "the node still runs"
            );
            sleep(Duration::from_millis(5));
        };
        println!("the node ended after {:?}", begun.elapsed());
        assert_eq!(status.code(), Some(0));
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Connections whose lines are more than a pipe of 64 KiB holds: each one causes at least four lines of about 200 bytes.
const CONNECTIONS: usize = 120;

fn connect_often(address: &str) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let peer = node::Node::builder(node::Keypair::generate_ed25519());
        let peer = peer.build().unwrap();
        for _ in 0..CONNECTIONS {
            let connection = peer.dial([address.parse().unwrap()]).await.unwrap();
            connection.identify().await.unwrap();
            connection.close();
            connection.closed().await;
        }
        peer.shutdown().await;
    });
}

#[test]
fn a_node_whose_standard_output_is_closed_keeps_running() {
    let mut node = Unread::start("warn");
    drop(node.stdout.take());
    connect_often(&node.address);
    node.assert_alive();
    node.assert_ends();
}

#[test]
fn a_node_whose_standard_output_was_closed_before_its_start_runs() {
    let home = Home::new().unwrap();
    let inner = home.bowline_with_data(&["up", "--listen", TCP]);
    let mut shell = Command::new("sh");
    shell.args(["-c", "exec \"$@\" >&-", "sh"]);
    super::disk::append(&mut shell, &inner);
    let mut process = shell.spawn().unwrap();
    let begun = Instant::now();
    loop {
        let mut peers = home.bowline_with_data(&["peers"]);
        if process::run("bowline", &mut peers, soon()).unwrap().code == Some(0) {
            break;
        }
        let ended = process.try_wait().unwrap();
        assert!(
            ended.is_none() && begun.elapsed() < Duration::from_secs(20),
            "{ended:?}"
        );
    }
    kill_process(Pid::from_child(&process), Signal::TERM).unwrap();
    assert_eq!(process.wait().unwrap().code(), Some(0));
}

#[test]
fn a_node_whose_outputs_are_full_pipes_serves_peers_and_ends_on_sigterm_in_time() {
    // Each handshake logs many lines at the level trace.
    for log in ["warn", "trace"] {
        let node = Unread::start(log);
        connect_often(&node.address);
        node.assert_alive();
        node.assert_ends();
    }
}
