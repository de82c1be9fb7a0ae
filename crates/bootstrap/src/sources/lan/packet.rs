//! Packets of libp2p's mDNS, by hickory-proto. See <https://github.com/libp2p/specs/blob/master/discovery/mdns.md>.
//!
//! The implementations write and expect different packets. rust-libp2p and js-libp2p write one TXT record per address, and
//! rust-libp2p's instance name has no service name at its end. go-libp2p writes one TXT record with one string per address. This
//! reader accepts all of these forms. The answers of this node have one TXT record with all strings, because go-libp2p reads only
//! the last TXT record. They also have SRV and A records, because go-libp2p ignores answers without these records.

use std::{net::Ipv4Addr, str::FromStr, time::Duration};

use hickory_proto::{
    op::{Message, MessageType, OpCode, Query},
    rr::{Name, RData, Record, RecordType, rdata},
};
use libp2p_identity::PeerId;
use multiaddr::{Multiaddr, Protocol};

use crate::sources::address::split;

/// The service that libp2p's peers ask for.
const SERVICE: &str = "_p2p._udp.local.";
/// The longest packet that is read: the largest that RFC 6762 permits.
pub(super) const MAX_PACKET: usize = 9000;
/// The most questions and records of a packet that is read.
const MAX_RECORDS: usize = 256;
/// The most peers of a packet that are read.
pub(crate) const MAX_PEERS: usize = 16;
/// The most addresses of a peer that are read.
pub(crate) const MAX_STRINGS: usize = 32;
/// The longest string of a TXT record.
const MAX_STRING: usize = 255;
/// The most addresses in an answer. It has about 1 KiB then.
const MAX_ANNOUNCED: usize = 8;
/// How long others may believe an answer, in seconds: as js-libp2p's.
const TTL: u32 = 120;
/// The port in the SRV record, which no libp2p peer reads.
const PORT: u16 = 4001;

/// A packet that concerns libp2p.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Packet {
    /// A question for all peers.
    Query,
    /// Peers.
    Answer(Vec<Announced>),
}

/// A peer that a packet announces.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Announced {
    pub(crate) peer: PeerId,
    /// The addresses without the peer's id.
    pub(crate) addresses: Vec<Multiaddr>,
    /// Zero: the peer leaves.
    pub(crate) ttl: Duration,
}

/// Reads a packet. `None`: it is malformed, too large, or none of libp2p's.
pub(crate) fn decode(bytes: &[u8]) -> Option<Packet> {
    // The header says how many records follow: too many are refused before any of them is read.
    let counts = bytes.get(4..12)?.chunks_exact(2);
    let count: usize = counts
        .map(|count| usize::from(u16::from_be_bytes([count[0], count[1]])))
        .sum();
    if bytes.len() > MAX_PACKET || count > MAX_RECORDS {
        return None;
    }
    let message = Message::from_vec(bytes).ok()?;
    let service = Name::from_str(SERVICE).ok()?;
    match message.metadata.message_type {
        MessageType::Query => {
            let mut queries = message.queries.iter();
            let asked = |query: &Query| {
                query.name == service
                    && matches!(query.query_type, RecordType::PTR | RecordType::ANY)
            };
            queries.any(asked).then_some(Packet::Query)
        }
        MessageType::Response => {
            let peers = message
                .answers
                .iter()
                .filter_map(|record| match &record.data {
                    RData::PTR(instance) if record.name == service => {
                        announced(&message, &instance.0, record.ttl)
                    }
                    _ => None,
                });
            let peers: Vec<_> = peers.take(MAX_PEERS).collect();
            (!peers.is_empty()).then_some(Packet::Answer(peers))
        }
    }
}

/// The peer with this instance name. Strings that name another peer than the first one are passed over.
fn announced(message: &Message, instance: &Name, ttl: u32) -> Option<Announced> {
    let records = message.answers.iter().chain(&message.additionals);
    let strings =
        records
            .filter(|record| record.name == *instance)
            .flat_map(|record| match &record.data {
                RData::TXT(text) => &text.txt_data[..],
                _ => &[],
            });
    let mut peer = None;
    let mut addresses = Vec::new();
    for string in strings.take(MAX_STRINGS) {
        let text = std::str::from_utf8(string)
            .ok()
            .and_then(|text| text.strip_prefix("dnsaddr="));
        let Some((Some(id), address)) = text.and_then(|text| text.parse().ok()).map(split) else {
            continue;
        };
        if *peer.get_or_insert(id) == id && !address.is_empty() {
            addresses.push(address);
        }
    }
    let ttl = Duration::from_secs(ttl.into());
    Some(Announced {
        peer: peer?,
        addresses,
        ttl,
    })
}

/// A question for all peers.
pub(super) fn query() -> Option<Vec<u8>> {
    let mut message = Message::new(0, MessageType::Query, OpCode::Query);
    message.add_query(Query::query(Name::from_str(SERVICE).ok()?, RecordType::PTR));
    message.to_vec().ok()
}

