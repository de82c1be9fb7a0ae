//! The address book: the addresses of each peer, with their sources and the outcomes of dials.

mod config;
mod known;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::{Duration, Instant},
};

pub use config::AddressBookConfig;
pub use known::{KnownAddress, Outcome, Source};
use known::{Peer, Record, Standing, expiry};

/// Keeps the addresses of many peers within fixed bounds.
///
/// `Id` names a peer and `A` is an address; the host chooses both types. The book never parses an address. It also plans no
/// retries, because backoff is the task of the dialer.
///
/// # The choice of addresses and peers to keep
///
/// A peer has at most [`AddressBookConfig::max_addresses`]. If there are more, a new address replaces a worse one, or is dropped.
/// Configured addresses are the best ones, then addresses that once worked, and then all others in the order of their [`Source`].
/// Among equally good addresses, the one that was confirmed longest ago is replaced. An address from hearsay replaces only
/// another address from hearsay that has failed.
///
/// The book has at most [`AddressBookConfig::max_peers`]. If there are more, a new peer replaces the worst peer. From worst to
/// best, these are the peers that only others have named, the peers that were connected, the peers that somebody wanted to dial,
/// the peers that were reached, and the configured peers. Among equally good peers, the one that was mentioned longest ago is
/// replaced. A new peer never replaces a better one. A signed record alone does not make a peer better, because a signature costs
/// nothing.
///
/// ```
/// use std::time::Instant;
/// use conn_state::{AddressBook, AddressBookConfig, Outcome, Source};
///
/// let now = Instant::now();
/// let mut book = AddressBook::new(AddressBookConfig::default(), |address: &&str| address.len());
/// book.handle_learned(now, &"bob", Source::Hearsay, ["/ip4/192.0.2.9/tcp/1"], None);
/// book.handle_learned(now, &"bob", Source::Identify, ["/ip4/192.0.2.1/tcp/1", "/ip4/10.0.0.1/tcp/1"], None);
/// book.handle_outcome(now, &"bob", &"/ip4/10.0.0.1/tcp/1", Outcome::Failed);
///
/// let addresses = book.addresses(now, &"bob");
/// let in_order: Vec<_> = addresses.iter().map(|known| known.address).collect();
/// assert_eq!(in_order, ["/ip4/192.0.2.1/tcp/1", "/ip4/192.0.2.9/tcp/1", "/ip4/10.0.0.1/tcp/1"]);
/// ```
pub struct AddressBook<Id, A> {
    config: AddressBookConfig,
    size: fn(&A) -> usize,
    peers: BTreeMap<Id, Entry<A>>,
    /// The peers from the one worth the least to the one worth the most.
    ranked: BTreeSet<(Standing, Instant, Id)>,
    /// When the next thing of each peer expires.
    expiries: BTreeSet<(Instant, Id)>,
}

/// A peer, and where the two indices have it.
#[derive(Debug)]
struct Entry<A> {
    peer: Peer<A>,
    standing: Standing,
    mentioned: Instant,
    expires: Option<Instant>,
}

impl<Id, A> fmt::Debug for AddressBook<Id, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AddressBook")
            .field("peers", &self.peers.len())
            .finish_non_exhaustive()
    }
}

impl<Id: Ord + Clone, A: Ord + Clone> AddressBook<Id, A> {
    /// An empty book. `size` returns the size of an address in bytes, which [`AddressBookConfig::max_address_bytes`] limits.
    pub fn new(config: AddressBookConfig, size: fn(&A) -> usize) -> Self {
        Self {
            config,
            size,
            peers: BTreeMap::new(),
            ranked: BTreeSet::new(),
            expiries: BTreeSet::new(),
        }
    }

