//! The core of the LAN source, without I/O. It decides when to ask and to answer, and keeps the peers that are present.

use std::{
    collections::{BTreeMap, VecDeque},
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use libp2p_identity::PeerId;
use multiaddr::Multiaddr;

use super::{
    packet::{self, Announced, Packet},
    plausible::{Interface, is_announced, is_plausible},
};
use crate::{Candidate, Found, Jitter, Need, Origin};

/// The most interfaces that are used.
pub(super) const MAX_INTERFACES: usize = 16;
/// The most pairs of a peer and a sender that are remembered.
const MAX_SEEN: usize = 256;
/// The most pairs at which a sender can have a second one. The rest is for senders without any: a few senders, whose addresses
/// may be forged, leave room for all others.
const MAX_SHARED: usize = MAX_SEEN / 2;
/// The most peers that one sender may announce. A sender is a host, which may run several nodes.
const MAX_PER_SENDER: usize = 16;
/// The most addresses of a peer from one sender.
const MAX_ADDRESSES: usize = 8;
/// The most packets that are read per second. Others are dropped.
const MAX_PACKETS: u32 = 200;
/// The most new peers, and known peers with other addresses, per second. Others are taken from a later answer.
const MAX_NEW: u32 = 16;
/// How long an answer is believed at the least and at the most. go-libp2p says 53 min, rust-libp2p 6 min, js-libp2p 2 min.
const TTL: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(3600));
/// The first pause between two questions; it doubles.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
/// The longest pause between two questions: while the node is isolated, and otherwise.
const PAUSE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(60));
/// The least time between two answers through an interface (RFC 6762 section 6), and between two questions.
const APART: Duration = Duration::from_secs(1);
/// An answer waits for a random time up to this, because all peers answer a question (RFC 6762 section 6).
const SPREAD: Duration = Duration::from_millis(120);

#[derive(Debug)]
pub(crate) struct Lan {
    local: PeerId,
    name: String,
    jitter: Jitter,
    interfaces: Vec<Interface>,
    announced: Vec<Multiaddr>,
    seen: BTreeMap<(PeerId, Ipv4Addr), Seen>,
    need: Need,
    query_at: Option<Instant>,
    last_query: Option<Instant>,
    pause: Duration,
    /// When an answer is due, and when the last one was sent, through each interface.
    answers: BTreeMap<Interface, (Option<Instant>, Option<Instant>)>,
    packets: PerSecond,
    new: PerSecond,
    transmits: VecDeque<(Interface, Vec<u8>)>,
    found: VecDeque<Found<PeerId, Multiaddr>>,
}

#[derive(Debug)]
struct Seen {
    addresses: Vec<Multiaddr>,
    until: Instant,
}

/// Counts events in seconds.
#[derive(Debug, Default)]
struct PerSecond {
    since: Option<Instant>,
    count: u32,
}

impl PerSecond {
    fn admits(&mut self, now: Instant, most: u32) -> bool {
        if self
            .since
            .is_none_or(|since| now.saturating_duration_since(since) >= APART)
        {
            (self.since, self.count) = (Some(now), 0);
        }
        self.count += 1;
        self.count <= most
    }
}

impl Lan {
    pub(crate) fn new(local: PeerId, seed: u64) -> Self {
        let mut jitter = Jitter::new(seed);
        Self {
            local,
            name: random_label(&mut jitter),
            jitter,
            interfaces: Vec::new(),
            announced: Vec::new(),
            seen: BTreeMap::new(),
            need: Need::default(),
            query_at: None,
            last_query: None,
            pause: FIRST_PAUSE,
            answers: BTreeMap::new(),
            packets: PerSecond::default(),
            new: PerSecond::default(),
            transmits: VecDeque::new(),
            found: VecDeque::new(),
        }
    }

    /// The interfaces have changed, or may have: the LAN is asked again, and this node announces itself.
    pub(crate) fn handle_interfaces(&mut self, now: Instant, interfaces: &[Interface]) {
        self.interfaces = interfaces[..interfaces.len().min(MAX_INTERFACES)].to_vec();
        self.answers
            .retain(|interface, _| interfaces.contains(interface));
        for interface in self.interfaces.clone() {
            self.answer_later(now, interface);
        }
        self.ask_now(now);
    }

    /// The addresses of this node, without its id.
    pub(crate) fn handle_addresses(&mut self, now: Instant, addresses: Vec<Multiaddr>) {
        if self.announced != addresses {
            self.announced = addresses;
            for interface in self.interfaces.clone() {
                self.answer_later(now, interface);
            }
        }
    }

    pub(crate) fn handle_need(&mut self, now: Instant, need: Need) {
        let before = std::mem::replace(&mut self.need, need);
        if need.isolated && !before.isolated {
            self.ask_now(now);
        }
    }

    /// A packet from a sender. Packets from outside of the networks of this host are none of the LAN's.
    pub(crate) fn handle_packet(&mut self, now: Instant, source: Ipv4Addr, bytes: &[u8]) {
        let at = self
            .interfaces
            .iter()
            .find(|interface| interface.reaches(source))
            .copied();
        let Some(at) = at.filter(|_| self.packets.admits(now, MAX_PACKETS)) else {
            return;
        };
        match packet::decode(bytes) {
            Some(Packet::Query) => self.answer_later(now, at),
            Some(Packet::Answer(peers)) => {
                let local = self.local;
                for announced in peers.into_iter().filter(|one| one.peer != local) {
                    self.handle_announced(now, source, &at, announced);
                }
            }
            None => {}
        }
    }

