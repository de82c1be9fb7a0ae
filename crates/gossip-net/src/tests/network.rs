//! The simulated network: a queue of events in the order of their time.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    time::{Duration, Instant},
};

use bytes::Bytes;

use crate::{
    Config, MessageId,
    message::{Goodbye, Gossip, Out, Swarm},
    rng::Rng,
    topic::Topic,
};

/// How a peer dies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Death {
    /// Its links close, and dials of it fail.
    Closed,
    /// Nothing that is sent to it is answered.
    Silent,
}

enum Arrival {
    Swarm(u32, Swarm),
    Gossip(u32, Gossip),
    LinkGone(u32),
    Unreachable(u32),
    Timer,
}

struct Peer {
    topic: Topic,
    death: Option<Death>,
    side: u8,
    /// The time of the earliest queued timer.
    timer: Option<Duration>,
    received: u64,
}

/// The figures of one round.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Round {
    pub(super) missed: usize,
    pub(super) hops: u16,
    pub(super) contents: u64,
    pub(super) took: Duration,
}

pub(super) struct Network {
    start: Instant,
    now: Duration,
    seed: u64,
    pub(super) rng: Rng,
    config: Config,
    peers: Vec<Peer>,
    queue: BinaryHeap<Reverse<(Duration, u64, u32)>>,
    arrivals: std::collections::HashMap<u64, Arrival>,
    numbers: u64,
    messages: u64,
    contents: u64,
    hops: u16,
    pub(super) events: u64,
    pub(super) downs: u64,
}

impl Network {
    pub(super) fn new(seed: u64, config: Config) -> Self {
        Self {
            start: Instant::now(),
            now: Duration::ZERO,
            seed,
            rng: Rng::new(seed),
            config,
            peers: Vec::new(),
            queue: BinaryHeap::new(),
            arrivals: std::collections::HashMap::new(),
            numbers: 0,
            messages: 0,
            contents: 0,
            hops: 0,
            events: 0,
            downs: 0,
        }
    }

    /// All peers join the first one at the same time.
    pub(super) fn joined(seed: u64, count: u32, config: Config) -> Self {
        let mut network = Self::new(seed, config);
        for peer in 0..count {
            network.add();
            if peer > 0 {
                network.join(peer, &[0]);
            }
        }
        network.run(Duration::from_secs(3));
        network
    }

    pub(super) fn add(&mut self) -> u32 {
        let peer = u32::try_from(self.peers.len()).unwrap();
        let topic = Topic::new(self.instant(), peer, self.rng.next(), &self.config);
        self.peers.push(Peer {
            topic,
            death: None,
            side: 0,
            timer: None,
            received: 0,
        });
        peer
    }

    pub(super) fn join(&mut self, peer: u32, to: &[u32]) {
        let now = self.instant();
        self.call(peer, |topic, out| {
            topic.with_membership(now, out, |membership, out| {
                membership.handle_join(now, to, out)
            })
        });
    }

    pub(super) fn alive(&self) -> Vec<u32> {
        let all = self.peers.iter().zip(0..);
        all.filter(|(peer, _)| peer.death.is_none())
            .map(|(_, handle)| handle)
            .collect()
    }

    pub(super) fn neighbours(&self, peer: u32) -> Vec<u32> {
        self.peers[peer as usize]
            .topic
            .membership()
            .neighbours()
            .collect()
    }

    pub(super) fn kill(&mut self, peer: u32, death: Death) {
        self.peers[peer as usize].death = Some(death);
        if death == Death::Closed {
            for neighbour in self.neighbours(peer) {
                let latency = self.latency(peer, neighbour);
                self.post(latency, neighbour, Arrival::LinkGone(peer));
            }
        }
    }

    /// Lets no message pass between peers of different sides.
    pub(super) fn split(&mut self, side: impl Fn(u32) -> u8) {
        for (handle, peer) in (0..).zip(&mut self.peers) {
            peer.side = side(handle);
        }
    }

    /// Publishes messages of some senders at once, and runs until all have arrived or `limit` is over.
    pub(super) fn round(&mut self, senders: &[u32], limit: Duration) -> Round {
        (self.contents, self.hops) = (0, 0);
        self.peers.iter_mut().for_each(|peer| peer.received = 0);
        let alive = self.alive().len();
        let start = self.now;
        for sender in senders {
            self.publish(*sender);
        }
        let expected = senders.len() as u64 * (alive as u64 - 1);
        let received = |network: &Self| {
            let alive = network.peers.iter().filter(|peer| peer.death.is_none());
            alive.map(|peer| peer.received).sum::<u64>()
        };
        let mut before = 0;
        while self.now < start + limit {
            self.run(Duration::from_millis(1));
            // Counting is slow, so it waits for the first moment at which all may have arrived.
            if self.contents != before && self.contents >= expected {
                before = self.contents;
                if received(self) >= expected {
                    break;
                }
            }
        }
        Round {
            missed: usize::try_from(expected - received(self)).unwrap(),
            hops: self.hops,
            contents: self.contents,
            took: self.now - start,
        }
    }

