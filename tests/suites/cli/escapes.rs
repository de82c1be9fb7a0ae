//! A peer that puts terminal escapes into everything that it says, against every command that prints or logs it.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use node::Keypair;
use node::conn_state::is_plain;
use node::transport_quic::{CloseCode, Config, Connection, Endpoint};
use tests::harness::Home;
use tokio::io::AsyncWriteExt;

use super::QUIC;

/// ESC, CSI as one character, DEL, BEL, a bidirectional override, an isolate, line breaks, and a mark that the test looks for.
const EVIL: &str = "evil\u{1b}[2J\u{9b}31m\u{7f}\u{7}\u{202e}\u{2066}\r\n\u{85}\u{2028}";

/// A field of a protobuf message.
fn field(tag: u8, bytes: &[u8]) -> Vec<u8> {
    let mut field = vec![tag << 3 | 2, u8::try_from(bytes.len()).unwrap()];
    field.extend(bytes);
    field
}

/// An identify message in which every text is evil.
fn message() -> Vec<u8> {
    // `/dns4/EVIL/tcp/1`
    let mut address = vec![54, u8::try_from(EVIL.len()).unwrap()];
    address.extend(EVIL.as_bytes());
    address.extend([6, 0, 1]);
    let protocol = format!("/{EVIL}/1.0.0");
    let fields = [
        field(2, &address),
        field(3, protocol.as_bytes()),
        field(4, &address),
        field(5, EVIL.as_bytes()),
        field(6, EVIL.as_bytes()),
    ];
    let message = fields.concat();
    let length = message.len();
    assert!(length < 1 << 14);
    let mut frame = vec![(length & 0x7f) as u8 | 0x80, (length >> 7) as u8];
    frame.extend(message);
    frame
}

/// multistream-select's answers that accept `protocol`.
fn accepting(protocol: &str) -> Vec<u8> {
    let line = |text: &str| {
        let length = u8::try_from(text.len() + 1).unwrap();
        [&[length], text.as_bytes(), b"\n"].concat()
    };
    [line("/multistream/1.0.0"), line(protocol)].concat()
}

/// Answers each stream with an identify message. Closes the connection with an evil reason after `streams` streams.
async fn answer(connection: &Connection, streams: usize) {
    for _ in 0..streams {
        let Some(mut stream) = connection.accept().await else {
            return;
        };
        let answer = [accepting("/ipfs/id/1.0.0"), message()].concat();
        let _ = stream.write_all(&answer).await;
        let _ = stream.shutdown().await;
        let _ = tokio::time::timeout(Duration::from_secs(1), stream.wait_delivered()).await;
    }
    connection.close(CloseCode::SHUTDOWN, EVIL);
    connection.closed().await;
}

fn endpoint() -> (Endpoint, Keypair) {
    let key = Keypair::generate_ed25519();
    let bound = Endpoint::bind("127.0.0.1:0".parse().unwrap(), &key, Config::default());
    (bound.unwrap(), key)
}

/// A peer that serves `streams` streams of each connection.
async fn evil(streams: usize) -> (Endpoint, String) {
    let (endpoint, _) = endpoint();
    let at = endpoint.local_addr().unwrap();
    let serving = endpoint.clone();
    tokio::spawn(async move {
        while let Ok(incoming) = serving.accept().await {
            tokio::spawn(async move {
                if let Ok(connection) = incoming.accept().await {
                    answer(&connection, streams).await;
                }
            });
        }
    });
    (
        endpoint,
        format!("/ip4/127.0.0.1/udp/{}/quic-v1", at.port()),
    )
}

/// Each line of the output is plain, and one line contains `mark`.
#[track_caller]
fn assert_plain(what: &str, output: &[u8], mark: &str) {
    let text = std::str::from_utf8(output).unwrap();
    for line in text.split('\n') {
        assert!(is_plain(line), "{what}: {line:?}");
    }
    assert!(text.contains(mark), "{what} contains {mark}: {text}");
}

