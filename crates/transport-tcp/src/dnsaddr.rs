//! Expansion of `/dnsaddr`, without I/O.
//!
//! Records are untrusted: they can point to themselves, to each other, or to many names. An expansion therefore asks for each
//! name only once, and a chain has at most [`MAX_DEPTH`] names. An expansion takes at most [`MAX_DNSADDR_ADDRESSES`] addresses,
//! asks for at most the same number of names, and ignores records that are longer than [`MAX_RECORD`].

use std::collections::{BTreeSet, VecDeque};

use multiaddr::{Multiaddr, Protocol};

use crate::{PeerId, peer_text};

/// Names in a chain, the first included.
pub(crate) const MAX_DEPTH: usize = 4;
/// Addresses that one expansion gives, and names it asks.
pub(crate) const MAX_DNSADDR_ADDRESSES: usize = 100;
/// Records of one answer that are looked at.
const MAX_RECORDS: usize = 256;
/// The longest record in bytes: a name of 253 bytes and several peer ids fit. An address appears in errors and logs.
const MAX_RECORD: usize = 1024;

/// One expansion: hand out names with [`Expansion::poll_query`], feed answers with
/// [`Expansion::handle_answer`], until no name is left.
#[derive(Debug)]
pub(crate) struct Expansion {
    peer: Option<PeerId>,
    asked: BTreeSet<String>,
    waiting: VecDeque<Query>,
    found: Vec<Multiaddr>,
    /// How many of them were handed out.
    taken: usize,
}

/// A name to look up the TXT records of `_dnsaddr.NAME` for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Query {
    pub(crate) name: String,
    /// What records of this name must end in: the rest of the address that pointed here.
    suffix: Vec<u8>,
    depth: usize,
}

impl Expansion {
    pub(crate) fn new(name: &str, peer: Option<PeerId>) -> Self {
        let mut this = Self {
            peer,
            asked: BTreeSet::new(),
            waiting: VecDeque::new(),
            found: Vec::new(),
            taken: 0,
        };
        this.enqueue(name, Vec::new(), 1);
        this
    }

    /// The next name to ask.
    pub(crate) fn poll_query(&mut self) -> Option<Query> {
        self.waiting.pop_front()
    }

    /// Takes the TXT records of a name; what is no `dnsaddr=` record is passed over.
    pub(crate) fn handle_answer<'a>(
        &mut self,
        query: &Query,
        records: impl IntoIterator<Item = &'a [u8]>,
    ) {
        for record in records.into_iter().take(MAX_RECORDS) {
            let Some(address) = parse_record(record) else {
                continue;
            };
            if !address.to_vec().ends_with(&query.suffix) || !self.is_wanted(&address) {
                continue;
            }
            match address.iter().next() {
                Some(Protocol::Dnsaddr(name)) => {
                    let mut rest = Multiaddr::empty();
                    address.iter().skip(1).for_each(|part| rest.push(part));
                    self.enqueue(&name, rest.to_vec(), query.depth + 1);
                }
                _ => self.add(address),
            }
        }
    }

    /// What was found since the last call, in the order of the records.
    pub(crate) fn take_found(&mut self) -> Vec<Multiaddr> {
        let new = self.found[self.taken..].to_vec();
        self.taken = self.found.len();
        new
    }

    /// A record without an id means the peer that is looked for.
    fn add(&mut self, mut address: Multiaddr) {
        if let Some(wanted) = self.peer
            && !matches!(address.iter().last(), Some(Protocol::P2p(_)))
        {
            address.push(Protocol::P2p(wanted));
        }
        if self.found.len() < MAX_DNSADDR_ADDRESSES && !self.found.contains(&address) {
            self.found.push(address);
        }
    }

    fn enqueue(&mut self, name: &str, suffix: Vec<u8>, depth: usize) {
        let key = name.trim_end_matches('.').to_ascii_lowercase();
        let room = depth <= MAX_DEPTH && self.asked.len() < MAX_DNSADDR_ADDRESSES;
        if room && !key.is_empty() && self.asked.insert(key.clone()) {
            let name = key;
            self.waiting.push_back(Query {
                name,
                suffix,
                depth,
            });
        }
    }

    /// An address that names another peer is of no use; one that names none may still lead on.
    fn is_wanted(&self, address: &Multiaddr) -> bool {
        let Some(wanted) = self.peer else {
            return true;
        };
        match address.iter().last() {
            Some(Protocol::P2p(peer)) => peer == wanted,
            _ => true,
        }
    }
}

/// Reads one TXT record, `dnsaddr=MULTIADDR`.
pub(crate) fn parse_record(record: &[u8]) -> Option<Multiaddr> {
    if record.len() > MAX_RECORD {
        return None;
    }
    let text = std::str::from_utf8(record).ok()?;
    let address = text.strip_prefix("dnsaddr=")?.trim();
    let address = peer_text::multiaddr(address).ok();
    address.filter(|address| !address.is_empty())
}

#[cfg(test)]
mod tests;