    fn publish(&mut self, sender: u32) {
        self.messages += 1;
        let mut id = [0; 32];
        id[..8].copy_from_slice(&self.messages.to_le_bytes());
        let content = Bytes::copy_from_slice(&id[..8]);
        let now = self.instant();
        self.call(sender, |topic, out| {
            let id = MessageId::from_bytes(id);
            topic.broadcast_mut().publish(now, id, content, true, out);
        });
    }

    /// Handles all events up to this time from now.
    pub(super) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(Reverse((at, number, to))) = self
            .queue
            .peek()
            .copied()
            .filter(|Reverse(first)| first.0 <= end)
        {
            self.queue.pop();
            self.now = at;
            let arrival = self.arrivals.remove(&number).unwrap_or(Arrival::Timer);
            self.arrive(to, arrival);
        }
        self.now = end;
    }

    fn arrive(&mut self, to: u32, arrival: Arrival) {
        self.events += 1;
        let now = self.instant();
        let peer = &mut self.peers[to as usize];
        if let Some(death) = peer.death {
            if let (Death::Closed, Arrival::Swarm(from, _) | Arrival::Gossip(from, _)) =
                (death, arrival)
            {
                let latency = self.latency(from, to);
                self.post(latency, from, Arrival::Unreachable(to));
            }
            return;
        }
        match arrival {
            Arrival::Swarm(from, message) => {
                self.call(to, |topic, out| topic.handle_swarm(now, from, message, out))
            }
            Arrival::Gossip(from, message) => {
                self.contents += u64::from(matches!(message, Gossip::Content { .. }));
                self.call(to, |topic, out| {
                    topic.handle_gossip(now, from, message, out)
                });
            }
            Arrival::LinkGone(from) => self.call(to, |topic, out| {
                topic.with_membership(now, out, |membership, out| {
                    membership.handle_link_gone(now, from, out)
                });
            }),
            Arrival::Unreachable(from) => self.call(to, |topic, out| {
                topic.with_membership(now, out, |membership, out| {
                    membership.handle_unreachable(now, from, out)
                });
            }),
            Arrival::Timer => {
                if peer.timer.is_some_and(|timer| timer <= self.now) {
                    peer.timer = None;
                    self.call(to, |topic, out| topic.handle_timeout(now, out));
                }
            }
        }
    }

    fn call(&mut self, peer: u32, call: impl FnOnce(&mut Topic, &mut Vec<Out>)) {
        let mut out = Vec::new();
        let topic = &mut self.peers[peer as usize].topic;
        call(topic, &mut out);
        let due = topic.poll_timeout().map(|due| due - self.start);
        for effect in out {
            match effect {
                Out::Swarm(to, message) => self.send(peer, to, Arrival::Swarm(peer, message)),
                Out::Gossip(to, message) => self.send(peer, to, Arrival::Gossip(peer, message)),
                Out::Goodbye(Goodbye { to, nodes, alive }) => {
                    let reply = Swarm::ShuffleReply { nodes };
                    self.send(peer, to, Arrival::Swarm(peer, reply));
                    self.send(peer, to, Arrival::Swarm(peer, Swarm::Disconnect { alive }));
                }
                Out::Received { scope, .. } => {
                    let crate::wire::Scope::Swarm(hops) = scope else {
                        continue;
                    };
                    self.hops = self.hops.max(hops);
                    self.peers[peer as usize].received += 1;
                }
                Out::Down(..) => self.downs += 1,
                Out::Up(_) => {}
            }
        }
        let peer_state = &mut self.peers[peer as usize];
        if let Some(due) = due.map(|due| due.max(self.now))
            && peer_state.timer.is_none_or(|timer| due < timer)
        {
            peer_state.timer = Some(due);
            self.numbers += 1;
            self.queue.push(Reverse((due, self.numbers, peer)));
        }
    }

    fn send(&mut self, from: u32, to: u32, arrival: Arrival) {
        if self.peers[from as usize].side == self.peers[to as usize].side {
            let latency = self.latency(from, to);
            self.post(latency, to, arrival);
        }
    }

    fn post(&mut self, after: Duration, to: u32, arrival: Arrival) {
        self.numbers += 1;
        self.arrivals.insert(self.numbers, arrival);
        self.queue
            .push(Reverse((self.now + after, self.numbers, to)));
    }

    /// Between 10 and 50 ms, always the same for two peers.
    fn latency(&self, one: u32, other: u32) -> Duration {
        let pair = u64::from(one.min(other)) << 32 | u64::from(one.max(other));
        let share = Rng::new(self.seed ^ pair.wrapping_mul(0x2545_f491_4f6c_dd1d)).below(40_000);
        Duration::from_micros(10_000 + share as u64)
    }

    fn instant(&self) -> Instant {
        self.start + self.now
    }
}
