//! Assigns each datagram to its connection, and chooses its faults. This module reads no clock.

use std::{collections::BTreeMap, net::SocketAddr, ops::RangeInclusive, time::Duration};

use tokio::time::Instant;

use super::{Faults, header::Header};

/// The longest wait for a connection's bandwidth. The queue of a router holds about as much data.
const LONGEST_WAIT: Duration = Duration::from_millis(200);

/// The number of stored bytes of an id with unknown length. It is the length of Bowline's ids.
const LEARNED_LENGTH: usize = 8;

/// The maximum number of ids that are learned after the handshake of a connection. Connections in tests rarely use more than one.
const LEARNED: u32 = 32;

/// The fate of one datagram.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Lost,
    /// Each copy arrives after its delay.
    Arrives(Duration, Option<Duration>),
    /// The connection is cut.
    Cut,
}

/// The counts of faults so far.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    pub(super) dials: u64,
    pub(super) silent: u64,
    pub(super) cut: u64,
}

/// The connections of all sockets of one binder. No connection is ever removed, because this type is only for tests.
#[derive(Debug)]
pub(super) struct Flows {
    seed: u64,
    flows: Vec<Flow>,
    /// The index of a connection, by each of its ids.
    ids: BTreeMap<Vec<u8>, usize>,
    /// The connections so far, by the address that was dialed.
    to: BTreeMap<SocketAddr, u64>,
    counts: Counts,
}

/// One connection.
#[derive(Debug)]
struct Flow {
    dialer: SocketAddr,
    target: SocketAddr,
    silent: bool,
    carried: u64,
    stall_after: u64,
    cut_after: u64,
    cut: bool,
    learned: u32,
    directions: [Direction; 2],
}

#[derive(Debug)]
struct Direction {
    dice: Dice,
    /// The time at which the bandwidth has carried all datagrams so far.
    free: Option<Instant>,
}

impl Flows {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            seed,
            flows: Vec::new(),
            ids: BTreeMap::new(),
            to: BTreeMap::new(),
            counts: Counts::default(),
        }
    }

    /// Random bytes that depend on the seed and `address` only.
    pub(super) fn seed(&self, address: SocketAddr) -> [u8; 32] {
        let mut dice = Dice(self.seed ^ hash(address));
        let mut seed = [0; 32];
        for bytes in seed.chunks_exact_mut(8) {
            bytes.copy_from_slice(&dice.next().to_le_bytes());
        }
        seed
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    /// Cuts every connection so far.
    pub(super) fn cut(&mut self) {
        for flow in self.flows.iter_mut().filter(|flow| !flow.cut) {
            flow.cut = true;
            self.counts.cut += 1;
        }
    }

    /// Decides about a datagram from the socket at `from` to the address `to`.
    pub(super) fn handle_sent(
        &mut self,
        now: Instant,
        (from, to): (SocketAddr, SocketAddr),
        datagram: &[u8],
        faults: &Faults,
    ) -> Fate {
        let index = match Header::of(datagram) {
            Some(header) => self.find(&header, (from, to)).unwrap_or_else(|| {
                let dial = matches!(header, Header::Long { initial: true, .. });
                self.begin((from, to), dial, faults)
            }),
            None => return Fate::Lost,
        };
        self.remember(Header::of(datagram), index);
        let Some(flow) = self.flows.get_mut(index) else {
            return Fate::Lost;
        };
        if !flow.cut && flow.carried >= flow.cut_after {
            flow.cut = true;
            self.counts.cut += 1;
        }
        flow.fate(now, from, datagram.len(), faults)
    }

    /// Learns the ids of a connection from a datagram that arrived from `from` at the socket at `to`.
    pub(super) fn handle_received(
        &mut self,
        (from, to): (SocketAddr, SocketAddr),
        datagram: &[u8],
        faults: &Faults,
    ) {
        if let Some(header @ Header::Long { .. }) = Header::of(datagram) {
            let known = self.find(&header, (from, to));
            let index = known.unwrap_or_else(|| self.begin((from, to), false, faults));
            self.remember(Some(header), index);
        }
    }

    fn find(&self, header: &Header<'_>, path: (SocketAddr, SocketAddr)) -> Option<usize> {
        match *header {
            Header::Long {
                source,
                destination,
                ..
            } => {
                let known = self.ids.get(source).or_else(|| self.ids.get(destination));
                known.copied()
            }
            Header::Short { destination } => self.by_prefix(destination).or_else(|| {
                let newest = |flow: &Flow| flow.is_on(path);
                self.flows.iter().rposition(newest)
            }),
        }
    }

    /// The connection whose id these bytes start with.
    fn by_prefix(&self, bytes: &[u8]) -> Option<usize> {
        // In the order of the map, only longer ids with the same beginning stand between an id and these bytes.
        let (id, index) = self.ids.range(..=bytes.to_vec()).next_back()?;
        bytes.starts_with(id).then_some(*index)
    }

    fn remember(&mut self, header: Option<Header<'_>>, index: usize) {
        match header {
            Some(Header::Long {
                source,
                destination,
                ..
            }) => {
                for id in [source, destination] {
                    if !id.is_empty() {
                        self.ids.entry(id.to_vec()).or_insert(index);
                    }
                }
            }
            Some(Header::Short { destination }) if self.by_prefix(destination).is_none() => {
                let (Some(flow), Some(id)) =
                    (self.flows.get_mut(index), destination.get(..LEARNED_LENGTH))
                else {
                    return;
                };
                if flow.learned < LEARNED {
                    flow.learned += 1;
                    self.ids.insert(id.to_vec(), index);
                }
            }
            _ => {}
        }
    }

    fn begin(
        &mut self,
        (from, to): (SocketAddr, SocketAddr),
        dial: bool,
        faults: &Faults,
    ) -> usize {
        let number = self.to.entry(to).or_default();
        *number += 1;
        let mut dice = Dice(self.seed ^ hash(to) ^ number.rotate_left(32));
        let silent = dice.roll() < faults.silence;
        let mut choose = |range: &Option<RangeInclusive<u64>>| {
            let share = dice.roll();
            range
                .as_ref()
                .map_or(u64::MAX, |range| within(range, share))
        };
        let flow = Flow {
            dialer: from,
            target: to,
            silent: dial && silent,
            carried: 0,
            stall_after: choose(&faults.stall_after),
            cut_after: choose(&faults.cut_after),
            cut: false,
            learned: 0,
            directions: [(); 2].map(|()| Direction {
                dice: Dice(dice.next()),
                free: None,
            }),
        };
        self.counts.dials += u64::from(dial);
        self.counts.silent += u64::from(flow.silent);
        self.flows.push(flow);
        self.flows.len() - 1
    }
}

