//! The known addresses of one peer.

use std::{
    cmp::Reverse,
    time::{Duration, Instant},
};

/// The source of an address, from the least trusted to the most trusted source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Source {
    /// A third party has named the address: Kademlia, gossip, or a rendezvous server.
    Hearsay,
    /// An inbound connection of the peer came from the address. Report only addresses that can be dialed. The port of
    /// an inbound TCP connection usually cannot be dialed.
    Inbound,
    /// A relay has reported that the peer has a reservation at this address.
    Relay,
    /// The peer itself has named the address, over an authenticated connection.
    Identify,
    /// A record that the peer has signed contains the address. Any peer may have passed the record on.
    SignedRecord,
    /// A user or an application has named the address for a dial.
    Dialed,
    /// The operator has configured the address.
    Config,
}

impl Source {
    /// Whether each list from this source is complete, so that it replaces the list before.
    fn is_complete(self) -> bool {
        matches!(self, Self::Identify | Self::SignedRecord)
    }
}

/// How a dial of an address ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The peer answered, and the handshake proved its identity.
    Connected,
    /// There was no connection to the peer.
    Failed,
}

/// One address of a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct KnownAddress<A> {
    /// The address.
    pub address: A,
    /// The most trusted source that named the address.
    pub source: Source,
    /// When that source last named the address.
    pub learned: Instant,
    /// When a dial last succeeded.
    pub connected: Option<Instant>,
    /// When a dial last failed.
    pub failed: Option<Instant>,
    /// When the address is forgotten; `None` if never.
    pub expires: Option<Instant>,
}

impl<A> KnownAddress<A> {
    /// An address that no dial has tried, and that does not expire.
    pub fn new(address: A, source: Source, learned: Instant) -> Self {
        Self {
            address,
            source,
            learned,
            connected: None,
            failed: None,
            expires: None,
        }
    }

    /// How the latest dial ended.
    pub fn outcome(&self) -> Option<Outcome> {
        match (self.connected, self.failed) {
            (None, None) => None,
            (connected, failed) if connected >= failed => Some(Outcome::Connected),
            _ => Some(Outcome::Failed),
        }
    }

    /// What an address has to outrank to take its place.
    fn rank(&self) -> Rank {
        match self.source {
            Source::Config => Rank::Configured,
            _ if self.connected.is_some() => Rank::Worked,
            source => Rank::Named(source),
        }
    }

    fn has_only_failed(&self) -> bool {
        self.connected.is_none() && self.failed.is_some()
    }

    /// When there was last something good to say of it.
    fn confirmed(&self) -> Instant {
        self.connected
            .map_or(self.learned, |at| at.max(self.learned))
    }

    /// Whether a newcomer may take its place. A newcomer of the same rank may, unless both are hearsay: a peer that
    /// floods a book with hearsay must not displace the hearsay of others.
    fn gives_way_to(&self, newcomer: &Self) -> bool {
        let (rank, new) = (self.rank(), newcomer.rank());
        let is_hearsay = new == Rank::Named(Source::Hearsay);
        rank < new || rank == new && (!is_hearsay || self.has_only_failed())
    }

    fn dial_order(&self) -> u8 {
        match self.outcome() {
            Some(Outcome::Connected) => 0,
            None if self.source > Source::Hearsay => 1,
            Some(Outcome::Failed) if self.connected.is_some() => 2,
            None => 3,
            Some(Outcome::Failed) => 4,
        }
    }

    pub(super) fn prolong(&mut self, expires: Option<Instant>) {
        // Never is later than any time.
        self.expires = match (self.expires, expires) {
            (Some(one), Some(other)) => Some(one.max(other)),
            _ => None,
        };
    }
}

/// How much an address is worth keeping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Named(Source),
    Worked,
    Configured,
}

/// How much a peer is worth keeping. Its own signature is free, a connection is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Standing {
    /// Others spoke of it, or passed on what it signed.
    Named,
    /// It was connected to this host.
    Met,
    /// Somebody wanted to reach it.
    Wanted,
    /// It was reached.
    Reached,
    /// The operator configured it.
    Configured,
}