    fn handle_announced(
        &mut self,
        now: Instant,
        source: Ipv4Addr,
        at: &Interface,
        announced: Announced,
    ) {
        let Announced {
            peer,
            mut addresses,
            ttl,
        } = announced;
        let key = (peer, source);
        if ttl.is_zero() {
            self.forget(key);
            return;
        }
        addresses.retain(|address| is_plausible(address, source, at));
        addresses.truncate(MAX_ADDRESSES);
        let of_sender = self
            .seen
            .keys()
            .filter(|(_, sender)| *sender == source)
            .count();
        let most = if of_sender == 0 { MAX_SEEN } else { MAX_SHARED };
        let room = self.seen.len() < most && of_sender < MAX_PER_SENDER;
        let known = self.seen.get(&key);
        let is_old = known.is_some_and(|seen| seen.addresses == addresses);
        let fits = known.is_some() || room;
        if addresses.is_empty() || !(is_old || fits && self.new.admits(now, MAX_NEW)) {
            return;
        }
        let until = now + ttl.clamp(TTL.0, TTL.1);
        let before = self.seen.insert(
            key,
            Seen {
                addresses: addresses.clone(),
                until,
            },
        );
        let before = before.map(|seen| seen.addresses).unwrap_or_default();
        let (gone, new) = (minus(&before, &addresses), minus(&addresses, &before));
        if !new.is_empty() {
            self.found.push_back(Found::Candidate(Candidate::new(
                Some(peer),
                new,
                Origin::Lan,
            )));
        }
        self.withdraw(peer, gone);
    }

    fn forget(&mut self, key: (PeerId, Ipv4Addr)) {
        if let Some(seen) = self.seen.remove(&key) {
            self.withdraw(key.0, seen.addresses);
        }
    }

    /// Withdraws addresses that no sender announces any more.
    fn withdraw(&mut self, peer: PeerId, mut gone: Vec<Multiaddr>) {
        let others = self.seen.iter().filter(|((known, _), _)| *known == peer);
        let others: Vec<_> = others.flat_map(|(_, seen)| &seen.addresses).collect();
        gone.retain(|address| !others.contains(&address));
        if !gone.is_empty() {
            self.found.push_back(Found::Withdrawn(Candidate::new(
                Some(peer),
                gone,
                Origin::Lan,
            )));
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if self.query_at.is_some_and(|at| at <= now) {
            self.ask(now);
        }
        for (interface, (due, last)) in &mut self.answers {
            if due.is_some_and(|due| due <= now) {
                (*due, *last) = (None, Some(now));
                let addresses = self
                    .announced
                    .iter()
                    .filter(|address| is_announced(address, interface));
                let addresses: Vec<_> = addresses.cloned().collect();
                let answer = packet::answer(&self.name, self.local, &addresses);
                self.transmits
                    .extend(answer.map(|bytes| (*interface, bytes)));
            }
        }
        let old = self
            .seen
            .iter()
            .filter(|(_, seen)| seen.until <= now)
            .map(|(key, _)| *key);
        for key in old.collect::<Vec<_>>() {
            self.forget(key);
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let answers = self.answers.values().filter_map(|(due, _)| *due);
        let ends = self.seen.values().map(|seen| seen.until);
        answers.chain(ends).chain(self.query_at).min()
    }

    pub(crate) fn poll_transmit(&mut self) -> Option<(Interface, Vec<u8>)> {
        self.transmits.pop_front()
    }

    pub(crate) fn poll_found(&mut self) -> Option<Found<PeerId, Multiaddr>> {
        self.found.pop_front()
    }

    fn ask_now(&mut self, now: Instant) {
        self.pause = FIRST_PAUSE;
        let earliest = self.last_query.map_or(now, |last| now.max(last + APART));
        self.query_at = Some(earliest);
    }

    fn ask(&mut self, now: Instant) {
        if let Some(query) = packet::query() {
            self.transmits.extend(
                self.interfaces
                    .iter()
                    .map(|interface| (*interface, query.clone())),
            );
        }
        self.last_query = Some(now);
        let cap = if self.need.isolated { PAUSE.0 } else { PAUSE.1 };
        let pause = self.pause.min(cap);
        self.pause = self.pause.saturating_mul(2);
        // Half of the pause is random, so that nodes do not ask in step.
        self.query_at = Some(now + pause / 2 + self.jitter.up_to(pause / 2));
    }

    fn answer_later(&mut self, now: Instant, interface: Interface) {
        let (due, last) = self.answers.entry(interface).or_default();
        if due.is_none() {
            let earliest = last.map_or(now, |last| now.max(last + APART));
            *due = Some(earliest + self.jitter.up_to(SPREAD));
        }
    }
}

fn minus(from: &[Multiaddr], without: &[Multiaddr]) -> Vec<Multiaddr> {
    from.iter()
        .filter(|address| !without.contains(address))
        .cloned()
        .collect()
}

/// A label of 40 letters. It changes with each run, so that nobody is recognized by it.
fn random_label(jitter: &mut Jitter) -> String {
    let letter = |_| {
        let nanos = jitter.up_to(Duration::from_nanos(26)).subsec_nanos();
        char::from(b'a' + u8::try_from(nanos.saturating_sub(1)).unwrap_or_default())
    };
    (0..40).map(letter).collect()
}

#[cfg(test)]
mod tests;