    /// `source` names addresses of `peer`. Returns the number of these addresses that the book now has.
    ///
    /// A list from [`Source::Identify`] or [`Source::SignedRecord`] is complete: the book forgets the addresses that only this
    /// source has named and that are missing now, unless they once worked. The book reads at most
    /// [`AddressBookConfig::max_addresses`] of each list. `ttl` can only shorten the lifetime of the addresses.
    pub fn handle_learned(
        &mut self,
        now: Instant,
        peer: &Id,
        source: Source,
        addresses: impl IntoIterator<Item = A>,
        ttl: Option<Duration>,
    ) -> usize {
        self.handle_timeout(now);
        let (limit, size) = (self.config.max_addresses, self.size);
        let fits = |address: &A| size(address) <= self.config.max_address_bytes;
        let named: Vec<A> = addresses.into_iter().filter(fits).take(limit).collect();
        let expires = expiry(now, self.lifetime(source), ttl);
        let known = named.iter().map(|address| KnownAddress {
            expires,
            ..KnownAddress::new(address.clone(), source, now)
        });
        let Some(best) = known.clone().map(|known| Standing::of(&known)).max() else {
            self.change(peer, None, |known| known.keep_named(source, &[]));
            return 0;
        };
        if !self.admit(now, peer, best) {
            return 0;
        }
        let learned = self.change(peer, Some(now), |peer| {
            peer.keep_named(source, &named);
            known
                .filter(|known| peer.learn(known.clone(), limit))
                .count()
        });
        learned.unwrap_or_default()
    }

    /// A record that `peer` has signed has arrived, with its sequence number, and names `addresses`. The host has verified the
    /// signature. Returns whether the book has taken the record.
    ///
    /// The book does not take the record if it has a newer record or another record with the same number, if the record is larger
    /// than [`AddressBookConfig::max_record_bytes`], or if there is no room for the peer. In these cases nothing changes.
    pub fn handle_record(
        &mut self,
        now: Instant,
        peer: &Id,
        (number, bytes): (u64, Vec<u8>),
        addresses: impl IntoIterator<Item = A>,
        ttl: Option<Duration>,
    ) -> bool {
        self.handle_timeout(now);
        let known = self
            .peers
            .get(peer)
            .and_then(|entry| entry.peer.record.as_ref());
        let is_news = known.is_none_or(|known| {
            number > known.number || number == known.number && bytes == known.bytes
        });
        let fits = bytes.len() <= self.config.max_record_bytes;
        if !is_news || !fits || !self.admit(now, peer, Standing::Named) {
            return false;
        }
        let record = Record {
            number,
            bytes,
            expires: expiry(now, self.lifetime(Source::SignedRecord), ttl),
        };
        self.change(peer, Some(now), |peer| peer.record = Some(record));
        self.handle_learned(now, peer, Source::SignedRecord, addresses, ttl);
        true
    }

    /// A dial of an address of `peer` has ended. If the address worked and the book does not have it, the book adds it with the
    /// source [`Source::Dialed`].
    pub fn handle_outcome(&mut self, now: Instant, peer: &Id, address: &A, outcome: Outcome) {
        self.handle_timeout(now);
        let worked = expiry(now, Some(self.config.worked), None);
        let good = (outcome == Outcome::Connected).then_some(now);
        let is_known = self.change(peer, good, |peer| match peer.get_mut(address) {
            Some(known) if outcome == Outcome::Connected => {
                known.connected = Some(now);
                known.prolong(worked);
                true
            }
            Some(known) => {
                known.failed = Some(now);
                true
            }
            None => false,
        });
        let fits = (self.size)(address) <= self.config.max_address_bytes;
        if is_known == Some(true) || outcome == Outcome::Failed || !fits {
            return;
        }
        let newcomer = KnownAddress {
            connected: Some(now),
            expires: worked,
            ..KnownAddress::new(address.clone(), Source::Dialed, now)
        };
        if self.admit(now, peer, Standing::Reached) {
            let limit = self.config.max_addresses;
            self.change(peer, Some(now), |peer| peer.learn(newcomer, limit));
        }
    }

