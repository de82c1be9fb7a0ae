//! Books that are full, addresses that worked, and any sequence of news.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

mod properties;

const HOUR: Duration = Duration::from_secs(60 * 60);

type Book = AddressBook<u8, u16>;

/// An address takes as many bytes as its number says.
fn book(config: AddressBookConfig) -> Book {
    AddressBook::new(config, |address| usize::from(*address))
}

/// The addresses of a peer, best first.
fn listed(book: &Book, now: Instant, peer: u8) -> Vec<u16> {
    let known = book.addresses(now, &peer);
    known.iter().map(|known| known.address).collect()
}

#[test]
fn hearsay_takes_the_place_of_nothing_that_worked_however_often_that_failed_since() {
    let (mut book, now) = (book(AddressBookConfig::default()), Instant::now());
    for address in 1..=16 {
        book.handle_learned(now, &1, Source::Hearsay, [address], None);
        book.handle_outcome(now, &1, &address, Outcome::Connected);
        book.handle_outcome(now + HOUR, &1, &address, Outcome::Failed);
    }
    for address in 100..200 {
        let learned = book.handle_learned(now + HOUR, &1, Source::Hearsay, [address], None);
        assert_eq!(learned, 0);
    }
    let mut known = listed(&book, now + HOUR, 1);
    known.sort_unstable();
    assert_eq!(known, (1..=16).collect::<Vec<_>>());
    // What the peer says of itself does not either.
    let learned = book.handle_learned(now + HOUR, &1, Source::SignedRecord, [300], None);
    assert_eq!(learned, 0);
}

#[test]
fn hearsay_takes_the_place_of_hearsay_only_once_that_has_failed() {
    let (mut book, now) = (book(AddressBookConfig::default()), Instant::now());
    assert_eq!(
        book.handle_learned(now, &1, Source::Hearsay, 1..=16, None),
        16
    );
    assert_eq!(book.handle_learned(now, &1, Source::Hearsay, [17], None), 0);
    book.handle_outcome(now, &1, &9, Outcome::Failed);
    assert_eq!(book.handle_learned(now, &1, Source::Hearsay, [17], None), 1);
    let known = listed(&book, now, 1);
    assert!(known.contains(&17) && !known.contains(&9), "{known:?}");
}

#[test]
fn a_better_source_takes_the_place_of_a_worse_one_and_the_oldest_of_equals_goes() {
    let (mut book, now) = (book(AddressBookConfig::default()), Instant::now());
    book.handle_learned(now, &1, Source::Dialed, 1..=8, None);
    book.handle_learned(now + HOUR, &1, Source::Dialed, 9..=16, None);
    assert_eq!(
        book.handle_learned(now, &1, Source::Identify, [17], None),
        0
    );
    let now = now + 2 * HOUR;
    assert_eq!(book.handle_learned(now, &1, Source::Dialed, [18], None), 1);
    assert_eq!(book.handle_learned(now, &1, Source::Config, [19], None), 1);
    let known = listed(&book, now, 1);
    assert!(!known.contains(&1) && !known.contains(&2), "{known:?}");
    assert_eq!(known.len(), 16);
}

#[test]
fn what_a_peer_says_of_itself_replaces_what_it_said_before_but_not_what_worked() {
    let (mut book, now) = (book(AddressBookConfig::default()), Instant::now());
    book.handle_learned(now, &1, Source::Identify, [1, 2, 3], None);
    book.handle_learned(now, &1, Source::Dialed, [2], None);
    book.handle_outcome(now, &1, &3, Outcome::Connected);
    book.handle_learned(now, &1, Source::Identify, [4], None);
    assert_eq!(listed(&book, now, 1), [3, 2, 4]);
    book.handle_learned(now, &1, Source::Identify, [], None);
    assert_eq!(listed(&book, now, 1), [3, 2]);
    // Hearsay is never the whole truth.
    book.handle_learned(now, &1, Source::Hearsay, [5], None);
    book.handle_learned(now, &1, Source::Hearsay, [6], None);
    assert_eq!(listed(&book, now, 1), [3, 2, 5, 6]);
}

#[test]
fn addresses_are_listed_from_the_latest_success_to_what_only_failed() {
    let (mut book, now) = (book(AddressBookConfig::default()), Instant::now());
    let later = now + HOUR / 2;
    book.handle_learned(now, &1, Source::Hearsay, [1, 2, 3, 4], None);
    book.handle_learned(now, &1, Source::Identify, [5, 6], None);
    book.handle_learned(now, &1, Source::Config, [7], None);
    book.handle_outcome(now, &1, &1, Outcome::Connected);
    book.handle_outcome(now, &1, &2, Outcome::Connected);
    book.handle_outcome(later, &1, &2, Outcome::Failed);
    book.handle_outcome(now, &1, &3, Outcome::Failed);
    book.handle_outcome(later, &1, &6, Outcome::Connected);
    assert_eq!(listed(&book, later, 1), [6, 1, 7, 5, 2, 4, 3]);
}

