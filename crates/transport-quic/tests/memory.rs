//! The memory that a peer can make one connection keep. A test program of its own, because it counts every allocation.
//!
//! quinn bounds it: a stream keeps at most 2,048 spans of 56 bytes, and over-allocates at most 32 KiB or 1.5 times what
//! is unread.
#![allow(clippy::unwrap_used)]

mod common;

use std::{
    alloc::System,
    panic::resume_unwind,
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use common::{Node, foreign::Face, id, pause, raw::Raw, within};
use futures::FutureExt;
use quinn_proto::{StreamId, VarInt};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use tokio::io::AsyncReadExt;
use transport_quic::{CloseReason, Config, Connection, Flavour, Keypair, Stream};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// What a connection may keep beyond its streams.
const SLACK: usize = 512 * KIB;

/// quinn's bound on the spans of one stream, by their cost.
const SPANS: usize = 2048 * 56;

/// quinn's bound on what one stream allocates without need.
const OVER_ALLOCATION: usize = 32 * KIB;

/// Connections that the generator attacks.
const CASES: u64 = if cfg!(debug_assertions) { 100 } else { 10_000 };

fn allocated() -> usize {
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

fn run<T>(test: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().unwrap().block_on(test)
}

/// A victim, an attacker, and what the victim keeps for it. The victim's tasks run only inside [`Attack::victim`], so the
/// attacker's memory does not count.
struct Attack {
    raw: Raw,
    connection: Connection,
    streams: Vec<Option<Stream>>,
    ids: Vec<StreamId>,
    /// What is sent and not read, by stream.
    unread: Vec<usize>,
    kept: isize,
    _node: Node,
}

impl Attack {
    async fn begin() -> Self {
        let alpn = vec![b"test".to_vec()];
        let config = Config::default().with_flavour(Flavour::RawPublicKey { alpn });
        let node = Node::new(config.with_idle_timeout(Duration::ZERO));
        let identity = Keypair::generate_ed25519();
        let face = Face::raw(&identity, b"test");
        let mut raw = Raw::new(&face, node.address).await;
        let accepted = node.accept_one();
        while !accepted.is_finished() {
            raw.talk().await;
        }
        let connection = accepted.await.unwrap();
        assert_eq!(connection.peer(), id(&identity));
        Self {
            raw,
            connection,
            streams: Vec::new(),
            ids: Vec::new(),
            unread: Vec::new(),
            kept: 0,
            _node: node,
        }
    }

    /// The victim gets these datagrams, and time to deal with them.
    async fn victim(&mut self, datagrams: &[Vec<u8>]) {
        let before = allocated() as isize;
        // Fewer than a socket's buffer holds.
        for some in datagrams.chunks(32) {
            for datagram in some {
                self.raw.send(datagram).await;
            }
            pause().await;
        }
        self.kept += allocated() as isize - before;
    }

    /// Opens a stream with its first byte.
    async fn open(&mut self) {
        let Some(id) = self.raw.open() else {
            return;
        };
        self.raw.write(id, &[1]);
        let datagrams = self.raw.datagrams();
        self.victim(&datagrams).await;
        let before = allocated() as isize;
        let mut stream = within(self.connection.accept()).await.unwrap();
        within(stream.read_exact(&mut [0])).await.unwrap();
        self.kept += allocated() as isize - before;
        self.streams.push(Some(stream));
        self.ids.push(id);
        self.unread.push(0);
        self.raw.talk().await;
    }

    /// One byte on each stream and then another, of which only the second arrives, over and over.
    async fn gaps(&mut self, spans: usize) {
        let mut datagrams = Vec::new();
        for _ in 0..spans {
            for lost in [true, false] {
                for id in self.ids.clone() {
                    self.raw.write(id, &[2]);
                }
                let sent = self.raw.datagrams();
                if !lost {
                    datagrams.extend(sent);
                }
            }
            if datagrams.len() > 100 {
                self.victim(&std::mem::take(&mut datagrams)).await;
                self.raw.ignore();
            }
        }
        self.victim(&datagrams).await;
        self.raw.ignore();
    }
}

async fn gapped_frames(streams: usize) {
    let mut attack = Attack::begin().await;
    let start = attack.kept;
    for _ in 0..streams {
        attack.open().await;
    }
    assert_eq!(attack.streams.len(), streams);
    let open = attack.kept;
    attack.gaps(1000).await;
    assert!(!attack.connection.is_closed(), "1,000 spans were refused");
    let grown = usize::try_from(attack.kept - open).unwrap();
    println!(
        "{streams} streams with 1,000 gaps each: {grown} bytes kept, {} per stream; an open stream costs {}",
        grown / streams,
        (open - start) as usize / streams
    );
    let bound = SLACK + streams * (SPANS + OVER_ALLOCATION);
    assert!(
        grown <= bound,
        "{grown} bytes are kept, {bound} is the bound"
    );

    // More gaps than quinn takes end the connection, and its memory comes back.
    attack.gaps(1200).await;
    let reason = within(attack.connection.closed()).await;
    assert!(matches!(reason, CloseReason::Transport(_)), "{reason}");
    let Attack {
        connection,
        streams: held,
        kept,
        raw: _raw,
        _node,
        ..
    } = attack;
    let (before, closed) = (allocated() as isize, Instant::now());
    drop((connection, held));
    let after = || kept - start + allocated() as isize - before;
    while after() > 10 * MIB as isize {
        assert!(closed.elapsed() < Duration::from_secs(10), "{}", after());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    println!(
        "{streams} streams: {} bytes kept {:?} after the connection",
        after(),
        closed.elapsed()
    );
}

#[test]
fn gapped_frames_on_64_streams_cost_what_quinn_allows() {
    alone(|| {
        run(gapped_frames(64));
    });
}

#[test]
fn gapped_frames_on_256_streams_cost_what_quinn_allows() {
    alone(|| {
        run(gapped_frames(256));
    });
}

/// A certificate longer than quinn buffers out of order, of which the first datagram never comes.
#[test]
fn crypto_frames_at_high_offsets_end_the_handshake() {
    alone(|| {
        run(async {
            let node = Node::new(Config::default());
            let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
            let face = Face::libp2p(vec![7; 60 * KIB], &key);
            let mut raw = Raw::new(&face, node.address).await;
            let endpoint = node.endpoint.clone();
            let handshake =
                tokio::spawn(async move { endpoint.accept().await.unwrap().accept().await });
            let mut most = 0;
            while !handshake.is_finished() {
                let mut datagrams = raw.datagrams();
                if datagrams.len() > 10 {
                    datagrams.remove(0);
                }
                for datagram in datagrams {
                    let before = allocated();
                    raw.send(&datagram).await;
                    pause().await;
                    most = most.max(allocated().saturating_sub(before));
                }
                raw.hear();
                pause().await;
            }
            let error = handshake.await.unwrap().expect_err("it is refused");
            println!("{error}: a datagram made it keep at most {most} bytes more");
            assert!(most <= 64 * KIB, "{most} bytes were kept");
        });
    });
}

/// The same numbers for the same seed.
struct Random(u64);

impl Random {
    /// A number below `limit`.
    fn below(&mut self, limit: u64) -> u64 {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}

/// One random action of the attacker, or of the application.
async fn act(attack: &mut Attack, random: &mut Random, held: &mut Vec<Vec<u8>>) {
    let nth = random.below(attack.ids.len() as u64) as usize;
    let id = attack.ids[nth];
    match random.below(12) {
        0..6 => {
            let length = [1, 1, 30, 1500, 30_000][random.below(5) as usize];
            for _ in 0..1 + random.below(20) {
                attack.unread[nth] += attack.raw.write(id, &vec![3; length]);
            }
        }
        6 => drop(attack.raw.connection.send_stream(id).finish()),
        7 => drop(
            attack
                .raw
                .connection
                .send_stream(id)
                .reset(VarInt::from_u32(1)),
        ),
        8 => drop(
            attack
                .raw
                .connection
                .recv_stream(id)
                .stop(VarInt::from_u32(1)),
        ),
        9 => {
            let before = allocated() as isize;
            if let Some(stream) = &mut attack.streams[nth] {
                let mut buffer = vec![0; 1 + random.below(100_000) as usize];
                let read = stream.read(&mut buffer).now_or_never();
                attack.unread[nth] -= read.and_then(Result::ok).unwrap_or(0);
            }
            attack.kept += allocated() as isize - before;
        }
        10 => {
            let before = allocated() as isize;
            attack.streams[nth] = None;
            attack.unread[nth] = 0;
            attack.kept += allocated() as isize - before;
        }
        _ => attack.raw.connection.ping(),
    }
    // Each datagram is sent, sent twice, kept for later, or lost.
    let mut sent = Vec::new();
    for datagram in attack.raw.datagrams() {
        match random.below(8) {
            0 => held.push(datagram),
            1 => {}
            2 => sent.extend([datagram.clone(), datagram]),
            _ => sent.push(datagram),
        }
    }
    if random.below(10) == 0 {
        sent.append(held);
    }
    attack.victim(&sent).await;
    if random.below(4) == 0 {
        attack.raw.hear();
    }
}

#[test]
fn no_frames_make_a_connection_keep_more_than_quinn_allows() {
    alone(|| {
        let first = std::env::var("SEED").map_or(1, |seed| seed.parse().unwrap());
        let cases = std::env::var("CASES").map_or(CASES, |cases| cases.parse().unwrap());
        let mut closest = 0.0_f64;
        for seed in first..first + cases {
            let before = allocated();
            run(async {
                let mut attack = Attack::begin().await;
                let mut random = Random(seed);
                for _ in 0..1 + random.below(8) {
                    attack.open().await;
                }
                let (open, mut held) = (attack.kept, Vec::new());
                let spans = attack.ids.len() * (SPANS + OVER_ALLOCATION);
                for _ in 0..30 {
                    act(&mut attack, &mut random, &mut held).await;
                    let unread: usize = attack.unread.iter().sum();
                    let allowed = SLACK + spans + unread * 5 / 2;
                    let grown = usize::try_from(attack.kept - open).unwrap_or(0);
                    assert!(
                        grown <= allowed,
                        "seed {seed}: {grown} bytes are kept, {allowed} are allowed"
                    );
                    closest = closest.max(grown as f64 / allowed as f64);
                }
            });
            let after = allocated().saturating_sub(before);
            assert!(
                after <= SLACK,
                "seed {seed}: {after} bytes are kept after the end"
            );
        }
        println!(
            "{cases} cases: at most {:.0} % of what is allowed",
            100.0 * closest
        );
    });
}
