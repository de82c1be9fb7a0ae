//! The endpoint over its real listeners.

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::{FileTypeExt, PermissionsExt, symlink},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use libp2p_identity::Keypair;
use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::*;

fn node() -> Node {
    Node::builder(Keypair::generate_ed25519()).build().unwrap()
}

/// A node that serves a data directory, and a TCP address.
async fn served(tcp: [u8; 4], open_reads: Option<bool>) -> (TempDir, Vec<Serving>, SocketAddr) {
    let folder = tempfile::tempdir().unwrap();
    let unix = Listener::unix(folder.path()).await.unwrap();
    let tcp = Listener::tcp((tcp, 0).into(), open_reads, folder.path());
    let tcp = tcp.await.unwrap();
    let Endpoint::Tcp(bound) = *tcp.endpoint() else {
        panic!("not TCP")
    };
    let node = node();
    let serving = [unix, tcp].map(|listener| serve(node.clone(), listener));
    let loopback = SocketAddr::from(([127, 0, 0, 1], bound.port()));
    (folder, serving.into(), loopback)
}

/// The whole answer to a request. `head` lacks its last line.
async fn ask(mut stream: impl AsyncRead + AsyncWrite + Unpin, head: &str, body: &str) -> String {
    let length = body.len();
    let request = format!("{head}\r\ncontent-length: {length}\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    let read = timeout(Duration::from_secs(20), read).await;
    read.unwrap().unwrap();
    String::from_utf8(answer).unwrap()
}

async fn status(stream: impl AsyncRead + AsyncWrite + Unpin, head: &str, body: &str) -> u16 {
    let answer = ask(stream, head, body).await;
    let status = answer.split(' ').nth(1);
    status.and_then(|status| status.parse().ok()).unwrap()
}

async fn unix(data_dir: &Path) -> impl AsyncRead + AsyncWrite + Unpin {
    connect(data_dir).await.unwrap().0
}

#[tokio::test]
async fn the_host_header_is_checked_on_every_path_and_listener() {
    let (folder, _serving, tcp) = served([127, 0, 0, 1], None).await;
    for path in ["/status", "/peers", "/why?peer=x", "/events", "/nothing"] {
        for host in ["evil.example", "evil.example:80", "localhost.evil.example"] {
            let head = format!("GET {path} HTTP/1.1\r\nhost: {host}");
            assert_eq!(status(unix(folder.path()).await, &head, "").await, 403);
            let stream = TcpStream::connect(tcp).await.unwrap();
            assert_eq!(status(stream, &head, "").await, 403, "{path} {host}");
        }
    }
    for host in ["localhost", "127.0.0.1:80", "[::1]"] {
        let head = format!("GET /status HTTP/1.1\r\nhost: {host}");
        assert_eq!(status(unix(folder.path()).await, &head, "").await, 200);
    }
}

#[tokio::test]
async fn over_tcp_a_change_needs_the_token_and_over_the_socket_it_does_not() {
    let (folder, serving, tcp) = served([127, 0, 0, 1], None).await;
    let connect_tcp = async || TcpStream::connect(tcp).await.unwrap();
    let get = "GET /status HTTP/1.1\r\nhost: localhost";
    assert_eq!(status(connect_tcp().await, get, "").await, 200);
    let post = "POST /slots HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json";
    assert_eq!(status(connect_tcp().await, post, "{}").await, 401);
    let wrong = format!("{post}\r\nauthorization: Bearer {}", "0".repeat(64));
    assert_eq!(status(connect_tcp().await, &wrong, "{}").await, 401);

    let token = Token::read(folder.path()).unwrap();
    assert_eq!(token.text().len(), 64);
    let mode = fs::metadata(Token::path(folder.path())).unwrap();
    assert_eq!(mode.permissions().mode() & 0o777, 0o600);
    let right = format!("{post}\r\nauthorization: Bearer {}", token.text());
    // This node is no relay, so the request itself is refused.
    assert_eq!(status(connect_tcp().await, &right, "{}").await, 404);
    assert_eq!(status(unix(folder.path()).await, post, "{}").await, 404);
    drop(serving);
    assert!(!Token::path(folder.path()).exists());
}

#[tokio::test]
async fn away_from_loopback_everything_needs_the_token_unless_reads_are_open() {
    for (open_reads, expected) in [(None, 401), (Some(false), 401), (Some(true), 200)] {
        let (folder, _serving, tcp) = served([0, 0, 0, 0], open_reads).await;
        for path in ["/status", "/peers", "/healthz"] {
            let head = format!("GET {path} HTTP/1.1\r\nhost: localhost");
            let stream = TcpStream::connect(tcp).await.unwrap();
            assert_eq!(status(stream, &head, "").await, expected, "{path}");
            let token = Token::read(folder.path()).unwrap();
            let head = format!("{head}\r\nauthorization: Bearer {}", token.text());
            let stream = TcpStream::connect(tcp).await.unwrap();
            assert_eq!(status(stream, &head, "").await, 200, "{path}");
        }
    }
}

#[tokio::test]
async fn a_peer_id_that_is_too_long_is_refused_before_it_is_parsed() {
    let (folder, _serving, _) = served([127, 0, 0, 1], None).await;
    for (length, problem) in [(128, "is not a peer id"), (129, "longer than 128")] {
        let id = "1".repeat(length);
        let head = format!("GET /why?peer={id} HTTP/1.1\r\nhost: localhost");
        let answer = ask(unix(folder.path()).await, &head, "").await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
        assert!(answer.contains(problem), "{answer}");
    }
    let id = "1".repeat(60_000);
    let head = format!("GET /why?peer={id} HTTP/1.1\r\nhost: localhost");
    let started = std::time::Instant::now();
    let (mut stream, _) = connect(folder.path()).await.unwrap();
    // The node may close the connection before it has read everything.
    let _ = stream.write_all(head.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    println!("refused 60,000 characters after {:?}", started.elapsed());
    assert!(answer.starts_with(b"HTTP/1.1 4"), "{answer:?}");
}

#[tokio::test]
async fn a_17th_subscriber_is_refused_and_other_requests_are_answered() {
    let (folder, _serving, _) = served([127, 0, 0, 1], None).await;
    let events = "GET /events HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let mut subscribers = Vec::new();
    for _ in 0..16 {
        let mut stream = unix(folder.path()).await;
        stream.write_all(events.as_bytes()).await.unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200");
        subscribers.push(stream);
    }
    let head = "GET /events HTTP/1.1\r\nhost: localhost";
    assert_eq!(status(unix(folder.path()).await, head, "").await, 429);
    let head = "GET /status HTTP/1.1\r\nhost: localhost";
    assert_eq!(status(unix(folder.path()).await, head, "").await, 200);
}

#[tokio::test]
async fn no_other_user_can_use_the_socket_at_any_moment() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let path = place::entry(folder.path());
    let watched = path.clone();
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let seen = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&seen);
    let watcher = thread::spawn(move || {
        let mut modes = Vec::new();
        while !stopped.is_cancelled() {
            if let Ok(found) = watched.symlink_metadata() {
                counted.fetch_add(1, Ordering::Relaxed);
                modes.push(found.permissions().mode() & 0o777);
                modes.dedup();
            }
        }
        modes
    });
    let patience = Instant::now() + Duration::from_secs(60);
    let mut rounds = 0;
    // On a busy machine the watcher may begin late.
    while rounds < 500 || seen.load(Ordering::Relaxed) == 0 {
        rounds += 1;
        assert!(Instant::now() < patience, "the watcher never ran");
        let listener = Listener::unix(folder.path()).await.unwrap();
        assert!(path.symlink_metadata().unwrap().file_type().is_socket());
        drop(listener);
        assert!(!path.exists());
    }
    stop.cancel();
    let modes = watcher.join().unwrap();
    println!("the mode was read {} times", seen.load(Ordering::Relaxed));
    #[cfg(target_os = "linux")]
    assert_eq!(modes, [0o600]);
}

