//! Random legal and illegal frames of a peer that has authenticated itself, while the application reads, writes and drops
//! streams at random.

use std::collections::BTreeMap;

use futures::FutureExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_rustls::client::TlsStream;
use transport_tcp::{Connection, Security, Stream};

use crate::{
    KIB, SLACK, alone,
    flood::frame,
    kept, paused, settled,
    support::{Node, raw_muxer},
};

/// Connections that are attacked, each in its own way.
const CASES: u64 = if cfg!(debug_assertions) { 300 } else { 10_000 };

/// Actions of one case.
const ACTIONS: u64 = 60;

/// What the application writes to one stream: what is unsent is its own, and counts as the stream's cost.
const WRITTEN: usize = 512;

const DATA: u8 = 0;
const WINDOW_UPDATE: u8 = 1;

/// The same numbers for the same seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// A stream as its two ends see it.
struct Open {
    stream: Stream,
    /// What the attacker sent, and what was read of it.
    sent: usize,
    read: usize,
}

struct Case {
    random: Random,
    attacker: TlsStream<DuplexStream>,
    connection: Connection,
    streams: BTreeMap<u32, Open>,
    /// Bytes sent on streams that wait to be accepted.
    unaccepted: BTreeMap<u32, usize>,
    next: u32,
    /// What the attacker likes best: the length of its frames.
    habit: u64,
    /// Whether the attacker says no more, because its next bytes would belong to a body that it announced.
    silent: bool,
}

impl Case {
    async fn new(seed: u64, victim: &Node) -> Self {
        let (attacker, connection) = raw_muxer(victim, 64 * KIB).await;
        let mut random = Random(seed);
        let habit = [1, 1, 16, 300, 5_000, 40_000][random.below(6) as usize];
        Self {
            random,
            attacker,
            connection,
            streams: BTreeMap::new(),
            unaccepted: BTreeMap::new(),
            next: 1,
            habit,
            silent: false,
        }
    }

    /// What is not read on streams that somebody can still read.
    fn unread(&self) -> usize {
        let open = self.streams.values().map(|it| it.sent - it.read);
        open.chain(self.unaccepted.values().copied()).sum()
    }

    fn any_stream(&mut self) -> Option<u32> {
        let count = self.streams.len() as u64;
        let nth = self.random.below(count.max(1)) as usize;
        self.streams.keys().nth(nth).copied()
    }

    /// Sends bytes. Does not wait for a victim that reads no more.
    async fn say(&mut self, bytes: &[u8]) {
        if self.silent {
            return;
        }
        let write = async {
            self.attacker.write_all(bytes).await?;
            self.attacker.flush().await
        };
        let limit = std::time::Duration::from_millis(5);
        let _ = tokio::time::timeout(limit, write).await;
    }

    async fn open(&mut self) {
        let flags = 1 | if self.random.one_in(8) { 4 } else { 0 };
        let id = self.next;
        self.next += 2;
        let said = match self.random.one_in(2) {
            true => frame(WINDOW_UPDATE, flags, id, 0, &[]),
            false => {
                let length = self.random.below(self.habit * 2) as usize;
                self.unaccepted.insert(id, length);
                frame(DATA, flags, id, length as u32, &vec![1; length])
            }
        };
        self.unaccepted.entry(id).or_default();
        self.say(&said).await;
    }

    /// A run of frames on one stream, or on all in turn.
    async fn data(&mut self) {
        let Some(first) = self.any_stream() else {
            return;
        };
        let spread = self.random.one_in(2);
        let count = 1 + self.random.below(if self.habit < 1000 { 2000 } else { 20 });
        let mut said = Vec::new();
        let ids: Vec<_> = self.streams.keys().copied().collect();
        for n in 0..count as usize {
            let id = if spread { ids[n % ids.len()] } else { first };
            let length = 1 + self.random.below(self.habit) as usize;
            let flags = match self.random.below(200) {
                0 => 4,
                1 => 8,
                2..6 => 2,
                _ => 0,
            };
            self.streams.get_mut(&id).unwrap().sent += length;
            said.extend(frame(DATA, flags, id, length as u32, &vec![2; length]));
        }
        self.say(&said).await;
    }