impl Flow {
    fn is_on(&self, (from, to): (SocketAddr, SocketAddr)) -> bool {
        let there = same(self.dialer, from) && same(self.target, to);
        there || (same(self.target, from) && same(self.dialer, to))
    }

    /// Draws the same number of random values for every outcome, so that a change of one fault does not affect the other faults.
    fn fate(&mut self, now: Instant, from: SocketAddr, bytes: usize, faults: &Faults) -> Fate {
        let direction = &mut self.directions[usize::from(!same(self.dialer, from))];
        let [loss, duplicate, reorder, first, second] = [(); 5].map(|()| direction.dice.roll());
        if self.cut {
            return Fate::Cut;
        }
        if self.silent || self.carried >= self.stall_after || loss < faults.loss {
            return Fate::Lost;
        }
        let Some(wait) = direction.wait(now, bytes, faults.bandwidth) else {
            return Fate::Lost;
        };
        self.carried += 1;
        let delay = |share: f64| {
            if reorder < faults.reorder {
                Duration::ZERO
            } else {
                wait + faults.delay + faults.jitter.mul_f64(share)
            }
        };
        let copy = (duplicate < faults.duplicate).then(|| delay(second));
        Fate::Arrives(delay(first), copy)
    }
}

impl Direction {
    /// The time until the bandwidth has carried these bytes, too. `None`: they would wait too long.
    fn wait(&mut self, now: Instant, bytes: usize, bandwidth: Option<u32>) -> Option<Duration> {
        let Some(bandwidth) = bandwidth else {
            return Some(Duration::ZERO);
        };
        let begin = self.free.map_or(now, |free| free.max(now));
        if begin - now > LONGEST_WAIT {
            return None;
        }
        let end = begin + Duration::from_secs_f64(bytes as f64 / f64::from(bandwidth.max(1)));
        self.free = Some(end);
        Some(end - now)
    }
}

/// Whether both addresses can belong to one socket. One of them may be a wildcard.
pub(super) fn same(a: SocketAddr, b: SocketAddr) -> bool {
    let wildcard = a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() == b.port() && (wildcard || a.ip() == b.ip())
}

/// The FNV-1a hash. The standard hasher may return different numbers on different machines.
fn hash(address: SocketAddr) -> u64 {
    let text = address.to_string();
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The number at `share` of the range. An empty range counts as its start.
fn within(range: &RangeInclusive<u64>, share: f64) -> u64 {
    let more = range.end().saturating_sub(*range.start());
    let step = (share * (more as f64 + 1.0)) as u64;
    range.start().saturating_add(step.min(more))
}

/// A seeded generator (SplitMix64).
#[derive(Debug)]
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Evenly distributed in 0.0..1.0.
    fn roll(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests;