/// An answer. `name` is a label of this run, which says nothing of the peer.
pub(super) fn answer(name: &str, peer: PeerId, addresses: &[Multiaddr]) -> Option<Vec<u8>> {
    let service = Name::from_str(SERVICE).ok()?;
    let instance = Name::from_str(name).ok()?.append_domain(&service).ok()?;
    let host = Name::from_str(&format!("{name}.local.")).ok()?;
    let texts = addresses
        .iter()
        .map(|address| format!("dnsaddr={address}/p2p/{peer}"));
    let texts: Vec<_> = texts
        .filter(|text| text.len() <= MAX_STRING)
        .take(MAX_ANNOUNCED)
        .collect();
    if texts.is_empty() {
        return None;
    }
    let mut message = Message::new(0, MessageType::Response, OpCode::Query);
    message.metadata.authoritative = true;
    message.add_answer(Record::from_rdata(
        service,
        TTL,
        RData::PTR(rdata::PTR(instance.clone())),
    ));
    message.add_additional(Record::from_rdata(
        instance.clone(),
        TTL,
        RData::TXT(rdata::TXT::new(texts)),
    ));
    let srv = rdata::SRV::new(0, 0, PORT, host.clone());
    message.add_additional(Record::from_rdata(instance, TTL, RData::SRV(srv)));
    let ip = addresses
        .iter()
        .find_map(|address| match address.iter().next() {
            Some(Protocol::Ip4(ip)) => Some(ip),
            _ => None,
        });
    let ip = ip.unwrap_or(Ipv4Addr::UNSPECIFIED);
    message.add_additional(Record::from_rdata(host, TTL, RData::A(rdata::A(ip))));
    message.to_vec().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NAME: &str = "abcdefghijklmnopqrstuvwxyz012345";

    fn address(text: &str) -> Multiaddr {
        text.parse().unwrap()
    }

    fn txt(name: &Name, strings: &[String]) -> Record {
        Record::from_rdata(
            name.clone(),
            60,
            RData::TXT(rdata::TXT::new(strings.to_vec())),
        )
    }

    /// An answer as another stack writes it: one TXT record per string if `apart`.
    fn foreign(instance: &str, strings: &[String], apart: bool, in_answers: bool) -> Vec<u8> {
        let (service, instance) = (
            Name::from_str(SERVICE).unwrap(),
            Name::from_str(instance).unwrap(),
        );
        let mut message = Message::new(7, MessageType::Response, OpCode::Query);
        message.add_answer(Record::from_rdata(
            service,
            60,
            RData::PTR(rdata::PTR(instance.clone())),
        ));
        let records: Vec<_> = match apart {
            true => strings
                .iter()
                .map(|string| txt(&instance, std::slice::from_ref(string)))
                .collect(),
            false => vec![txt(&instance, strings)],
        };
        for record in records {
            match in_answers {
                true => message.add_answer(record),
                false => message.add_additional(record),
            };
        }
        message.to_vec().unwrap()
    }

    #[test]
    fn an_answer_is_read_as_it_was_written_and_a_query_is_a_query() {
        let peer = PeerId::random();
        let addresses = [
            address("/ip4/192.168.1.2/tcp/4077"),
            address("/ip4/192.168.1.2/udp/4077/quic-v1"),
        ];
        let bytes = answer(NAME, peer, &addresses).unwrap();
        let ttl = Duration::from_secs(120);
        let announced = Announced {
            peer,
            addresses: addresses.to_vec(),
            ttl,
        };
        assert_eq!(decode(&bytes), Some(Packet::Answer(vec![announced])));
        assert_eq!(decode(&query().unwrap()), Some(Packet::Query));
        assert_eq!(answer(NAME, peer, &[]), None);
    }

    #[test]
    fn an_answer_has_what_go_needs_one_txt_record_and_a_host_with_an_address() {
        let addresses = [
            address("/ip4/192.168.1.2/tcp/1"),
            address("/ip4/192.168.1.2/tcp/2"),
        ];
        let message =
            Message::from_vec(&answer(NAME, PeerId::random(), &addresses).unwrap()).unwrap();
        let texts = message
            .additionals
            .iter()
            .filter(|record| record.record_type() == RecordType::TXT);
        assert_eq!(texts.count(), 1);
        let RData::SRV(srv) = &message.additionals[1].data else {
            panic!("no SRV record")
        };
        let host = message
            .additionals
            .iter()
            .find(|record| record.name == srv.target)
            .unwrap();
        assert_eq!(host.record_type(), RecordType::A);
    }

    #[test]
    fn an_answer_has_eight_addresses_and_leaves_out_one_that_fits_in_no_string() {
        let peer = PeerId::random();
        let long = address(&format!("/dns4/{}/tcp/1", "a".repeat(200)));
        let short = (1..=20).map(|n| address(&format!("/ip4/192.168.1.2/tcp/{n}")));
        let all: Vec<_> = std::iter::once(long).chain(short).collect();
        let Some(Packet::Answer(peers)) = decode(&answer(NAME, peer, &all).unwrap()) else {
            panic!("not read")
        };
        assert_eq!(peers[0].addresses, all[1..=8]);
    }

    #[test]
    fn the_answers_of_go_rust_and_js_are_read() {
        let peer = PeerId::random();
        let strings: Vec<_> = (1..=3)
            .map(|n| format!("dnsaddr=/ip4/10.0.0.1/tcp/{n}/p2p/{peer}"))
            .collect();
        let instance = format!("{NAME}.{SERVICE}");
        // rust-libp2p's name is a single label; js-libp2p has everything among the answers.
        for bytes in [
            foreign(&instance, &strings, false, false),
            foreign(&format!("{NAME}."), &strings, true, false),
            foreign(&instance, &strings, true, true),
        ] {
            let Some(Packet::Answer(peers)) = decode(&bytes) else {
                panic!("not read")
            };
            assert_eq!((peers[0].peer, peers[0].addresses.len()), (peer, 3));
        }
    }

    #[test]
    fn strings_of_another_peer_and_of_another_name_and_counts_that_lie_are_passed_over() {
        let (peer, other) = (PeerId::random(), PeerId::random());
        let string = |peer| format!("dnsaddr=/ip4/10.0.0.1/tcp/1/p2p/{peer}");
        let strings = [
            string(peer),
            string(other),
            "dnsaddr=/ip4/10.0.0.1/tcp/2".into(),
            format!("dnsaddr=/p2p/{peer}"),
        ];
        let bytes = foreign(&format!("{NAME}.{SERVICE}"), &strings, true, false);
        let Some(Packet::Answer(peers)) = decode(&bytes) else {
            panic!("not read")
        };
        assert_eq!((peers.len(), peers[0].addresses.len()), (1, 1));
        let many: Vec<_> = (0..200)
            .map(|n| format!("dnsaddr=/ip4/10.0.0.1/tcp/{}/p2p/{peer}", n + 1))
            .collect();
        let bytes = foreign(&format!("{NAME}.{SERVICE}"), &many[..100], true, false);
        assert!(
            bytes.len() > MAX_PACKET && decode(&bytes).is_none(),
            "too large"
        );
        let bytes = foreign(&format!("{NAME}.{SERVICE}"), &many[..60], false, false);
        let Some(Packet::Answer(peers)) = decode(&bytes) else {
            panic!("not read")
        };
        assert_eq!(peers[0].addresses.len(), 32);
        let mut lie = query().unwrap();
        lie[6..8].copy_from_slice(&u16::MAX.to_be_bytes());
        assert_eq!(decode(&lie), None);
    }

    #[test]
    fn of_a_packet_with_many_peers_sixteen_are_read_and_one_with_many_records_is_not() {
        let service = Name::from_str(SERVICE).unwrap();
        let packet = |peers: usize| {
            let mut message = Message::new(7, MessageType::Response, OpCode::Query);
            for n in 0..peers {
                let instance = Name::from_str(&format!("{n}.")).unwrap();
                let pointer = RData::PTR(rdata::PTR(instance.clone()));
                message.add_answer(Record::from_rdata(service.clone(), 60, pointer));
                let peer = PeerId::random();
                let string = format!("dnsaddr=/ip4/10.0.0.1/tcp/1/p2p/{peer}");
                message.add_additional(txt(&instance, &[string]));
            }
            message.to_vec().unwrap()
        };
        let Some(Packet::Answer(peers)) = decode(&packet(17)) else {
            panic!("not read")
        };
        assert_eq!(peers.len(), 16);
        // Each has the string with its own name, and no other one.
        assert!(peers.iter().all(|peer| peer.addresses.len() == 1));
        let ids: std::collections::BTreeSet<_> = peers.iter().map(|peer| peer.peer).collect();
        assert_eq!(ids.len(), 16);
        // Pointers alone, so that the packet is small.
        let pointers = |count: usize| {
            let mut message = Message::from_vec(&packet(1)).unwrap();
            let pointer = message.answers[0].clone();
            for _ in 2..count {
                message.add_answer(pointer.clone());
            }
            message.to_vec().unwrap()
        };
        assert!(pointers(256).len() < MAX_PACKET);
        assert!(decode(&pointers(256)).is_some());
        assert!(decode(&pointers(257)).is_none());
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            decode(&bytes);
        }

        #[test]
        fn no_changed_answer_panics(place in 0usize..400, byte: u8) {
            let mut bytes = answer(NAME, PeerId::random(), &[address("/ip4/10.0.0.1/tcp/1")]).unwrap();
            let place = place % bytes.len();
            bytes[place] = byte;
            decode(&bytes);
        }
    }
}