    /// Something that no honest peer sends, or not now.
    async fn oddity(&mut self) {
        let id = self.random.below(40) as u32;
        let number = self.random.next() as u32;
        let what = self.random.below(8);
        let said = match what {
            // Pings, pongs, and window updates of any size.
            0 => frame(2, 1, 0, number, &[]).repeat(1 + self.random.below(500) as usize),
            1 => frame(2, 2, 0, number, &[]),
            2 => frame(WINDOW_UPDATE, self.random.below(16) as u8, id, number, &[]),
            // A body that nobody wants.
            3 => frame(DATA, 8, id, 5000, &[3; 5000]),
            4 => frame(DATA, 0, 77_777, 9000, &[3; 9000]),
            5 => frame(
                1 + self.random.below(5) as u8,
                number as u8,
                id,
                number,
                &[],
            ),
            // A body that never comes.
            6 => frame(DATA, 0, id, number % (1 << 18), &[]),
            _ => (0..self.random.below(200))
                .map(|_| self.random.next() as u8)
                .collect(),
        };
        self.say(&said).await;
        self.silent |= what >= 6;
    }

    fn accept(&mut self) {
        while let Some(Some(stream)) = self.connection.accept().now_or_never() {
            let id = stream.id();
            let sent = self.unaccepted.remove(&id).unwrap_or(0);
            let open = Open {
                stream,
                sent,
                read: 0,
            };
            self.streams.insert(id, open);
        }
    }

    fn read(&mut self) {
        let Some(id) = self.any_stream() else {
            return;
        };
        let most = match self.random.below(3) {
            0 => 1 << 20,
            1 => 1 + self.random.below(self.habit * 3),
            _ => 1 + self.random.below(100),
        };
        let open = self.streams.get_mut(&id).unwrap();
        let mut buffer = vec![0; most as usize];
        if let Some(Ok(n)) = open.stream.read(&mut buffer).now_or_never() {
            open.read += n;
        }
    }

    fn write(&mut self) {
        let Some(id) = self.any_stream() else {
            return;
        };
        let open = self.streams.get_mut(&id).unwrap();
        let _ = open.stream.write_all(&[5; 16]).now_or_never();
        if self.random.one_in(10) {
            let _ = open.stream.shutdown().now_or_never();
        }
    }

    async fn act(&mut self) {
        match self.random.below(12) {
            0 | 1 => self.open().await,
            2..6 => self.data().await,
            6 if self.random.one_in(3) => self.oddity().await,
            6 | 7 => self.read(),
            8 => self.write(),
            9 => {
                let dropped = self.any_stream().filter(|_| self.random.one_in(2));
                dropped.map(|id| self.streams.remove(&id));
            }
            10 => {
                let mut heard = vec![0; 1000];
                let _ = self.attacker.read(&mut heard).now_or_never();
            }
            _ => {}
        }
        settled().await;
        self.accept();
    }
}

/// What a connection and one stream cost at the victim, the attacker's own memory included.
async fn stream_cost(victim: &Node) -> usize {
    let mut case = Case::new(0, victim).await;
    settled().await;
    let before = kept();
    let streams = 64;
    for n in 0..streams as u32 {
        case.say(&frame(WINDOW_UPDATE, 1, 2 * n + 1, 0, &[])).await;
        settled().await;
        case.accept();
    }
    assert_eq!(case.streams.len(), streams);
    (kept() - before) / streams
}

#[test]
fn no_frames_make_a_connection_keep_more_than_the_rule_allows() {
    alone(|| {
        let seed = std::env::var("SEED").map_or(1, |seed| seed.parse().unwrap());
        let cases = std::env::var("CASES").map_or(CASES, |cases| cases.parse().unwrap());
        let victim = Node::over(Security::Tls);
        let stream_cost = paused(stream_cost(&victim)) + WRITTEN;
        let (mut most, mut closest) = (0, 0.0_f64);
        for seed in seed..seed + cases {
            let before = kept();
            paused(async {
                let mut case = Case::new(seed, &victim).await;
                settled().await;
                let base = kept();
                for _ in 0..ACTIONS {
                    case.act().await;
                    let streams = (case.next / 2) as usize * stream_cost;
                    let allowed = base + streams + SLACK + 2 * case.unread();
                    let kept = kept();
                    assert!(
                        kept <= allowed,
                        "seed {seed}: {kept} bytes are kept, {allowed} are allowed: base {base}, unread {}, {} streams",
                        case.unread(),
                        case.streams.len()
                    );
                    most = most.max(kept - base.min(kept));
                    closest =
                        closest.max(kept.saturating_sub(base) as f64 / (allowed - base) as f64);
                }
            });
            let after = kept().saturating_sub(before);
            assert!(
                after <= SLACK,
                "seed {seed}: {after} bytes are kept after the end"
            );
        }
        println!(
            "{cases} cases: at most {most} bytes kept, {:.0} % of what is allowed; a stream costs {stream_cost} bytes",
            100.0 * closest
        );
    });
}
