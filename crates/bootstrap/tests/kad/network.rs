//! A network of cores with simulated time and latency. The same seed gives the same run.

mod answers;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, HashMap},
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use bootstrap::kad::{
    Failure, Kad, KadConfig, KadEvent, Key, Mode, Namespaces, Outcome, PeerInfo, Place, QueryError,
    QueryId, Request, RequestId, Response, Validator,
};

pub(crate) const MS: Duration = Duration::from_millis(1);
pub(crate) const SECOND: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Id(pub(crate) u64);

impl From<Id> for Vec<u8> {
    fn from(id: Id) -> Self {
        id.0.to_be_bytes().to_vec()
    }
}

pub(crate) fn key_of(id: Id) -> Key {
    Key::of(Vec::from(id))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Addr(pub(crate) Ipv4Addr);

pub(crate) fn place(address: &Addr) -> Place {
    Place::Ip(address.0.into())
}

pub(crate) type Answer = Result<Outcome<Id, Addr>, QueryError>;

/// How a node answers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Nature {
    Honest,
    /// Names only its accomplices, drops what is stored, and denies that there are records.
    Sybil,
    /// Names the accomplices and peers that do not exist.
    Liar,
}

pub(crate) struct Node {
    pub(crate) id: Id,
    pub(crate) key: Key,
    pub(crate) kad: Kad<Id, Addr>,
    pub(crate) address: Addr,
    pub(crate) nature: Nature,
    pub(crate) alive: bool,
    scheduled: Option<Instant>,
}

enum What {
    Request {
        from: usize,
        /// `None`: nobody is at the addresses.
        to: Option<Id>,
        request: RequestId,
        message: Request<Id, Addr>,
    },
    Response {
        to: usize,
        request: RequestId,
        from: Addr,
        response: Response<Id, Addr>,
    },
    Failed {
        to: usize,
        request: RequestId,
    },
    Joined {
        node: usize,
        peer: Id,
    },
    Timer {
        node: usize,
    },
}

pub(crate) struct Network {
    pub(crate) now: Instant,
    pub(crate) nodes: Vec<Node>,
    pub(crate) index: HashMap<Id, usize>,
    queue: BinaryHeap<Reverse<(Instant, u64)>>,
    what: HashMap<u64, What>,
    sequence: u64,
    random: u64,
    pub(crate) done: BTreeMap<(usize, QueryId), (Instant, Answer)>,
    /// Whether messages arrive.
    pub(crate) connected: bool,
    /// Whether nodes that ask for a join are connected to a random honest node.
    pub(crate) joins: bool,
    /// How many nodes are on the bootstrap list. 0: all.
    pub(crate) listed: usize,
    pub(crate) messages: u64,
    pub(crate) config: KadConfig,
    accomplices: Vec<(Key, PeerInfo<Id, Addr>)>,
}

pub(crate) fn config() -> KadConfig {
    KadConfig::default().with_mode(Mode::Server)
}

pub(crate) fn names() -> Namespaces {
    Namespaces::new().with("v", Validator::new(|_, value| !value.is_empty()))
}

impl Network {
    pub(crate) fn new(seed: u64, config: KadConfig) -> Self {
        Self {
            now: Instant::now(),
            nodes: Vec::new(),
            index: HashMap::new(),
            queue: BinaryHeap::new(),
            what: HashMap::new(),
            sequence: 0,
            random: seed,
            done: BTreeMap::new(),
            connected: true,
            joins: true,
            listed: 0,
            messages: 0,
            config,
            accomplices: Vec::new(),
        }
    }

    /// A network of this size, in which all nodes have joined and looked around.
    pub(crate) fn of(size: usize, seed: u64, config: KadConfig) -> Self {
        let mut network = Self::new(seed, config);
        for number in 0..size {
            network.add(Id(number as u64), own_subnet(number), Nature::Honest);
            // Each node joins through one that is there already.
            if number % 100 == 99 {
                network.pass(SECOND);
            }
        }
        network.pass(60 * SECOND);
        network
    }

    pub(crate) fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn pick(&mut self, below: usize) -> usize {
        (self.random() % below as u64) as usize
    }

    /// A random honest node that is alive.
    pub(crate) fn any_honest(&mut self) -> usize {
        loop {
            let node = self.pick(self.nodes.len());
            if self.nodes[node].alive && self.nodes[node].nature == Nature::Honest {
                return node;
            }
        }
    }

    pub(crate) fn add(&mut self, id: Id, address: Addr, nature: Nature) -> usize {
        let seed = self.random();
        let mut kad = Kad::new(self.now, id, seed, self.config.clone(), names(), place);
        kad.handle_addresses(self.now, vec![address]);
        let node = self.nodes.len();
        self.nodes.push(Node {
            id,
            key: key_of(id),
            kad,
            address,
            nature,
            alive: true,
            scheduled: None,
        });
        self.index.insert(id, node);
        self.settle(node);
        // The first event asks for a join.
        node
    }

    pub(crate) fn kill(&mut self, node: usize) {
        self.nodes[node].alive = false;
    }

    /// Adds attackers that name only each other.
    pub(crate) fn add_sybils(&mut self, sybils: Vec<PeerInfo<Id, Addr>>) {
        for sybil in &sybils {
            self.add(sybil.id, sybil.addresses[0], Nature::Sybil);
        }
        self.accomplices = sybils
            .into_iter()
            .map(|info| (key_of(info.id), info))
            .collect();
    }

