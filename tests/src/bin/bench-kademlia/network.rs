//! Lookups in a large network of cores, with simulated time and latency. The same sizes give the same run.

use std::{
    collections::{BTreeMap, HashMap},
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use anyhow::{bail, ensure};
use libp2p_identity::PeerId;
use node::{
    Multiaddr,
    bootstrap::kad::{
        Failure, Kad, KadConfig, KadEvent, Key, Mode, Namespaces, Outcome, Preset, QueryId, Reply,
        Request, RequestId, Response, place_of,
    },
    multiaddr::Protocol,
};
use serde_json::json;
use tests::harness::program::say;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// The seeds of the ids of the nodes, and of the keys.
const NODES: u64 = 1;
const KEYS: u64 = 2;

/// How many nodes join in a second.
const JOINS: usize = 100;

/// How long the network rests after the last join: the nodes forget what they have measured of a smaller network.
const REST: Duration = Duration::from_secs(3600);

/// How many of the 20 nearest nodes a good lookup finds.
const GOOD: usize = 18;

struct Node {
    id: PeerId,
    address: Multiaddr,
    kad: Kad<PeerId, Multiaddr>,
    /// The time of its next timer.
    timer: Option<Instant>,
}

enum What {
    Request {
        from: usize,
        to: PeerId,
        request: RequestId,
        message: Request<PeerId, Multiaddr>,
    },
    Answer {
        to: usize,
        request: RequestId,
        answer: Option<Response<PeerId, Multiaddr>>,
    },
    Meeting {
        node: usize,
        other: usize,
    },
    Timer(usize),
}

struct Network {
    now: Instant,
    nodes: Vec<Node>,
    index: HashMap<PeerId, usize>,
    /// What happens next, by its time and number.
    queue: BTreeMap<(Instant, u64), What>,
    numbers: u64,
    done: HashMap<(usize, QueryId), Outcome<PeerId, Multiaddr>>,
}

/// Looks up keys in a network of so many nodes, each from another node, and tells the hops and requests of each lookup.
pub(crate) fn run(nodes: u64, lookups: u64) -> anyhow::Result<()> {
    let mut network = Network::of(crate::ids(NODES, nodes)?);
    let (mut hops, mut requests, mut good) = (Vec::new(), Vec::new(), 0);
    for (number, key) in crate::ids(KEYS, lookups)?.into_iter().enumerate() {
        let asker = number * 7 % network.nodes.len();
        let found = network.look_up(asker, key)?;
        let Outcome::Closest {
            peers,
            hops: steps,
            requests: sent,
        } = found
        else {
            bail!("another outcome: {found:?}");
        };
        let nearest = network.nearest(asker, key);
        let is_near = |peer: &PeerId| nearest.contains(peer);
        let found = peers.iter().filter(|peer| is_near(&peer.id)).count();
        good += usize::from(found >= GOOD.min(nearest.len()));
        hops.push(steps);
        requests.push(sent);
    }
    say(&json!({"event": "network", "hops": hops, "requests": requests, "good": good}));
    Ok(())
}

impl Network {
    /// A network of these nodes, in which all have joined and looked around.
    fn of(ids: Vec<PeerId>) -> Self {
        let mut network = Self {
            now: Instant::now(),
            nodes: Vec::new(),
            index: HashMap::new(),
            queue: BTreeMap::new(),
            numbers: 0,
            done: HashMap::new(),
        };
        for (number, id) in ids.into_iter().enumerate() {
            network.add(id);
            if number % JOINS == JOINS - 1 {
                network.pass(SECOND);
            }
        }
        network.pass(REST);
        network
    }

    fn add(&mut self, id: PeerId) {
        let number = self.nodes.len();
        let [.., high, low] = number.to_be_bytes();
        let address = Multiaddr::from(Ipv4Addr::new(10, 0, high, low)).with(Protocol::Tcp(4001));
        let config = KadConfig::default()
            .with_mode(Mode::Server)
            .with_preset(Preset::Private);
        let (seed, names) = (number as u64, Namespaces::new());
        let mut kad = Kad::new(self.now, id, seed, config, names, place_of);
        kad.handle_addresses(self.now, vec![address.clone()]);
        self.index.insert(id, number);
        self.nodes.push(Node {
            id,
            address,
            kad,
            timer: None,
        });
        self.settle(number);
    }

    fn look_up(&mut self, asker: usize, key: PeerId) -> anyhow::Result<Outcome<PeerId, Multiaddr>> {
        let now = self.now;
        let query = self.nodes[asker].kad.closest(now, key.to_bytes())?;
        self.settle(asker);
        let until = now + 60 * SECOND;
        loop {
            if let Some(outcome) = self.done.remove(&(asker, query)) {
                return Ok(outcome);
            }
            ensure!(self.step(until), "a lookup does not end");
        }
    }

    /// The 20 nodes nearest to a key, without the asker.
    fn nearest(&self, asker: usize, key: PeerId) -> Vec<PeerId> {
        let target = Key::of(key.to_bytes());
        let others = self.nodes.iter().enumerate();
        let others = others.filter(|(number, _)| *number != asker);
        let mut ids: Vec<_> = others
            .map(|(_, node)| (Key::of(node.id.to_bytes()).distance(&target), node.id))
            .collect();
        ids.sort_unstable();
        ids.into_iter().take(20).map(|(_, id)| id).collect()
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while self.step(end) {}
        self.now = end;
    }

    /// The next thing happens, unless it is due after `end`.
    fn step(&mut self, end: Instant) -> bool {
        let next = self.queue.first_entry().filter(|next| next.key().0 <= end);
        let Some(next) = next else { return false };
        let ((at, _), what) = next.remove_entry();
        self.now = at;
        match what {
            What::Timer(node) => {
                if self.nodes[node].timer == Some(at) {
                    self.nodes[node].timer = None;
                    self.nodes[node].kad.handle_timeout(at);
                    self.settle(node);
                }
            }
            What::Request {
                from,
                to,
                request,
                message,
            } => self.serve(from, to, request, message),
            What::Answer {
                to,
                request,
                answer,
            } => {
                let kad = &mut self.nodes[to].kad;
                match answer {
                    Some(answer) => kad.handle_response(at, request, None, answer),
                    None => kad.handle_failed(at, request, Failure::Refused),
                }
                self.settle(to);
            }
            What::Meeting { node, other } => {
                let (peer, address) = (self.nodes[other].id, self.nodes[other].address.clone());
                let kad = &mut self.nodes[node].kad;
                kad.handle_connected(at, &peer, Some(&address), false);
                kad.handle_identified(at, &peer, vec![address], true);
                self.settle(node);
            }
        }
        true
    }

    fn serve(
        &mut self,
        from: usize,
        to: PeerId,
        request: RequestId,
        message: Request<PeerId, Multiaddr>,
    ) {
        let (sender, remote) = (self.nodes[from].id, self.nodes[from].address.clone());
        let Some(to) = self.index.get(&to).copied() else {
            return;
        };
        let kad = &mut self.nodes[to].kad;
        let reply = kad.handle_request(self.now, &sender, Some(&remote), message);
        // The connection tells the server who asks.
        kad.handle_identified(self.now, &sender, vec![remote], true);
        self.settle(to);
        let answer = match reply {
            Reply::Answer(answer) => Some(answer),
            _ => None,
        };
        let latency = self.latency();
        self.after(
            latency,
            What::Answer {
                to: from,
                request,
                answer,
            },
        );
    }

    /// Carries out what a node wants.
    fn settle(&mut self, node: usize) {
        while let Some(event) = self.nodes[node].kad.poll_event() {
            match event {
                KadEvent::Send {
                    request,
                    peer,
                    message,
                    ..
                } => {
                    let now = self.now;
                    self.nodes[node].kad.handle_started(now, request);
                    let latency = self.latency();
                    self.after(
                        latency,
                        What::Request {
                            from: node,
                            to: peer,
                            request,
                            message,
                        },
                    );
                }
                KadEvent::Done {
                    query,
                    result: Ok(outcome),
                } => {
                    self.done.insert((node, query), outcome);
                }
                KadEvent::Join if node > 0 => {
                    // A random node that was there before.
                    let other = (self.random() % node as u64) as usize;
                    let latency = self.latency();
                    self.after(latency, What::Meeting { node, other });
                }
                _ => {}
            }
        }
        let due = self.nodes[node].kad.poll_timeout();
        if let Some(due) = due.map(|due| due.max(self.now + MS)) {
            let timer = self.nodes[node].timer;
            if timer.is_none_or(|timer| due < timer) {
                self.nodes[node].timer = Some(due);
                self.after(due - self.now, What::Timer(node));
            }
        }
    }

    fn after(&mut self, wait: Duration, what: What) {
        self.numbers += 1;
        self.queue.insert((self.now + wait, self.numbers), what);
    }

    fn latency(&mut self) -> Duration {
        MS * (10 + (self.random() % 40) as u32)
    }

    /// The next number of a fixed sequence.
    fn random(&mut self) -> u64 {
        self.numbers += 1;
        let mixed = self.numbers.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed ^ (mixed >> 31)
    }
}
