//! The smallest HTTP server: one page, and who asked for it.

use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use tests::harness::process::Deadline;

/// Where the page is.
const PATH: &str = "/page";

/// More than one read's worth.
const BYTES: usize = 100_000;

/// How long a client may take over its request.
const PATIENCE: Duration = Duration::from_secs(5);

/// A server that gives the page to whoever asks for it.
#[derive(Debug)]
pub(crate) struct Server {
    address: SocketAddr,
    seen: Receiver<IpAddr>,
}

impl Server {
    /// Serves at a free port of `host`, until the process ends.
    pub(crate) fn start(host: IpAddr) -> Result<Self> {
        let listener = TcpListener::bind((host, 0)).context("cannot listen")?;
        let address = listener.local_addr()?;
        let (see, seen) = mpsc::channel();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A client that leaves early is found out by what it says of the page.
                let _ = serve(&stream, &see);
            }
        });
        Ok(Self { address, seen })
    }

    /// The page's address, with `host` for the server's own.
    pub(crate) fn url(&self, host: &str) -> String {
        format!("http://{host}:{}{PATH}", self.address.port())
    }

    /// Where the next request came from.
    pub(crate) fn seen(&self, deadline: Deadline) -> Result<IpAddr> {
        let seen = self.seen.recv_timeout(deadline.left());
        seen.context("nobody asked for the page")
    }
}

/// The page.
pub(crate) fn page() -> Vec<u8> {
    (0..BYTES).map(|n| (n * n % 251) as u8).collect()
}

/// Answers one request. Only one in the form for servers gets the page: a client that took this for an HTTP proxy would
/// send the whole address (RFC 9112 section 3.2).
fn serve(stream: &TcpStream, see: &Sender<IpAddr>) -> Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut head = Vec::new();
    for line in BufReader::new(stream).lines() {
        match line? {
            line if line.is_empty() => break,
            line => head.push(line),
        }
    }
    let found = head.first() == Some(&format!("GET {PATH} HTTP/1.1"));
    let (status, body) = if found {
        ("200 OK", page())
    } else {
        ("404 Not Found", Vec::new())
    };
    let _ = see.send(stream.peer_addr()?.ip());
    let mut stream = stream;
    write!(
        stream,
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    )?;
    Ok(stream.write_all(&body)?)
}