    /// Calls a core, and carries out what it wants.
    pub(crate) fn with<R>(
        &mut self,
        node: usize,
        call: impl FnOnce(&mut Kad<Id, Addr>, Instant) -> R,
    ) -> R {
        let result = call(&mut self.nodes[node].kad, self.now);
        self.settle(node);
        result
    }

    /// Runs a query to its end.
    pub(crate) fn query(
        &mut self,
        node: usize,
        start: impl FnOnce(&mut Kad<Id, Addr>, Instant) -> Result<QueryId, QueryError>,
    ) -> Answer {
        let query = self.with(node, start)?;
        let until = self.now + 100 * SECOND;
        while !self.done.contains_key(&(node, query)) {
            assert!(
                self.now < until && self.step(until),
                "the query does not end"
            );
        }
        self.done.remove(&(node, query)).expect("it has ended").1
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while self.step(end) {}
        self.now = end;
    }

    /// The next thing that happens until `end`, if there is one.
    fn step(&mut self, end: Instant) -> bool {
        let Some(Reverse((at, _))) = self.queue.peek() else {
            return false;
        };
        if *at > end {
            return false;
        }
        let Some(Reverse((at, sequence))) = self.queue.pop() else {
            return false;
        };
        assert!(at >= self.now, "time runs backwards");
        self.now = at;
        let what = self.what.remove(&sequence).expect("each entry has one");
        self.happen(what);
        true
    }

    fn happen(&mut self, what: What) {
        let now = self.now;
        match what {
            What::Timer { node } => {
                if self.nodes[node].scheduled == Some(now) && self.nodes[node].alive {
                    self.nodes[node].scheduled = None;
                    self.nodes[node].kad.handle_timeout(now);
                    self.settle(node);
                }
            }
            What::Request {
                from,
                to,
                request,
                message,
            } => self.serve(from, to, request, message),
            What::Response {
                to,
                request,
                from,
                response,
            } => {
                if self.nodes[to].alive {
                    self.nodes[to]
                        .kad
                        .handle_response(now, request, Some(&from), response);
                    self.settle(to);
                }
            }
            What::Failed { to, request } => {
                self.nodes[to]
                    .kad
                    .handle_failed(now, request, Failure::Unreachable);
                self.settle(to);
            }
            What::Joined { node, peer } => {
                let address = self.nodes[self.index[&peer]].address;
                self.nodes[node]
                    .kad
                    .handle_connected(now, &peer, Some(&address), false);
                self.nodes[node]
                    .kad
                    .handle_identified(now, &peer, vec![address], true);
                self.settle(node);
            }
        }
    }

    fn latency(&mut self) -> Duration {
        MS * (10 + (self.random() % 40) as u32)
    }

    fn after(&mut self, wait: Duration, what: What) {
        let at = self.now + wait;
        self.sequence += 1;
        self.queue.push(Reverse((at, self.sequence)));
        self.what.insert(self.sequence, what);
    }

    fn settle(&mut self, node: usize) {
        while let Some(event) = self.nodes[node].kad.poll_event() {
            match event {
                KadEvent::Send {
                    request,
                    peer,
                    message,
                    addresses,
                    until,
                } => {
                    assert!(!addresses.is_empty() && addresses.len() <= 8 && until > self.now);
                    self.messages += 1;
                    let now = self.now;
                    let until = self.nodes[node].kad.handle_started(now, request);
                    assert!(until.is_some());
                    let known = self.index.get(&peer).map(|peer| &self.nodes[*peer]);
                    let there = known.is_some_and(|peer| addresses.contains(&peer.address));
                    let latency = self.latency();
                    self.after(
                        latency,
                        What::Request {
                            from: node,
                            to: there.then_some(peer),
                            request,
                            message,
                        },
                    );
                }
                KadEvent::Done { query, result } => {
                    self.done.insert((node, query), (self.now, result));
                }
                KadEvent::Join if self.joins && self.connected && self.nodes.len() > 1 => {
                    let peer = loop {
                        let other = match self.listed {
                            0 => self.any_honest(),
                            listed => self.pick(listed),
                        };
                        if other != node {
                            break self.nodes[other].id;
                        }
                    };
                    self.after(20 * MS, What::Joined { node, peer });
                }
                _ => {}
            }
        }
        let due = self.nodes[node].kad.poll_timeout();
        if let Some(due) = due.filter(|_| self.nodes[node].alive) {
            let due = due.max(self.now);
            if self.nodes[node]
                .scheduled
                .is_none_or(|scheduled| due < scheduled || scheduled < self.now)
            {
                self.nodes[node].scheduled = Some(due);
                self.after(due - self.now, What::Timer { node });
            }
        }
    }
}

pub(crate) fn ids(peers: &[PeerInfo<Id, Addr>]) -> Vec<Id> {
    peers.iter().map(|peer| peer.id).collect()
}

/// An address in a /16 that no other number below 50,000 has.
pub(crate) fn own_subnet(number: usize) -> Addr {
    // 11.0.0.0 to 99.255.0.0, then 101.0.0.0 to 125.255.0.0 and so on: all public.
    let (high, low) = (number / 256 % 89, number % 256);
    let third = number / (256 * 89);
    Addr(Ipv4Addr::new(11 + high as u8, low as u8, third as u8, 1))
}
