//! Strangers that try to fill the disk: what the node writes, against what it receives.

use std::fs::{self, File};
use std::io;
use std::net::TcpStream;
use std::pin::Pin;
use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::thread::sleep;
use std::time::{Duration, Instant};

use node::transport_quic::{self, CloseCode, Endpoint};
use node::transport_tcp::{Security, UpgradeConfig, Upgrader};
use node::{Keypair, Multiaddr, Node, multiaddr::Protocol};
use tests::harness::Home;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

use super::{QUIC, TCP, soon};

/// The headers of the fewest IPv4 packets by which a TCP connection opens and closes: SYN, ACK and FIN, 40 bytes each.
const TCP_PACKETS: u64 = 120;

/// The size of the datagram that begins a QUIC connection (RFC 9000, section 14.1).
const QUIC_INITIAL: u64 = 1_200;

/// A `bowline up` whose output goes into files.
struct Flooded {
    home: Home,
    process: Child,
    address: Multiaddr,
    before: u64,
}

impl Flooded {
    fn start(listen: &str, json: bool) -> Self {
        let home = Home::new().unwrap();
        let mut command = home.bowline_with_data(&["up", "--listen", listen]);
        command.args(json.then_some("--json"));
        let file = |name| File::create(home.path().join(name)).unwrap();
        command.stdout(file("out")).stderr(file("err"));
        let process = command.spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        let address = loop {
            assert!(Instant::now() < deadline, "the node starts");
            let out = fs::read_to_string(home.path().join("out")).unwrap();
            let words = out.split(['"', ' ', '\n']);
            let mut addresses = words.filter_map(|word| word.parse::<Multiaddr>().ok());
            let found = addresses.find(|address| !address.is_empty());
            if let (Some(address), true) = (found, out.contains("admin")) {
                break address;
            }
            sleep(Duration::from_millis(10));
        };
        let mut started = Self {
            home,
            process,
            address,
            before: 0,
        };
        started.before = started.written();
        started
    }

    fn written(&self) -> u64 {
        let length = |name| fs::metadata(self.home.path().join(name)).unwrap().len();
        length("out") + length("err")
    }

    /// What was written since the start, after the node is through with what it was sent.
    fn flooded(&self) -> u64 {
        let mut last = self.written();
        let mut quiet = 0;
        while quiet < 15 {
            sleep(Duration::from_millis(100));
            let now = self.written();
            quiet = if now == last { quiet + 1 } else { 0 };
            last = now;
        }
        last - self.before
    }

    fn out(&self) -> String {
        fs::read_to_string(self.home.path().join("out")).unwrap()
    }

    /// At most one byte was written for each byte that was `sent`.
    #[track_caller]
    fn assert_quiet(&self, what: &str, sent: u64) {
        let written = self.flooded();
        let ratio = written as f64 / sent as f64;
        println!("{what}: {sent} bytes received, {written} written, {ratio:.3} per byte");
        assert!(ratio <= 1.0, "{what}: {ratio:.3}\n{}", self.out());
    }
}

impl Drop for Flooded {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Runtime::new().unwrap()
}