#[test]
fn an_address_is_forgotten_when_its_time_is_over_and_not_before() {
    let (mut book, now) = (book(AddressBookConfig::default()), Instant::now());
    let moment = Duration::from_nanos(1);
    book.handle_learned(now, &1, Source::Hearsay, [1], None);
    book.handle_learned(now, &1, Source::Relay, [2], Some(2 * HOUR));
    book.handle_learned(now, &1, Source::Identify, [3], Some(1_000 * HOUR));
    book.handle_learned(now, &2, Source::Config, [4], None);
    book.handle_outcome(now, &1, &5, Outcome::Connected);
    for (hours, address) in [(1, 1), (2, 2), (24, 3), (7 * 24, 5)] {
        let end = now + hours * HOUR;
        assert_eq!(book.poll_timeout(), Some(end));
        assert!(listed(&book, end - moment, 1).contains(&address));
        assert!(!listed(&book, end, 1).contains(&address));
        book.handle_timeout(end - moment);
        assert_eq!(book.poll_timeout(), Some(end));
        book.handle_timeout(end);
    }
    assert_eq!(book.poll_timeout(), None);
    assert_eq!(book.peers().collect::<Vec<_>>(), [&2]);
}

#[test]
fn hearsay_prolongs_nothing_that_a_better_source_named() {
    let (mut book, now) = (book(AddressBookConfig::default()), Instant::now());
    book.handle_learned(now, &1, Source::Relay, [1], Some(HOUR / 2));
    book.handle_learned(now, &1, Source::Hearsay, [1], None);
    assert_eq!(book.poll_timeout(), Some(now + HOUR / 2));
}

#[test]
fn an_address_or_a_record_of_more_bytes_than_allowed_is_not_kept() {
    let config = AddressBookConfig::default().with_max_bytes(100, 10);
    let (mut book, now) = (book(config), Instant::now());
    let learned = book.handle_learned(now, &1, Source::Config, [101, 100], None);
    assert_eq!((learned, listed(&book, now, 1)), (1, vec![100]));
    book.handle_outcome(now, &1, &101, Outcome::Connected);
    assert_eq!(listed(&book, now, 1), [100]);
    assert!(!book.handle_record(now, &1, (1, vec![0; 11]), [1], None));
    assert!(book.handle_record(now, &1, (1, vec![0; 10]), [1], None));
}

#[test]
fn only_a_newer_record_is_taken_and_the_one_that_is_there_may_be_prolonged() {
    let (mut book, now) = (book(AddressBookConfig::default()), Instant::now());
    assert!(book.handle_record(now, &1, (5, vec![5]), [1, 2], Some(HOUR)));
    assert!(!book.handle_record(now, &1, (4, vec![4]), [3], None));
    assert!(!book.handle_record(now, &1, (5, vec![4]), [3], None));
    assert!(book.handle_record(now, &1, (5, vec![5]), [1, 2], Some(2 * HOUR)));
    let end = now + 2 * HOUR;
    assert_eq!(book.record(now + HOUR, &1), Some((5, [5].as_slice())));
    assert_eq!(book.record(end, &1), None);
    assert!(book.handle_record(now, &1, (6, vec![6]), [2, 4], None));
    assert_eq!(book.record(now, &1), Some((6, [6].as_slice())));
    assert_eq!(listed(&book, now, 1), [2, 4]);
}

#[test]
fn a_full_book_lets_go_of_the_peer_that_is_worth_the_least() {
    let config = AddressBookConfig::default().with_max_peers(3);
    let (mut book, now) = (book(config), Instant::now());
    book.handle_outcome(now, &1, &1, Outcome::Connected);
    book.handle_learned(now, &2, Source::Identify, [1], None);
    // Its own signature makes it no better than hearsay.
    assert!(book.handle_record(now, &3, (1, vec![1]), [1], None));
    let peers = |book: &Book| book.peers().copied().collect::<Vec<_>>();
    book.handle_learned(now + HOUR, &4, Source::Hearsay, [1], None);
    assert_eq!(
        peers(&book),
        [1, 2, 4],
        "of the named ones, the oldest goes"
    );
    book.handle_learned(now + HOUR, &5, Source::Dialed, [1], None);
    assert_eq!(peers(&book), [1, 2, 5]);
    let learned = book.handle_learned(now + HOUR, &6, Source::Hearsay, [1], None);
    assert_eq!((learned, peers(&book)), (0, vec![1, 2, 5]));
    assert!(!book.handle_record(now, &6, (1, vec![1]), [1], None));
    book.handle_learned(now + HOUR, &7, Source::Config, [1], None);
    assert_eq!(peers(&book), [1, 5, 7]);
    book.handle_forgotten(&7);
    assert_eq!(peers(&book), [1, 5]);
}

#[test]
fn a_peer_without_anything_is_not_in_the_book() {
    let (mut book, now) = (book(AddressBookConfig::default()), Instant::now());
    book.handle_learned(now, &1, Source::Identify, [], None);
    book.handle_learned(now, &1, Source::Identify, [u16::MAX], None);
    book.handle_outcome(now, &1, &1, Outcome::Failed);
    book.handle_forgotten(&1);
    assert!(book.is_empty());
    assert_eq!((book.len(), book.poll_timeout()), (0, None));
}

#[test]
fn bounds_of_zero_keep_nothing() {
    let now = Instant::now();
    let none = AddressBookConfig::default();
    for config in [none.with_max_peers(0), none.with_max_addresses(0)] {
        let mut book = book(config);
        book.handle_learned(now, &1, Source::Config, [1], None);
        book.handle_outcome(now, &1, &1, Outcome::Connected);
        assert!(book.is_empty());
    }
}