    /// Forgets `peer` with all of its addresses.
    pub fn handle_forgotten(&mut self, peer: &Id) {
        self.change(peer, None, |peer| *peer = Peer::default());
    }

    /// The addresses of `peer` in the order in which to dial them.
    ///
    /// The order is: addresses whose latest dial succeeded; untried addresses that are not hearsay; addresses that once worked
    /// but whose latest dial failed; untried hearsay; and addresses that have only failed. Among equal addresses, the most
    /// trusted [`Source`] comes first, and then the address that was confirmed last.
    pub fn addresses(&self, now: Instant, peer: &Id) -> Vec<KnownAddress<A>> {
        let entry = self.peers.get(peer);
        entry.map_or_else(Vec::new, |entry| entry.peer.best_first(now))
    }

    /// The latest record that `peer` signed, with its sequence number.
    pub fn record(&self, now: Instant, peer: &Id) -> Option<(u64, &[u8])> {
        let record = self.peers.get(peer)?.peer.record.as_ref()?;
        let lasts = record.expires.is_none_or(|at| at > now);
        lasts.then_some((record.number, record.bytes.as_slice()))
    }

    /// The peers in the book, in order.
    pub fn peers(&self) -> impl Iterator<Item = &Id> {
        self.peers.keys()
    }

    /// The number of peers in the book.
    pub fn len(&self) -> usize {
        self.peers.len()
    }

    /// Whether the book is empty.
    pub fn is_empty(&self) -> bool {
        self.peers.is_empty()
    }

    /// When to call [`Self::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.expiries.first().map(|(at, _)| *at)
    }

    /// Forgets what has expired.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some((at, peer)) = self.expiries.first() {
            if *at > now {
                return;
            }
            let peer = peer.clone();
            self.change(&peer, None, |peer| peer.expire(now));
        }
    }

    fn lifetime(&self, source: Source) -> Option<Duration> {
        match source {
            Source::Hearsay => Some(self.config.hearsay),
            Source::Config => None,
            _ => Some(self.config.named),
        }
    }

    /// Makes sure that `peer` has an entry: another one may have to go. Whether it has one.
    fn admit(&mut self, now: Instant, peer: &Id, standing: Standing) -> bool {
        if self.peers.contains_key(peer) {
            return true;
        }
        if self.peers.len() >= self.config.max_peers {
            let least = self.ranked.first().filter(|(least, ..)| *least <= standing);
            let Some((.., least)) = least.cloned() else {
                return false;
            };
            self.handle_forgotten(&least);
        }
        self.ranked.insert((standing, now, peer.clone()));
        let entry = Entry {
            peer: Peer::default(),
            standing,
            mentioned: now,
            expires: None,
        };
        self.peers.insert(peer.clone(), entry);
        true
    }

    /// Changes a peer that has an entry, and keeps the indices true. One of which nothing is left is removed. `mentioned` is
    /// when somebody has just said something good of it.
    fn change<T>(
        &mut self,
        id: &Id,
        mentioned: Option<Instant>,
        change: impl FnOnce(&mut Peer<A>) -> T,
    ) -> Option<T> {
        let entry = self.peers.get_mut(id)?;
        let outcome = change(&mut entry.peer);
        self.ranked
            .remove(&(entry.standing, entry.mentioned, id.clone()));
        if let Some(at) = entry.expires {
            self.expiries.remove(&(at, id.clone()));
        }
        if entry.peer.is_empty() {
            self.peers.remove(id);
            return Some(outcome);
        }
        entry.standing = entry.peer.standing();
        entry.mentioned = mentioned.unwrap_or(entry.mentioned).max(entry.mentioned);
        entry.expires = entry.peer.next_expiry();
        self.ranked
            .insert((entry.standing, entry.mentioned, id.clone()));
        if let Some(at) = entry.expires {
            self.expiries.insert((at, id.clone()));
        }
        Some(outcome)
    }
}