impl Standing {
    pub(super) fn of<A>(known: &KnownAddress<A>) -> Self {
        match known.rank() {
            Rank::Named(Source::Inbound | Source::Identify) => Self::Met,
            Rank::Named(Source::Dialed) => Self::Wanted,
            Rank::Named(_) => Self::Named,
            Rank::Worked => Self::Reached,
            Rank::Configured => Self::Configured,
        }
    }
}

/// A record that a peer signed.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) number: u64,
    pub(super) bytes: Vec<u8>,
    pub(super) expires: Option<Instant>,
}

/// All that is known of one peer.
#[derive(Debug)]
pub(super) struct Peer<A> {
    pub(super) addresses: Vec<KnownAddress<A>>,
    pub(super) record: Option<Record>,
}

impl<A> Default for Peer<A> {
    fn default() -> Self {
        Self {
            addresses: Vec::new(),
            record: None,
        }
    }
}

impl<A: Ord + Clone> Peer<A> {
    pub(super) fn is_empty(&self) -> bool {
        self.addresses.is_empty() && self.record.is_none()
    }

    pub(super) fn get_mut(&mut self, address: &A) -> Option<&mut KnownAddress<A>> {
        let mut known = self.addresses.iter_mut();
        known.find(|known| known.address == *address)
    }

    /// Adds an address, or what a further source says of a known one. Whether it is known then.
    pub(super) fn learn(&mut self, newcomer: KnownAddress<A>, limit: usize) -> bool {
        if let Some(known) = self.get_mut(&newcomer.address) {
            if newcomer.source >= known.source {
                (known.source, known.learned) = (newcomer.source, newcomer.learned);
                known.prolong(newcomer.expires);
            }
            return true;
        }
        if self.addresses.len() < limit {
            self.addresses.push(newcomer);
            return true;
        }
        let worst = self.addresses.iter_mut().min_by_key(|known| {
            let confirmed = (!known.has_only_failed(), known.confirmed());
            (known.rank(), confirmed)
        });
        match worst.filter(|worst| worst.gives_way_to(&newcomer)) {
            Some(worst) => {
                *worst = newcomer;
                true
            }
            None => false,
        }
    }

    /// What a complete list does not name any more is forgotten, unless it worked or another source names it.
    pub(super) fn keep_named(&mut self, source: Source, named: &[A]) {
        if source.is_complete() {
            self.addresses.retain(|known| {
                let is_its_own = known.source == source && known.connected.is_none();
                !is_its_own || named.contains(&known.address)
            });
        }
    }

    pub(super) fn expire(&mut self, now: Instant) {
        let lasts = |expires: Option<Instant>| expires.is_none_or(|at| at > now);
        self.addresses.retain(|known| lasts(known.expires));
        self.record.take_if(|record| !lasts(record.expires));
    }

    pub(super) fn next_expiry(&self) -> Option<Instant> {
        let addresses = self.addresses.iter().filter_map(|known| known.expires);
        let record = self.record.as_ref().and_then(|record| record.expires);
        addresses.chain(record).min()
    }

    pub(super) fn standing(&self) -> Standing {
        let standings = self.addresses.iter().map(Standing::of);
        standings.max().unwrap_or(Standing::Named)
    }

    /// Those that last at `now`, best first.
    pub(super) fn best_first(&self, now: Instant) -> Vec<KnownAddress<A>> {
        let lasts = |known: &&KnownAddress<A>| known.expires.is_none_or(|at| at > now);
        let mut known: Vec<_> = self.addresses.iter().filter(lasts).cloned().collect();
        known.sort_by(|one, other| {
            let key = |known: &KnownAddress<A>| {
                let trust = (Reverse(known.source), Reverse(known.confirmed()));
                (known.dial_order(), trust)
            };
            let by_address = || one.address.cmp(&other.address);
            key(one).cmp(&key(other)).then_with(by_address)
        });
        known
    }
}

/// `now` and a lifetime, of which `ttl` may leave less; `None` if that never ends.
pub(super) fn expiry(
    now: Instant,
    lifetime: Option<Duration>,
    ttl: Option<Duration>,
) -> Option<Instant> {
    let lifetime = [lifetime, ttl].into_iter().flatten().min()?;
    now.checked_add(lifetime)
}
