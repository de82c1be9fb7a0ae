//! Bounds the bytes that are sent to unproved addresses (RFC 9000 sections 8.1 and 21.1.1.1).
//!
//! RFC 9000 allows three times the bytes that arrived from the address. quinn-proto checks this bound for one byte instead of the
//! whole datagram, and sends MTU probes and answers to path challenges without a check. The socket therefore counts the bytes
//! itself. An address is proved while there is a connection that has finished its handshake there, that dials the address, or
//! that has echoed a path challenge to the address. Any other address gets three times the bytes that arrived from it, except a
//! few challenges: see [`CHALLENGES`].
//!
//! This module holds the state of one endpoint, and reads no clock.

use std::{
    collections::{HashMap, VecDeque},
    net::{IpAddr, SocketAddr},
    sync::{
        Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

/// Bytes that may be sent to an unproved address per byte received from it.
const FACTOR: u64 = 3;

/// Unproved addresses of each of two generations: about 1 MiB in all. When one generation is full, the older one is
/// forgotten, and with it what its addresses may still get.
const ADDRESSES: usize = 8192;

/// Path challenges at once beyond [`FACTOR`], for all addresses together. A peer behind a NAT that has changed its mapping may
/// send only 30 bytes, and a challenge has 1,200. Without an exception the peer would lose its connection.
const CHALLENGES: u32 = 16;

/// The time after which one more challenge may be sent beyond [`FACTOR`].
const EVERY: Duration = Duration::from_millis(500);

/// Challenges that wait for their echo, of all connections and of one. A newer one replaces the oldest.
const WAITING: usize = 4096;
const WAITING_PER_CONNECTION: usize = 8;

/// The addresses that one connection has proved and keeps. A newer one replaces the oldest.
const PER_CONNECTION: usize = 4;

/// The end of an encrypted packet. It identifies the packet.
pub(crate) type Tag = [u8; 16];

/// The content of a path challenge.
pub(crate) type Token = [u8; 8];

type Key = (IpAddr, u16);

fn key(address: SocketAddr) -> Key {
    (address.ip().to_canonical(), address.port())
}

/// What one endpoint knows about the addresses of its peers.
#[derive(Debug, Default)]
pub(crate) struct Unproved {
    /// How many connections have proved each address.
    proved: RwLock<HashMap<Key, usize>>,
    credits: Mutex<Credits>,
    challenges: Mutex<VecDeque<Challenge>>,
    /// The length of `challenges`, for callers that need no lock if there are none.
    waiting: AtomicUsize,
}

/// A path challenge: encrypted, then perhaps sent, then perhaps echoed.
#[derive(Debug)]
struct Challenge {
    connection: usize,
    token: Token,
    tag: Tag,
    sent_to: Option<SocketAddr>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Unproved {
    fn is_proved(&self, key: &Key) -> bool {
        let proved = self.proved.read().unwrap_or_else(PoisonError::into_inner);
        proved.contains_key(key)
    }

    /// Counts bytes that have arrived.
    pub(crate) fn handle_received(&self, from: SocketAddr, bytes: usize) {
        let key = key(from);
        if !self.is_proved(&key) {
            lock(&self.credits).entry(key).received += bytes as u64;
        }
    }

    /// Whether `contents` may be sent, in datagrams of `segment` bytes. Counts them if so.
    pub(crate) fn handle_send(
        &self,
        now: Duration,
        to: SocketAddr,
        contents: &[u8],
        segment: usize,
    ) -> bool {
        let key = key(to);
        if self.is_proved(&key) {
            return true;
        }
        let challenges = self.handle_challenges_sent(to, contents.chunks(segment.max(1)));
        lock(&self.credits).take(now, key, contents.len() as u64, challenges)
    }

    /// Notes the address of each challenge among `datagrams`. Returns whether all are challenges.
    fn handle_challenges_sent<'a>(
        &self,
        to: SocketAddr,
        datagrams: impl Iterator<Item = &'a [u8]>,
    ) -> bool {
        if self.waiting.load(Ordering::Acquire) == 0 {
            return false;
        }
        let mut challenges = lock(&self.challenges);
        let mut all = true;
        for datagram in datagrams {
            let tag = datagram.last_chunk::<16>();
            let found = challenges
                .iter_mut()
                .rev()
                .find(|challenge| Some(&challenge.tag) == tag);
            all &= found.is_some();
            if let Some(challenge) = found {
                challenge.sent_to = Some(to);
            }
        }
        all
    }

    /// A connection has encrypted a path challenge and will send it.
    pub(crate) fn handle_challenge(&self, connection: usize, token: Token, tag: Tag) {
        let mut challenges = lock(&self.challenges);
        let of_connection = |challenge: &Challenge| challenge.connection == connection;
        let many = challenges.iter().filter(|it| of_connection(it)).count();
        if many >= WAITING_PER_CONNECTION {
            let oldest = challenges.iter().position(of_connection);
            oldest.and_then(|oldest| challenges.remove(oldest));
        } else if challenges.len() == WAITING {
            challenges.pop_front();
        }
        challenges.push_back(Challenge {
            connection,
            token,
            tag,
            sent_to: None,
        });
        self.waiting.store(challenges.len(), Ordering::Release);
    }

    /// The address that a connection proves with the decrypted content of a packet, if it proves one.
    ///
    /// Only the receiver of a challenge knows its token, so the token's position does not matter.
    pub(crate) fn handle_decrypted(&self, connection: usize, content: &[u8]) -> Option<SocketAddr> {
        if self.waiting.load(Ordering::Acquire) == 0 {
            return None;
        }
        let mut challenges = lock(&self.challenges);
        let echoed = challenges.iter().position(|challenge| {
            challenge.connection == connection
                && challenge.sent_to.is_some()
                && content.windows(8).any(|bytes| bytes == challenge.token)
        })?;
        let proved = challenges.get(echoed)?.sent_to;
        challenges
            .retain(|challenge| challenge.connection != connection || challenge.sent_to != proved);
        self.waiting.store(challenges.len(), Ordering::Release);
        proved
    }

    fn prove(&self, address: SocketAddr) {
        let mut proved = self.proved.write().unwrap_or_else(PoisonError::into_inner);
        *proved.entry(key(address)).or_default() += 1;
    }

    fn forget(&self, address: SocketAddr) {
        let mut proved = self.proved.write().unwrap_or_else(PoisonError::into_inner);
        let key = key(address);
        if let Some(connections) = proved.get_mut(&key) {
            *connections -= 1;
            if *connections == 0 {
                proved.remove(&key);
            }
        }
    }

    fn forget_challenges(&self, connection: usize) {
        if self.waiting.load(Ordering::Acquire) > 0 {
            let mut challenges = lock(&self.challenges);
            challenges.retain(|challenge| challenge.connection != connection);
            self.waiting.store(challenges.len(), Ordering::Release);
        }
    }
}

/// The addresses that one connection has proved. They count until this is dropped.
#[derive(Debug)]
pub(crate) struct ProvedBy {
    shared: std::sync::Arc<Unproved>,
    addresses: Mutex<VecDeque<SocketAddr>>,
}

impl ProvedBy {
    pub(crate) fn new(shared: std::sync::Arc<Unproved>) -> Self {
        Self {
            shared,
            addresses: Mutex::default(),
        }
    }

    pub(crate) fn add(&self, address: SocketAddr) {
        let mut addresses = lock(&self.addresses);
        self.shared.prove(address);
        addresses.push_back(address);
        let twice = addresses.iter().position(|known| *known == address);
        let surplus = match twice.filter(|at| at + 1 < addresses.len()) {
            Some(at) => addresses.remove(at),
            None if addresses.len() > PER_CONNECTION => addresses.pop_front(),
            None => None,
        };
        if let Some(surplus) = surplus {
            self.shared.forget(surplus);
        }
    }

    pub(crate) fn handle_challenge(&self, token: Token, tag: Tag) {
        self.shared.handle_challenge(self.id(), token, tag);
    }

    pub(crate) fn handle_decrypted(&self, content: &[u8]) {
        if let Some(address) = self.shared.handle_decrypted(self.id(), content) {
            tracing::debug!(%address, "the peer has proved its new address");
            self.add(address);
        }
    }

    /// The address of this object: no other connection has the same.
    fn id(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }
}

impl Drop for ProvedBy {
    fn drop(&mut self) {
        self.shared.forget_challenges(self.id());
        for address in lock(&self.addresses).drain(..) {
            self.shared.forget(address);
        }
    }
}

#[derive(Debug, Default, Clone, Copy)]
struct Credit {
    received: u64,
    sent: u64,
}

/// What may be sent to unproved addresses.
#[derive(Debug, Default)]
struct Credits {
    recent: HashMap<Key, Credit>,
    older: HashMap<Key, Credit>,
    /// Challenges beyond the factor, and when the count was last lowered.
    challenges: u32,
    since: Duration,
}

impl Credits {
    fn entry(&mut self, key: Key) -> &mut Credit {
        if !self.recent.contains_key(&key) {
            if self.recent.len() == ADDRESSES {
                self.older = std::mem::take(&mut self.recent);
            }
            let known = self.older.remove(&key).unwrap_or_default();
            self.recent.insert(key, known);
        }
        self.recent.entry(key).or_default()
    }

    fn take(&mut self, now: Duration, key: Key, bytes: u64, is_challenge: bool) -> bool {
        let credit = self.entry(key);
        let fits = credit.sent + bytes <= FACTOR * credit.received;
        if fits || (is_challenge && self.take_challenge(now)) {
            self.entry(key).sent += bytes;
            return true;
        }
        false
    }

    fn take_challenge(&mut self, now: Duration) -> bool {
        while self.challenges > 0 && now.saturating_sub(self.since) >= EVERY {
            self.challenges -= 1;
            self.since += EVERY;
        }
        if self.challenges == 0 {
            self.since = now;
        }
        let room = self.challenges < CHALLENGES;
        self.challenges += u32::from(room);
        room
    }
}

#[cfg(test)]
mod tests;
