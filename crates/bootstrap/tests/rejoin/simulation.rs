//! Thousands of nodes in simulated time.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    time::{Duration, Instant},
};

use bootstrap::{Candidate, Origin, Rejoin, RejoinConfig, RejoinEvent, State};

use crate::host::{MS, SECOND};

/// How long a dial of a peer that is up takes.
const HANDSHAKE: Duration = Duration::from_millis(30);

/// Nodes around the peers of a bootstrap list that are up or down. A dial of a peer that is down gets no answer.
struct World {
    nodes: Vec<Rejoin<u32, u32>>,
    due: BinaryHeap<Reverse<(Instant, usize)>>,
    /// Dials that will succeed: when, whose, and of which peer.
    answers: BinaryHeap<Reverse<(Instant, usize, u32)>>,
    attempts: BTreeMap<(usize, u32), bootstrap::AttemptId>,
    servers: u32,
    up: bool,
    now: Instant,
    dials: Vec<Instant>,
}

impl World {
    fn new(count: usize, servers: u32, config: &RejoinConfig) -> Self {
        let now = Instant::now();
        let node = |seed| Rejoin::new(None, seed as u64 * 7919, config.clone());
        let mut world = Self {
            nodes: (0..count).map(node).collect(),
            due: BinaryHeap::new(),
            answers: BinaryHeap::new(),
            attempts: BTreeMap::new(),
            servers,
            up: true,
            now,
            dials: Vec::new(),
        };
        for node in 0..count {
            for server in 0..servers {
                let candidate = Candidate::new(Some(server), vec![server], Origin::List);
                world.nodes[node].handle_candidate(now, candidate);
            }
            world.settle(node);
        }
        world
    }

    fn settle(&mut self, node: usize) {
        while let Some(event) = self.nodes[node].poll_event() {
            if let RejoinEvent::Dial {
                attempt,
                peer: Some(peer),
                ..
            } = event
            {
                self.dials.push(self.now);
                if self.up {
                    self.attempts.insert((node, peer), attempt);
                    self.answers
                        .push(Reverse((self.now + HANDSHAKE, node, peer)));
                }
            }
        }
        if let Some(next) = self.nodes[node].poll_timeout() {
            self.due.push(Reverse((next, node)));
        }
    }

    fn run_until(&mut self, end: Instant) {
        loop {
            let due = self.due.peek().map(|Reverse((at, _))| *at);
            let answer = self.answers.peek().map(|Reverse((at, ..))| *at);
            let Some(next) = due
                .into_iter()
                .chain(answer)
                .min()
                .filter(|next| *next <= end)
            else {
                break;
            };
            self.now = next;
            if answer == Some(next) {
                let Some(Reverse((_, node, peer))) = self.answers.pop() else {
                    break;
                };
                if let Some(attempt) = self.attempts.remove(&(node, peer)).filter(|_| self.up) {
                    self.nodes[node].handle_answered(next, attempt, &peer);
                    self.nodes[node].handle_connected(next, &peer, Some(peer));
                }
                self.settle(node);
            } else if let Some(Reverse((_, node))) = self.due.pop()
                && self.nodes[node].poll_timeout().is_some_and(|at| at <= next)
            {
                self.nodes[node].handle_timeout(next);
                self.settle(node);
            }
        }
        self.now = end;
    }

    fn servers_go_down(&mut self) {
        self.up = false;
        self.answers.clear();
        for node in 0..self.nodes.len() {
            for server in 0..self.servers {
                self.nodes[node].handle_disconnected(self.now, &server);
            }
            self.settle(node);
        }
    }

    fn joined(&self) -> usize {
        let joined = self
            .nodes
            .iter()
            .filter(|node| node.state() == State::Joined);
        joined.count()
    }
}

#[test]
fn ten_thousand_nodes_rejoin_within_the_cap_and_an_attempt_and_never_dial_in_lockstep() {
    let config = RejoinConfig::default();
    let mut world = World::new(10_000, 1, &config);
    world.run_until(world.now + 20 * SECOND);
    assert_eq!(world.joined(), 10_000);

    world.dials.clear();
    let down = world.now;
    world.servers_go_down();
    world.run_until(down + 600 * SECOND);
    assert_eq!(world.joined(), 0);
    let windows = 600;
    let mut per_window = vec![0usize; windows];
    for dial in &world.dials {
        let window = (*dial - down).as_secs() as usize;
        per_window[window.min(windows - 1)] += 1;
    }
    let mean = world.dials.len() / windows;
    let peak = per_window.iter().max().copied().unwrap_or_default();
    println!("down: {mean} dials per second in the mean, {peak} at the peak");
    assert!(
        peak <= 3 * mean,
        "{peak} dials in a second, and {mean} in the mean"
    );

    world.up = true;
    world.dials.clear();
    world.run_until(down + 600 * SECOND + config.isolated_cap + config.attempt);
    let joined = world.joined();
    println!(
        "up: {joined} of 10000 joined within {:?}",
        config.isolated_cap + config.attempt
    );
    assert!(joined >= 9_900, "{joined} of 10,000");
    let back = down + 600 * SECOND;
    let mut per_window = [0usize; 13];
    world
        .dials
        .iter()
        .for_each(|dial| per_window[((*dial - back).as_secs() as usize).min(12)] += 1);
    println!("up: dials in each second: {per_window:?}");
    assert!(
        per_window.iter().all(|dials| *dials <= 3 * mean),
        "{per_window:?}"
    );
}

/// Two nodes. Each dial of one by the other works if the other is up.
#[test]
fn two_nodes_that_start_1_6_seconds_apart_and_know_only_each_other_are_joined_within_ten_seconds() {
    for seed in 0..500 {
        let start = Instant::now();
        let starts = [start, start + 1600 * MS];
        let node = |id: u32| {
            Rejoin::<u32, u32>::new(Some(id), seed * 2 + u64::from(id), RejoinConfig::default())
        };
        let mut nodes = [node(0), node(1)];
        for id in [0u32, 1] {
            let other = Candidate::new(Some(1 - id), vec![1 - id], Origin::List);
            nodes[id as usize].handle_candidate(starts[id as usize], other);
        }
        let (mut now, mut connected) = (start, false);
        while now < start + 10 * SECOND {
            for id in 0..2 {
                while now >= starts[id]
                    && let Some(event) = nodes[id].poll_event()
                {
                    let RejoinEvent::Dial { attempt, .. } = event else {
                        continue;
                    };
                    let other = 1 - id;
                    if now < starts[other] {
                        nodes[id].handle_failed(now, attempt);
                    } else if !connected {
                        connected = true;
                        nodes[id].handle_connected(now, &(other as u32), Some(other as u32));
                        nodes[other].handle_connected(now, &(id as u32), None);
                    }
                }
                if now >= starts[id] {
                    nodes[id].handle_timeout(now);
                }
            }
            now += MS;
        }
        assert!(
            nodes.iter().all(|node| node.state() == State::Joined),
            "seed {seed}"
        );
    }
}