fn socket(address: &Multiaddr) -> std::net::SocketAddr {
    let mut parts = address.iter();
    match (parts.next(), parts.next()) {
        (Some(Protocol::Ip4(ip)), Some(Protocol::Tcp(port) | Protocol::Udp(port))) => {
            (ip, port).into()
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn connections_that_close_at_once_write_less_than_they_send() {
    for json in [true, false] {
        let node = Flooded::start(TCP, json);
        let at = socket(&node.address);
        let (begun, mut connections) = (Instant::now(), 0);
        while begun.elapsed() < Duration::from_secs(3) {
            drop(TcpStream::connect(at).unwrap());
            connections += 1;
        }
        node.assert_quiet("connect and close", connections * TCP_PACKETS);
        if json {
            let lines = node.out();
            let lines = lines.lines().filter(|line| line.contains("inbound_failed"));
            let lines: Vec<serde_json::Value> = lines
                .map(|line| serde_json::from_str(line).unwrap())
                .collect();
            let counted: u64 = lines
                .iter()
                .map(|line| line["count"].as_u64().unwrap())
                .sum();
            assert_eq!(counted, connections, "each failure is counted once");
            assert!(lines.len() <= 6, "{lines:#?}");
            assert_eq!(lines[0]["count"], 1);
            assert_eq!(lines[1]["subnet"], "127.0.0.0/24");
        }
    }
}

/// One identify push that differs from the last one, with as many control characters as there is room for.
fn push(number: usize) -> Vec<u8> {
    let agent = format!("{number} {}", "\u{1}".repeat(100));
    let mut message = vec![0x32, agent.len() as u8];
    message.extend(agent.as_bytes());
    for n in 0..15_u8 {
        message.extend([0x1a, 0xfa, 0x01]);
        message.extend([1, n.max(1)].repeat(125));
    }
    let mut frame = vec![message.len() as u8 | 0x80, (message.len() >> 7) as u8];
    frame.extend(message);
    frame
}

#[test]
fn identify_pushes_with_control_characters_write_less_than_they_send() {
    for json in [true, false] {
        let node = Flooded::start(TCP, json);
        let sent = runtime().block_on(async {
            let mut sent = 0;
            let attacker = Node::builder(Keypair::generate_ed25519()).build().unwrap();
            // Each connection had a budget of its own once.
            for round in 0..20 {
                let connection = attacker.dial([node.address.clone()]).await.unwrap();
                for n in 0..20 {
                    let opened = connection.open(&["/ipfs/id/push/1.0.0"]).await;
                    let Ok((_, mut stream)) = opened else {
                        continue;
                    };
                    let frame = push(round * 100 + n);
                    if stream.write_all(&frame).await.is_ok() && stream.shutdown().await.is_ok() {
                        sent += frame.len() as u64;
                    }
                }
                let _ = tokio::time::timeout(Duration::from_millis(100), connection.ping()).await;
                connection.close();
                connection.closed().await;
            }
            attacker.shutdown().await;
            sent
        });
        node.assert_quiet("identify pushes", sent);
        assert!(!node.out().contains('\u{1}') && !node.out().contains("\\u0001\\u0001"));
    }
}

#[test]
fn quic_closes_with_1080_control_characters_write_less_than_they_send() {
    const REASON: usize = 1_080;
    for json in [true, false] {
        let node = Flooded::start(QUIC, json);
        let mut closes = 0;
        runtime().block_on(async {
            let key = Keypair::generate_ed25519();
            let config = transport_quic::Config::default();
            let endpoint = Endpoint::bind("127.0.0.1:0".parse().unwrap(), &key, config).unwrap();
            let reason = "\u{1}".repeat(REASON);
            for _ in 0..100 {
                let connection = endpoint.dial(socket(&node.address), None).await.unwrap();
                connection.close(CloseCode::SHUTDOWN, &reason);
                connection.closed().await;
                closes += 1;
            }
            endpoint.close(CloseCode::SHUTDOWN, "").await;
        });
        node.assert_quiet("QUIC closes", closes * (QUIC_INITIAL + REASON as u64));
        let out = node.out();
        assert!(out.contains("u{1}"), "{out}");
        let longest = out.lines().map(str::len).max().unwrap();
        assert!(longest < 600, "{longest}");
    }
}

/// Counts the bytes that are sent.
struct Sending<S>(S, Arc<AtomicU64>);

impl<S: AsyncRead + Unpin> AsyncRead for Sending<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Sending<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.0).poll_write(cx, bytes);
        if let Poll::Ready(Ok(count)) = &written {
            // Each segment has headers of at least 40 bytes.
            self.1.fetch_add(*count as u64 + 40, Ordering::Relaxed);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[test]
fn handshakes_that_end_at_once_write_less_than_they_send() {
    const ATTACKERS: usize = 8;
    let node = Flooded::start(TCP, true);
    let (at, sent) = (socket(&node.address), Arc::<AtomicU64>::default());
    runtime().block_on(async {
        let mut attackers = tokio::task::JoinSet::new();
        for _ in 0..ATTACKERS {
            let config = UpgradeConfig::default().with_security([Security::Noise]);
            let upgrader = Upgrader::new(&Keypair::generate_ed25519(), config).unwrap();
            let sent = Arc::clone(&sent);
            attackers.spawn(async move {
                for _ in 0..2_400 / ATTACKERS {
                    let stream = tokio::net::TcpStream::connect(at).await.unwrap();
                    let stream = Sending(stream, Arc::clone(&sent));
                    sent.fetch_add(TCP_PACKETS, Ordering::Relaxed);
                    let connection = upgrader.outbound(stream, None, &mut |_| {}).await;
                    connection.unwrap().abort();
                }
            });
        }
        attackers.join_all().await;
    });
    node.assert_quiet("handshakes", sent.load(Ordering::Relaxed));
    assert!(node.out().contains("lagged"), "what is left out is told");
}

#[test]
fn short_pushes_of_many_peers_make_few_lines() {
    const PEERS: usize = 24;
    let node = Flooded::start(TCP, true);
    runtime().block_on(async {
        let mut peers = Vec::new();
        for _ in 0..PEERS {
            let peer = Node::builder(Keypair::generate_ed25519()).build().unwrap();
            let connection = peer.dial([node.address.clone()]).await.unwrap();
            peers.push((peer, connection));
        }
        for second in 0..8_u8 {
            for (_, connection) in &peers {
                let opened = connection.open(&["/ipfs/id/push/1.0.0"]).await;
                let (_, mut stream) = opened.unwrap();
                let push = [3, 0x32, 1, b'a' + second];
                stream.write_all(&push).await.unwrap();
                stream.shutdown().await.unwrap();
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    node.flooded();
    let out = node.out();
    let lines = out.lines().filter(|line| line.contains("identified"));
    let mut per_peer = std::collections::BTreeMap::<String, usize>::new();
    for line in lines {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let peer = line["peer_id"].as_str().unwrap().to_owned();
        *per_peer.entry(peer).or_default() += 1;
    }
    assert!(!per_peer.is_empty());
    assert!(per_peer.values().all(|lines| *lines <= 4), "{per_peer:?}");
}

#[test]
fn what_a_peer_says_moves_no_cursor_and_makes_no_line() {
    const AGENT: &str = "evil\u{1b}[2J\u{9b}31m\u{202e}\nthis is a line";
    let node = Flooded::start(TCP, false);
    runtime().block_on(async {
        let config = node::Config::default().with_agent(AGENT);
        let peer = Node::builder(Keypair::generate_ed25519()).config(config);
        let peer = peer.build().unwrap();
        let address = peer.listen(TCP.parse().unwrap()).await.unwrap().remove(0);
        let address = address.to_string();
        let home = Home::new().unwrap();
        for args in [
            &["identify", &address][..],
            &["identify", &address, "--json"],
        ] {
            let mut command = home.bowline(args);
            let asked = tokio::task::spawn_blocking(move || {
                tests::harness::process::run("bowline", &mut command, soon()).unwrap()
            });
            let said = asked.await.unwrap().stdout;
            let line = said.iter().find(|line| line.contains("evil")).unwrap();
            assert!(
                line.contains("u{202e}") && line.contains("this is a line"),
                "{line}"
            );
            assert!(
                said.iter()
                    .flat_map(|line| line.chars())
                    .all(|c| !c.is_control())
            );
        }
        let connection = peer.dial([node.address.clone()]).await.unwrap();
        connection.ping().await.unwrap();
        peer.shutdown().await;
    });
    node.flooded();
    let out = node.out();
    let line = out.lines().find(|line| line.contains("evil")).unwrap();
    assert!(
        line.contains("u{202e}") && line.contains("this is a line"),
        "{line}"
    );
    assert!(out.chars().all(|c| c == '\n' || !c.is_control()), "{out}");
}
