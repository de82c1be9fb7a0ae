//! The expansion of `/dnsaddr` names, without I/O. Records are untrusted: they can lead in circles, or fan out.

use std::collections::{BTreeSet, VecDeque};

use libp2p_identity::PeerId;
use multiaddr::{Multiaddr, Protocol};

use crate::sources::address::split;

/// The most addresses that are taken.
pub(crate) const MAX_ADDRESSES: usize = 100;
/// The most names that are asked.
pub(crate) const MAX_NAMES: usize = 32;
/// The most names in a chain, the first included.
const MAX_DEPTH: usize = 4;
/// The most records of an answer that are read.
const MAX_RECORDS: usize = 256;
/// The longest record that is read, in bytes.
const MAX_RECORD: usize = 1024;

/// One round of questions.
#[derive(Debug, Default)]
pub(crate) struct Expansion {
    asked: BTreeSet<String>,
    waiting: VecDeque<Query>,
    found: Vec<(PeerId, Multiaddr)>,
    named: usize,
}

/// A name to ask, and what led to it.
#[derive(Debug)]
pub(crate) struct Query {
    name: String,
    /// The peer that the records must name.
    peer: Option<PeerId>,
    depth: usize,
}

impl Query {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}

impl Expansion {
    /// Adds a name of the configuration.
    pub(crate) fn begin(&mut self, name: &str, peer: Option<PeerId>) {
        self.ask(name, peer, 1);
    }

    pub(crate) fn poll_query(&mut self) -> Option<Query> {
        self.waiting
            .pop_front()
            .filter(|_| self.found.len() < MAX_ADDRESSES)
    }

    /// Takes the TXT records of a name. Other records than `dnsaddr=` ones are passed over.
    pub(crate) fn handle_answer(&mut self, query: &Query, records: &[Vec<u8>]) {
        for address in records
            .iter()
            .take(MAX_RECORDS)
            .filter_map(|record| parse(record))
        {
            let (peer, address) = split(address);
            if query.peer.is_some() && peer.is_some() && peer != query.peer {
                continue;
            }
            let peer = peer.or(query.peer);
            let first = address.iter().next();
            match (first, peer) {
                (Some(Protocol::Dnsaddr(name)), peer) => self.ask(&name, peer, query.depth + 1),
                (Some(_), Some(peer)) => self.add(peer, address),
                _ => {}
            }
        }
    }

    /// How often a record has named an address of a peer, repetitions included.
    pub(crate) fn named(&self) -> usize {
        self.named
    }

    #[cfg(any(fuzzing, test))]
    pub(crate) fn found(&self) -> &[(PeerId, Multiaddr)] {
        &self.found
    }

    /// The peers in the order of their first records, each with all its addresses.
    pub(crate) fn into_peers(self) -> Vec<(PeerId, Vec<Multiaddr>)> {
        let mut peers: Vec<(PeerId, Vec<Multiaddr>)> = Vec::new();
        for (peer, address) in self.found {
            match peers.iter_mut().find(|(known, _)| *known == peer) {
                Some((_, addresses)) => addresses.push(address),
                None => peers.push((peer, vec![address])),
            }
        }
        peers
    }

    fn add(&mut self, peer: PeerId, address: Multiaddr) {
        self.named += 1;
        let found = (peer, address);
        if self.found.len() < MAX_ADDRESSES && !self.found.contains(&found) {
            self.found.push(found);
        }
    }

    fn ask(&mut self, name: &str, peer: Option<PeerId>, depth: usize) {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let room = depth <= MAX_DEPTH && self.asked.len() < MAX_NAMES;
        if room && !name.is_empty() && self.asked.insert(format!("{name} {peer:?}")) {
            self.waiting.push_back(Query { name, peer, depth });
        }
    }
}

fn parse(record: &[u8]) -> Option<Multiaddr> {
    let record = (record.len() <= MAX_RECORD).then_some(record)?;
    let text = std::str::from_utf8(record).ok()?;
    text.strip_prefix("dnsaddr=")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> PeerId {
        PeerId::random()
    }

    fn answer(expansion: &mut Expansion, records: &[String]) -> bool {
        let Some(query) = expansion.poll_query() else {
            return false;
        };
        let records: Vec<_> = records
            .iter()
            .map(|record| record.clone().into_bytes())
            .collect();
        expansion.handle_answer(&query, &records);
        true
    }

    #[test]
    fn a_record_without_a_peer_is_taken_only_if_the_name_was_given_with_one() {
        let record = ["dnsaddr=/ip4/192.0.2.1/tcp/4001".to_owned()];
        let mut bare = Expansion::default();
        bare.begin("example.org", None);
        answer(&mut bare, &record);
        assert!(bare.found().is_empty());
        let (mut given, peer) = (Expansion::default(), id());
        given.begin("example.org", Some(peer));
        let other = format!("dnsaddr=/ip4/192.0.2.2/tcp/4001/p2p/{}", id());
        answer(&mut given, &[record[0].clone(), other]);
        assert_eq!(
            given.into_peers(),
            [(peer, vec!["/ip4/192.0.2.1/tcp/4001".parse().unwrap()])]
        );
    }

    #[test]
    fn records_that_lead_in_a_circle_or_down_a_long_chain_end() {
        let mut circle = Expansion::default();
        circle.begin("a.example", None);
        let record = ["dnsaddr=/dnsaddr/A.example.".to_owned()];
        assert!(answer(&mut circle, &record) && !answer(&mut circle, &record));
        let mut chain = Expansion::default();
        chain.begin("0.example", None);
        let mut asked = 0;
        while answer(
            &mut chain,
            &[format!("dnsaddr=/dnsaddr/{}.example", asked + 1)],
        ) {
            asked += 1;
        }
        assert_eq!(asked, 4);
    }

    #[test]
    fn records_that_fan_out_end_at_32_names_and_100_addresses() {
        let names =
            |from: usize| (from..from + 200).map(|n| format!("dnsaddr=/dnsaddr/{n}.example"));
        let mut wide = Expansion::default();
        wide.begin("example.org", None);
        let (mut asked, mut next) = (0, 0);
        while asked < 1000 && answer(&mut wide, &names(next).collect::<Vec<_>>()) {
            (asked, next) = (asked + 1, next + 200);
        }
        assert_eq!(asked, 32);
        let mut many = Expansion::default();
        many.begin("example.org", None);
        many.begin("example.com", None);
        let record = |n: usize| format!("dnsaddr=/ip4/192.0.2.1/tcp/{}/p2p/{}", n + 1, id());
        answer(&mut many, &(0..150).map(record).collect::<Vec<_>>());
        assert_eq!(many.found().len(), 100);
        assert!(many.poll_query().is_none(), "nothing more is asked");
    }

    #[test]
    fn of_an_answer_256_records_of_at_most_a_kilobyte_are_read() {
        let record =
            |n: usize| format!("dnsaddr=/ip4/192.0.2.1/tcp/1/p2p/{}{}", id(), " ".repeat(n));
        let found = |records: &[String]| {
            let mut expansion = Expansion::default();
            expansion.begin("example.org", None);
            answer(&mut expansion, records);
            expansion.found().len()
        };
        let other = |count: usize| vec!["v=spf1".to_owned(); count];
        assert_eq!(found(&[other(255), vec![record(0)]].concat()), 1);
        assert_eq!(found(&[other(256), vec![record(0)]].concat()), 0);
        let fits = 1024 - record(0).len();
        assert_eq!(found(&[record(fits)]), 1);
        assert_eq!(found(&[record(fits + 1)]), 0);
    }
}
