//! Whatever a book is told: its bounds hold, hearsay displaces nothing better, and its indices are true.

use std::collections::BTreeMap;

use super::*;

const PEERS: u8 = 6;
const SOURCES: [Source; 7] = [
    Source::Hearsay,
    Source::Inbound,
    Source::Relay,
    Source::Identify,
    Source::SignedRecord,
    Source::Dialed,
    Source::Config,
];

#[derive(Debug, Clone)]
enum Step {
    Wait(u32),
    Learned(u8, Source, Vec<u16>, Option<u32>),
    Record(u8, u64, usize, Vec<u16>),
    Outcome(u8, u16, Outcome),
    Forgotten(u8),
    Timeout,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let peer = || 0..PEERS;
    let addresses = || prop::collection::vec(0..12_u16, 0..6);
    let source = prop::sample::select(SOURCES.to_vec());
    let outcome = prop::sample::select(vec![Outcome::Connected, Outcome::Failed]);
    let step = prop_oneof![
        2 => (0..20_u32).prop_map(Step::Wait),
        8 => (peer(), source, addresses(), prop::option::of(0..30_u32))
            .prop_map(|(peer, source, list, ttl)| Step::Learned(peer, source, list, ttl)),
        2 => (peer(), 0..4_u64, 0..6_usize, addresses())
            .prop_map(|(peer, number, size, list)| Step::Record(peer, number, size, list)),
        4 => (peer(), 0..12_u16, outcome)
            .prop_map(|(peer, address, outcome)| Step::Outcome(peer, address, outcome)),
        1 => peer().prop_map(Step::Forgotten),
        1 => Just(Step::Timeout),
    ];
    prop::collection::vec(step, 1..80)
}

fn small() -> AddressBookConfig {
    AddressBookConfig::default()
        .with_max_peers(3)
        .with_max_addresses(4)
        .with_max_bytes(9, 4)
}

fn apply(book: &mut Book, now: &mut Instant, step: &Step) {
    match step {
        Step::Wait(hours) => *now += HOUR * *hours,
        Step::Learned(peer, source, list, ttl) => {
            let ttl = ttl.map(|hours| HOUR * hours);
            let learned = book.handle_learned(*now, peer, *source, list.clone(), ttl);
            assert!(learned <= list.len());
        }
        Step::Record(peer, number, size, list) => {
            let record = (*number, vec![*number as u8; *size]);
            book.handle_record(*now, peer, record, list.clone(), None);
        }
        Step::Outcome(peer, address, outcome) => {
            book.handle_outcome(*now, peer, address, *outcome);
        }
        Step::Forgotten(peer) => book.handle_forgotten(peer),
        Step::Timeout => book.handle_timeout(*now),
    }
}

/// What is known, and lasts, by peer and address.
fn known(book: &Book, now: Instant) -> BTreeMap<(u8, u16), KnownAddress<u16>> {
    let of_peer = |peer: &u8| {
        let (peer, known) = (*peer, book.addresses(now, peer));
        known
            .into_iter()
            .map(move |known| ((peer, known.address), known))
    };
    book.peers().flat_map(of_peer).collect()
}

/// The bounds, and what each index should say.
fn check(book: &Book) -> Result<(), TestCaseError> {
    prop_assert!(book.peers.len() <= book.config.max_peers);
    let (mut ranked, mut expiries) = (BTreeSet::new(), BTreeSet::new());
    for (id, entry) in &book.peers {
        let peer = &entry.peer;
        prop_assert!(!peer.is_empty());
        prop_assert!(peer.addresses.len() <= book.config.max_addresses);
        for known in &peer.addresses {
            prop_assert!(usize::from(known.address) <= book.config.max_address_bytes);
            let same = peer.addresses.iter().filter(|k| k.address == known.address);
            prop_assert_eq!(same.count(), 1);
        }
        let bytes = peer.record.as_ref().map_or(0, |record| record.bytes.len());
        prop_assert!(bytes <= book.config.max_record_bytes);
        ranked.insert((peer.standing(), entry.mentioned, *id));
        expiries.extend(peer.next_expiry().map(|at| (at, *id)));
    }
    prop_assert_eq!(&book.ranked, &ranked);
    prop_assert_eq!(&book.expiries, &expiries);
    Ok(())
}

proptest! {
    #[test]
    fn no_bound_is_exceeded_and_the_indices_are_true(steps in steps()) {
        let (mut book, mut now) = (book(small()), Instant::now());
        for step in steps {
            apply(&mut book, &mut now, &step);
            check(&book)?;
        }
        // In the end only configured addresses are left.
        now += 1_000_000 * HOUR;
        book.handle_timeout(now);
        prop_assert_eq!(book.poll_timeout(), None);
        prop_assert!(known(&book, now).values().all(|known| known.source == Source::Config));
    }

    #[test]
    fn hearsay_displaces_no_address_that_is_more_than_hearsay(
        steps in steps(),
        flood in prop::collection::vec((0..PEERS, 0..12_u16), 1..100),
    ) {
        let (mut book, mut now) = (book(small()), Instant::now());
        for step in &steps {
            apply(&mut book, &mut now, step);
        }
        let is_better = |known: &KnownAddress<u16>| {
            let worked = known.connected.is_some();
            worked || !matches!(known.source, Source::Hearsay | Source::Relay | Source::SignedRecord)
        };
        let mut before = known(&book, now);
        before.retain(|_, known| is_better(known));
        for (peer, address) in flood {
            book.handle_learned(now, &peer, Source::Hearsay, [address], None);
        }
        let mut after = known(&book, now);
        for (key, known) in before {
            let kept = after.remove(&key);
            prop_assert!(kept.is_some(), "{:?} was displaced", known);
            // Hearsay may repeat hearsay that worked, and nothing else is changed by it.
            prop_assert!(known.source == Source::Hearsay || kept == Some(known));
        }
    }

    #[test]
    fn with_room_for_all_a_book_is_a_map(steps in steps()) {
        let config = AddressBookConfig::default();
        let (mut book, mut now) = (book(config), Instant::now());
        // Sources, and whether it worked, of what was said of each; nothing expires, nothing is complete.
        let mut map = BTreeMap::<(u8, u16), (Source, Option<Outcome>)>::new();
        for step in steps {
            match &step {
                Step::Learned(_, Source::Identify | Source::SignedRecord, ..) => continue,
                Step::Wait(_) | Step::Record(..) => continue,
                Step::Learned(_, _, _, Some(0)) => continue,
                Step::Learned(peer, source, list, _) => {
                    for address in list {
                        let (known, _) = map.entry((*peer, *address)).or_insert((*source, None));
                        *known = (*known).max(*source);
                    }
                }
                Step::Outcome(peer, address, outcome) => {
                    // Of two outcomes at one moment the good one counts.
                    let best = |old: Option<Outcome>| match old {
                        Some(Outcome::Connected) => old,
                        _ => Some(*outcome),
                    };
                    match (map.get_mut(&(*peer, *address)), outcome) {
                        (Some((_, known)), _) => *known = best(*known),
                        (None, Outcome::Failed) => {}
                        (None, Outcome::Connected) => {
                            map.insert((*peer, *address), (Source::Dialed, Some(*outcome)));
                        }
                    }
                }
                Step::Forgotten(peer) => map.retain(|(other, _), _| other != peer),
                Step::Timeout => {}
            }
            apply(&mut book, &mut now, &step);
        }
        let told = known(&book, now);
        let told: BTreeMap<_, _> = told
            .into_iter()
            .map(|(key, known)| (key, (known.source, known.outcome())))
            .collect();
        prop_assert_eq!(told, map);
    }
}