#[tokio::test]
async fn a_dead_socket_is_replaced_and_one_that_answers_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = place::entry(folder.path());
    // Closing a socket leaves its file, as killing its process does.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    drop(Listener::unix(folder.path()).await.unwrap());

    let other = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let error = Listener::unix(folder.path()).await.unwrap_err();
    assert!(matches!(error, BindError::Answered { .. }), "{error}");
    assert!(error.to_string().contains(path.to_str().unwrap()));
    assert!(path.symlink_metadata().unwrap().file_type().is_socket());
    drop(other);

    let first = Listener::unix(folder.path()).await.unwrap();
    let error = Listener::unix(folder.path()).await.unwrap_err();
    assert!(matches!(error, BindError::InUse { .. }), "{error}");
    drop(first);
    drop(Listener::unix(folder.path()).await.unwrap());
}

#[tokio::test]
async fn what_is_no_socket_is_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let data_dir = folder.path().join("data");
    fs::create_dir(&data_dir).unwrap();
    let (path, target) = (place::entry(&data_dir), folder.path().join("target"));
    fs::write(&target, "theirs").unwrap();
    type Make = fn(&Path, &Path);
    let obstacles: [(Make, &str); 3] = [
        (
            |path, target| symlink(target, path).unwrap(),
            "symbolic link",
        ),
        (|path, _| fs::write(path, "mine").unwrap(), "another file"),
        (|path, _| fs::create_dir(path).unwrap(), "a directory"),
    ];
    for (make, named) in obstacles {
        make(&path, &target);
        let before = path.symlink_metadata().unwrap();
        let error = Listener::unix(&data_dir).await.unwrap_err();
        let text = crate::error_chain(&error);
        assert!(
            text.contains(named) && text.contains("data/admin"),
            "{text}"
        );
        let error = connect(&data_dir).await.unwrap_err();
        assert!(crate::error_chain(&error).contains(named), "{error}");
        let after = path.symlink_metadata().unwrap();
        assert_eq!(before.modified().unwrap(), after.modified().unwrap());
        assert_eq!(before.file_type(), after.file_type());
        let removed = fs::remove_file(&path).or_else(|_| fs::remove_dir(&path));
        removed.unwrap();
    }
    assert_eq!(fs::read(&target).unwrap(), b"theirs");
    // The token is not written through a link either.
    symlink(&target, Token::path(&data_dir)).unwrap();
    let listener = Listener::tcp(([127, 0, 0, 1], 0).into(), None, &data_dir);
    let error = crate::error_chain(&listener.await.unwrap_err());
    assert!(
        error.contains("admin-token") && error.contains("symbolic link"),
        "{error}"
    );
    assert_eq!(fs::read(&target).unwrap(), b"theirs");
}
