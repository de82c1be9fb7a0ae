//! Random messages of an authenticated peer, on streams of all of the node's protocols.

use futures::FutureExt;
use node::{Config, Keypair, Multiaddr, Node, RelayConfig, RelayServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{
    Attacker, Duplex, HEADER, KIB, MIB, SLACK, alone,
    common::{QUIC, TCP, listen, with},
    kept, message, run, settled, unsigned_varint,
};

/// Connections that are attacked.
const CASES: u64 = if cfg!(debug_assertions) { 40 } else { 2_000 };

const PROTOCOLS: [&str; 8] = [
    "/ipfs/ping/1.0.0",
    "/ipfs/id/1.0.0",
    "/ipfs/id/push/1.0.0",
    "/libp2p/circuit/relay/0.2.0/hop",
    "/libp2p/circuit/relay/0.2.0/stop",
    "/libp2p/dcutr",
    "/host/1",
    "/nobody/has/this",
];

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

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        (0..self.below(most)).map(|_| self.next() as u8).collect()
    }
}

/// A field of a protobuf message that holds bytes.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![number << 3 | 2];
    bytes.extend(unsigned_varint(content.len()));
    bytes.extend_from_slice(content);
    bytes
}

/// Something to say, whether or not it fits.
fn words(random: &mut Random) -> Vec<u8> {
    match random.below(9) {
        0 => message(HEADER),
        1 | 2 => message(PROTOCOLS[random.below(PROTOCOLS.len())].as_bytes()),
        3 => message(b"ls"),
        4 => [0xff, random.below(128) as u8].to_vec(),
        5 => {
            let bytes = random.bytes(2 * KIB);
            [unsigned_varint(bytes.len()), bytes].concat()
        }
        // Identify: protocols, addresses and a version.
        6 => {
            let mut all = Vec::new();
            for _ in 0..random.below(200) {
                let number = [1, 2, 3, 5, 6][random.below(5)];
                let content = random.bytes(60);
                all.extend(field(number, &content));
            }
            [unsigned_varint(all.len()), all].concat()
        }
        // RESERVE, CONNECT and STATUS of a relay.
        7 => {
            let peer = field(2, &field(1, &random.bytes(40)));
            let all = [vec![8, random.below(4) as u8], peer].concat();
            [unsigned_varint(all.len()), all].concat()
        }
        _ => random.bytes(4 * KIB),
    }
}

struct Case<'a> {
    random: &'a mut Random,
    attacker: Attacker,
    /// The streams, and what was said on each.
    streams: Vec<(Box<dyn Duplex>, usize)>,
    opened: usize,
}

impl Case<'_> {
    async fn act(&mut self) {
        let count = self.streams.len();
        let which = self.random.below(count.max(1));
        match self.random.below(8) {
            0 | 1 => {
                if let Some(stream) = self.attacker.open().await {
                    self.streams.push((stream, 0));
                    self.opened += 1;
                    let mut said = message(HEADER);
                    said.extend(message(PROTOCOLS[self.random.below(8)].as_bytes()));
                    self.say(count, &said);
                }
            }
            2..5 if count > 0 => {
                let mut said = Vec::new();
                for _ in 0..1 + self.random.below(10) {
                    said.extend(words(self.random));
                }
                self.say(which, &said);
            }
            5 if count > 0 => {
                let mut heard = vec![0; 64 * KIB];
                let _ = self.streams[which].0.read(&mut heard).now_or_never();
            }
            6 if count > 0 => {
                let _ = self.streams[which].0.shutdown().now_or_never();
            }
            7 if count > 0 => drop(self.streams.swap_remove(which)),
            _ => {}
        }
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
    }

    fn say(&mut self, which: usize, bytes: &[u8]) {
        let (stream, said) = &mut self.streams[which];
        if let Some(Ok(n)) = stream.write(bytes).now_or_never() {
            *said += n;
        }
        let _ = stream.flush().now_or_never();
    }
}

/// A node that serves all that the attacker may ask for.
fn victim() -> Node {
    let relay = RelayConfig::default().with_server(RelayServerConfig::default());
    with(Config::default().with_relay(relay))
}

/// What one stream costs both ends while its negotiation lasts, an answer that waits included.
async fn stream_cost(victim: &Node, address: &Multiaddr, identity: &Keypair) -> usize {
    let attacker = Attacker::new(victim, address, identity).await;
    settled().await;
    let (before, mut streams) = (kept(), Vec::new());
    for _ in 0..32 {
        let mut stream = attacker.open().await.unwrap();
        let said = [message(HEADER), message(b"ls")].concat();
        stream.write_all(&said).await.unwrap();
        stream.flush().await.unwrap();
        settled().await;
        streams.push(stream);
    }
    let cost = (kept() - before) / streams.len();
    drop(streams);
    attacker.abort().await;
    cost
}

#[test]
fn no_messages_make_a_node_keep_more_than_the_rule_allows() {
    alone(|| {
        let first = std::env::var("SEED").map_or(1, |seed| seed.parse().unwrap());
        let cases = std::env::var("CASES").map_or(CASES, |cases| cases.parse().unwrap());
        run(async {
            let (victim, identity) = (victim(), Keypair::generate_ed25519());
            let _handler = victim.handle("/host/1", 16).unwrap();
            let addresses = [listen(&victim, TCP).await, listen(&victim, QUIC).await];
            let mut costs = Vec::new();
            for address in &addresses {
                costs.push(stream_cost(&victim, address, &identity).await);
            }
            settled().await;
            let (start, mut closest) = (kept(), 0.0_f64);
            for seed in first..first + cases {
                let which = (seed % 2) as usize;
                let attacker = Attacker::new(&victim, &addresses[which], &identity).await;
                for _ in 0..200 {
                    tokio::task::yield_now().await;
                }
                let base = kept();
                let mut case = Case {
                    random: &mut Random(seed),
                    attacker,
                    streams: Vec::new(),
                    opened: 0,
                };
                for _ in 0..30 {
                    case.act().await;
                    let said: usize = case.streams.iter().map(|(_, said)| said).sum();
                    let allowed = case.opened * costs[which] + SLACK + 2 * said;
                    let grown = kept().saturating_sub(base);
                    assert!(
                        grown <= allowed,
                        "seed {seed}: {grown} bytes are kept, {allowed} are allowed"
                    );
                    closest = closest.max(grown as f64 / allowed as f64);
                }
                drop(case.streams);
                case.attacker.abort().await;
            }
            settled().await;
            let after = kept().saturating_sub(start);
            println!(
                "{cases} cases: at most {:.0} % of what is allowed, a stream costs {costs:?} bytes; {after} bytes kept afterwards",
                100.0 * closest
            );
            assert!(after <= 10 * MIB, "{after} bytes are kept after the end");
        });
    });
}