/// Both outputs of a command.
fn outputs(mut command: Command) -> Vec<u8> {
    let output = command.stdin(Stdio::null()).output().unwrap();
    [output.stdout, output.stderr].concat()
}

#[test]
fn identify_and_ping_print_what_a_hostile_peer_says_with_visible_escapes() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (identified, address) = runtime.block_on(evil(8));
    let (closed, closing) = runtime.block_on(evil(0));
    let home = Home::new().unwrap();
    for log in ["warn", "debug"] {
        for (command, address) in [
            ("identify", &address),
            ("identify", &closing),
            ("ping", &closing),
        ] {
            for json in [&[][..], &["--json"]] {
                let mut command = home.bowline(&[&[command, address.as_str()], json].concat());
                command.env("RUST_LOG", log);
                let what = format!("{command:?}");
                assert_plain(&what, &outputs(command), "evil");
            }
        }
    }
    runtime.block_on(async {
        identified.close(CloseCode::SHUTDOWN, "").await;
        closed.close(CloseCode::SHUTDOWN, "").await;
    });
}

/// A `bowline up` whose outputs are files.
struct Logged {
    home: Home,
    process: Child,
}

impl Logged {
    fn start(json: bool) -> Self {
        let home = Home::new().unwrap();
        let mut command = home.bowline_with_data(&["up", "--listen", QUIC]);
        command.args(json.then_some("--json")).env(
            "RUST_LOG",
            "debug,quinn=debug,quinn_proto=debug,rustls=debug",
        );
        let file = |name| File::create(home.path().join(name)).unwrap();
        command.stdout(file("out")).stderr(file("err"));
        let process = command.spawn().unwrap();
        Self { home, process }
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.home.path().join(name)).unwrap()
    }

    /// Waits until standard output contains `part`.
    #[track_caller]
    fn wait_for(&self, part: &str) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !self.text("out").contains(part) {
            assert!(
                Instant::now() < deadline,
                "no {part} in {}",
                self.text("out")
            );
            sleep(Duration::from_millis(10));
        }
    }

    /// The address of the node.
    fn socket(&self) -> SocketAddr {
        self.wait_for("admin");
        let out = self.text("out");
        let port = out
            .split("/udp/")
            .nth(1)
            .unwrap()
            .split('/')
            .next()
            .unwrap();
        (Ipv4Addr::LOCALHOST, port.parse().unwrap()).into()
    }
}

impl Drop for Logged {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn up_peers_why_and_the_log_print_what_a_hostile_peer_says_with_visible_escapes() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _entered = runtime.enter();
    for json in [true, false] {
        let node = Logged::start(json);
        let at = node.socket();
        let (endpoint, key) = endpoint();
        let connection = runtime.block_on(endpoint.dial(at, None)).unwrap();
        let serving = connection.clone();
        runtime.spawn(async move { answer(&serving, usize::MAX).await });
        node.wait_for(if json { "identified" } else { " is evil" });
        let peer = key.public().to_peer_id().to_string();
        let ask = |args: &[&str]| outputs(node.home.bowline_with_data(args));
        // Only the JSON contains the agent.
        assert_plain("peers", &ask(&["peers"]), &peer);
        assert_plain("peers --json", &ask(&["peers", "--json"]), "evil");
        connection.close(CloseCode::SHUTDOWN, EVIL);
        runtime.block_on(connection.closed());
        node.wait_for(if json {
            "\"disconnected\""
        } else {
            "disconnected from"
        });
        assert_plain("why", &ask(&["why", &peer]), "evil");
        assert_plain("why --json", &ask(&["why", &peer, "--json"]), "evil");
        assert_plain("standard output", node.text("out").as_bytes(), "evil");
        assert_plain("the log", node.text("err").as_bytes(), "INFO");
        runtime.block_on(endpoint.close(CloseCode::SHUTDOWN, ""));
    }
}
