//! The memory that a peer can make a whole node keep. A test program of its own, because it counts every allocation: the
//! attacker's as well.

#![cfg(all(feature = "quic", feature = "relay"))]
#![allow(clippy::unwrap_used, reason = "a panic is a test's verdict")]

#[path = "../common/mod.rs"]
mod common;

mod generator;
mod negotiation;

use std::{
    alloc::System,
    panic::resume_unwind,
    sync::{Mutex, PoisonError},
    thread,
    time::Duration,
};

use node::{
    Keypair, Multiaddr, Node,
    multiaddr::Protocol,
    transport_quic::{self, Endpoint},
    transport_tcp::{self, Target, Upgrader},
};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// What a connection may keep beyond its cost and what is unread.
const SLACK: usize = 512 * KIB;

fn kept() -> usize {
    let stats = ALLOCATOR.stats();
    stats.bytes_allocated - stats.bytes_deallocated
}

/// Runs one test at a time, because the others would be counted as well: its thread has ended before the next one begins, and
/// with it the buffers that a thread keeps.
fn alone(test: impl FnOnce() + Send) {
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let ended = thread::scope(|scope| scope.spawn(test).join());
    ended.unwrap_or_else(|panic| resume_unwind(panic));
}

/// A test on one thread, so that a pause lets every task run.
fn run<T>(test: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().unwrap().block_on(test)
}

/// Waits until the memory in use has not changed for a while.
async fn settled() {
    let (mut last, mut same) = (kept(), 0);
    while same < 5 {
        tokio::time::sleep(Duration::from_millis(1)).await;
        same = if kept() == last { same + 1 } else { 0 };
        last = kept();
    }
}

trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// A peer that opens streams, and speaks for itself on them.
enum Attacker {
    Tcp(transport_tcp::Connection),
    Quic(Endpoint, transport_quic::Connection),
}

impl Attacker {
    async fn new(victim: &Node, address: &Multiaddr, identity: &Keypair) -> Self {
        let peer = Some(victim.peer_id());
        if !address.iter().any(|part| matches!(part, Protocol::QuicV1)) {
            let upgrader = Upgrader::new(identity, Default::default()).unwrap();
            let at = Target::from_multiaddr(address).unwrap().authority();
            let socket = TcpStream::connect(at).await.unwrap();
            let connection = upgrader.outbound(socket, peer, &mut |_| ()).await;
            return Self::Tcp(connection.unwrap());
        }
        let config = transport_quic::Config::default();
        let endpoint = Endpoint::bind("127.0.0.1:0".parse().unwrap(), identity, config).unwrap();
        let at = transport_quic::socket_addr(address).unwrap();
        let connection = endpoint.dial(at.0, peer).await.unwrap();
        Self::Quic(endpoint, connection)
    }

    async fn open(&self) -> Option<Box<dyn Duplex>> {
        let soon = Duration::from_millis(200);
        match self {
            Self::Tcp(connection) => {
                let stream = tokio::time::timeout(soon, connection.open()).await;
                Some(Box::new(stream.ok()?.ok()?))
            }
            Self::Quic(_, connection) => {
                let stream = tokio::time::timeout(soon, connection.open()).await;
                Some(Box::new(stream.ok()?.ok()?))
            }
        }
    }

    async fn abort(self) {
        match self {
            Self::Tcp(connection) => connection.abort(),
            Self::Quic(endpoint, connection) => {
                connection.abort(transport_quic::CloseCode::SHUTDOWN, "");
                endpoint
                    .close(transport_quic::CloseCode::SHUTDOWN, "")
                    .await;
            }
        }
    }
}

/// A message of multistream-select.
fn message(text: &[u8]) -> Vec<u8> {
    let mut length = unsigned_varint(text.len() + 1);
    length.extend_from_slice(text);
    length.push(b'\n');
    length
}

fn unsigned_varint(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number > 127 {
        bytes.push((number & 127) as u8 | 128);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

const HEADER: &[u8] = b"/multistream/1.0.0";
